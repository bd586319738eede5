//! Opens the listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Why a listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
pub struct ListenError {
    /// The address that was wanted.
    pub addr: SocketAddr,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// Opens `count` listeners on one address.
///
/// The address is bound once plainly first: a socket that shares its port (`SO_REUSEPORT`) would
/// join another process's instead of saying that the port is in use. Systems that do not spread
/// connections over such sockets get one socket that all listeners share.
///
/// # Errors
///
/// [`ListenError`] when the address is in use or not ours.
pub(crate) fn listeners(addr: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let fail = |source| ListenError { addr, source };
    let mut tries_left = if addr.port() == 0 { 5 } else { 1 };
    loop {
        tries_left -= 1;
        match try_listeners(addr, count) {
            // A port that the system chose can be lost between the two binds.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries_left > 0 => {}
            result => return result.map_err(fail),
        }
    }
}

/// Whether nobody listens on an address yet: for who wants to know before doing other work.
///
/// # Errors
///
/// [`ListenError`] when the address is in use or not ours.
pub fn check_free(addr: SocketAddr) -> Result<(), ListenError> {
    socket(addr).map(drop).map_err(|source| ListenError { addr, source })
}

/// `count` listeners on a socket that somebody else opened and keeps open.
///
/// # Errors
///
/// What the system says.
pub(crate) fn copies(given: &TcpListener, count: usize) -> io::Result<Vec<TcpListener>> {
    given.set_nonblocking(true)?;
    std::iter::repeat_with(|| given.try_clone()).take(count).collect()
}

fn try_listeners(addr: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let plain = socket(addr)?;
    if !cfg!(target_os = "linux") || count == 1 {
        plain.listen(BACKLOG)?;
        let first: TcpListener = plain.into();
        return std::iter::repeat_with(|| first.try_clone()).take(count).collect();
    }
    let chosen = local_addr(&plain)?;
    drop(plain);
    (0..count).map(|_| sharing(chosen)).collect()
}

#[cfg(unix)]
fn sharing(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = unbound(addr)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(not(unix))]
fn sharing(_: SocketAddr) -> io::Result<TcpListener> {
    Err(io::ErrorKind::Unsupported.into())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(addr)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn unbound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if cfg!(unix) {
        // Not to wait for connections of a process that has just ended. On Windows the option
        // means sharing the port.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_listeners_share_the_chosen_port() {
        let all = listeners("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addr = all[0].local_addr().unwrap();
        assert_ne!(addr.port(), 0);
        assert!(all.iter().all(|listener| listener.local_addr().unwrap() == addr));
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let all = listeners("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let addr = all[0].local_addr().unwrap();
        for count in [1, 2] {
            let error = listeners(addr, count).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot listen on {addr}"));
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        }
    }
}

//! Sockets that whoever started the process opened for it (systemd's socket activation).

use std::net::TcpListener;

use anyhow::Context as _;
use listenfd::ListenFd;

/// Listening sockets that were handed over. They stay open across restarts, so that connections
/// wait in the meantime instead of being refused.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// For the data plane.
    pub(crate) data: Option<TcpListener>,
    /// For the admin API.
    pub(crate) admin: Option<TcpListener>,
}

impl Given {
    /// Takes what `LISTEN_FDS` announces: by its name in `LISTEN_FDNAMES` (`data`, `admin`), else
    /// the first for the data plane and the second for the admin API.
    ///
    /// # Errors
    ///
    /// When a socket is no listening TCP socket, or there are more than Weir has use for.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut all = ListenFd::from_env();
        let mut given = Self::default();
        let mut unnamed = Vec::new();
        for index in 0..all.len() {
            let name = names.get(index).copied().unwrap_or_default();
            let socket = all.take_tcp_listener(index);
            let socket =
                socket.with_context(|| format!("socket {index} (`{name}`) of LISTEN_FDS"))?;
            let Some(socket) = socket else { continue };
            match name {
                "data" if given.data.is_none() => given.data = Some(socket),
                "admin" if given.admin.is_none() => given.admin = Some(socket),
                _ => unnamed.push(socket),
            }
        }
        for socket in unnamed {
            let place = match (&given.data, &given.admin) {
                (None, _) => &mut given.data,
                (_, None) => &mut given.admin,
                _ => anyhow::bail!("LISTEN_FDS hands over more sockets than `data` and `admin`"),
            };
            *place = Some(socket);
        }
        Ok(given)
    }
}

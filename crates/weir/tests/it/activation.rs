//! Restarts under socket activation: whoever holds the sockets lets no connection be refused.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::seed::paying;
use crate::server::{ADMIN_KEY, Process, Weir};
use crate::support::{Mock, eventually};
use crate::wallet::config;
use crate::wire::{Answer, Line, request};

/// One call on a connection of its own; what is in its way is told. On a kept connection a restart
/// may close it while the call is under way: that promises nothing.
fn call(address: SocketAddr, key: &str) -> Result<u16, String> {
    let mut stream = TcpStream::connect(address).map_err(|why| format!("connect: {why}"))?;
    // Longer than a restart takes on a busy machine.
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|why| why.to_string())?;
    let bearer = format!("authorization: Bearer {key}");
    let head = request("PUT", "/clusters/a", &[&bearer, "connection: close"], "{}");
    stream.write_all(head.as_bytes()).map_err(|why| format!("write: {why}"))?;
    let answer = Answer::next(&mut BufReader::new(stream), false).ok_or("no answer")?;
    Ok(answer.status)
}

#[test]
fn restarts_under_load_refuse_no_connection() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "1000")]);
    let key = weir.keys[0].clone();
    weir.stop();
    let data = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = data.local_addr().expect("an address");
    let mut process = Process::serve_on(weir.folder(), &data, &admin);
    assert!(
        process.printed.contains(&format!("data plane  http://{address}")),
        "{}",
        process.printed
    );
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    let target = admin.local_addr().expect("an address");
    let shown = Line::open(target).call("GET", "/admin/v1/accounts", &[&bearer], "");
    assert_eq!(shown.status, 200, "the admin API is on its socket: {}", shown.text());

    let (ended, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<(), String> {
                    while !ended.load(Ordering::Relaxed) {
                        let status = call(address, &key)?;
                        if status != 200 {
                            return Err(format!("status {status}"));
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let more = |count: u64| {
            let goal = done.load(Ordering::Relaxed) + count;
            let failed = || callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
            eventually("calls go on", || failed() || done.load(Ordering::Relaxed) >= goal);
        };
        for _ in 0..3 {
            more(40);
            assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
            process = Process::serve_on(weir.folder(), &data, &admin);
        }
        more(40);
        ended.store(true, Ordering::Relaxed);
        for caller in callers {
            assert_eq!(caller.join().expect("no panic"), Ok(()));
        }
    });
}

//! What an idle connection costs in memory.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::options::{Binaries, Options};
use super::server::{Server, call};
use super::site::{self, Site};
use super::table::{Table, announce};

/// Resident memory fresh, and with connections that have served one call each.
pub(super) fn run(binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    announce("memory of idle connections")?;
    let site = Site::open(binaries, options)?;
    let mut table = Table::new(&["", "fresh KiB", "with 1,000 KiB", "each KiB"]);
    let mut rows = Vec::new();
    for (name, server, key) in
        [("nginx", site.nginx(), ""), ("weir: limits", site.weir(), site.free_key())]
    {
        let (fresh, full) = fill(server, key)?;
        #[expect(clippy::cast_precision_loss, reason = "KiB of one process are exact")]
        let each = full.saturating_sub(fresh) as f64 / CONNECTIONS as f64;
        table.row([name.to_owned(), fresh.to_string(), full.to_string(), format!("{each:.1}")]);
        rows.push(json!({ "name": name, "fresh_kib": fresh, "full_kib": full, "each_kib": each }));
    }
    table.print()?;
    Ok(rows.into())
}

fn fill(server: &Server, key: &str) -> anyhow::Result<(u64, u64)> {
    let fresh = server.rss_kib();
    let request = site::request(key, &site::chat(None));
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(server.address)?;
        call(&mut stream, &request)?;
        open.push(stream);
    }
    std::thread::sleep(Duration::from_millis(300));
    Ok((fresh, server.rss_kib()))
}

const CONNECTIONS: usize = 1_000;

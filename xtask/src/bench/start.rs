//! From the start of the process to its first served call.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::options::{Binaries, Options};
use super::server::{Core, call, now};
use super::site::{self, Folder, seed, start_mock, start_weir};
use super::table::{Table, announce, median};

/// With few keys and with many, and with a long ledger if one is asked for.
pub(super) fn run(binaries: &Binaries, options: &Options) -> anyhow::Result<Value> {
    announce("start to first served call")?;
    let mock = start_mock(binaries, Core::Any)?;
    let mut table = Table::new(&["keys", "entries", "ms", "[least – most]", "RSS KiB"]);
    let mut rows = Vec::new();
    let long = (options.entries > 0).then_some((KEYS, options.entries));
    for (keys, entries) in [(2, 0), (KEYS, 0)].into_iter().chain(long) {
        let folder = Folder::new(&format!("start-{keys}-{entries}"))?;
        let secrets = seed(binaries, &folder.path().join("store"), keys / 2, entries)?;
        let request = site::request(&secrets.free, &site::chat(None));
        let mut times = Vec::new();
        let mut rss = 0;
        for _ in 0..options.rounds.max(3) {
            let began = now();
            let weir = start_weir(binaries, folder.path(), mock.address, Core::Any)?;
            call(&mut TcpStream::connect(weir.address)?, &request)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            rss = weir.rss_kib();
        }
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        let middle = median(times);
        table.row([
            keys.to_string(),
            entries.to_string(),
            format!("{middle:.0}"),
            format!("[{least:.0} – {most:.0}]"),
            rss.to_string(),
        ]);
        rows.push(
            json!({ "keys": keys, "entries": entries, "ms": middle, "least": least, "most": most, "rss_kib": rss }),
        );
    }
    table.print()?;
    Ok(rows.into())
}

const KEYS: usize = 100_000;

//! Several servers under the same load, in turns.

use serde_json::{Value, json};

use super::line::{Line, Load};
use super::options::Options;
use super::site::{Folder, cores};
use super::table::{Table, announce, median};
use super::wrk::wrk;

/// What one turn of one competitor came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Lets all take turns, prints the table and gives it back.
pub(super) fn run_contest(
    title: &str,
    lines: &[Line<'_>],
    load: Load,
    options: &Options,
) -> anyhow::Result<Value> {
    announce(title)?;
    let folder = Folder::new("load")?;
    let (_, core) = cores(options);
    let mut turns: Vec<Vec<Turn>> = lines.iter().map(|_| Vec::new()).collect();
    let warm = Load { seconds: 1, ..load };
    for line in lines {
        wrk(line, warm, core, folder.path())?;
    }
    for _ in 0..options.rounds {
        for (line, turns) in lines.iter().zip(&mut turns) {
            let before = line.server.cpu_ns();
            let seen = wrk(line, load, core, folder.path())?;
            let spent = line.server.cpu_ns().saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds are exact")]
            let cpu_us = spent as f64 / 1e3 / seen.requests;
            let per_second = seen.requests / seen.seconds;
            turns.push(Turn { per_second, cpu_us, p50_us: seen.p50_us, p99_us: seen.p99_us });
        }
    }
    show(lines, &turns)
}

fn show(lines: &[Line<'_>], turns: &[Vec<Turn>]) -> anyhow::Result<Value> {
    let reference = lines.iter().position(|line| line.is_reference).unwrap_or(0);
    let heads = ["", "req/s", "/ nginx", "CPU µs", "× nginx", "[least – most]", "p50 µs", "p99 µs"];
    let mut table = Table::new(&heads);
    let mut rows = Vec::new();
    for (line, own) in lines.iter().zip(turns) {
        let of = |figure: fn(&Turn) -> f64| median(own.iter().map(figure));
        let beside = |figure: fn(&Turn) -> f64| -> Vec<f64> {
            own.iter().zip(&turns[reference]).map(|(a, b)| figure(a) / figure(b)).collect()
        };
        let (rates, costs) = (beside(|turn| turn.per_second), beside(|turn| turn.cpu_us));
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = costs.iter().copied().fold(0.0, f64::max);
        let (rate, cost) = (median(rates), median(costs));
        let (per_second, cpu) = (of(|turn| turn.per_second), of(|turn| turn.cpu_us));
        let (p50, p99) = (of(|turn| turn.p50_us), of(|turn| turn.p99_us));
        table.row([
            line.name.to_owned(),
            format!("{per_second:.0}"),
            format!("{rate:.2}"),
            format!("{cpu:.1}"),
            format!("{cost:.2}"),
            format!("[{least:.2} – {most:.2}]"),
            format!("{p50:.0}"),
            format!("{p99:.0}"),
        ]);
        rows.push(json!({
            "name": line.name, "per_second": per_second, "rate_to_nginx": rate, "cpu_us": cpu,
            "cpu_to_nginx": cost, "cpu_to_nginx_least": least, "cpu_to_nginx_most": most,
            "p50_us": p50, "p99_us": p99,
        }));
    }
    table.print()?;
    Ok(rows.into())
}

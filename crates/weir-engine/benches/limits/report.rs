//! The tables.

use std::error::Error;

use weir_core::limit::Period;
use weir_core::time::Span;

use crate::contender::Contender;
use crate::governed::Governed;
use crate::measure::{rate, tail};
use crate::options::Options;
use crate::policy::QUOTA;
use crate::sharded::Sharded;
use crate::traffic::{self, Traffic};
use crate::weir::Weir;
use crate::whole::Whole;

type Done = Result<(), Box<dyn Error>>;

/// One limit beside the others, and four at once: the contenders take turns in each round.
pub(crate) fn rates(options: &Options) -> Done {
    say("decisions a second, 2 threads, Zipf 1.0 (millions; per second of processor time)\n");
    say(
        "| keys | bare sharded map | governor | weir, 1 limit | × map | × governor | weir, 4 limits |",
    );
    say("|---:|---:|---:|---:|---:|---:|---:|");
    for &keys in &options.keys {
        let traffic = traffic::zipf(keys, options.decisions);
        let map = Sharded::new(QUOTA, MINUTE_US);
        let governor = Governed::new().ok_or("a rule of governor")?;
        let one = Weir::new(keys, 1, Period::MINUTE)?;
        let four = Weir::new(keys, 4, Period::MINUTE)?;
        let all = |key| map.decide(key) & governor.decide(key) & one.decide(key) & four.decide(key);
        if !(0..keys).all(all) {
            return Err("a key's first call was refused".into());
        }
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let of_map = rate(&map, &traffic)?;
            let of_governor = rate(&governor, &traffic)?;
            let of_one = rate(&one, &traffic)?;
            let of_four = rate(&four, &traffic)?;
            let (by_map, by_governor) = (of_one / of_map, of_one / of_governor);
            rounds.push([of_map, of_governor, of_one, by_map, by_governor, of_four]);
        }
        let [map, governor, one, by_map, by_governor, four] =
            std::array::from_fn(|column| median(rounds.iter().map(|round| round[column])));
        let [map, governor, one, four] = [map, governor, one, four].map(|rate| rate / 1e6);
        say(&format!(
            "| {keys} | {map:.1} | {governor:.1} | {one:.1} | {by_map:.2} | {by_governor:.2} | {four:.1} |"
        ));
    }
    Ok(())
}

/// How long single decisions take: as keys become many, as keys are added, as windows end.
pub(crate) fn tails(options: &Options) -> Done {
    say(
        "\nhow long one decision takes, 2 threads (ns: p50 / p99 / p99.9, a reading of the clock in it)\n",
    );
    say("| keys | bare sharded map | governor | weir, 1 limit | weir, 4 limits |");
    say("|---:|---:|---:|---:|---:|");
    for &keys in &options.keys {
        let steady = traffic::zipf(keys, options.decisions);
        tail_row(&format!("{keys}"), keys, &steady, Period::MINUTE, options)?;
    }
    let Some(&keys) = options.keys.iter().max() else { return Ok(()) };
    let growing = traffic::growing(keys, options.decisions);
    tail_row(&format!("{keys}, 1 in 16 new"), keys, &growing, Period::MINUTE, options)?;
    let ending = Period::Span(Span::from_millis(ENDING_MS));
    let steady = traffic::zipf(keys, options.decisions);
    tail_row(&format!("{keys}, windows of {ENDING_MS} ms"), keys, &steady, ending, options)
}

fn tail_row(name: &str, keys: u32, traffic: &Traffic, first: Period, options: &Options) -> Done {
    let mut rounds: Vec<[[f64; 3]; 4]> = Vec::new();
    let length = first.nominal().micros();
    for _ in 0..options.rounds.div_ceil(2) {
        let map = Sharded::new(QUOTA, length);
        let governor = Governed::new().ok_or("a rule of governor")?;
        let accounts = keys.saturating_add(traffic::added(options.decisions));
        let one = Weir::new(accounts, 1, first)?;
        let four = Weir::new(accounts, 4, first)?;
        for key in 0..keys {
            let _passed =
                map.decide(key) & governor.decide(key) & one.decide(key) & four.decide(key);
        }
        rounds.push([
            tail(&map, traffic),
            tail(&governor, traffic),
            tail(&one, traffic),
            tail(&four, traffic),
        ]);
    }
    let cells = (0..4).map(|who| {
        let figures: [f64; 3] =
            std::array::from_fn(|which| median(rounds.iter().map(|round| round[who][which])));
        figures.map(|figure| format!("{figure:.0}")).join(" / ")
    });
    say(&format!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    Ok(())
}

/// The engine's whole admission with everything that the data plane needs of it.
pub(crate) fn whole(options: &Options) -> Done {
    let whole = Whole::open(options.accounts)?;
    let traffic = traffic::zipf(options.accounts, options.decisions / 4);
    let rates = (0..options.rounds).map(|_| rate(&whole, &traffic));
    let rates = rates.collect::<Result<Vec<_>, _>>()?;
    let [p50, p99, _] = tail(&whole, &traffic);
    whole.close();
    say(&format!(
        "\nEngine::admit to a ticket, and the ticket given back, {} accounts, 4 limits: {:.2} million a second, p50 {p50:.0} ns, p99 {p99:.0} ns",
        options.accounts,
        median(rates.into_iter()) / 1e6,
    ));
    Ok(())
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "tables are for whoever measures")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

const MINUTE_US: i64 = 60_000_000;
const ENDING_MS: i64 = 100;

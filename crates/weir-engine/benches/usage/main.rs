//! How long a question about usage takes when a hundred million calls are rolled up:
//! `cargo xtask bench usage`. docs/performance.md has the figures.

#![allow(clippy::print_stdout, reason = "what is measured is told")]
#![allow(clippy::disallowed_methods, reason = "what is measured is measured by the clock")]

mod fill;
mod options;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_core::id::{AccountId, PolicyNumber};
use weir_core::names::LimitNames;
use weir_core::policy::{Policy, PolicyParts};
use weir_core::time::{Span, Timestamp};
use weir_engine::clock::Clock;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::usage::{Dimension, Interval, UsageRow, UsageSums, UsageWanted};
use weir_store::store::Options as StoreOptions;

use options::Options;

/// A question, and what it is called.
struct Question {
    name: &'static str,
    days: i64,
    interval: Interval,
    group_by: &'static [Dimension],
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let own = tempfile::tempdir()?;
    let folder = options.folder.as_deref().unwrap_or(own.path());
    if !folder.join("usage.db").exists() {
        let began = Instant::now();
        let filled = fill::fill(folder, &options, Clock::running().now())?;
        println!("{filled}, filled in {:.0} s", began.elapsed().as_secs_f32());
    }
    let size = std::fs::metadata(folder.join("usage.db"))?.len();
    println!("usage.db: {} MB", size / 1_000_000);
    let engine = boot(folder)?;
    let began = Instant::now();
    engine.sweep();
    for _ in 0..size / BYTES_PER_PART {
        engine.flush_behind();
    }
    println!("packed in {:.0} s", began.elapsed().as_secs_f32());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let middle = AccountId(u64::from(options.accounts / 2).max(1));
    let whose = [
        ("busiest account", Some(AccountId(1))),
        ("median account", Some(middle)),
        ("all accounts", None),
    ];
    println!("\n| question | whose | rows read off | calls | first, ms | median, ms | worst, ms |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for question in &QUESTIONS {
        for (name, account) in whose {
            let keys = question.group_by.contains(&Dimension::Key);
            if keys && account.is_none() {
                continue;
            }
            let mut times = Vec::new();
            let mut rows = Vec::new();
            for _ in 0..options.rounds {
                let began = Instant::now();
                rows = runtime.block_on(engine.usage(question.wanted(account, engine.now())))?;
                times.push(began.elapsed());
            }
            tell(question.name, name, &rows, &times);
        }
    }
    engine.close();
    Ok(())
}

fn boot(folder: &Path) -> Result<Arc<Engine>, Box<dyn Error>> {
    let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
    let policy = Policy::new(PolicyNumber(0), PolicyParts::default())?;
    let (options, names) = (StoreOptions::default(), LimitNames::default());
    Ok(Engine::boot(folder, options, settings, policy, names, Clock::running())?)
}

impl Question {
    fn wanted(&self, account: Option<AccountId>, now: Timestamp) -> UsageWanted {
        let from = now.minus(Span::from_secs(self.days * 86_400));
        let group_by = self.group_by.to_vec();
        UsageWanted { account, from, to: now, interval: self.interval, group_by }
    }
}

fn tell(question: &str, whose: &str, rows: &[UsageRow], times: &[Duration]) {
    let mut totals = UsageSums::default();
    rows.iter().for_each(|row| totals.add(&row.sums));
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    let mut sorted = times.to_vec();
    sorted.sort();
    println!(
        "| {question} | {whose} | {} | {} | {:.1} | {:.1} | {:.1} |",
        rows.len(),
        totals.requests(),
        ms(times.first()),
        ms(sorted.get(sorted.len() / 2)),
        ms(sorted.last())
    );
}

/// Less than what a part of packing takes from the rows, so that all of them get their turn.
const BYTES_PER_PART: u64 = 100_000;
const QUESTIONS: [Question; 6] = [
    Question { name: "30 days by hour", days: 30, interval: Interval::Hour, group_by: &[] },
    Question {
        name: "30 days by hour and model",
        days: 30,
        interval: Interval::Hour,
        group_by: &[Dimension::Model],
    },
    Question {
        name: "30 days by hour, key and route",
        days: 30,
        interval: Interval::Hour,
        group_by: &[Dimension::Key, Dimension::Route],
    },
    Question {
        name: "90 days by day and route",
        days: 90,
        interval: Interval::Day,
        group_by: &[Dimension::Route],
    },
    Question {
        name: "a day by minute (the summary: peak)",
        days: 1,
        interval: Interval::Minute,
        group_by: &[],
    },
    Question {
        name: "a day by hour, key, model and route (the summary: top)",
        days: 1,
        interval: Interval::Hour,
        group_by: &[Dimension::Key, Dimension::Model, Dimension::Route],
    },
];

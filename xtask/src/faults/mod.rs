//! `cargo xtask faults`: the real binary under faults, with an auditor that compares what clients
//! were told with what the ledger says. docs/faults.md tells what each experiment does.

mod plan;

mod wire;

mod rig;

mod auditor;

mod kill9;
mod store;

use crate::step::say;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use plan::Plan;
use rig::Rig;

/// Runs the experiment that the arguments name: `NAME [--seed N] [--rounds R]`.
///
/// # Errors
///
/// What was violated, with the seed; an unknown argument; a tool that is missing.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let Some((name, options)) = arguments.split_first() else {
        bail!("name an experiment: {NAMES}")
    };
    let mut plan = Plan { seed: fresh_seed(), rounds: 10 };
    for pair in options.chunks(2) {
        match pair {
            ["--seed", value] => plan.seed = value.parse().context("--seed takes a number")?,
            ["--rounds", value] => {
                plan.rounds = value.parse().context("--rounds takes a number")?
            }
            other => bail!("unknown option {other:?}"),
        }
    }
    let binary = Rig::build(root)?;
    say(&format!("faults {name} --seed {} --rounds {}", plan.seed, plan.rounds))?;
    let outcome = match *name {
        "kill9" => kill9::at_random(&binary, plan),
        "syscalls" => kill9::at_every_sync(&binary, plan),
        "eio" => store::failing_sync(&binary),
        "disk-full" => store::full_disk(&binary),
        other => bail!("there is no experiment {other}: {NAMES}"),
    };
    outcome.with_context(|| format!("faults {name} --seed {}", plan.seed))
}

#[expect(clippy::disallowed_methods, reason = "a seed that nobody named is drawn from the clock")]
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::from(now.subsec_nanos()).wrapping_add(now.as_secs()) % 1_000_000
}

const NAMES: &str = "kill9, syscalls, eio, disk-full";

//! `cargo xtask faults`: the real binary under faults, with an auditor that compares what clients
//! were told with what the ledger says. docs/faults.md tells what each experiment does.

mod plan;

mod line;
mod wire;

mod rig;

mod auditor;

mod kill;

mod clock;
mod disk;
mod payments;
mod reloads;
mod repricing;
mod suite;
mod sums;
mod syscalls;

mod shapes;

mod hangups;
mod lies;
mod spending;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::step::{say, step, succeeds};
use plan::Plan;
use rig::Rig;

/// An experiment, and how much of it is done when nobody says.
struct Experiment {
    name: &'static str,
    shows: &'static str,
    needs: &'static [Need],
    rounds: u64,
    /// How many rounds the selection takes; none if the tests run it anyway.
    brief: Option<u64>,
    run: fn(&Plan) -> anyhow::Result<()>,
}

/// What not every machine has.
#[derive(Clone, Copy)]
enum Need {
    Strace,
    Root,
    Faketime,
}

/// Runs what the arguments name: an experiment, `--list` or `selection`.
///
/// # Errors
///
/// What was violated, with the seed; an unknown argument; a tool that is missing.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let Some((name, options)) = arguments.split_first() else {
        bail!("name an experiment, or --list: {}", names())
    };
    if *name == "--list" {
        return EXPERIMENTS.iter().try_for_each(|it| say(&format!("{:12} {}", it.name, it.shows)));
    }
    let known = EXPERIMENTS.iter().find(|experiment| experiment.name == *name);
    let rounds = known.map_or(0, |experiment| experiment.rounds);
    let mut plan =
        Plan { root: root.to_owned(), binary: PathBuf::new(), seed: fresh_seed(), rounds, from: 1 };
    for pair in options.chunks(2) {
        match pair {
            ["--seed", value] => plan.seed = value.parse().context("--seed takes a number")?,
            ["--rounds", value] => {
                plan.rounds = value.parse().context("--rounds takes a number")?
            }
            ["--from", value] => plan.from = value.parse().context("--from takes a number")?,
            ["--weir", value] => plan.binary = std::fs::canonicalize(value).context("--weir")?,
            other => bail!("unknown option {other:?}"),
        }
    }
    if plan.binary.as_os_str().is_empty() {
        plan.binary = Rig::build(root)?;
    }
    match known {
        Some(experiment) => tried(experiment, &plan),
        None if *name == "selection" => selection(&plan),
        None => bail!("there is no experiment {name}: {}", names()),
    }
}

/// A few rounds of each experiment that the tests do not run anyway. What a machine lacks is
/// skipped, and said.
///
/// # Errors
///
/// What was violated, with the seed.
fn selection(plan: &Plan) -> anyhow::Result<()> {
    for experiment in &EXPERIMENTS {
        let Some(rounds) = experiment.brief else { continue };
        let lacking = experiment.needs.iter().find(|need| !need.met());
        match lacking {
            Some(need) => say(&format!("== SKIPPED: {}: {}", experiment.name, need.hint()))?,
            None => step(experiment.name, || tried(experiment, &Plan { rounds, ..plan.clone() }))?,
        }
    }
    Ok(())
}

fn tried(experiment: &Experiment, plan: &Plan) -> anyhow::Result<()> {
    let Experiment { name, .. } = experiment;
    let Plan { seed, rounds, from, .. } = plan;
    let again = format!("faults {name} --seed {seed} --rounds {rounds} --from {from}");
    say(&again)?;
    if let Some(need) = experiment.needs.iter().find(|need| !need.met()) {
        bail!("{name}: {}", need.hint());
    }
    (experiment.run)(plan).with_context(|| again)
}

impl Need {
    fn met(self) -> bool {
        match self {
            Self::Strace => {
                succeeds(Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]))
            }
            Self::Root => {
                let id = Command::new("id").arg("-u").output();
                id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
            }
            Self::Faketime => clock::library().is_some(),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Strace => "it needs strace, allowed to trace (apt-get install strace)",
            Self::Root => "it needs root, to mount a small disk",
            Self::Faketime => "it needs libfaketime (apt-get install faketime)",
        }
    }
}

fn names() -> String {
    let names: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
    format!("selection, {}", names.join(", "))
}

#[expect(clippy::disallowed_methods, reason = "a seed that nobody named is drawn from the clock")]
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::from(now.subsec_nanos()).wrapping_add(now.as_secs()) % 1_000_000
}

const EXPERIMENTS: [Experiment; 17] = [
    Experiment {
        name: "overspend",
        shows: "a balance for 500 calls and 1024 of them over 256 connections: 500 reach the upstream",
        needs: &[],
        rounds: 5,
        brief: Some(1),
        run: kill::overspend,
    },
    Experiment {
        name: "kill",
        shows: "kill -9 at a random moment under calls and streams; a round is a kill",
        needs: &[],
        rounds: 20,
        brief: Some(4),
        run: kill::at_random,
    },
    Experiment {
        name: "syscalls",
        shows: "SIGKILL, EIO or ENOSPC at every sync and write of a script; --rounds R: R points of each",
        needs: &[Need::Strace],
        rounds: 0,
        brief: Some(2),
        run: syscalls::at_every_call,
    },
    Experiment {
        name: "eio",
        shows: "every fsync fails: nothing acknowledged afterwards, fenced, right after a restart",
        needs: &[Need::Strace],
        rounds: 1,
        brief: Some(1),
        run: disk::failing_sync,
    },
    Experiment {
        name: "slow-sync",
        shows: "each fsync is delayed: [DONE] and the last byte of a whole answer come after it",
        needs: &[Need::Strace],
        rounds: 3,
        brief: Some(1),
        run: disk::slow_sync,
    },
    Experiment {
        name: "disk",
        shows: "a full disk: calls in flight settle, new priced ones get 503, the rest goes on, it heals",
        needs: &[Need::Root],
        rounds: 1,
        brief: Some(1),
        run: disk::full,
    },
    Experiment {
        name: "clock",
        shows: "the wall clock an hour on and back, 30 days on, in 1970: no hold or credit lost or revived",
        needs: &[Need::Faketime],
        rounds: 1,
        brief: Some(1),
        run: clock::steps,
    },
    Experiment {
        name: "sums",
        shows: "10,000 charges of 0.0000132 in each round: the sum is exact; --rounds 100 is a million",
        needs: &[],
        rounds: 10,
        brief: Some(1),
        run: sums::tiny,
    },
    Experiment {
        name: "swing",
        shows: "a balance swings around a threshold: alerts alternate, one pair in each round",
        needs: &[],
        rounds: 20,
        brief: Some(5),
        run: sums::swing,
    },
    Experiment {
        name: "hangups",
        shows: "clients that go away and upstreams that fail at random points of 96 calls in each round",
        needs: &[],
        rounds: 1,
        brief: Some(1),
        run: hangups::anywhere,
    },
    Experiment {
        name: "lies",
        shows: "200 calls in each round whose usage is nonsense, figure by figure: never credit, flagged",
        needs: &[],
        rounds: 1,
        brief: Some(1),
        run: lies::any,
    },
    Experiment {
        name: "payments",
        shows: "payments, refunds, disputes in any order, up to five times, across kills: each counts once",
        needs: &[],
        rounds: 1,
        brief: Some(1),
        run: payments::in_any_order,
    },
    Experiment {
        name: "repricing",
        shows: "prices change twelve times in each round under load: totals are those of the records",
        needs: &[],
        rounds: 1,
        brief: Some(1),
        run: repricing::under_load,
    },
    Experiment {
        name: "spending",
        shows: "calls by tokens over 256 connections, ten streams at once on a balance of ten",
        needs: &[],
        rounds: 2,
        brief: Some(1),
        run: spending::at_once,
    },
    Experiment {
        name: "reloads",
        shows: "the configuration changes under load by signal, API and file: no failed call, no lost count, no leak",
        needs: &[],
        rounds: 1_000,
        brief: Some(150),
        run: reloads::under_load,
    },
    Experiment {
        name: "simulation",
        shows: "engine and store with a crash at every commit of a random history; a round is a seed",
        needs: &[],
        rounds: 20,
        brief: None,
        run: suite::simulation,
    },
    Experiment {
        name: "histories",
        shows: "the same over more histories, with six crashes of each; a round is a seed",
        needs: &[],
        rounds: 60,
        brief: None,
        run: suite::histories,
    },
];

//! Engine and store under random histories with a crash at every commit.
//!
//! A history is drawn from a seed and runs step by step by a manual clock: each batch is a
//! transaction of its own, so that the same history makes the same commits. Then it runs again for
//! each commit and each way to die there: nothing of it stored; stored and not heard; stored, told,
//! and nothing after it. The process starts anew on what is on disk (what is written behind is as
//! old as it happens to be, the clock may say anything), is held against the naive model, and the
//! history goes on to its end.
//!
//! `WEIR_SIM_SEEDS=1000 WEIR_SIM_FROM=7 cargo test -p weir-engine sim` runs as many seeds;
//! with `WEIR_SIM_CRASHES=6` only six crashes drawn for each. A failure names its seed, its commit
//! and its way to die.

mod books;
mod history;
mod world;

use weir_store::fault::Crash;

use self::history::history;
use self::world::World;

/// Runs a history to its end, with a crash or none; how many commits it made.
fn run(seed: u64, steps: usize, crash: Option<(u64, Crash)>) -> u64 {
    let mut world = World::new(seed, crash);
    for step in history(seed, steps) {
        world.step(step);
        if world.has_crashed() {
            world.recover();
        }
    }
    world.catch_up();
    if world.has_crashed() {
        world.recover();
    }
    world.end()
}

/// Names the run that fails, since a panic in here does not know it.
struct Named(u64, Option<(u64, Crash)>);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, crash) = self;
            println!(
                "the simulation fails: WEIR_SIM_FROM={seed} WEIR_SIM_SEEDS=1, crash {crash:?}"
            );
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_crash_at_any_commit_loses_nothing_acknowledged_and_tears_nothing() {
    let steps = usize::try_from(setting("WEIR_SIM_STEPS", 60)).unwrap();
    let drawn = usize::try_from(setting("WEIR_SIM_CRASHES", 0)).unwrap();
    let from = setting("WEIR_SIM_FROM", 1);
    for seed in from..from + setting("WEIR_SIM_SEEDS", 1) {
        let commits = {
            let _named = Named(seed, None);
            run(seed, steps, None)
        };
        assert!(commits > 10, "a history of {commits} commits shows little");
        let ways = [Crash::Before, Crash::Unheard, Crash::Told];
        let all = (1..=commits).flat_map(|commit| ways.map(|way| (commit, way)));
        let crashes: Vec<_> = match drawn {
            0 => all.collect(),
            drawn => fastrand::Rng::with_seed(seed).choose_multiple(all, drawn),
        };
        for crash in &crashes {
            let _named = Named(seed, Some(*crash));
            run(seed, steps, Some(*crash));
        }
        println!("seed {seed}: {commits} commits, {} crashes", crashes.len());
    }
}

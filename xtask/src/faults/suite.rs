//! The simulation of engine and store, which is a test of the suite, over many seeds.

use super::plan::Plan;
use crate::step::{program, run};

/// Engine and store with a crash at every commit: a round is a seed.
pub(super) fn simulation(plan: &Plan) -> anyhow::Result<()> {
    simulated(plan, 0)
}

/// The same over many more histories, with six crashes drawn for each: a round is a seed.
pub(super) fn histories(plan: &Plan) -> anyhow::Result<()> {
    simulated(plan, 6)
}

/// So many crashes for each seed; zero is every one.
fn simulated(plan: &Plan, crashes: u64) -> anyhow::Result<()> {
    let from = plan.seed + plan.from - 1;
    let settings =
        [("WEIR_SIM_FROM", from), ("WEIR_SIM_SEEDS", plan.rounds), ("WEIR_SIM_CRASHES", crashes)];
    let mut command = program("cargo", &plan.root);
    command.args(["test", "--locked", "-q", "-p", "weir-engine", "--test", "it", "--", "sim::"]);
    command.envs(settings.map(|(name, value)| (name, value.to_string())));
    run(&mut command)
}

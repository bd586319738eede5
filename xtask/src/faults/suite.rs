//! Experiments that are tests of the suite, run by name.

use super::plan::Plan;
use crate::step::{program, run};

/// Runs tests of a crate whose names contain a word, with more work where they know how.
fn tests(plan: &Plan, package: &str, word: &str, more: &[(&str, String)]) -> anyhow::Result<()> {
    let mut command = program("cargo", &plan.root);
    command.args(["test", "--locked", "-q", "-p", package, "--test", "it", "--", word]);
    command.envs(more.iter().map(|(name, value)| (name, value)));
    run(&mut command)
}

/// Clients that go away at any point, upstreams that break.
pub(super) fn hangups(plan: &Plan) -> anyhow::Result<()> {
    tests(plan, "weir", "hangups", &[])
}

/// Usage that is a lie.
pub(super) fn lies(plan: &Plan) -> anyhow::Result<()> {
    tests(plan, "weir", "usage_lies", &[])
}

/// Configurations and prices that change under load.
pub(super) fn reload(plan: &Plan) -> anyhow::Result<()> {
    tests(plan, "weir", "reload", &[])
}

/// Calls and streams by tokens at once, prices that change under them, payments, top-ups.
pub(super) fn spending(plan: &Plan) -> anyhow::Result<()> {
    tests(plan, "weir", "spending", &[])
}

/// The same payment five times at once and after a restart; refunds, disputes.
pub(super) fn payments(plan: &Plan) -> anyhow::Result<()> {
    tests(plan, "weir-engine", "money::", &[])?;
    tests(plan, "weir-api", "payment", &[])
}

/// Engine and store with a crash at every commit: a round is a seed.
pub(super) fn simulation(plan: &Plan) -> anyhow::Result<()> {
    let from = (plan.seed + plan.from - 1).to_string();
    let seeds = plan.rounds.to_string();
    tests(plan, "weir-engine", "sim::", &[("WEIR_SIM_FROM", from), ("WEIR_SIM_SEEDS", seeds)])
}

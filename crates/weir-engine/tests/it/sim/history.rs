//! Histories drawn from a seed: what happens does not depend on how it comes out.

use fastrand::Rng;

/// One thing that happens. Amounts are whole currency units; `which` picks one of what is open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    TopUp { account: usize, amount: i64 },
    Grant { account: usize, amount: i64, priority: u8, lasts_s: i64 },
    Adjust { account: usize, amount: i64 },
    /// A payment event, of few, so that the same one comes again.
    Pay { account: usize, event: u8 },
    Admit { account: usize, output: u64, stream: bool },
    Produce { which: usize, output: u64 },
    Settle { which: usize, output: u64 },
    /// The call's task goes away without settling.
    Abandon { which: usize },
    Hold { account: usize, amount: i64, lasts_s: i64 },
    SettleHold { which: usize, amount: i64 },
    VoidHold { which: usize },
    ExpireHolds,
    Refund { which: usize, amount: i64 },
    Plan { account: usize, charged: bool },
    Pass { secs: i64 },
    Sweep,
    /// Wallets, windows and roll-ups are handed in; some of the time they are written, too.
    Behind { written: bool },
    /// An orderly end, and a start by a clock that says something else.
    Restart { skew_s: i64 },
}

pub(super) const ACCOUNTS: usize = 2;

/// A history of so many steps. It begins with credit, since without it little happens.
pub(super) fn history(seed: u64, steps: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let begin = (0..ACCOUNTS).map(|account| Step::TopUp { account, amount: 100 });
    begin.chain(std::iter::repeat_with(|| step(&mut rng))).take(steps).collect()
}

/// What the wall clock says after a restart, beside what it should: an hour more or less, or 1970.
pub(super) fn skew(rng: &mut Rng) -> i64 {
    rng.choice([0, 0, 3_600, -3_600, -1_772_323_200]).unwrap_or(0)
}

fn step(rng: &mut Rng) -> Step {
    let account = rng.usize(..ACCOUNTS);
    let which = rng.usize(..64);
    match rng.u32(..100) {
        0..6 => Step::TopUp { account, amount: rng.i64(1..40) },
        6..12 => {
            let (priority, lasts_s) = (rng.u8(0..=100), rng.i64(1..4_000));
            Step::Grant { account, amount: rng.i64(1..20), priority, lasts_s }
        }
        12..15 => Step::Adjust { account, amount: rng.i64(-30..10) },
        15..20 => Step::Pay { account, event: rng.u8(0..3) },
        20..42 => Step::Admit { account, output: rng.u64(0..30), stream: rng.bool() },
        42..50 => Step::Produce { which, output: rng.u64(1..30) },
        50..64 => Step::Settle { which, output: rng.u64(0..40) },
        64..67 => Step::Abandon { which },
        67..72 => Step::Hold { account, amount: rng.i64(1..20), lasts_s: rng.i64(1..4_000) },
        72..75 => Step::SettleHold { which, amount: rng.i64(0..30) },
        75..77 => Step::VoidHold { which },
        77..79 => Step::ExpireHolds,
        79..82 => Step::Refund { which, amount: rng.i64(1..10) },
        82..85 => Step::Plan { account, charged: rng.u8(..3) > 0 },
        85..90 => Step::Pass { secs: rng.i64(0..2_000) },
        90..93 => Step::Sweep,
        93..98 => Step::Behind { written: rng.bool() },
        _ => Step::Restart { skew_s: skew(rng) },
    }
}

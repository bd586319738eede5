//! Histories drawn from a seed: what happens does not depend on how it comes out.

use fastrand::Rng;

/// One thing that happens. Amounts are whole currency units; `which` picks one of what is open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    TopUp {
        account: usize,
        amount: i64,
    },
    Grant {
        account: usize,
        amount: i64,
        priority: u8,
        lasts_s: i64,
    },
    Adjust {
        account: usize,
        amount: i64,
    },
    /// A payment event, of few, so that the same one comes again.
    Pay {
        account: usize,
        event: u8,
    },
    Admit {
        account: usize,
        output: u64,
        stream: bool,
    },
    Produce {
        which: usize,
        output: u64,
    },
    Settle {
        which: usize,
        output: u64,
    },
    /// The call's task goes away without settling.
    Abandon {
        which: usize,
    },
    Hold {
        account: usize,
        amount: i64,
        lasts_s: i64,
    },
    SettleHold {
        which: usize,
        amount: i64,
    },
    VoidHold {
        which: usize,
    },
    ExpireHolds,
    Refund {
        which: usize,
        amount: i64,
    },
    Plan {
        account: usize,
        charged: bool,
    },
    Pass {
        secs: i64,
    },
    Sweep,
    /// Wallets, windows and roll-ups are handed in; some of the time they are written, too.
    Behind {
        written: bool,
    },
    /// An orderly end, and a start by a clock that says something else.
    Restart {
        skew_s: i64,
    },
}

pub(super) const ACCOUNTS: usize = 2;

/// A history of so many steps. It begins with credit, since without it little happens.
pub(super) fn history(seed: u64, steps: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let begin = (0..ACCOUNTS).map(|account| Step::TopUp { account, amount: 200 });
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
        0..4 => Step::TopUp { account, amount: rng.i64(1..40) },
        4..8 => {
            let (priority, lasts_s) = (rng.u8(0..=100), rng.i64(1..4_000));
            Step::Grant { account, amount: rng.i64(1..20), priority, lasts_s }
        }
        8..10 => Step::Adjust { account, amount: rng.i64(-30..10) },
        10..14 => Step::Pay { account, event: rng.u8(0..3) },
        14..38 => Step::Admit { account, output: rng.u64(0..30), stream: rng.u8(..3) > 0 },
        38..52 => Step::Produce { which, output: rng.u64(1..10) },
        52..62 => Step::Settle { which, output: rng.u64(0..40) },
        62..65 => Step::Abandon { which },
        65..71 => Step::Hold { account, amount: rng.i64(1..20), lasts_s: rng.i64(1..4_000) },
        71..76 => Step::SettleHold { which, amount: rng.i64(0..30) },
        76..78 => Step::VoidHold { which },
        78..79 => Step::ExpireHolds,
        79..82 => Step::Refund { which, amount: rng.i64(1..10) },
        82..84 => Step::Plan { account, charged: rng.u8(..3) > 0 },
        84..87 => Step::Pass { secs: rng.i64(0..2_000) },
        87..90 => Step::Sweep,
        90..98 => Step::Behind { written: rng.bool() },
        _ => Step::Restart { skew_s: skew(rng) },
    }
}

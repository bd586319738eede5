//! Token buckets beside `governor`, which had no part in ours: the same calls pass, and the same
//! waits are told. Both are the generic cell rate algorithm; `governor` keeps the time between two
//! units in whole nanoseconds, so that here it is whole microseconds and neither rounds. Ours is
//! exact for every quota and length (see the log-of-events model).

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use weir_core::limit::{Algorithm, Period, Rule, Terms};
use weir_core::time::Span;
use weir_core::window::{Blocked, Wait, Window};

use super::{at, pass};

#[derive(Clone, Copy, Debug)]
enum Step {
    Pause(u64),
    /// Exactly as long as the last refusal said, or a microsecond less.
    WaitAsTold {
        early: bool,
    },
    Ask(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => prop_oneof![0..50_u64, 0..20_000_u64, Just(10_000_000)].prop_map(Step::Pause),
        2 => any::<bool>().prop_map(|early| Step::WaitAsTold { early }),
        6 => (1..14_u32).prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..200)
}

/// What a limiter says: passed, wait so many microseconds, or never.
fn of_weir(verdict: Result<(), Blocked>) -> Result<(), Option<i64>> {
    verdict.map_err(|blocked| match blocked.wait {
        Wait::For(wait) => Some(wait.micros()),
        Wait::Never => None,
    })
}

proptest! {
    #[test]
    fn a_bucket_says_what_governor_says(
        quota in 1..5_000_u64, each_us in 1..5_000_u32, burst in 1..12_u32, steps in steps()
    ) {
        // A window is at least a millisecond long.
        let quota = quota.max(1_000_u64.div_ceil(u64::from(each_us)));
        let length = i64::try_from(quota).unwrap() * i64::from(each_us);
        let terms = Terms::new(Some(quota), Period::Span(Span::from_micros(length)));
        let burst_of_ours = Some(u64::from(burst));
        let terms = Terms { algorithm: Algorithm::TokenBucket, burst: burst_of_ours, ..terms };
        let rule = Rule::new(terms).unwrap();
        let mut window = Window::default();

        let clock = FakeRelativeClock::default();
        let each = Duration::from_micros(u64::from(each_us));
        let theirs = Quota::with_period(each).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
        let governor = RateLimiter::direct_with_clock(theirs, clock.clone());

        let mut now = 0_u64;
        let mut told = 0_u64;
        for step in steps {
            match step {
                Step::Pause(_) | Step::WaitAsTold { .. } => {
                    let span = match step {
                        Step::WaitAsTold { early } => told.saturating_sub(u64::from(early)),
                        Step::Pause(span) => span,
                        Step::Ask(_) => 0,
                    };
                    now += span;
                    clock.advance(Duration::from_micros(span));
                    told = told.saturating_sub(span);
                }
                Step::Ask(amount) => {
                    let moment = at(i64::try_from(now).unwrap());
                    let ours = pass(&rule, &mut window, u64::from(amount), moment).map(|_| ());
                    let theirs = match governor.check_n(NonZeroU32::new(amount).unwrap()) {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(until)) => {
                            let wait = until.wait_time_from(clock.now());
                            prop_assert_eq!(wait.subsec_nanos() % 1_000, 0);
                            Err(Some(i64::try_from(wait.as_micros()).unwrap()))
                        }
                        Err(_) => Err(None),
                    };
                    let ours = of_weir(ours);
                    prop_assert_eq!(ours, theirs, "{} at {}", amount, now);
                    if let Err(Some(wait)) = ours {
                        told = wait.unsigned_abs();
                    }
                }
            }
        }
    }
}

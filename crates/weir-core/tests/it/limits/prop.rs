use proptest::prelude::*;
use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, Period, Rule, Terms};
use weir_core::time::{Span, Timestamp};
use weir_core::window::{Taken, Wait, Window};

use super::model::{Event, Model};
use super::{ALGORITHMS, at, rule, wait_is_true};

#[derive(Clone, Debug)]
enum Step {
    Pause(i64),
    /// The clock is set forward, or back.
    Clock(i64),
    Ask {
        amount: u64,
        urgent: bool,
    },
    GiveBack(usize),
    Settle(usize, u64),
    Quota(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![0..30_i64, 0..2_500_i64, Just(0), Just(1_000), Just(30_000)];
    let step = prop_oneof![
        3 => pause.prop_map(Step::Pause),
        1 => clock_step().prop_map(Step::Clock),
        6 => (0..9_u64, any::<bool>()).prop_map(|(amount, urgent)| Step::Ask { amount, urgent }),
        2 => (0..6_usize).prop_map(Step::GiveBack),
        2 => (0..6_usize, 0..60_u64).prop_map(|(which, actual)| Step::Settle(which, actual)),
        1 => (1..25_u64).prop_map(Step::Quota),
    ];
    prop::collection::vec(step, 1..60)
}

/// By about a window, by an hour, by thirty days, to the beginning of time.
fn clock_step() -> impl Strategy<Value = i64> {
    let far = prop::sample::select(vec![3_600_000_000_i64, 2_592_000_000_000, START]);
    let span = prop_oneof![1..2_500_i64, 990..1_210_i64, far];
    (span, any::<bool>()).prop_map(|(span, back)| if back { -span } else { span })
}

/// The product beside the model.
struct Pair {
    rule: Rule,
    window: Window,
    model: Model,
    now: i64,
    open: Vec<(usize, Taken)>,
    count: usize,
}

impl Pair {
    fn new(algorithm: Algorithm, quota: u64, length: i64) -> Self {
        let base = rule(algorithm, quota, length);
        let rule = Rule::new(Terms { reserve_ppm: 250_000, ..base.terms().clone() }).unwrap();
        let model = Model { algorithm, length, quota, log: Vec::new() };
        Self { rule, window: Window::default(), model, now: START, open: Vec::new(), count: 0 }
    }

    fn log(&mut self, event: Event) {
        self.model.log.push((self.now, event));
    }

    fn quota(&self) -> u64 {
        self.rule.quota().unwrap()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Pause(span) => self.now += span,
            Step::Clock(step) => self.now = (self.now + step).max(0),
            Step::Ask { amount, urgent } => self.ask(amount, urgent),
            Step::GiveBack(which) if !self.open.is_empty() => {
                let (id, taken) = self.open.remove(which % self.open.len());
                self.rule.give_back(&mut self.window, taken, at(self.now));
                self.log(Event::GiveBack { id, amount: taken.amount() });
            }
            Step::Settle(which, actual) if !self.open.is_empty() => {
                let (id, taken) = self.open.remove(which % self.open.len());
                self.rule.settle(&mut self.window, taken, actual, at(self.now));
                let (more, less) =
                    (actual.saturating_sub(taken.amount()), taken.amount().saturating_sub(actual));
                if more > 0 {
                    self.log(Event::Take { id: usize::MAX, amount: more });
                } else if less > 0 {
                    self.log(Event::GiveBack { id, amount: less });
                }
            }
            Step::Quota(quota) => {
                let old = self.rule.clone();
                self.rule = old.with_quota(Some(quota));
                self.window = self.rule.carry_over(&old, &self.window, at(self.now));
                self.log(Event::Quota(quota));
            }
            Step::GiveBack(_) | Step::Settle(..) => {}
        }
        self.compare();
    }

    fn ask(&mut self, amount: u64, urgent: bool) {
        let reserve = if urgent { 0 } else { self.quota() / 4 };
        let ceiling = self.quota() - reserve;
        let verdict = self.rule.check(&self.window, amount, urgent, at(self.now));
        assert_eq!(verdict.is_ok(), self.model.fits(amount, ceiling, self.now));
        match verdict.map_err(|blocked| blocked.wait) {
            Ok(()) => {
                let taken = self.rule.take(&mut self.window, amount, at(self.now));
                self.open.push((self.count, taken));
                if amount > 0 {
                    self.log(Event::Take { id: self.count, amount });
                }
                self.count += 1;
            }
            Err(Wait::Never) => assert!(amount > ceiling),
            Err(Wait::For(wait)) => {
                assert!(amount <= ceiling);
                wait_is_true(&self.rule, &self.window, amount, urgent, at(self.now));
                let then = self.now + wait.micros();
                assert!(self.model.fits(amount, ceiling, then));
                assert!(!self.model.fits(amount, ceiling, then - 1));
            }
        }
    }

    fn compare(&self) {
        let seen = self.rule.snapshot(&self.window, at(self.now));
        let length = i128::from(self.model.length);
        let used = (self.model.used(self.now) + length - 1) / length;
        assert_eq!(i128::from(seen.used), used, "{:?} {:?}", self.window, self.model);
        assert_eq!(seen.remaining, self.quota().saturating_sub(seen.used));
        assert!(seen.reset_at > at(self.now));
        assert_eq!(Window::from_bits(self.window.to_bits()), self.window);
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let quota = prop_oneof![0..5_u64, 1..1_000_000_u64, 1..=Rule::QUOTA_MAX];
    let length = prop_oneof![1_000..100_000_i64, 1_000..=Rule::PERIOD_MAX.micros()];
    let spans = [
        1_000,
        250_000,
        1_000_000,
        60_000_000,
        3_600_000_000,
        21_600_000_000,
        86_400_000_000,
        604_800_000_000,
    ];
    let clock = prop::sample::select(spans.to_vec())
        .prop_map(|micros| Period::Span(Span::from_micros(micros)));
    let cycle =
        prop_oneof![clock, prop::sample::select(vec![1_u8, 3, 12]).prop_map(Period::Months)];
    let terms = prop_oneof![
        (0..4_usize, length, any::<u16>()).prop_map(|(which, length, burst)| {
            let algorithm = [ALGORITHMS.as_slice(), &[Algorithm::Concurrency]].concat()[which];
            let burst =
                (algorithm == Algorithm::TokenBucket && burst > 0).then_some(u64::from(burst));
            Terms { algorithm, burst, ..Terms::new(None, Period::Span(Span::from_micros(length))) }
        }),
        (cycle, any::<bool>()).prop_map(|(period, utc)| {
            let zone = if utc { Zone::UTC } else { odd_zone() };
            Terms { anchor: Anchor::Calendar(zone), ..Terms::new(None, period) }
        }),
    ];
    let reserve = prop_oneof![Just(0_u32), 0..=1_000_000_u32];
    (prop::option::weighted(0.95, quota), terms, reserve).prop_map(|(quota, terms, reserve_ppm)| {
        Rule::new(Terms { quota, reserve_ppm, ..terms }).unwrap()
    })
}

/// Shifts at hostile moments: by half an hour, by a whole day, twice within the hour.
fn odd_zone() -> Zone {
    let at = Timestamp::from_secs;
    let shifts =
        [(at(100_000), 5_400), (at(200_003), -82_800), (at(900_000), 3_600), (at(901_000), 7_217)];
    Zone::new("odd", 3_600, &shifts).unwrap()
}

/// Times near the shifts, near now, and anywhere.
fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..2_000_000_000_000_i64,
        1_700_000_000_000_000..1_900_000_000_000_000_i64,
        any::<i64>(),
        Just(0),
        Just(i64::MAX),
        Just(i64::MIN)
    ]
}

fn any_amount() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, 0..=Rule::QUOTA_MAX, any::<u64>()]
}

/// When schedules begin: 2027.
const START: i64 = 1_800_000_000_000_000;

/// As many schedules as make `WEIR_STEPS` steps, which are thirty each in the mean.
fn schedules() -> ProptestConfig {
    let steps = std::env::var("WEIR_STEPS").ok().map(|steps| steps.parse::<u32>().unwrap());
    let standard = ProptestConfig::default();
    ProptestConfig { cases: steps.map_or(standard.cases, |steps| steps.div_ceil(30)), ..standard }
}

proptest! {
    #![proptest_config(schedules())]

    #[test]
    fn fixed_windows_agree_with_the_log(quota in 1..25_u64, length in 1_000..1_200_i64, steps in steps()) {
        let mut pair = Pair::new(Algorithm::FixedWindow, quota, length);
        steps.iter().for_each(|step| pair.apply(step));
    }

    #[test]
    fn sliding_windows_agree_with_the_log(quota in 1..25_u64, length in 1_000..1_200_i64, steps in steps()) {
        let mut pair = Pair::new(Algorithm::SlidingWindow, quota, length);
        steps.iter().for_each(|step| pair.apply(step));
    }

    #[test]
    fn token_buckets_agree_with_the_log(quota in 1..25_u64, length in 1_000..1_200_i64, steps in steps()) {
        let mut pair = Pair::new(Algorithm::TokenBucket, quota, length);
        steps.iter().for_each(|step| pair.apply(step));
    }
}

proptest! {
    #[test]
    fn no_state_clock_or_amount_breaks_a_limit(
        rule in any_rule(), bits in any::<[u64; 3]>(), times in prop::collection::vec(any_time(), 1..8), amount in any_amount()
    ) {
        let mut window = Window::from_bits(bits);
        let mut open = Vec::new();
        for now in times.into_iter().map(at) {
            let _ = rule.check(&window, amount, false, now);
            open.push(rule.take(&mut window, amount, now));
            let seen = rule.snapshot(&window, now);
            prop_assert!(seen.limit.is_none() || seen.remaining <= rule.terms().burst.or(rule.quota()).unwrap_or(0));
            if let [.., earlier, _] = open[..] {
                rule.settle(&mut window, earlier, amount / 2, now);
                rule.give_back(&mut window, earlier, now);
            }
            let other = rule.scaled(1_500_000);
            window = other.carry_over(&rule, &window, now);
        }
    }

    #[test]
    fn every_wait_is_the_least_that_helps(
        rule in any_rule(), start in any_time(), after in any_time(), used in prop::collection::vec(any_amount(), 1..4),
        amount in any_amount(), urgent in any::<bool>()
    ) {
        // When a slot is free nobody knows.
        if rule.algorithm() == Algorithm::Concurrency {
            return Ok(());
        }
        let mut window = Window::default();
        let mut now = at(start.clamp(-1 << 60, 1 << 60));
        for used in used {
            let _taken = rule.take(&mut window, used, now);
            wait_is_true(&rule, &window, amount, urgent, now);
            now = now.plus(Span::from_micros(after % (2 * rule.window().micros() + 1)));
        }
        // The clock may also have gone back by then.
        wait_is_true(&rule, &window, amount, urgent, now);
    }

    #[test]
    fn a_rule_in_text_reads_back(quota in 0..=Rule::QUOTA_MAX, millis in 1..34_560_000_000_i64) {
        let rule = Rule::new(Terms::new(Some(quota), Period::Span(Span::from_millis(millis)))).unwrap();
        prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
    }
}

//! Automatic top-ups of one account: the rule, and what was asked for and not answered yet.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::time::{Span, Timestamp};

/// The rule as the admin API took it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AutoRule {
    pub(crate) threshold: Nano,
    pub(crate) amount: Nano,
    pub(crate) monthly_max: Option<Nano>,
}

/// A top-up that was asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AutoRequest {
    /// What the answer is to name.
    pub reference: String,
    /// How much, a decimal string.
    pub amount: String,
    /// When it was asked for, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// Until when it waits for an answer, in microseconds since the Unix epoch.
    pub expires_us: i64,
}

/// How the automatic top-ups of an account stand, as it is kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AutoState {
    pub(crate) pending: Option<AutoRequest>,
    /// What was asked for before and ran out of time: it may still be answered.
    pub(crate) late: Vec<String>,
    /// The month that `spent` is of.
    pub(crate) month_us: i64,
    pub(crate) spent: i64,
    /// Whether it was told that this month's bound is reached.
    pub(crate) told_bound: bool,
    /// How many requests in a row came to nothing.
    pub(crate) failures: u32,
    /// Nothing is asked for before.
    pub(crate) not_before_us: i64,
}

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AutoStep {
    /// A top-up is to be asked for.
    Request(Nano),
    /// A request was not answered in time.
    Expired,
    /// The month's bound does not allow another one.
    Bound,
}

impl AutoRule {
    /// Reads the rule as it is kept; `None` if it makes no sense.
    pub(crate) fn read(kept: &Value) -> Option<Self> {
        let money = |member: &str| kept[member].as_str().and_then(|text| text.parse().ok());
        let (threshold, amount) = (money("threshold")?, money("amount")?);
        Some(Self { threshold, amount, monthly_max: money("monthly_max") })
    }
}

impl AutoState {
    /// What is due at `now` with so much available. Changes nothing but the month.
    pub(crate) fn next(
        &mut self,
        rule: &AutoRule,
        available: Nano,
        now: Timestamp,
    ) -> Option<AutoStep> {
        self.turn_month(now);
        if let Some(pending) = &self.pending {
            return (now.micros() >= pending.expires_us).then_some(AutoStep::Expired);
        }
        if available > rule.threshold || now.micros() < self.not_before_us {
            return None;
        }
        let after = Nano::new(self.spent).saturating_add(rule.amount);
        match rule.monthly_max {
            Some(max) if after > max => (!self.told_bound).then_some(AutoStep::Bound),
            _ => Some(AutoStep::Request(rule.amount)),
        }
    }

    /// Notes that a request came to nothing: the next one waits, twice as long each time.
    pub(crate) fn fail(&mut self, now: Timestamp) {
        self.pending = None;
        let doublings = self.failures.min(DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before_us = now.plus(Span::from_micros(BACK_OFF.micros() << doublings)).micros();
    }

    /// Whether a request of that reference is open or was; if so it is answered now, with credit.
    pub(crate) fn answer(&mut self, reference: &str, amount: Nano, now: Timestamp) -> bool {
        self.turn_month(now);
        if !self.knows(reference) {
            return false;
        }
        self.pending = self.pending.take().filter(|pending| pending.reference != reference);
        self.late.retain(|late| late != reference);
        self.spent = self.spent.saturating_add(amount.get().max(0));
        (self.failures, self.not_before_us) = (0, 0);
        true
    }

    /// Whether a request of that reference can be answered.
    pub(crate) fn knows(&self, reference: &str) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.reference == reference)
            || self.late.iter().any(|late| late == reference)
    }

    /// Forgets an open request that ran out of time, though it may still be answered.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        if let Some(pending) = self.pending.take() {
            self.late.push(pending.reference);
            if self.late.len() > LATE_MAX {
                self.late.remove(0);
            }
        }
        self.fail(now);
    }

    fn turn_month(&mut self, now: Timestamp) {
        let month = Period::Month.start(now).micros();
        if month > self.month_us {
            (self.month_us, self.spent, self.told_bound) = (month, 0, false);
        }
    }
}

/// How long a request waits for its answer.
pub(crate) const ANSWERED_WITHIN: Span = Span::from_secs(3_600);
/// The wait after the first request that came to nothing; at most 32 times as long.
const BACK_OFF: Span = Span::from_secs(3_600);
const DOUBLINGS_MAX: u32 = 5;
const LATE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_772_323_200);

    fn nano(text: &str) -> Nano {
        text.parse().unwrap()
    }

    #[test]
    fn the_bound_of_a_month_holds_and_ends_with_it() {
        let monthly_max = Some(nano("50"));
        let rule = AutoRule { threshold: nano("5"), amount: nano("20"), monthly_max };
        let mut state = AutoState::default();
        assert_eq!(state.next(&rule, nano("5.000000001"), T0), None);
        for _ in 0..2 {
            assert_eq!(state.next(&rule, nano("5"), T0), Some(AutoStep::Request(nano("20"))));
            let reference = "r".to_owned();
            let request =
                AutoRequest { reference, amount: "20".into(), at_us: 0, expires_us: i64::MAX };
            state.pending = Some(request);
            assert_eq!(state.next(&rule, nano("0"), T0), None, "one at a time");
            assert!(state.answer("r", nano("20"), T0));
            assert!(!state.answer("r", nano("20"), T0), "once");
        }
        assert_eq!(state.next(&rule, nano("0"), T0), Some(AutoStep::Bound));
        state.told_bound = true;
        assert_eq!(state.next(&rule, nano("0"), T0), None);
        let april = Period::Month.end(T0);
        assert_eq!(state.next(&rule, nano("0"), april), Some(AutoStep::Request(nano("20"))));
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_day_and_a_third() {
        let rule = AutoRule { threshold: nano("5"), amount: nano("20"), monthly_max: None };
        let (mut state, mut now) = (AutoState::default(), T0);
        for hours in [1, 2, 4, 8, 16, 32, 32] {
            state.fail(now);
            let end = now.plus(Span::from_secs(hours * 3_600));
            assert_eq!(state.next(&rule, nano("0"), end.minus(Span::from_micros(1))), None);
            assert!(state.next(&rule, nano("0"), end).is_some());
            now = end;
        }
    }
}

//! A checked limit, with what the hot path needs worked out.

use super::terms::{Algorithm, Anchor, Mode, Period, Terms, Unit};
use crate::calendar::{Cycle, Zone};
use crate::time::{Span, Timestamp};

/// A checked limit. Borrow it on the hot path; a clone copies a few words and at most one `Arc`.
///
/// Invariant: `ordinary <= capacity`, and every length and amount is within the bounds of [`Terms`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    terms: Terms,
    /// Units per window, [`UNLIMITED`] without a bound.
    pub(crate) quota: u64,
    /// Most that can be used at one moment: the burst of a bucket, else the quota.
    pub(crate) capacity: u64,
    /// What of the capacity calls may use that are not urgent.
    pub(crate) ordinary: u64,
    /// Nominal length of a window in microseconds, above zero.
    pub(crate) length: i64,
    /// A time this near after a window's start is surely within that window, in microseconds.
    sure: u64,
    /// The calendar's cycle, where windows follow it.
    cycle: Option<Cycle>,
}

/// Terms that make no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidRule {
    /// The quota is beyond what is counted exactly.
    #[error("limit {0} is larger than {max}", max = Rule::QUOTA_MAX)]
    QuotaTooLarge(u64),
    /// The window is shorter than 1 ms or longer than 400 days or 12 months.
    #[error("window must be between 1ms and 400d, or 1 to 12 months")]
    PeriodOutOfRange,
    /// The calendar has no such cycle.
    #[error("the calendar has no windows of this length")]
    NoCalendarCycle,
    /// Only fixed windows can follow the calendar.
    #[error("a {} limit cannot follow the calendar", .0.name())]
    CalendarNeedsFixedWindow(Algorithm),
    /// Only a token bucket has a burst.
    #[error("a {} limit has no burst", .0.name())]
    BurstNeedsBucket(Algorithm),
    /// The burst is zero or beyond what is counted exactly.
    #[error("burst must be between 1 and {max}", max = Rule::QUOTA_MAX)]
    BurstOutOfRange,
    /// More than the whole is reserved.
    #[error("reserve must be between 0% and 100%")]
    ReserveOutOfRange,
}

impl InvalidRule {
    /// What to write instead.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::QuotaTooLarge(_) => "write \"unlimited\" for no limit",
            Self::PeriodOutOfRange => "write a window such as \"90s\", \"1h\", \"1d\" or \"month\"",
            Self::NoCalendarCycle => {
                "with the calendar a window divides the day evenly, or is 1d, 7d, or 1, 2, 3, 4, 6 or 12 months"
            }
            Self::CalendarNeedsFixedWindow(_) => {
                "remove anchor = \"calendar\", or use algorithm = \"fixed-window\""
            }
            Self::BurstNeedsBucket(_) => "remove burst, or use algorithm = \"token-bucket\"",
            Self::BurstOutOfRange => "leave burst out for a burst of the whole limit",
            Self::ReserveOutOfRange => "write a share such as \"10%\"",
        }
    }
}

impl Rule {
    /// The largest quota and burst: what JSON numbers carry exactly.
    pub const QUOTA_MAX: u64 = 1 << 53;
    /// The longest window.
    pub const PERIOD_MAX: Span = Span::from_secs(400 * 86_400);
    /// The shortest window.
    pub const PERIOD_MIN: Span = Span::from_millis(1);

    /// Checks the terms and works out what the hot path needs.
    ///
    /// # Errors
    ///
    /// [`InvalidRule`] says which term is out of range or does not go with another.
    pub fn new(terms: Terms) -> Result<Self, InvalidRule> {
        if let Some(quota) = terms.quota.filter(|quota| *quota > Self::QUOTA_MAX) {
            return Err(InvalidRule::QuotaTooLarge(quota));
        }
        let in_range = match terms.period {
            Period::Span(span) => (Self::PERIOD_MIN..=Self::PERIOD_MAX).contains(&span),
            Period::Months(months) => (1..=12).contains(&months),
        };
        if !in_range {
            return Err(InvalidRule::PeriodOutOfRange);
        }
        let cycle = match &terms.anchor {
            Anchor::FirstRequest => None,
            Anchor::Calendar(_) if terms.algorithm != Algorithm::FixedWindow => {
                return Err(InvalidRule::CalendarNeedsFixedWindow(terms.algorithm));
            }
            Anchor::Calendar(_) => {
                let cycle = match terms.period {
                    Period::Span(span) => Cycle::of_span(span),
                    Period::Months(months) => Cycle::of_months(months),
                };
                Some(cycle.ok_or(InvalidRule::NoCalendarCycle)?)
            }
        };
        if terms.burst.is_some() && terms.algorithm != Algorithm::TokenBucket {
            return Err(InvalidRule::BurstNeedsBucket(terms.algorithm));
        }
        if terms.burst.is_some_and(|burst| !(1..=Self::QUOTA_MAX).contains(&burst)) {
            return Err(InvalidRule::BurstOutOfRange);
        }
        if terms.reserve_ppm > PPM {
            return Err(InvalidRule::ReserveOutOfRange);
        }
        Ok(Self::worked_out(terms, cycle))
    }

    /// The default kind of limit without a bound: counted by the hour, never refused.
    pub fn unlimited() -> Self {
        Self::worked_out(Terms::new(None, Period::HOUR), None)
    }

    fn worked_out(terms: Terms, cycle: Option<Cycle>) -> Self {
        let quota = terms.quota.unwrap_or(UNLIMITED);
        let capacity = match terms.burst {
            Some(burst) if quota != UNLIMITED && quota != 0 => burst,
            _ => quota,
        };
        let reserved = share(capacity, u64::from(terms.reserve_ppm));
        let ordinary = if quota == UNLIMITED { UNLIMITED } else { capacity - reserved };
        let length = terms.period.nominal().micros();
        let sure = match (&terms.anchor, cycle) {
            (Anchor::Calendar(zone), Some(cycle)) => cycle.shortest(zone),
            _ => Span::from_micros(length),
        };
        Self { quota, capacity, ordinary, length, sure: sure.micros().unsigned_abs(), cycle, terms }
    }

    /// The same rule with another quota (`None`: unlimited), held at [`Self::QUOTA_MAX`]. A burst of its own stays.
    #[must_use]
    pub fn with_quota(&self, quota: Option<u64>) -> Self {
        let quota = quota.map(|quota| quota.min(Self::QUOTA_MAX));
        Self::worked_out(Terms { quota, ..self.terms.clone() }, self.cycle)
    }

    /// The same rule with quota and burst times `ppm` millionths, rounded down but never from
    /// something to nothing unless `ppm` is 0, and held at [`Self::QUOTA_MAX`].
    #[must_use]
    pub fn scaled(&self, ppm: u64) -> Self {
        let scale = |amount: u64| {
            let least = u64::from(amount > 0 && ppm > 0);
            share(amount, ppm).clamp(least, Self::QUOTA_MAX)
        };
        let quota = self.terms.quota.map(scale);
        let burst = self.terms.burst.map(|burst| scale(burst).max(1));
        Self::worked_out(Terms { quota, burst, ..self.terms.clone() }, self.cycle)
    }

    /// What it was made of.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Units per window; `None` is unlimited.
    pub const fn quota(&self) -> Option<u64> {
        self.terms.quota
    }

    /// How it counts.
    pub const fn algorithm(&self) -> Algorithm {
        self.terms.algorithm
    }

    /// What it counts.
    pub const fn unit(&self) -> Unit {
        self.terms.unit
    }

    /// Whether it refuses.
    pub const fn mode(&self) -> Mode {
        self.terms.mode
    }

    /// The length of a window; zero for concurrency, nominal where the calendar decides.
    pub const fn window(&self) -> Span {
        match self.terms.algorithm {
            Algorithm::Concurrency => Span::ZERO,
            _ => self.terms.period.nominal(),
        }
    }

    /// What may be in use at one moment by this kind of call.
    pub(crate) const fn ceiling(&self, urgent: bool) -> u64 {
        if urgent { self.capacity } else { self.ordinary }
    }

    /// Whether `now` is certainly in the window that began at `start`.
    pub(crate) const fn surely_within(&self, start: i64, now: i64) -> bool {
        now >= start && now.abs_diff(start) < self.sure
    }

    /// The zone and cycle, where windows follow the calendar.
    pub(crate) const fn calendar(&self) -> Option<(&Zone, Cycle)> {
        match (&self.terms.anchor, self.cycle) {
            (Anchor::Calendar(zone), Some(cycle)) => Some((zone, cycle)),
            _ => None,
        }
    }

    /// Start of the `nth` window after the one that began at `start`; saturates.
    pub(crate) fn start_after(&self, start: i64, nth: u64) -> i64 {
        match self.calendar() {
            Some((zone, cycle)) => {
                cycle.start_after(zone, Timestamp::from_micros(start), nth).micros()
            }
            None => {
                let nth = i64::try_from(nth).unwrap_or(i64::MAX);
                start.saturating_add(self.length.saturating_mul(nth))
            }
        }
    }
}

/// `amount * ppm / 1_000_000`, rounded down, held at the largest number.
fn share(amount: u64, ppm: u64) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(ppm) / u128::from(PPM)).unwrap_or(u64::MAX)
}

/// The quota of a rule without one.
pub(crate) const UNLIMITED: u64 = u64::MAX;
const PPM: u32 = 1_000_000;

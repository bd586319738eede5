//! How fast an account spends, and how long its credit lasts at that rate.

use crate::money::Nano;
use crate::time::{Span, Timestamp};

/// An account's charges per hour: a moving mean over whole hours that weighs the last hour by a
/// twelfth (a plain mean while it is younger than twelve hours).
///
/// Feed it charges and debt, never top-ups, refunds or expiries. It says nothing before
/// [`Burn::HOURS_MIN`] hours of the clock were closed since the first charge: a first burst would
/// look like a rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Burn {
    /// The mean of closed hours.
    pub per_hour: Nano,
    /// What was charged in the hour that is open.
    pub open: Nano,
    /// Which hour since the epoch is open; charges that come late count into it.
    pub hour: i64,
    /// How many hours were closed, counted up to twelve; `None` before the first charge.
    pub closed: Option<u8>,
}

impl Burn {
    /// How many closed hours it takes before there is a rate.
    pub const HOURS_MIN: u8 = 6;

    /// Counts a charge, given as a positive amount; anything else is ignored.
    pub fn record(&mut self, charged: Nano, now: Timestamp) {
        if charged <= Nano::ZERO {
            return;
        }
        if self.closed.is_none() {
            self.closed = Some(0);
            self.hour = hour(now);
        }
        self.roll(now);
        self.open = self.open.saturating_add(charged);
    }

    /// What is spent per hour; `None` before there is enough history.
    pub fn per_hour(&self, now: Timestamp) -> Option<Nano> {
        let mut rolled = *self;
        rolled.roll(now);
        rolled.closed.filter(|closed| *closed >= Self::HOURS_MIN).map(|_| rolled.per_hour)
    }

    /// How long `available` lasts; `None` before there is enough history and when nothing is
    /// spent, zero when nothing is available.
    pub fn runway(&self, available: Nano, now: Timestamp) -> Option<Span> {
        let burn = self.per_hour(now).filter(|burn| *burn > Nano::ZERO)?;
        let available = i128::from(available.or_zero().get());
        let micros = available * i128::from(HOUR_MICROS) / i128::from(burn.get());
        Some(Span::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// Closes the hours that are over.
    fn roll(&mut self, now: Timestamp) {
        let Some(mut closed) = self.closed else { return };
        let over = hour(now).saturating_sub(self.hour);
        if over <= 0 {
            return;
        }
        self.hour = hour(now);
        for _ in 0..over.min(FORGOTTEN_HOURS) {
            let before = closed.min(MEAN_HOURS - 1);
            let weighted = i128::from(self.per_hour.get()) * i128::from(before);
            let sum = weighted + i128::from(self.open.get());
            let mean = sum / i128::from(before + 1);
            self.per_hour = Nano::new(i64::try_from(mean).unwrap_or(i64::MAX));
            self.open = Nano::ZERO;
            closed = closed.saturating_add(1).min(MEAN_HOURS);
        }
        self.closed = Some(closed);
    }
}

fn hour(at: Timestamp) -> i64 {
    at.micros().div_euclid(HOUR_MICROS)
}

/// Over how many hours the mean goes.
const MEAN_HOURS: u8 = 12;
/// After so many hours without a charge nothing is left of any mean: (11/12)^600 < 10^-22.
const FORGOTTEN_HOURS: i64 = 600;
const HOUR_MICROS: i64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64, minutes: i64) -> Timestamp {
        Timestamp::from_secs(hours * 3_600 + minutes * 60)
    }

    fn steady(per_hour: i64, hours: i64) -> Burn {
        let mut burn = Burn::default();
        for hour in 0..hours {
            burn.record(Nano::new(per_hour / 2), at(hour, 5));
            burn.record(Nano::new(per_hour / 2), at(hour, 55));
        }
        burn
    }

    #[test]
    fn there_is_no_rate_before_six_hours_are_closed() {
        let burn = steady(1_000, 10);
        assert_eq!(burn.per_hour(at(9, 59)), Some(Nano::new(1_000)));
        let burn = steady(1_000, 6);
        assert_eq!(burn.per_hour(at(5, 59)), None);
        assert_eq!(burn.runway(Nano::new(500), at(5, 59)), None);
        assert_eq!(burn.per_hour(at(6, 0)), Some(Nano::new(1_000)));
        assert_eq!(Burn::default().per_hour(at(1_000, 0)), None);
    }

    #[test]
    fn the_runway_is_what_is_available_over_the_rate() {
        let burn = steady(1_000, 24);
        let runway = |available| burn.runway(Nano::new(available), at(24, 0));
        assert_eq!(runway(1_500), Some(Span::from_secs(5_400)));
        assert_eq!(runway(0), Some(Span::ZERO));
        assert_eq!(runway(-5), Some(Span::ZERO));
        let slow = steady(2, 24);
        assert!(slow.runway(Nano::MAX, at(24, 0)).unwrap() == Span::from_micros(i64::MAX));
    }

    #[test]
    fn an_account_at_rest_is_forgotten() {
        let mut burn = steady(1_000_000, 24);
        assert!(burn.per_hour(at(48, 0)).unwrap() < Nano::new(140_000));
        assert_eq!(burn.per_hour(at(24 + 700, 0)), Some(Nano::ZERO));
        assert_eq!(burn.runway(Nano::new(5), at(24 + 700, 0)), None);
        burn.record(Nano::new(12_000), Timestamp::MAX);
        assert_eq!(burn.per_hour(Timestamp::MAX), Some(Nano::ZERO));
    }

    #[test]
    fn what_is_no_charge_does_not_count() {
        let mut burn = Burn::default();
        burn.record(Nano::ZERO, at(0, 0));
        burn.record(Nano::new(-5), at(0, 0));
        assert_eq!(burn, Burn::default());
    }

    proptest! {
        #[test]
        fn the_rate_lies_between_the_least_and_the_most_of_any_hour(
            hours in prop::collection::vec(0..=i64::MAX / 2, 13..40), late in -3..3_i64,
        ) {
            let mut burn = Burn::default();
            burn.record(Nano::new(1), at(0, 0));
            for (hour, charged) in (0..).zip(&hours) {
                burn.record(Nano::new(*charged), at(hour, 30));
                burn.record(Nano::new(0), at(hour + late, 30));
            }
            let rate = burn.per_hour(at(i64::try_from(hours.len()).unwrap(), 0)).unwrap().get();
            let (least, most) = (hours.iter().min().unwrap(), hours.iter().max().unwrap());
            prop_assert!(least - 12 <= rate && rate <= most + 1);
        }
    }
}

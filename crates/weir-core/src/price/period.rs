//! Billing periods: within which usage adds up towards the tiers of a price.

use crate::time::{Span, Timestamp};

/// How long usage adds up before it begins again at zero.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Period {
    /// Calendar months in UTC.
    #[default]
    Month,
    /// Equal lengths of time from a beginning on (and before it).
    Every {
        /// Where one period begins.
        anchor: Timestamp,
        /// How long each lasts; anything shorter than a second counts as a second.
        length: Span,
    },
}

impl Period {
    /// The first moment of the period that contains `at`: names the period.
    pub fn start(self, at: Timestamp) -> Timestamp {
        self.bounds(at).0
    }

    /// The first moment of the next period.
    pub fn end(self, at: Timestamp) -> Timestamp {
        self.bounds(at).1
    }

    fn bounds(self, at: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::Month => {
                let (year, month) = year_and_month(at.micros().div_euclid(DAY_MICROS));
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (month_start(year, month), month_start(next.0, next.1))
            }
            Self::Every { anchor, length } => {
                let length = i128::from(length.max(Span::SECOND).micros());
                let (at, anchor) = (i128::from(at.micros()), i128::from(anchor.micros()));
                let start = anchor + (at - anchor).div_euclid(length) * length;
                (timestamp(start), timestamp(start + length))
            }
        }
    }
}

/// The civil year and month of a day since 1970-01-01, after Howard Hinnant's `civil_from_days`.
pub(super) const fn year_and_month(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month)
}

/// The first moment of a month, after Howard Hinnant's `days_from_civil`.
fn month_start(year: i64, month: i64) -> Timestamp {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    let day = era * 146_097 + day_of_era - 719_468;
    timestamp(i128::from(day) * i128::from(DAY_MICROS))
}

/// Held at the ends of time.
fn timestamp(micros: i128) -> Timestamp {
    let end = if micros < 0 { i64::MIN } else { i64::MAX };
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(end))
}

pub(super) const DAY_MICROS: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(period: Period, at_s: i64, start_s: i64, end_s: i64) {
        let at = Timestamp::from_secs(at_s);
        assert_eq!(period.start(at), Timestamp::from_secs(start_s), "start of {at_s}");
        assert_eq!(period.end(at), Timestamp::from_secs(end_s), "end of {at_s}");
    }

    #[test]
    fn months_begin_at_midnight_utc_of_the_first() {
        let (jan, feb, mar) = (1_704_067_200, 1_706_745_600, 1_709_251_200); // 2024, a leap year
        check(Period::Month, jan, jan, feb);
        check(Period::Month, feb - 1, jan, feb);
        check(Period::Month, feb, feb, mar);
        check(Period::Month, mar - 1, feb, mar);
        check(Period::Month, jan - 1, 1_701_388_800, jan);
        check(Period::Month, 0, 0, 31 * 86_400);
        check(Period::Month, -1, -31 * 86_400, 0);
    }

    #[test]
    fn equal_periods_run_from_their_anchor_both_ways() {
        let anchor = Timestamp::from_secs(100);
        let period = Period::Every { anchor, length: Span::from_secs(30) };
        check(period, 100, 100, 130);
        check(period, 129, 100, 130);
        check(period, 99, 70, 100);
        let degenerate = Period::Every { anchor, length: Span::ZERO };
        check(degenerate, 105, 105, 106);
    }

    #[test]
    fn every_day_of_eight_hundred_years_is_in_its_month() {
        let mut day = -135_140; // 1600-01-01
        for year in 1_600_i64..2_400 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                assert_eq!(month_start(year, month).micros(), day * DAY_MICROS);
                for _ in 0..length {
                    assert_eq!(year_and_month(day), (year, month), "day {day}");
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn periods_are_held_at_the_ends_of_time() {
        let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        assert_eq!((Period::Month.start(first), Period::Month.end(last)), (first, last));
    }

    proptest! {
        #[test]
        fn a_month_holds_its_moment_and_lasts_28_to_31_days(at in any::<i64>()) {
            let at = Timestamp::from_micros(at);
            let (start, end) = (Period::Month.start(at), Period::Month.end(at));
            prop_assert!(start <= at && (at < end || end == Timestamp::from_micros(i64::MAX)));
            if at.micros().unsigned_abs() < u64::MAX / 4 {
                let days = (end.micros() - start.micros()) / DAY_MICROS;
                prop_assert!((28..=31).contains(&days));
                prop_assert_eq!(Period::Month.start(end), end);
            }
        }
    }
}

//! What an account promised to spend in each calendar month, and what a month of it comes to.

use super::period::{DAY_MICROS, Period, year_and_month};
use crate::money::Nano;
use crate::time::Timestamp;

/// A minimum of spending per calendar month in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commitment {
    /// For a whole month; never negative.
    pub monthly: Nano,
    /// From when on it was not settled yet.
    pub since: Timestamp,
    /// When it ends.
    pub until: Option<Timestamp>,
}

/// A month of a commitment, or the part of one that it covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it: then it is settled.
    pub until: Timestamp,
    /// The minimum: of a part of a month its share by time, rounded down to a thousand-millionth.
    pub amount: Nano,
}

impl Commitment {
    /// The first period that is not settled yet; `None` if the commitment is over.
    pub fn period(&self) -> Option<Committed> {
        let from = self.since;
        let (start, end) = (Period::Month.start(from), Period::Month.end(from));
        let until = self.until.map_or(end, |until| until.min(end));
        if until <= from {
            return None;
        }
        let [part, whole] = [(from, until), (start, end)]
            .map(|(first, last)| i128::from(last.micros()) - i128::from(first.micros()));
        let share = i128::from(self.monthly.get()) * part / whole;
        Some(Committed { from, until, amount: Nano::new(i64::try_from(share).unwrap_or(i64::MAX)) })
    }
}

impl Committed {
    /// The month, such as `2026-03`.
    pub fn month(&self) -> String {
        let (year, month) = year_and_month(self.from.micros().div_euclid(DAY_MICROS));
        format!("{year:04}-{month:02}")
    }

    /// Whether it is a part of its month only.
    pub fn is_part(&self) -> bool {
        self.from != Period::Month.start(self.from) || self.until != Period::Month.end(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARCH: i64 = 1_772_323_200; // 2026-03-01
    const DAY: i64 = 86_400;

    #[track_caller]
    fn check(since: i64, until: Option<i64>, expected: Option<(i64, i64, &str)>) {
        let at = |seconds| Timestamp::from_secs(MARCH + seconds);
        let monthly = "31".parse().unwrap();
        let commitment = Commitment { monthly, since: at(since), until: until.map(at) };
        let expected = expected.map(|(from, until, amount)| Committed {
            from: at(from),
            until: at(until),
            amount: amount.parse().unwrap(),
        });
        assert_eq!(commitment.period(), expected);
    }

    #[test]
    fn a_whole_month_is_the_minimum_and_a_part_of_one_its_share() {
        check(0, None, Some((0, 31 * DAY, "31")));
        check(0, Some(40 * DAY), Some((0, 31 * DAY, "31")));
        check(10 * DAY, None, Some((10 * DAY, 31 * DAY, "21")));
        check(10 * DAY, Some(11 * DAY), Some((10 * DAY, 11 * DAY, "1")));
        check(31 * DAY, None, Some((31 * DAY, 61 * DAY, "31")));
        check(-28 * DAY, None, Some((-28 * DAY, 0, "31")));
        // 31 / 2678400 s of a month, cut off below a thousand-millionth.
        check(0, Some(1), Some((0, 1, "0.000011574")));
    }

    #[test]
    fn a_period_names_its_month() {
        let since = Timestamp::from_secs(MARCH - 1);
        let last = Commitment { monthly: Nano::ZERO, since, until: None }.period().unwrap();
        assert_eq!((&*last.month(), last.is_part()), ("2026-02", true));
        let whole = Commitment { monthly: Nano::ZERO, since: last.until, until: None };
        let whole = whole.period().unwrap();
        assert_eq!((&*whole.month(), whole.is_part()), ("2026-03", false));
    }

    #[test]
    fn what_has_ended_has_no_period() {
        check(DAY, Some(DAY), None);
        check(2 * DAY, Some(DAY), None);
    }
}

//! Windows of the calendar: civil arithmetic, and zones as tables that the edge fills in.
//!
//! Core knows no time zone database. A [`Zone`] is a sorted table of offsets; who makes one from a
//! database lists the transitions far enough ahead (after the last one its offset holds).

use std::sync::Arc;

use crate::time::{Span, Timestamp};

/// A time zone: its name and what its clocks show when. UTC is the default. Cheap to clone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Zone(Option<Arc<Table>>);

#[derive(Debug, Eq, PartialEq)]
struct Table {
    name: Box<str>,
    /// Offset before the first transition, seconds east of UTC.
    first_offset_s: i32,
    /// From when which offset holds, ascending.
    transitions: Box<[(Timestamp, i32)]>,
}

/// A table that is no zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidZone {
    /// Transitions are not in ascending order of time.
    #[error("transitions of a time zone must ascend")]
    Unsorted,
    /// An offset of more than 26 hours.
    #[error("an offset of {0} seconds is more than 26 hours")]
    Offset(i32),
}

impl Zone {
    /// The zone without offsets.
    pub const UTC: Self = Self(None);

    /// A zone from its name, the offset before its first transition in seconds east of UTC, and
    /// from when which offset holds.
    ///
    /// # Errors
    ///
    /// [`InvalidZone`] where times do not ascend or an offset is beyond 26 hours.
    pub fn new(
        name: &str,
        first_offset_s: i32,
        transitions: &[(Timestamp, i32)],
    ) -> Result<Self, InvalidZone> {
        let mut offsets = transitions.iter().map(|(_, offset)| *offset).chain([first_offset_s]);
        if let Some(offset) = offsets.find(|offset| offset.abs() > OFFSET_MAX_S) {
            return Err(InvalidZone::Offset(offset));
        }
        if !transitions.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(InvalidZone::Unsorted);
        }
        let table = Table { name: name.into(), first_offset_s, transitions: transitions.into() };
        Ok(Self(Some(Arc::new(table))))
    }

    /// Its name, as in configuration.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("UTC", |table| &table.name)
    }

    /// The stretch of one offset that contains `at`.
    fn stretch_at(&self, at: i64) -> Stretch {
        let Some(table) = &self.0 else { return Stretch::ALWAYS_UTC };
        table.stretch(table.transitions.partition_point(|(from, _)| from.micros() <= at))
    }

    /// The first moment at which clocks show `civil` (microseconds of local time) or later.
    fn first_moment(&self, civil: i64) -> i64 {
        let Some(table) = &self.0 else { return civil };
        let sooner = civil.saturating_sub(micros(OFFSET_MAX_S));
        let mut index = table.transitions.partition_point(|(from, _)| from.micros() <= sooner);
        loop {
            let stretch = table.stretch(index);
            let moment = civil.saturating_sub(stretch.offset).max(stretch.from);
            if moment < stretch.until || index >= table.transitions.len() {
                return moment;
            }
            index += 1;
        }
    }
}

impl Table {
    /// The `index`th stretch; 0 is before the first transition.
    fn stretch(&self, index: usize) -> Stretch {
        let (from, offset_s) =
            match index.checked_sub(1).and_then(|last| self.transitions.get(last)) {
                Some((from, offset_s)) => (from.micros(), *offset_s),
                None => (i64::MIN, self.first_offset_s),
            };
        let until = self.transitions.get(index).map_or(i64::MAX, |(from, _)| from.micros());
        Stretch { from, until, offset: micros(offset_s) }
    }
}

/// A stretch of time in which one offset holds; all in microseconds.
#[derive(Clone, Copy)]
struct Stretch {
    from: i64,
    until: i64,
    offset: i64,
}

impl Stretch {
    const ALWAYS_UTC: Self = Self { from: i64::MIN, until: i64::MAX, offset: 0 };
}

/// What of the calendar repeats.
///
/// Windows of up to an hour follow the hands of the clock and are never longer than nominal: the
/// hour that a clock shows twice is two windows, and where a zone shifts by less than a window
/// (Lord Howe: half an hour) a shorter one lies between. Longer windows begin at the first moment
/// at which clocks show their civil start or later: a day may have 23 or 25 hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cycle(Kind);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Up to an hour, in microseconds.
    Clock(i64),
    /// Longer than an hour, up to a week, in microseconds of local time; the second is how long
    /// before the epoch a window began.
    Civil(i64, i64),
    /// Months, a divisor of twelve.
    Months(i64),
}

impl Cycle {
    /// The cycle of this length: a divisor of the day, a day, or a week (from Monday).
    pub fn of_span(span: Span) -> Option<Self> {
        let length = span.micros();
        match length {
            WEEK => Some(Self(Kind::Civil(WEEK, 3 * DAY))),
            1..=HOUR if DAY % length == 0 => Some(Self(Kind::Clock(length))),
            1..=DAY if DAY % length == 0 => Some(Self(Kind::Civil(length, 0))),
            _ => None,
        }
    }

    /// The cycle of so many months: a divisor of twelve, counted from January.
    pub fn of_months(months: u8) -> Option<Self> {
        matches!(months, 1 | 2 | 3 | 4 | 6 | 12).then_some(Self(Kind::Months(i64::from(months))))
    }

    /// No window of this cycle is shorter than this in the zone.
    pub fn shortest(self, zone: &Zone) -> Span {
        let nominal = match self.0 {
            Kind::Clock(length) | Kind::Civil(length, _) => length,
            Kind::Months(months) => months * 28 * DAY,
        };
        let lost = if zone.0.is_some() { 2 * micros(OFFSET_MAX_S) } else { 0 };
        Span::from_micros((nominal - lost).max(0))
    }

    /// Start of the window that contains `now`.
    pub fn start_at(self, zone: &Zone, now: Timestamp) -> Timestamp {
        let start = match self.0 {
            Kind::Clock(length) => clock_window(zone, length, now.micros()).0,
            _ => self.civil_start(zone, self.civil_index(zone, now.micros())),
        };
        Timestamp::from_micros(start)
    }

    /// Start of the `nth` window after the one that contains `at`; saturates.
    pub fn start_after(self, zone: &Zone, at: Timestamp, nth: u64) -> Timestamp {
        let nth = i64::try_from(nth).unwrap_or(i64::MAX);
        let start = match self.0 {
            Kind::Clock(length) => clock_walk(zone, length, at.micros(), i64::MAX, nth).0,
            _ => self.civil_start(zone, self.civil_index(zone, at.micros()).saturating_add(nth)),
        };
        Timestamp::from_micros(start)
    }

    /// How many windows later than the one that contains `earlier` is the one that contains `later`.
    pub fn windows_between(self, zone: &Zone, earlier: Timestamp, later: Timestamp) -> u64 {
        let between = match self.0 {
            Kind::Clock(length) => {
                clock_walk(zone, length, earlier.micros(), later.micros(), i64::MAX).1
            }
            _ => self
                .civil_index(zone, later.micros())
                .saturating_sub(self.civil_index(zone, earlier.micros())),
        };
        u64::try_from(between).unwrap_or(0)
    }

    /// Number of the window, counted by its civil start.
    fn civil_index(self, zone: &Zone, at: i64) -> i64 {
        let at = at.clamp(-TIME_MAX, TIME_MAX);
        let civil = at + zone.stretch_at(at).offset;
        let mut index = match self.0 {
            Kind::Months(months) => {
                let (year, month) = year_and_month(civil.div_euclid(DAY));
                (year * 12 + month).div_euclid(months)
            }
            Kind::Clock(length) => civil.div_euclid(length),
            Kind::Civil(length, before) => civil.saturating_add(before).div_euclid(length),
        };
        // Clocks set back across the start of a window show the window before it again; a window
        // that has begun stays begun. Clocks go back by two offsets at most.
        for _ in 0..LAPS_MAX {
            if zone.0.is_none() || self.civil_start(zone, index + 1) > at {
                break;
            }
            index += 1;
        }
        index
    }

    fn civil_start(self, zone: &Zone, index: i64) -> i64 {
        let civil = match self.0 {
            Kind::Months(months) => {
                let month = index.saturating_mul(months).min(MONTH_MAX);
                days_before(month.div_euclid(12), month.rem_euclid(12)).saturating_mul(DAY)
            }
            Kind::Clock(length) => index.saturating_mul(length),
            Kind::Civil(length, before) => index.saturating_mul(length).saturating_sub(before),
        };
        zone.first_moment(civil)
    }
}

/// Start and end of the window of up to an hour that contains `at`.
fn clock_window(zone: &Zone, length: i64, at: i64) -> (i64, i64) {
    let Stretch { from, until, offset } = zone.stretch_at(at);
    let aligned =
        |at: i64, offset: i64| at.saturating_sub(at.saturating_add(offset).rem_euclid(length));
    let start = aligned(at, offset);
    let end = start.saturating_add(length);
    let breaks = |moment: i64, other: i64| {
        (zone.stretch_at(other).offset - offset) % length != 0 && moment != i64::MIN
    };
    let start = if start < from && breaks(from, from.saturating_sub(1)) { from } else { start };
    let end = if end > until && breaks(until, until) { until } else { end };
    (start, end)
}

/// Walks from the window that contains `at` until the one that contains `goal`, or over `most`
/// windows: the start reached and how many were passed. Whole stretches of a zone at a time.
fn clock_walk(zone: &Zone, length: i64, at: i64, goal: i64, most: i64) -> (i64, i64) {
    let (mut start, mut end) = clock_window(zone, length, at);
    let mut passed: i64 = 0;
    while passed < most && end <= goal && end != i64::MAX {
        start = end;
        passed += 1;
        end = clock_window(zone, length, start).1;
        // As many whole ones after it as its stretch and both ends allow.
        let until = zone.stretch_at(start).until.min(goal);
        let whole = (until.saturating_sub(end) / length).clamp(0, most - passed);
        if whole > 0 {
            end = end.saturating_add(whole.saturating_mul(length));
            start = end.saturating_sub(length);
            passed += whole;
        }
    }
    (start, passed)
}

/// Days from the epoch to the first of a month (0 to 11) of the proleptic Gregorian calendar.
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month < 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year and month (0 to 11) of a day counted from the epoch; the inverse of [`days_before`].
fn year_and_month(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = ((5 * day_of_year + 2) / 153 + 2) % 12;
    (era * 400 + year_of_era + i64::from(month < 2), month)
}

const fn micros(secs: i32) -> i64 {
    secs as i64 * 1_000_000
}

const OFFSET_MAX_S: i32 = 26 * 3_600;
/// How many windows of more than an hour begin while clocks go back.
const LAPS_MAX: i32 = 2 * OFFSET_MAX_S / 3_600;
/// The year 148,000: windows of more than an hour are not told apart beyond it.
const TIME_MAX: i64 = 1 << 62;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// The year 300,000: time in microseconds ends before it.
const MONTH_MAX: i64 = 12 * 300_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_the_days_that_the_calendar_says() {
        let check = |year, month, days| {
            assert_eq!(days_before(year, month), days, "{year}-{month}");
            assert_eq!(year_and_month(days), (year, month));
            assert_eq!(
                year_and_month(days - 1),
                if month == 0 { (year - 1, 11) } else { (year, month - 1) }
            );
        };
        check(1970, 0, 0);
        check(2000, 2, 11_017);
        check(2024, 2, 19_783);
        check(2026, 0, 20_454);
        check(1900, 2, -25_508);
    }

    #[test]
    fn a_table_out_of_order_or_out_of_range_is_no_zone() {
        let at = Timestamp::from_secs;
        assert_eq!(Zone::new("x", 0, &[(at(5), 0), (at(5), 60)]), Err(InvalidZone::Unsorted));
        assert_eq!(Zone::new("x", 0, &[(at(5), 93_601)]), Err(InvalidZone::Offset(93_601)));
        assert_eq!(Zone::new("x", -93_601, &[]), Err(InvalidZone::Offset(-93_601)));
        assert_eq!(Zone::new("Europe/Berlin", 3_600, &[]).unwrap().name(), "Europe/Berlin");
    }

    #[test]
    fn half_an_hour_set_back_makes_one_short_window_and_every_hour_is_counted() {
        // Lord Howe Island: 2026-04-05 02:00 +11:00 becomes 01:30 +10:30.
        let change = Timestamp::from_secs(1_775_314_800);
        let zone = Zone::new("Australia/Lord_Howe", 39_600, &[(change, 37_800)]).unwrap();
        let hour = Cycle::of_span(Span::from_secs(3_600)).unwrap();
        let minutes = |n: i64| change.plus(Span::from_secs(n * 60));
        let starts = [(-1, -60), (0, 0), (29, 0), (30, 30), (89, 30), (90, 90)];
        for (at, start) in starts {
            assert_eq!(hour.start_at(&zone, minutes(at)), minutes(start), "{at}");
        }
        assert_eq!(hour.start_after(&zone, minutes(-70), 4), minutes(90));
        assert_eq!(hour.windows_between(&zone, minutes(-70), minutes(91)), 4);
    }

    #[test]
    fn windows_are_counted_exactly_across_a_shift_that_cuts_two_of_them() {
        // At 100,000 s clocks go from 04:46:40 to 05:16:40: one window ends early, one begins late.
        let at = Timestamp::from_secs;
        let zone = Zone::new("odd", 3_600, &[(at(100_000), 5_400)]).unwrap();
        let hour = Cycle::of_span(Span::from_secs(3_600)).unwrap();
        let starts = [97_200, 100_000, 102_600, 106_200, 109_800];
        for (nth, start) in (27..).zip(starts) {
            assert_eq!(hour.start_after(&zone, at(0), nth), at(start));
            assert_eq!(hour.windows_between(&zone, at(0), at(start)), nth);
            assert_eq!(hour.windows_between(&zone, at(0), at(start - 1)), nth - 1);
            assert_eq!(hour.start_at(&zone, at(start + 1)), at(start));
        }
    }
}

//! The calendar against jiff's time zone database.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp as JiffTime, ToSpan, Unit, Zoned};
use proptest::prelude::*;
use weir_core::calendar::{Cycle, Zone};
use weir_core::time::{Span, Timestamp};

const NAMES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Scoresbysund",
];

fn tables() -> Vec<(TimeZone, Zone)> {
    let first = JiffTime::from_second(-3_000_000_000).unwrap();
    let last = JiffTime::from_second(4_000_000_000).unwrap();
    let table = |name: &str| {
        let zone = TimeZone::get(name).unwrap();
        let transitions: Vec<_> = zone
            .following(first)
            .take_while(|transition| transition.timestamp() < last)
            .map(|transition| {
                (
                    Timestamp::from_secs(transition.timestamp().as_second()),
                    transition.offset().seconds(),
                )
            })
            .collect();
        let ours = Zone::new(name, zone.to_offset(first).seconds(), &transitions).unwrap();
        (zone, ours)
    };
    NAMES.into_iter().map(table).collect()
}

fn micros(zoned: &Zoned) -> Timestamp {
    Timestamp::from_micros(zoned.timestamp().as_microsecond())
}

fn start_of(date: Date, zone: &TimeZone) -> Timestamp {
    micros(&date.to_zoned(zone.clone()).unwrap().start_of_day().unwrap())
}

/// The last of the civil starts that is not later than `now`, looking from a date before it.
fn last_start(
    now: Timestamp,
    first: Date,
    zone: &TimeZone,
    next: impl Fn(Date) -> Date,
) -> (Timestamp, Timestamp) {
    let mut date = first;
    while start_of(next(date), zone) <= now {
        date = next(date);
    }
    (start_of(date, zone), start_of(next(date), zone))
}

fn check(ours: &Zone, cycle: Cycle, now: Timestamp, start: Timestamp, end: Timestamp) {
    assert_eq!(cycle.start_at(ours, now), start, "{cycle:?} {} {now:?}", ours.name());
    assert_eq!(cycle.start_after(ours, now, 1), end);
    assert_eq!(cycle.windows_between(ours, now, end.minus(Span::from_micros(1))), 0);
    // A day that a zone left out (Apia, 2011-12-30) is a window of no length.
    let passed = cycle.windows_between(ours, now, end);
    assert!(passed == 1 || cycle.start_after(ours, now, 2) == end);
    assert_eq!(cycle.start_after(ours, now, passed), end);
    assert!(end.since(start) >= cycle.shortest(ours));
}

proptest! {
    #[test]
    fn days_weeks_and_months_begin_where_the_database_says(
        moments in prop::collection::vec((0..2_000_000_000_i64, any::<prop::sample::Index>(), -90_000..90_000_i64), 1..6)
    ) {
        for (zone, ours) in &tables() {
            for (anywhere, index, off) in &moments {
                let transitions: Vec<_> = zone.following(JiffTime::UNIX_EPOCH).take(100).collect();
                let near = |list: &[_]| index.get::<jiff::tz::TimeZoneTransition<'_>>(list).timestamp().as_second() + off;
                let second = if transitions.is_empty() { *anywhere } else { near(&transitions) };
                for second in [second, *anywhere] {
                    let now = Timestamp::from_secs(second);
                    let date = JiffTime::from_second(second).unwrap().to_zoned(zone.clone()).date();
                    let before = date - 3.days();
                    let (start, end) = last_start(now, before, zone, |date| date + 1.day());
                    check(ours, Cycle::of_span(Span::from_secs(86_400)).unwrap(), now, start, end);
                    let monday = before - i32::from(before.weekday().to_monday_zero_offset()).days();
                    let (start, end) = last_start(now, monday, zone, |date| date + 1.week());
                    check(ours, Cycle::of_span(Span::from_secs(7 * 86_400)).unwrap(), now, start, end);
                    let (start, end) = last_start(now, before.first_of_month(), zone, |date| date + 1.month());
                    check(ours, Cycle::of_months(1).unwrap(), now, start, end);
                    let (start, end) = last_start(now, before.first_of_year(), zone, |date| date + 3.months());
                    check(ours, Cycle::of_months(3).unwrap(), now, start, end);
                }
            }
        }
    }

    #[test]
    fn hours_follow_the_clock_wherever_it_shifts_by_whole_hours(second in 1_000_000_000..2_000_000_000_i64) {
        let hour = Cycle::of_span(Span::from_secs(3_600)).unwrap();
        for (zone, ours) in tables().iter().filter(|(_, ours)| ours.name() != "Australia/Lord_Howe") {
            let now = JiffTime::from_second(second).unwrap();
            let offset = i64::from(zone.to_offset(now).seconds());
            let start = second - (second + offset).rem_euclid(3_600);
            let unshifted = zone.following(JiffTime::from_second(second - 7_200).unwrap()).next()
                .is_none_or(|next| next.timestamp().as_second() > second + 7_200);
            if unshifted {
                check(ours, hour, Timestamp::from_secs(second), Timestamp::from_secs(start), Timestamp::from_secs(start + 3_600));
            }
        }
    }
}

#[test]
fn a_day_has_as_many_hours_as_its_clocks_show() {
    let tables = tables();
    let length = |name: &str, date: Date| {
        let (zone, ours) = tables.iter().find(|(_, ours)| ours.name() == name).unwrap();
        let now = micros(&date.at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap());
        let day = Cycle::of_span(Span::from_secs(86_400)).unwrap();
        let hours =
            day.start_after(ours, now, 1).since(day.start_at(ours, now)).micros() / 3_600_000_000;
        let zoned = date.to_zoned(zone.clone()).unwrap();
        let expected = zoned
            .start_of_day()
            .unwrap()
            .until((Unit::Hour, &zoned.tomorrow().unwrap().start_of_day().unwrap()))
            .unwrap();
        assert_eq!(hours, i64::from(expected.get_hours()));
        hours
    };
    assert_eq!(length("Europe/Berlin", Date::constant(2026, 3, 29)), 23);
    assert_eq!(length("Europe/Berlin", Date::constant(2026, 10, 25)), 25);
    assert_eq!(length("Asia/Kolkata", Date::constant(2026, 10, 25)), 24);
    assert_eq!(length("America/Sao_Paulo", Date::constant(2018, 11, 4)), 23);
}

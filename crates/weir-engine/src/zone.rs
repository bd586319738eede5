//! Time zones from the tz database, as the tables that the core counts by.

use jiff::tz::TimeZone;
use weir_core::calendar::Zone;
use weir_core::time::Timestamp;

/// The zone of that name with its transitions from 1970 to 2100; `None` where there is none.
///
/// The system's database is asked first, then the one that is built in.
pub fn find(name: &str) -> Option<Zone> {
    let zone = TimeZone::get(name).ok()?;
    // A name that matched in another case: what is written should be what is shown.
    let name = zone.iana_name()?;
    if name == Zone::UTC.name() {
        return Some(Zone::UTC);
    }
    let begin = jiff::Timestamp::UNIX_EPOCH;
    let end = jiff::Timestamp::from_second(END_S).ok()?;
    let first = zone.to_offset(begin).seconds();
    let mut transitions: Vec<(Timestamp, i32)> = Vec::new();
    for transition in zone.following(begin).take_while(|next| next.timestamp() < end) {
        let at = Timestamp::from_micros(transition.timestamp().as_microsecond());
        let offset = transition.offset().seconds();
        // Changes of a name or of the daylight flag alone are none to a clock.
        if transitions.last().map_or(first, |(_, before)| *before) != offset {
            transitions.push((at, offset));
        }
    }
    Zone::new(name, first, &transitions).ok()
}

/// The first second of 2100.
const END_S: i64 = 4_102_444_800;

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::calendar::Cycle;
    use weir_core::time::Span;

    #[track_caller]
    fn check_day(zone: &str, now: &str, start: &str) {
        let micros = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let day = Cycle::of_span(Span::from_secs(86_400)).unwrap();
        let found = day.start_at(&find(zone).unwrap(), Timestamp::from_micros(micros(now)));
        assert_eq!(found.micros(), micros(start), "{zone} {now}");
    }

    #[test]
    fn a_day_begins_at_the_midnight_of_its_zone() {
        check_day("UTC", "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z");
        check_day("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z");
        check_day("Europe/Berlin", "2026-03-30T12:00:00Z", "2026-03-29T22:00:00Z");
        check_day("Asia/Kolkata", "2026-06-01T00:00:00Z", "2026-05-31T18:30:00Z");
        check_day("America/New_York", "2060-07-01T12:00:00Z", "2060-07-01T04:00:00Z");
    }
}

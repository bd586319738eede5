//! How long usage is kept: what has had its time is swept, by each interval's own measure.

use std::sync::Arc;

use weir_core::time::Span;
use weir_engine::engine::Engine;
use weir_engine::retention::UsageRetention;
use weir_engine::usage::{Interval, UsageWanted};

use crate::support::{START, account, boot, call, key, pass, wait};

const HOUR: i64 = 3_600;

/// How many of the first day's calls are told by minutes, by hours and by days.
fn told(engine: &Arc<Engine>) -> [u64; 3] {
    engine.write_behind();
    engine.sweep();
    engine.flush_behind();
    [Interval::Minute, Interval::Hour, Interval::Day].map(|interval| {
        let (from, to) = (START, START.plus(Interval::Day.length()));
        let wanted = UsageWanted { account: None, from, to, interval, group_by: Vec::new() };
        let rows = wait(engine.usage(wanted)).unwrap();
        rows.iter().map(|row| row.sums.requests()).sum()
    })
}

fn hours(hours: i64) -> Option<Span> {
    Some(Span::from_secs(hours * HOUR))
}

#[test]
fn usage_that_has_had_its_time_is_swept_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let key = key(&engine, &cell);
    call(&engine, &key, 1);
    pass(&engine, 20 * HOUR);
    call(&engine, &key, 1);
    assert_eq!(told(&engine), [2, 2, 2]);
    engine.keep_usage(UsageRetention { minute: hours(25), hour: hours(48), day: hours(72) });
    assert_eq!(told(&engine), [2, 2, 2]);
    pass(&engine, 6 * HOUR);
    assert_eq!(told(&engine), [1, 2, 2], "the minute of the first call began 26 hours ago");
    pass(&engine, 23 * HOUR);
    assert_eq!(told(&engine), [0, 1, 2], "its hour began 49 hours ago");
    pass(&engine, 48 * HOUR);
    assert_eq!(told(&engine), [0, 0, 0]);
}

#[test]
fn days_are_kept_for_good_unless_the_operator_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    call(&engine, &key(&engine, &cell), 1);
    pass(&engine, 47 * HOUR);
    assert_eq!(told(&engine), [1, 1, 1]);
    pass(&engine, 2 * HOUR);
    assert_eq!(told(&engine), [0, 1, 1]);
    pass(&engine, 100 * 24 * HOUR);
    assert_eq!(told(&engine), [0, 0, 1]);
    pass(&engine, 4_000 * 24 * HOUR);
    assert_eq!(told(&engine), [0, 0, 1]);
}

//! Questions about usage.

use std::sync::Arc;

use weir_core::time::Span;
use weir_engine::cell::AccountCell;
use weir_engine::engine::Engine;
use weir_engine::usage::{Dimension, Interval, UsageRow, UsageWanted};

use crate::support::{START, account, boot, call, key, pass, wait};

fn usage(
    engine: &Engine,
    account: Option<&AccountCell>,
    interval: Interval,
    group_by: &[Dimension],
) -> Vec<UsageRow> {
    let wanted = UsageWanted {
        account: account.map(|cell| cell.id),
        from: START,
        to: START.plus(Span::from_secs(3 * 86_400)),
        interval,
        group_by: group_by.to_vec(),
    };
    wait(engine.usage(wanted)).unwrap()
}

#[test]
fn hours_and_days_that_are_over_are_packed_and_answer_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "1000");
    let keys: Vec<_> = (0..5).map(|_| key(&engine, &cell)).collect();
    for _hour in 0..3 {
        for (output, key) in (1..).zip(&keys) {
            call(&engine, key, output);
        }
        pass(&engine, 3_600);
    }
    pass(&engine, 2 * 86_400);
    call(&engine, &keys[0], 7);
    engine.write_behind();
    engine.flush_behind();
    let by: [&[Dimension]; 4] =
        [&[], &[Dimension::Key], &[Dimension::Model], &[Dimension::Key, Dimension::Status]];
    let ask = |engine: &Arc<Engine>| {
        let cell = engine.account(cell.id).unwrap();
        let intervals = [Interval::Hour, Interval::Day];
        let all = intervals.iter().flat_map(|interval| {
            let own = by.map(|by| usage(engine, Some(&cell), *interval, by));
            let of_all = by.map(|by| match by.contains(&Dimension::Key) {
                true => usage(engine, None, *interval, &[Dimension::Account, Dimension::Key]),
                false => usage(engine, None, *interval, by),
            });
            own.into_iter().chain(of_all)
        });
        all.collect::<Vec<_>>()
    };
    let before = ask(&engine);
    assert_eq!(before[1].len(), 3 * 5 + 1, "an hour and key each");
    engine.sweep();
    engine.flush_behind();
    assert_eq!(ask(&engine), before);
    engine.close();
    drop(engine);
    let engine = boot(dir.path(), START.plus(Span::from_secs(3 * 86_400)), None);
    assert_eq!(ask(&engine), before);
}

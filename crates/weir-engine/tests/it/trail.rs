//! The audit log: what was done stays as long as the operator wants.

use weir_core::time::Span;
use weir_engine::trail::{Actor, acting};

use crate::support::{START, account, boot, pass, wait};

const DAY: i64 = 86_400;

#[test]
fn changes_that_are_older_than_the_audit_log_reaches_back_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let rename = |name: &str| {
        let (actor, name) =
            (Actor { name: "admin".into(), request_id: name.into() }, name.to_owned());
        let change = engine.change_account(cell.id, None, |record| {
            record.name = name;
            Ok(())
        });
        wait(acting(actor, change)).unwrap();
    };
    let told = || {
        engine.sweep();
        // A commit behind the sweep's.
        account(&engine, "payg", "1");
        let changes = wait(engine.audited(Some(cell.id), None, 10)).unwrap();
        changes.into_iter().map(|change| change.record.actor.request_id).collect::<Vec<_>>()
    };
    rename("one");
    pass(&engine, 399 * DAY);
    rename("two");
    assert_eq!(told(), ["two", "one"], "400 days unless the operator says otherwise");
    pass(&engine, 2 * DAY);
    assert_eq!(told(), ["two"]);
    engine.keep_audit(Span::from_secs(30 * DAY));
    assert_eq!(told(), ["two"]);
    engine.keep_audit(Span::from_secs(DAY));
    assert_eq!(told(), Vec::<String>::new());
}

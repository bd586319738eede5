//! Accounts by the ids that their operators know them by.

use weir_engine::accounts::NewAccount;
use weir_engine::change::ChangeError;
use weir_engine::engine::Engine;

use crate::support::{START, boot, wait};

fn named(external: &str) -> NewAccount {
    let external_id = Some(external.to_owned());
    NewAccount { name: "a".into(), plan: "payg".into(), external_id, ..NewAccount::default() }
}

#[track_caller]
fn check(engine: &Engine, external: &str, known: Option<weir_core::id::AccountId>) {
    let found = engine.account_by_external_id(external).map(|cell| cell.id);
    assert_eq!(found, known, "{external}");
    assert_eq!(engine.account_named(external).map(|cell| cell.id), known, "{external}");
}

#[test]
fn an_external_id_is_of_one_account_and_free_again_when_that_has_another_or_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let one = wait(engine.create_account(named("one"))).unwrap().id;
    let two = wait(engine.create_account(named("two"))).unwrap().id;
    assert!(matches!(wait(engine.create_account(named("one"))), Err(ChangeError::Conflict(_))));
    let call = |id, external: Option<&str>| {
        let external = external.map(str::to_owned);
        wait(engine.change_account(id, None, |record| {
            record.external_id = external;
            Ok(())
        }))
    };
    assert!(matches!(call(two, Some("one")), Err(ChangeError::Conflict(_))));
    check(&engine, "two", Some(two));
    call(one, Some("one")).unwrap();
    call(one, Some("uno")).unwrap();
    check(&engine, "one", None);
    check(&engine, "uno", Some(one));
    call(two, Some("one")).unwrap();
    check(&engine, "one", Some(two));
    call(one, None).unwrap();
    check(&engine, "uno", None);
    drop(engine);
    let engine = boot(dir.path(), START, None);
    check(&engine, "one", Some(two));
    wait(engine.delete_account(two, None)).unwrap();
    check(&engine, "one", None);
    wait(engine.create_account(named("one"))).unwrap();
}

//! What an account takes no room for until it has it.

use std::sync::Arc;

use weir_engine::cell::AccountCell;

use crate::support::{START, account, boot, granted, key, policy, settle, top_up, wait};

/// Whether room was made for a wallet.
fn has_wallet(cell: &AccountCell) -> bool {
    !format!("{cell:?}").contains("wallet: Seldom(None)")
}

/// Whether room was made for the rules of limits that are gone.
fn has_retired(cell: &AccountCell) -> bool {
    !format!("{cell:?}").contains("retired: Seldom(None)")
}

#[test]
fn an_account_without_credit_takes_no_room_for_a_wallet() {
    let folder = tempfile::tempdir().unwrap();
    let engine = boot(folder.path(), START, None);
    let cell = account(&engine, "free", "0");
    let key = key(&engine, &cell);
    settle(granted(&engine, &key, 5), 5);
    let set = |line: Option<&str>| {
        wait(engine.change_account(cell.id, None, |record| {
            record.credit_line = line.map(str::to_owned);
            Ok(())
        }))
        .unwrap();
    };
    set(Some("0"));
    let renamed = policy(&[("m", "2")], &["5"]);
    engine.accept(renamed, || ()).unwrap();
    settle(granted(&engine, &key, 5), 5);
    engine.write_behind();
    engine.sweep();
    assert!(!has_wallet(&cell) && !has_retired(&cell), "{cell:?}");
    let id = cell.id;
    engine.close();
    drop((engine, cell, key));
    let engine = boot(folder.path(), START, None);
    let cell = engine.account(id).unwrap();
    assert!(!has_wallet(&cell) && !has_retired(&cell), "{cell:?}");

    // And who has one, has it after a restart too.
    let others = [account(&engine, "free", "0"), account(&engine, "free", "0")];
    top_up(&engine, &others[0], "1");
    wait(engine.change_account(others[1].id, None, |record| {
        record.credit_line = Some("1".to_owned());
        Ok(())
    }))
    .unwrap();
    assert!(others.iter().all(|cell: &Arc<AccountCell>| has_wallet(cell)));
    let ids = others.each_ref().map(|cell| cell.id);
    engine.close();
    drop((engine, cell, others));
    let engine = boot(folder.path(), START, None);
    for id in ids {
        let cell = engine.account(id).unwrap();
        assert!(has_wallet(&cell), "{cell:?}");
        let available = engine.wallet_of(&cell).available;
        assert_eq!(available, crate::support::nano("1"));
    }
}

//! Amounts and moments at which something just still fits, and just no longer.

use super::refund::{RefundRefused, Refundable};
use super::replay::LedgerFault;
use super::tests::{Book, at, draws, paid, shapes, terms, until};
use super::{ChangeRefused, Wallet};
use crate::id::Seq;
use crate::ledger::Category;
use crate::ledger::EntryKind::{Charge, Expiry, Refund};
use crate::ledger::{Draw, Entry};
use crate::money::Nano;

const BOUND: i64 = Nano::BOUND.get();

fn adjust(book: &mut Book, amount: i64) -> Result<(), ChangeRefused> {
    let done = book.with(|w, seq| w.adjust(Nano::new(amount), paid(), at(0), seq))?;
    book.record([done]);
    Ok(())
}

#[test]
fn a_charge_of_exactly_what_was_held_is_not_above_it() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    for (charge, above) in [(3, false), (4, true)] {
        let hold = book.hold(3, 0);
        let done = book.with(|w, seq| w.settle(hold, Nano::new(charge), at(0), seq));
        assert_eq!(done.above_hold, above);
    }
}

#[test]
fn the_last_top_up_is_remembered_and_nothing_else_is_one() {
    let mut book = Book::new();
    assert_eq!(book.wallet.last_top_up(), Nano::ZERO);
    for amount in [7, 5] {
        let done = book.with(|w, seq| w.top_up(Nano::new(amount), paid(), at(0), seq));
        book.record([done.unwrap()]);
        assert_eq!(book.wallet.last_top_up(), Nano::new(amount));
    }
    book.grant(9, paid(), 0);
    adjust(&mut book, 3).unwrap();
    assert_eq!(book.wallet.last_top_up(), Nano::new(5));
    book.check_replay();
}

#[test]
fn adjustments_reach_their_bounds_and_no_further() {
    let mut book = Book::new();
    assert_eq!(adjust(&mut book, -BOUND - 1), Err(ChangeRefused::TooLarge));
    for _ in 0..4 {
        adjust(&mut book, -BOUND).unwrap();
    }
    assert_eq!(book.wallet.balance(), -Wallet::LIMIT);
    assert_eq!(adjust(&mut book, -1), Err(ChangeRefused::TooLarge));
    book.check_replay();
    let last = terms(Category::Promo, 100, None);
    book.grant(BOUND, last, 0);
    book.check_replay();
}

#[test]
fn a_refund_is_refused_only_where_the_wallet_could_not_keep_it() {
    let mut book = Book::new();
    for _ in 0..4 {
        book.grant(BOUND, paid(), 0);
    }
    let hold = book.hold(BOUND, 0);
    let charged = book.settle(hold, BOUND, 0);
    let left = book.refundable(&charged);
    let more = book.grant(1, paid(), 0);
    let refund = |book: &mut Book| book.with(|w, seq| w.refund(&left, Nano::BOUND, at(0), seq));
    assert_eq!(refund(&mut book), Err(RefundRefused::TooLarge));
    adjust(&mut book, -1).unwrap();
    assert!(book.wallet.grants().all(|grant| grant.seq != more || grant.remaining > Nano::ZERO));
    let back = refund(&mut book).unwrap();
    assert_eq!(shapes(&book.record(back)), [(Refund, BOUND)]);
    book.check(0, 4 * BOUND, 4 * BOUND);
}

#[test]
fn only_refunds_count_as_refunded() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let hold = book.hold(5, 0);
    let charged = book.settle(hold, 5, 0);
    let other = Entry { amount: Nano::new(5), ..charged[0].clone() };
    let wrong = Refundable::new(&charged, [&other], |_| Some(paid()));
    assert_eq!(wrong, Err(RefundRefused::Foreign(other.seq)));
}

#[test]
fn holds_made_as_credit_expires_have_no_claim_on_it_however_many() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    book.grant(9, paid(), 0);
    let _both = [book.hold(4, 100), book.hold(5, 100)];
    assert_eq!(shapes(&book.expire(100)), [(Expiry, -10)]);
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let _first = book.wallet.restore_hold(Nano::new(3), at(50));
    let _second = book.wallet.restore_hold(Nano::new(2), at(100));
    assert_eq!(shapes(&book.expire(150)), [(Expiry, -7)]);
}

#[test]
fn a_hold_keeps_of_each_credit_that_expires_what_it_still_needs() {
    let mut book = Book::new();
    let first = book.grant(5, until(100), 0);
    let second = book.grant(5, until(110), 0);
    let hold = book.hold(7, 0);
    let expired = book.expire(200);
    assert_eq!(shapes(&expired), [(Expiry, -3)]);
    assert_eq!(draws(&expired[0]), [(second.0, 3)]);
    book.check(200, 7, 0);
    let charged = book.settle(hold, 7, 201);
    assert_eq!(shapes(&charged), [(Charge, -7)]);
    assert_eq!(draws(&charged[0]), [(first.0, 5), (second.0, 2)]);
    book.check(201, 0, 0);
}

#[test]
fn a_wallet_that_is_read_anew_keeps_its_holds_with_their_claims_and_its_line() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    book.wallet.set_credit_line(Nano::new(3)).unwrap();
    let old = book.hold(6, 50);
    let young = book.hold(3, 100);
    let mut books = book.wallet.state(Seq(2));
    books.credit_line = Nano::ZERO;
    let lost = book.with(|w, seq| w.top_up(Nano::new(5), paid(), at(100), seq));
    assert_eq!(lost.unwrap().balance, Nano::new(15));
    book.wallet.reread(Wallet::from_state(&books).unwrap());
    assert_eq!((book.wallet.held(), book.wallet.credit_line()), (Nano::new(9), Nano::new(3)));
    book.check(101, 10, 0);
    assert_eq!(shapes(&book.expire(101)), [(Expiry, -4)]);
    assert_eq!(shapes(&book.settle(old, 6, 102)), [(Charge, -6)]);
    book.wallet.release(young);
    book.check(102, 0, 3);
}

#[test]
fn books_beyond_the_limit_do_not_replay() {
    let mut book = Book::new();
    for _ in 0..4 {
        book.grant(BOUND, paid(), 0);
    }
    let (last, balance) = (book.entries[3].clone(), Wallet::LIMIT + Nano::new(1));
    let more = Entry { seq: Seq(9), amount: Nano::new(1), balance, ..last };
    assert_eq!(book.wallet.replay(&more), Err(LedgerFault::Shape { seq: Seq(9) }));
}

#[test]
fn a_refund_of_nothing_is_in_no_books() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let hold = book.hold(5, 0);
    let charge = book.settle(hold, 5, 0).remove(0);
    let seq = charge.seq;
    let nothing = Entry {
        kind: Refund,
        amount: Nano::ZERO,
        balance: book.wallet.balance(),
        draws: Default::default(),
        ..charge.clone()
    };
    assert_eq!(book.wallet.replay(&nothing), Err(LedgerFault::Shape { seq }));
    let draw = Draw { amount: Nano::ZERO, ..charge.draws[0] };
    let terms = Some(paid());
    let nothing = Entry { draws: [draw].into_iter().collect(), terms, ..nothing };
    assert_eq!(book.wallet.replay(&nothing), Err(LedgerFault::Shape { seq }));
}

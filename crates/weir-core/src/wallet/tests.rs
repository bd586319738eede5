use super::refund::{RefundRefused, Refundable};
use super::replay::{LedgerFault, WalletState};
use super::*;
use crate::grant::Grant;
use crate::id::{AccountId, PolicyNumber, Seq};
use crate::ledger::{Category, Draw, Entry, EntryKind, Terms};
use crate::money::Nano;
use crate::time::Timestamp;
use smallvec::SmallVec;

/// A wallet with its ledger, and the replayed wallet beside it.
pub(super) struct Book {
    pub(super) wallet: Wallet,
    pub(super) entries: Vec<Entry>,
    next: u64,
}

impl Book {
    pub(super) fn new() -> Self {
        Self { wallet: Wallet::default(), entries: Vec::new(), next: 1 }
    }

    /// Does something to the wallet with sequence numbers at hand.
    pub(super) fn with<T>(&mut self, act: impl FnOnce(&mut Wallet, NextSeq<'_>) -> T) -> T {
        let next = &mut self.next;
        act(&mut self.wallet, &mut || {
            *next += 1;
            Seq(*next)
        })
    }

    pub(super) fn record(&mut self, postings: impl IntoIterator<Item = Posting>) -> Vec<Entry> {
        let entry =
            |posting: Posting| posting.into_entry(AccountId(1), "ref", PolicyNumber(1), None, None);
        let new: Vec<Entry> = postings.into_iter().map(entry).collect();
        self.entries.extend(new.iter().cloned());
        new
    }

    pub(super) fn settle(&mut self, hold: Hold, charge: i64, now: i64) -> Vec<Entry> {
        let done = self.with(|w, seq| w.settle(hold, Nano::new(charge), at(now), seq));
        assert_eq!(done.unposted, Nano::ZERO);
        self.record(done.postings)
    }

    pub(super) fn grant(&mut self, amount: i64, terms: Terms, now: i64) -> Seq {
        let posting = self.with(|w, seq| w.grant(Nano::new(amount), terms, at(now), seq));
        self.record([posting.unwrap()])[0].seq
    }

    pub(super) fn expire(&mut self, now: i64) -> Vec<Entry> {
        let postings = self.with(|w, seq| w.expire_due(at(now), seq));
        self.record(postings)
    }

    pub(super) fn refundable(&self, charged: &[Entry]) -> Refundable {
        let terms_of =
            |seq| self.entries.iter().find(|entry| entry.seq == seq).and_then(|entry| entry.terms);
        Refundable::new(charged, [], terms_of).unwrap()
    }

    fn refund(&mut self, charged: &[Entry], amount: i64, now: i64) -> Vec<Entry> {
        let left = self.refundable(charged);
        let done = self.with(|w, seq| w.refund(&left, Nano::new(amount), at(now), seq));
        self.record(done.unwrap())
    }

    pub(super) fn hold(&mut self, amount: i64, now: i64) -> Hold {
        self.wallet.hold(Nano::new(amount), at(now)).unwrap()
    }

    #[track_caller]
    pub(super) fn check(&self, now: i64, balance: i64, available: i64) {
        let found = (self.wallet.balance().get(), self.wallet.available(at(now)).get());
        assert_eq!(found, (balance, available), "balance and available at {now}");
        self.check_replay();
    }

    #[track_caller]
    pub(super) fn check_replay(&self) {
        let mut replayed = Wallet::default();
        replayed.set_credit_line(self.wallet.credit_line()).unwrap();
        for entry in &self.entries {
            replayed.replay(entry).unwrap();
        }
        let last = self.entries.last().map_or(Seq(0), |entry| entry.seq);
        assert_eq!(replayed.state(last), self.wallet.state(last));
        let restored = Wallet::from_state(&self.wallet.state(last)).unwrap();
        assert_eq!(restored.state(last), self.wallet.state(last));
    }
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(super) fn terms(category: Category, priority: u8, expires_s: Option<i64>) -> Terms {
    Terms { category, priority, expires_at: expires_s.map(at) }
}

pub(super) fn paid() -> Terms {
    terms(Category::Paid, 50, None)
}

pub(super) fn until(expires_s: i64) -> Terms {
    terms(Category::Promo, 50, Some(expires_s))
}

pub(super) fn draws(entry: &Entry) -> Vec<(u64, i64)> {
    entry.draws.iter().map(|draw| (draw.from.0, draw.amount.get())).collect()
}

pub(super) fn shapes(entries: &[Entry]) -> Vec<(EntryKind, i64)> {
    entries.iter().map(|entry| (entry.kind, entry.amount.get())).collect()
}

use EntryKind::{Charge, Debt, Expiry, Refund};

#[test]
fn a_refused_hold_changes_nothing() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let hold = book.hold(7, 0);
    let (asked, available, held) = (Nano::new(4), Nano::new(3), Nano::new(7));
    let refused = Insufficient { asked, available, held };
    assert_eq!(book.wallet.hold(asked, at(0)), Err(refused));
    book.check(0, 10, 3);
    let mut exact = book.hold(3, 0);
    assert!(book.wallet.extend(&mut exact, Nano::new(1), at(0)).is_err());
    assert_eq!(exact.amount(), Nano::new(3));
    book.wallet.release(exact);
    book.wallet.release(hold);
    book.check(0, 10, 10);
}

#[test]
fn a_balance_for_k_calls_admits_exactly_k() {
    let mut book = Book::new();
    book.grant(13_200 * 5 + 13_199, paid(), 0);
    let holds: Vec<Hold> = (0..5).map(|_| book.hold(13_200, 0)).collect();
    assert!(book.wallet.hold(Nano::new(13_200), at(0)).is_err());
    for hold in holds {
        book.settle(hold, 13_200, 1);
    }
    assert!(book.wallet.hold(Nano::new(13_200), at(1)).is_err());
    book.check(1, 13_199, 13_199);
}

#[test]
fn credit_burns_by_priority_then_expiry_then_age() {
    let mut book = Book::new();
    let old = book.grant(10, paid(), 0);
    let late = book.grant(10, until(200), 0);
    let soon = book.grant(10, until(100), 0);
    let first = book.grant(10, terms(Category::Promo, 0, None), 0);
    let young = book.grant(10, paid(), 0);
    let hold = book.hold(50, 0);
    let charge = book.settle(hold, 45, 0);
    let expected = [first.0, soon.0, late.0, old.0].map(|seq| (seq, 10));
    assert_eq!(draws(&charge[0])[..4], expected);
    assert_eq!(draws(&charge[0])[4], (young.0, 5));
    book.check(0, 5, 5);
}

#[test]
fn a_charge_above_the_hold_takes_what_is_there_and_becomes_debt() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let hold = book.hold(2, 0);
    let entries = book.settle(hold, 13, 0);
    assert_eq!(shapes(&entries), [(Charge, -10), (Debt, -3)]);
    book.check(0, -3, -3);
    assert!(book.wallet.hold(Nano::ZERO, at(0)).is_err());
    book.grant(5, paid(), 1);
    book.check(1, 2, 2);
    assert_eq!(book.wallet.grants().map(|grant| grant.remaining.get()).sum::<i64>(), 2);
}

#[test]
fn a_credit_line_is_spent_as_charges_and_only_what_is_beyond_it_is_debt() {
    let mut book = Book::new();
    book.wallet.set_credit_line(Nano::new(10)).unwrap();
    let hold = book.hold(8, 0);
    let entries = book.settle(hold, 8, 0);
    assert_eq!(shapes(&entries), [(Charge, -8)]);
    let hold = book.hold(2, 0);
    book.wallet.set_credit_line(Nano::new(1)).unwrap();
    let entries = book.settle(hold, 2, 0);
    assert_eq!(shapes(&entries), [(Debt, -2)]);
    book.check(0, -10, -9);
    assert_eq!(book.wallet.set_credit_line(Nano::new(-1)), Err(ChangeRefused::NotPositive));
}

#[test]
fn a_call_that_cost_nothing_is_still_in_the_books() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let hold = book.hold(5, 0);
    assert_eq!(shapes(&book.settle(hold, 0, 0)), [(Charge, 0)]);
    let hold = book.hold(5, 0);
    assert_eq!(shapes(&book.settle(hold, -7, 0)), [(Charge, 0)]);
    book.check(0, 10, 10);
}

#[test]
fn expired_credit_is_not_available_before_its_expiry_is_posted() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    book.grant(3, paid(), 0);
    assert_eq!(book.wallet.next_expiry(at(99)), Some(at(100)));
    book.check(99, 13, 13);
    book.check(100, 13, 3);
    assert!(book.wallet.hold(Nano::new(4), at(100)).is_err());
    assert_eq!(book.wallet.next_expiry(at(150)), Some(at(150)));
    assert_eq!(shapes(&book.expire(150)), [(Expiry, -10)]);
    assert_eq!(book.wallet.next_expiry(at(150)), None);
    book.check(150, 3, 3);
    assert_eq!(book.expire(160), []);
}

#[test]
fn a_hold_settles_from_credit_that_expired_while_it_was_open() {
    let mut book = Book::new();
    let grant = book.grant(10, until(100), 0);
    let hold = book.hold(6, 99);
    assert_eq!(shapes(&book.expire(100)), [(Expiry, -4)]);
    assert_eq!(book.wallet.next_expiry(at(100)), None);
    book.check(100, 6, 0);
    assert!(book.wallet.hold(Nano::new(1), at(100)).is_err());
    book.grant(5, paid(), 101);
    book.check(101, 11, 5);
    let young = book.hold(5, 101);
    let entries = book.settle(hold, 4, 102);
    assert_eq!(shapes(&entries), [(Charge, -4)]);
    assert_eq!(draws(&entries[0]), [(grant.0, 4)]);
    book.check(102, 7, 0);
    assert_eq!(shapes(&book.expire(102)), [(Expiry, -2)]);
    let entries = book.settle(young, 5, 103);
    assert_eq!(shapes(&entries), [(Charge, -5)]);
    book.check(103, 0, 0);
}

#[test]
fn what_begins_after_an_expiry_never_uses_the_expired_credit() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let old = book.hold(10, 0);
    book.grant(4, paid(), 100);
    let young = book.hold(4, 100);
    let entries = book.settle(young, 6, 101);
    assert_eq!(shapes(&entries), [(Charge, -4), (Debt, -2)]);
    book.wallet.release(old);
    assert_eq!(shapes(&book.expire(102)), [(Expiry, -10)]);
    book.check(102, -2, -2);
}

#[test]
fn a_hold_made_as_credit_expires_has_no_claim_on_it() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let old = book.hold(10, 0);
    book.grant(4, paid(), 100);
    let young = book.hold(4, 100);
    book.wallet.release(young);
    assert_eq!(book.expire(100), []);
    assert_eq!(shapes(&book.settle(old, 10, 101)), [(Charge, -10)]);
    book.check(101, 4, 4);
}

#[test]
fn holds_restored_late_still_claim_what_expired_under_them() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let first = book.wallet.restore_hold(Nano::new(3), at(50));
    let young = book.wallet.restore_hold(Nano::new(2), at(150));
    let late = book.wallet.restore_hold(Nano::new(4), at(60));
    assert_eq!(shapes(&book.expire(150)), [(Expiry, -3)]);
    book.check(150, 7, -2);
    for hold in [first, young, late] {
        book.wallet.release(hold);
    }
    book.check(150, 7, 0);
}

#[test]
fn a_restored_hold_keeps_the_credit_that_expired_meanwhile() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let hold = book.hold(10, 50);
    let state = book.wallet.state(Seq(2));
    let (amount, made) = (hold.amount(), hold.at());
    book.wallet = Wallet::from_state(&state).unwrap();
    let hold = book.wallet.restore_hold(amount, made);
    assert_eq!(book.expire(200), []);
    assert_eq!(shapes(&book.settle(hold, 10, 201)), [(Charge, -10)]);
    book.check(201, 0, 0);
}

#[test]
fn a_refund_goes_back_in_reverse_and_forgives_debt_first() {
    let mut book = Book::new();
    let one = book.grant(3, until(100), 0);
    let two = book.grant(4, paid(), 0);
    let hold = book.hold(7, 0);
    let charged = book.settle(hold, 9, 0);
    assert_eq!(shapes(&charged), [(Charge, -7), (Debt, -2)]);
    let refunded = book.refund(&charged, 8, 1);
    assert_eq!(shapes(&refunded), [(Refund, 2), (Refund, 4), (Refund, 2)]);
    assert_eq!(draws(&refunded[1]), [(two.0, 4)]);
    assert_eq!(draws(&refunded[2]), [(one.0, 2)]);
    book.check(1, 6, 6);
    book.check(100, 6, 4);
    let left = Refundable::new(&charged, &refunded, |_| Some(paid())).unwrap();
    assert_eq!(left.total(), Nano::new(1));
    let again = book.with(|w, seq| w.refund(&left, Nano::new(2), at(2), seq));
    assert_eq!(again, Err(RefundRefused::TooMuch { left: Nano::new(1) }));
}

#[test]
fn a_refund_into_expired_credit_expires_again() {
    let mut book = Book::new();
    book.grant(10, until(100), 0);
    let hold = book.hold(10, 0);
    let charged = book.settle(hold, 10, 0);
    book.refund(&charged, 10, 150);
    book.check(150, 10, 0);
    assert_eq!(shapes(&book.expire(150)), [(Expiry, -10)]);
    book.check(150, 0, 0);
}

#[test]
fn a_refund_into_expired_credit_is_not_kept_for_an_older_hold() {
    let mut book = Book::new();
    book.grant(5, until(100), 0);
    book.grant(1, paid(), 0);
    let hold = book.hold(5, 0);
    let charged = book.settle(hold, 5, 0);
    let old = book.hold(1, 0);
    book.refund(&charged, 5, 100);
    book.check(100, 6, 0);
    assert_eq!(shapes(&book.expire(100)), [(Expiry, -5)]);
    book.wallet.release(old);
    book.check(100, 1, 1);
}

#[test]
fn given_credit_that_paid_debt_never_comes_back_as_paid() {
    let mut book = Book::new();
    let charged = book.with(|w, seq| w.charge(Nano::new(10), at(0), seq)).postings;
    let charged = book.record(charged);
    book.grant(4, terms(Category::Promo, 50, None), 1);
    book.grant(6, paid(), 2);
    book.check(2, 0, 0);
    let refunded = book.refund(&charged, 10, 3);
    assert_eq!(shapes(&refunded), [(Refund, 4), (Refund, 6)]);
    let categories = refunded.iter().map(|entry| entry.terms.unwrap().category);
    assert_eq!(categories.collect::<Vec<_>>(), [Category::Promo, Category::Paid]);
    book.check(3, 10, 10);
}

#[test]
fn given_credit_that_paid_debt_comes_back_once() {
    let mut book = Book::new();
    let mut charge = || {
        let done = book.with(|w, seq| w.charge(Nano::new(4), at(0), seq));
        book.record(done.postings)
    };
    let (one, two) = (charge(), charge());
    book.grant(4, terms(Category::Promo, 50, None), 1);
    book.grant(4, paid(), 1);
    let categories = [one, two].map(|charged| {
        let refunded = book.refund(&charged, 4, 2);
        book.check_replay();
        refunded.iter().map(|entry| entry.terms.unwrap().category).collect::<Vec<_>>()
    });
    assert_eq!(categories, [vec![Category::Promo], vec![Category::Paid]]);
}

#[test]
fn a_refund_is_of_one_charge_only() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let seq = book.entries[0].seq;
    let foreign = Refundable::new(&book.entries, [], |_| Some(paid()));
    assert_eq!(foreign, Err(RefundRefused::Foreign(seq)));
    let hold = book.hold(5, 0);
    let charged = book.settle(hold, 5, 0);
    let unknown = Refundable::new(&charged, [], |_| None);
    assert_eq!(unknown, Err(RefundRefused::UnknownCredit(seq)));
    let twice = book.refund(&charged, 5, 0);
    let (one, two) = (twice[0].clone(), twice[0].clone());
    let overdone = Refundable::new(&charged, [&one, &two], |_| Some(paid()));
    assert_eq!(overdone, Err(RefundRefused::Foreign(two.seq)));
}

#[test]
fn adjustments_go_both_ways_and_below_zero() {
    let mut book = Book::new();
    for (amount, balance) in [(10, 10), (-4, 6), (-8, -2), (5, 3)] {
        let done = book.with(|w, seq| w.adjust(Nano::new(amount), paid(), at(0), seq));
        book.record([done.unwrap()]);
        book.check(0, balance, balance);
    }
    let done = book.with(|w, seq| w.correct(Nano::new(-3), paid(), at(0), seq));
    book.record([done.unwrap()]);
    book.check(0, 0, 0);
}

#[test]
fn credit_out_of_bounds_is_refused_and_changes_nothing() {
    let mut book = Book::new();
    let mut refused = |amount: Nano, terms, expected| {
        let done = book.with(|w, seq| w.top_up(amount, terms, at(100), seq));
        assert_eq!(done, Err(expected));
        book.check(100, 0, 0);
    };
    let one = Nano::new(1);
    refused(Nano::ZERO, paid(), ChangeRefused::NotPositive);
    refused(Nano::new(-1), paid(), ChangeRefused::NotPositive);
    refused(Nano::BOUND + one, paid(), ChangeRefused::TooLarge);
    refused(one, terms(Category::Paid, 101, None), ChangeRefused::Priority);
    refused(one, until(100), ChangeRefused::AlreadyExpired);
}

#[test]
fn a_wallet_at_its_limits_refuses_and_never_overflows() {
    let mut book = Book::new();
    for _ in 0..4 {
        book.grant(Nano::BOUND.get(), paid(), 0);
    }
    let more = book.with(|w, seq| w.top_up(Nano::new(1), paid(), at(0), seq));
    assert_eq!(more, Err(ChangeRefused::TooLarge));
    book.wallet.set_credit_line(Nano::BOUND).unwrap();
    let hold = book.hold(Nano::BOUND.get(), 0);
    let done = book.with(|w, seq| w.settle(hold, Nano::MAX, at(0), seq));
    assert_eq!(done.unposted, Nano::MAX - Nano::BOUND);
    book.record(done.postings);
    for _ in 0..10 {
        let done = book.with(|w, seq| w.charge(Nano::BOUND, at(0), seq));
        book.record(done.postings);
    }
    assert_eq!(book.wallet.balance(), -Wallet::LIMIT);
    let less = book.with(|w, seq| w.adjust(Nano::new(-1), paid(), at(0), seq));
    assert_eq!(less, Err(ChangeRefused::TooLarge));
    book.check_replay();
}

#[test]
fn the_number_of_unspent_credits_is_bounded() {
    let mut book = Book::new();
    for _ in 0..Wallet::GRANTS_MAX {
        book.grant(1, paid(), 0);
    }
    let more = book.with(|w, seq| w.top_up(Nano::new(1), paid(), at(0), seq));
    assert_eq!(more, Err(ChangeRefused::TooManyGrants));
}

#[test]
fn a_million_charges_of_0_0000132_sum_exactly() {
    let mut book = Book::new();
    book.grant(20_000_000_000, paid(), 0);
    let price = "0.0000132".parse().unwrap();
    for _ in 0..1_000_000 {
        let hold = book.wallet.hold(price, at(0)).unwrap();
        book.with(|w, seq| w.settle(hold, price, at(0), seq));
    }
    assert_eq!(book.wallet.balance(), "6.80".parse().unwrap());
}

#[test]
fn books_that_were_tampered_with_do_not_replay() {
    let mut book = Book::new();
    let grant = book.grant(10, paid(), 0);
    let hold = book.hold(5, 0);
    let charge = book.settle(hold, 5, 0).remove(0);
    #[track_caller]
    fn check(book: &Book, entry: Entry, expected: LedgerFault) {
        let mut wallet = Wallet::default();
        wallet.replay(&book.entries[0]).unwrap();
        assert_eq!(wallet.replay(&entry), Err(expected));
    }
    let seq = charge.seq;
    let shape = LedgerFault::Shape { seq };
    let wrong = Entry { balance: Nano::new(6), ..charge.clone() };
    let (expected, found) = (Nano::new(5), Nano::new(6));
    check(&book, wrong, LedgerFault::Balance { seq, expected, found });
    let wrong = Entry { amount: Nano::new(-4), balance: found, ..charge.clone() };
    check(&book, wrong, shape);
    let wrong = Entry { kind: EntryKind::TopUp, ..charge.clone() };
    check(&book, wrong, shape);
    let mut wrong = charge.clone();
    wrong.draws[0].from = Seq(99);
    let fault = |from, amount| LedgerFault::Draw { seq, from, amount: Nano::new(amount) };
    check(&book, wrong.clone(), fault(Seq(99), 5));
    wrong.draws[0] = Draw { from: grant, amount: Nano::new(11) };
    wrong.amount = Nano::new(-11);
    wrong.balance = Nano::new(-1);
    check(&book, wrong.clone(), fault(grant, 11));
    wrong.draws[0].amount = Nano::new(-11);
    check(&book, wrong, shape);
    let wrong = Entry { amount: Nano::new(i64::MIN), ..charge.clone() };
    check(&book, wrong, shape);
    let (amount, balance) = (Nano::new(-6), Nano::new(4));
    let wrong = Entry { kind: Expiry, amount, balance, ..charge.clone() };
    check(&book, wrong, shape);
    let (amount, balance, terms) = (Nano::new(6), Nano::new(16), Some(paid()));
    let wrong = Entry { kind: Refund, amount, balance, terms, ..charge.clone() };
    check(&book, wrong, shape);
    let wrong = Entry { kind: Refund, amount, balance, draws: SmallVec::new(), ..charge };
    check(&book, wrong, shape);
}

#[test]
fn debt_that_is_open_is_forgiven_and_not_refunded_as_credit() {
    let mut book = Book::new();
    let done = book.with(|w, seq| w.charge(Nano::new(4), at(0), seq));
    let debt = book.record(done.postings).remove(0);
    let (seq, amount, balance) = (Seq(9), Nano::new(4), Nano::ZERO);
    let mut refund = Entry { seq, kind: Refund, amount, balance, ..debt };
    assert_eq!(book.wallet.clone().replay(&refund), Ok(()));
    refund.terms = Some(paid());
    assert_eq!(book.wallet.replay(&refund), Err(LedgerFault::Shape { seq }));
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let mut book = Book::new();
    book.grant(10, paid(), 0);
    let good = book.wallet.state(Seq(2));
    #[track_caller]
    fn check(state: WalletState) {
        let fault = LedgerFault::Snapshot { as_of: Seq(2) };
        assert_eq!(Wallet::from_state(&state).map(|_| ()), Err(fault));
    }
    check(WalletState { balance: Nano::new(9), ..good.clone() });
    check(WalletState { owed: Nano::new(-1), ..good.clone() });
    check(WalletState { credit_line: Nano::new(-1), ..good.clone() });
    check(WalletState { grants: vec![good.grants[0]; 2], balance: Nano::new(20), ..good.clone() });
    let empty = Grant { remaining: Nano::ZERO, seq: Seq(7), ..good.grants[0] };
    check(WalletState { grants: vec![good.grants[0], empty], ..good.clone() });
    let huge = Grant { remaining: Nano::MAX, ..good.grants[0] };
    check(WalletState { grants: vec![huge], balance: Nano::MAX, ..good });
}

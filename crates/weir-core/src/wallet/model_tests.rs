//! The wallet against a model that keeps every nano of credit and of holds by itself.

use proptest::prelude::*;

use super::tests::{Book, at, terms};
use super::*;
use crate::id::Seq;
use crate::ledger::{Category, Entry, EntryKind, Terms};
use crate::money::Nano;
use crate::time::Timestamp;

/// One billionth of credit: the entry that brought it and its terms.
type Unit = (Terms, Seq);

#[derive(Default)]
struct Model {
    units: Vec<Unit>,
    owed: i64,
    balance: i64,
}

#[derive(Clone, Debug)]
enum Op {
    Credit { kind: u8, amount: i64, promo: bool, priority: u8, lasts_s: Option<i64> },
    Debit(i64),
    Hold(i64),
    Extend(usize, i64),
    Release(usize),
    Settle { which: usize, percent: i64 },
    Charge(i64),
    Refund { which: usize, amount: i64 },
    Expire,
    CreditLine(i64),
    Wait(i64),
    Restart,
}

impl Model {
    fn usable(&self, now: i64) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| !due(unit, now))
    }

    /// Adds credit one unit at a time, each of which first pays what is owed.
    fn credit(&mut self, entry: Seq, amount: i64, terms: Terms, now: i64) {
        for _ in 0..amount {
            self.balance += 1;
            if self.owed > 0 && !due(&(terms, entry), now) {
                self.owed -= 1;
            } else {
                self.units.push((terms, entry));
            }
        }
    }

    /// Takes one unit at a time; returns from which entry each came.
    fn debit(&mut self, amount: i64, since: i64, now: i64) -> Vec<Seq> {
        let mut taken = Vec::new();
        for _ in 0..amount {
            self.balance -= 1;
            let late = |unit: &Unit| due(unit, now) && !due(unit, since);
            let expiry = |unit: &Unit| unit.0.expires_at.unwrap_or(Timestamp::MAX);
            let indexes = 0..self.units.len();
            let best = indexes
                .filter(|index| late(&self.units[*index]) || !due(&self.units[*index], now))
                .min_by_key(|index| {
                    let unit = &self.units[*index];
                    let priority = if late(unit) { 0 } else { unit.0.priority };
                    (!late(unit), priority, expiry(unit), unit.1)
                });
            match best {
                Some(index) => taken.push(self.units.swap_remove(index).1),
                None => self.owed += 1,
            }
        }
        taken
    }
}

fn due(unit: &Unit, now: i64) -> bool {
    unit.0.expires_at.is_some_and(|expires_at| expires_at <= at(now))
}

/// What draws say, one unit at a time.
fn unrolled(entries: &[Entry]) -> Vec<Seq> {
    let draws = entries.iter().flat_map(|entry| &entry.draws);
    draws
        .flat_map(|draw| {
            std::iter::repeat_n(draw.from, usize::try_from(draw.amount.get()).unwrap())
        })
        .collect()
}

struct World {
    book: Book,
    model: Model,
    holds: Vec<Hold>,
    charges: Vec<(Vec<Entry>, Vec<Entry>)>,
    now: i64,
    /// No charge went above its hold, nothing was debited without one.
    covered: bool,
}

impl World {
    fn new() -> Self {
        let (book, model) = (Book::new(), Model::default());
        let (holds, charges) = (Vec::new(), Vec::new());
        Self { book, model, holds, charges, now: 1, covered: true }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Credit { kind, amount, promo, priority, lasts_s } => {
                let category = if promo { Category::Promo } else { Category::Paid };
                let terms = terms(category, priority, lasts_s.map(|lasts| self.now + lasts));
                self.credit(kind, amount, terms);
            }
            Op::Debit(amount) => {
                let terms = terms(Category::Paid, 50, None);
                let (now, amount) = (at(self.now), Nano::new(-amount));
                let done = self.book.with(|w, seq| w.adjust(amount, terms, now, seq));
                let entries = self.book.record([done.unwrap()]);
                let taken = self.model.debit(-amount.get(), self.now, self.now);
                assert_eq!(unrolled(&entries), taken);
                self.covered = false;
            }
            Op::Hold(amount) => self.hold(amount),
            Op::Extend(which, more) => {
                let Some(index) = pick(which, self.holds.len()) else { return };
                let before = self.book.wallet.available(at(self.now));
                let hold = &mut self.holds[index];
                let done = self.book.wallet.extend(hold, Nano::new(more), at(self.now));
                assert_eq!(done.is_ok(), Nano::new(more) <= before);
            }
            Op::Release(which) => {
                let Some(index) = pick(which, self.holds.len()) else { return };
                let hold = self.holds.swap_remove(index);
                self.book.wallet.release(hold);
            }
            Op::Settle { which, percent } => {
                let Some(index) = pick(which, self.holds.len()) else { return };
                let hold = self.holds.swap_remove(index);
                let charge = hold.amount().get() * percent / 100;
                self.covered &= charge <= hold.amount().get();
                self.settle(hold, charge);
            }
            Op::Charge(amount) => {
                self.covered = false;
                self.settle(Hold { amount: Nano::ZERO, at: at(self.now) }, amount);
            }
            Op::Refund { which, amount } => self.refund(which, amount),
            Op::Expire => self.expire(),
            Op::CreditLine(line) => {
                self.covered &= Nano::new(line) >= self.book.wallet.credit_line();
                self.book.wallet.set_credit_line(Nano::new(line)).unwrap();
            }
            Op::Wait(secs) => self.now += secs,
            Op::Restart => {
                let state = self.book.wallet.state(Seq(1));
                self.book.wallet = Wallet::from_state(&state).unwrap();
                self.holds.sort_by_key(Hold::at);
                for hold in std::mem::take(&mut self.holds) {
                    self.holds.push(self.book.wallet.restore_hold(hold.amount(), hold.at()));
                }
            }
        }
    }

    fn credit(&mut self, kind: u8, amount: i64, terms: Terms) {
        let (amount, now) = (Nano::new(amount), at(self.now));
        let done = self.book.with(|w, seq| match kind {
            0 => w.top_up(amount, terms, now, seq),
            1 => w.grant(amount, terms, now, seq),
            2 => w.adjust(amount, terms, now, seq),
            _ => w.correct(amount, terms, now, seq),
        });
        let entries = self.book.record([done.unwrap()]);
        self.model.credit(entries[0].seq, amount.get(), terms, self.now);
    }

    fn hold(&mut self, amount: i64) {
        let available = self.book.wallet.available(at(self.now));
        match self.book.wallet.hold(Nano::new(amount), at(self.now)) {
            Ok(hold) => {
                assert!(Nano::new(amount) <= available);
                self.holds.push(hold);
                assert!(!self.book.wallet.available(at(self.now)).is_negative());
            }
            Err(refused) => assert!(refused.available == available && refused.asked > available),
        }
    }

    fn settle(&mut self, hold: Hold, charge: i64) {
        let since = hold.at().micros() / 1_000_000;
        let line = self.book.wallet.credit_line().get();
        let owed = self.model.owed;
        let entries = self.book.settle(hold, charge, self.now);
        let taken = self.model.debit(charge, since, self.now);
        assert_eq!(unrolled(&entries), taken);
        let grown = self.model.owed - owed;
        let debt: i64 =
            entries.iter().filter(|e| e.kind == EntryKind::Debt).map(|e| -e.amount.get()).sum();
        assert_eq!(debt, grown - grown.min((line - owed).max(0)));
        assert_eq!(entries.iter().map(|entry| -entry.amount.get()).sum::<i64>(), charge);
        if self.covered {
            assert_eq!(debt, 0, "a covered charge ended in debt");
        }
        self.charges.push((entries, Vec::new()));
    }

    fn refund(&mut self, which: usize, amount: i64) {
        let Some(index) = pick(which, self.charges.len()) else { return };
        let (charged, refunded) = &self.charges[index];
        let terms_of = |seq| {
            let mut entries = self.book.entries.iter();
            entries.find(|entry| entry.seq == seq).and_then(|entry| entry.terms)
        };
        let left = refund::Refundable::new(charged, refunded, terms_of).unwrap();
        let amount = amount.min(left.total().get());
        if amount == 0 {
            return;
        }
        let now = at(self.now);
        let done = self.book.with(|w, seq| w.refund(&left, Nano::new(amount), now, seq));
        let entries = self.book.record(done.unwrap());
        for entry in &entries {
            let source = entry.draws.first().map_or(entry.seq, |draw| draw.from);
            match entry.terms {
                Some(terms) => self.model.credit(source, entry.amount.get(), terms, self.now),
                None => {
                    self.model.owed -= entry.amount.get();
                    self.model.balance += entry.amount.get();
                }
            }
        }
        assert_eq!(entries.iter().map(|entry| entry.amount.get()).sum::<i64>(), amount);
        self.charges[index].1.extend(entries);
    }

    fn expire(&mut self) {
        for entry in self.book.expire(self.now) {
            for from in unrolled(&[entry]) {
                let found = self.model.units.iter().position(|unit| unit.1 == from);
                let unit = self.model.units.swap_remove(found.unwrap());
                assert!(due(&unit, self.now), "credit expired early");
                self.model.balance -= 1;
            }
        }
        let kept = self.model.units.iter().filter(|unit| due(unit, self.now)).count();
        let held: i64 = self.holds.iter().map(|hold| hold.amount().get()).sum();
        assert!(kept as i64 <= held, "more expired credit is kept than holds could need");
        let next = self.book.wallet.next_expiry(at(self.now));
        assert!(next.is_none_or(|next| next > at(self.now)));
    }

    fn check(&self) {
        let (wallet, model) = (&self.book.wallet, &self.model);
        let held: i64 = self.holds.iter().map(|hold| hold.amount().get()).sum();
        assert_eq!(wallet.balance().get(), model.balance);
        assert_eq!(wallet.owed().get(), model.owed);
        assert_eq!(wallet.held().get(), held);
        let in_units = i64::try_from(model.units.len()).unwrap();
        assert_eq!(in_units - model.owed, model.balance);
        let usable = i64::try_from(model.usable(self.now).count()).unwrap();
        let due = in_units - usable;
        let line = wallet.credit_line().get();
        let least = usable - model.owed - held + line;
        let most = least + due.min(held);
        let available = wallet.available(at(self.now)).get();
        assert!((least..=most).contains(&available), "{least} <= {available} <= {most}");
        if self.covered {
            assert!(available >= 0, "covered holds exceed what may be spent");
        }
    }
}

fn pick(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| which % len)
}

fn op() -> impl Strategy<Value = Op> {
    let credit = (0..4_u8, 1..60_i64, any::<bool>(), 0..3_u8, prop::option::of(1..40_i64));
    let credit = credit.prop_map(|(kind, amount, promo, priority, lasts_s)| Op::Credit {
        kind,
        amount,
        promo,
        priority,
        lasts_s,
    });
    prop_oneof![
        4 => credit,
        6 => (0..30_i64).prop_map(Op::Hold),
        2 => (0..9_usize, 0..20_i64).prop_map(|(which, more)| Op::Extend(which, more)),
        2 => (0..9_usize).prop_map(Op::Release),
        4 => (0..9_usize, 0..=100_i64).prop_map(|(which, percent)| Op::Settle { which, percent }),
        4 => (1..15_i64).prop_map(Op::Wait),
        2 => Just(Op::Expire),
        1 => Just(Op::Restart),
        1 => (20..25_i64).prop_map(Op::CreditLine),
        2 => (0..9_usize, 1..40_i64).prop_map(|(which, amount)| Op::Refund { which, amount }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => op(),
        1 => (0..9_usize, 100..400_i64).prop_map(|(which, percent)| Op::Settle { which, percent }),
        1 => (0..40_i64).prop_map(Op::Charge),
        1 => (1..40_i64).prop_map(Op::Debit),
        1 => (0..30_i64).prop_map(Op::CreditLine),
    ]
}

fn run(ops: &[Op]) -> World {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
        world.check();
    }
    world.book.check_replay();
    world
}

proptest! {
    #[test]
    fn the_wallet_moves_every_nano_as_the_model_does(ops in prop::collection::vec(any_op(), 1..80)) {
        run(&ops);
    }

    #[test]
    fn calls_within_their_holds_never_end_in_debt(ops in prop::collection::vec(op(), 1..120)) {
        run(&ops);
    }

    #[test]
    fn every_snapshot_with_the_entries_after_it_gives_the_same_wallet(
        ops in prop::collection::vec(any_op(), 1..60), cut in 0..60_usize,
    ) {
        let world = run(&ops);
        let entries = &world.book.entries;
        let cut = cut.min(entries.len());
        let mut wallet = Wallet::default();
        wallet.set_credit_line(world.book.wallet.credit_line()).unwrap();
        for entry in &entries[..cut] {
            wallet.replay(entry).unwrap();
        }
        let mut later = Wallet::from_state(&wallet.state(Seq(9))).unwrap();
        for entry in &entries[cut..] {
            later.replay(entry).unwrap();
        }
        prop_assert_eq!(later.state(Seq(9)), world.book.wallet.state(Seq(9)));
    }

    #[test]
    fn holds_that_are_released_at_once_change_nothing(
        ops in prop::collection::vec(any_op(), 1..60), amount in 0..30_i64,
    ) {
        let plain = run(&ops);
        let mut world = World::new();
        for op in &ops {
            if let Ok(hold) = world.book.wallet.hold(Nano::new(amount), at(world.now)) {
                world.book.wallet.release(hold);
            }
            world.apply(op);
        }
        prop_assert_eq!(plain.book.entries, world.book.entries);
    }

    #[test]
    fn all_amounts_times_k_give_all_balances_times_k(
        ops in prop::collection::vec(any_op(), 1..40), factor in 2..5_i64,
    ) {
        let scaled: Vec<Op> = ops.iter().map(|op| times(op, factor)).collect();
        let plain: Vec<Op> = ops.iter().map(|op| times(op, 1)).collect();
        let (one, many) = (run(&plain), run(&scaled));
        let balances = |world: &World| -> Vec<i64> {
            world.book.entries.iter().map(|entry| entry.balance.get()).collect()
        };
        let expected: Vec<i64> = balances(&one).iter().map(|balance| balance * factor).collect();
        prop_assert_eq!(expected, balances(&many));
    }
}

fn times(op: &Op, k: i64) -> Op {
    match op.clone() {
        Op::Credit { kind, amount, promo, priority, lasts_s } => {
            Op::Credit { kind, amount: amount * k, promo, priority, lasts_s }
        }
        Op::Debit(amount) => Op::Debit(amount * k),
        Op::Hold(amount) => Op::Hold(amount * k),
        Op::Extend(which, more) => Op::Extend(which, more * k),
        // Whole multiples only: a percentage of a scaled hold rounds differently.
        Op::Settle { which, percent } => Op::Settle { which, percent: percent / 100 * 100 },
        Op::Charge(amount) => Op::Charge(amount * k),
        Op::Refund { which, amount } => Op::Refund { which, amount: amount * k },
        Op::CreditLine(line) => Op::CreditLine(line * k),
        Op::Release(_) | Op::Expire | Op::Wait(_) | Op::Restart => op.clone(),
    }
}

//! One run: the engine, what is open in it, and what must be true of it.

use std::sync::Arc;

use fastrand::Rng;
use weir_core::id::{AccountId, HoldId, Seq};
use weir_core::ledger::{Category, Entry, EntryKind, Terms};
use weir_core::money::Nano;
use weir_core::operation::RouteIndex;
use weir_core::price::Bound;
use weir_core::time::{Span, Timestamp};
use weir_core::usage::{Meter, Usage};
use weir_engine::audit::verify;
use weir_engine::call::{Admission, Wanted};
use weir_engine::cell::AccountCell;
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::open_hold::HoldStatus;
use weir_engine::payments::{PaymentEvent, PaymentFact};
use weir_engine::ticket::{Outcome, Ticket};
use weir_store::fault::{Crash, Faults};

use super::books::Books;
use super::history::{ACCOUNTS, Step, skew};
use crate::support::{START, account, boot, key, wait};

/// A call that runs.
struct Call {
    account: usize,
    id: String,
    ticket: Ticket,
    stream: bool,
    /// What was noted of a stream.
    noted: u64,
    charged: bool,
}

/// A durable hold, as far as its owner was told.
struct Hold {
    account: usize,
    id: HoldId,
    reference: String,
    /// Whether it is open; `None`: it was to end, and nobody said whether it did.
    open: Option<bool>,
}

pub(super) struct World {
    dir: tempfile::TempDir,
    engine: Option<Arc<Engine>>,
    faults: Arc<Faults>,
    ids: Vec<AccountId>,
    books: Books,
    calls: Vec<Call>,
    holds: Vec<Hold>,
    /// Calls whose charge was acknowledged, to be refunded.
    settled: Vec<(usize, String)>,
    /// Whether each account is on the plan that is charged, and was before that change was heard.
    plans: Vec<[bool; 2]>,
    rng: Rng,
    count: u64,
    now: Timestamp,
}

impl World {
    pub(super) fn new(seed: u64, crash: Option<(u64, Crash)>) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let faults = Arc::new(Faults::default());
        let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
        let cells: Vec<_> = (0..ACCOUNTS).map(|_| account(&engine, "payg", "0")).collect();
        for cell in &cells {
            drop(key(&engine, cell));
        }
        // What makes the world may not fail; it is counted from here.
        faults.step_by_step();
        if let Some((batch, crash)) = crash {
            faults.crash_at(batch, crash);
        }
        Self {
            dir,
            engine: Some(engine),
            faults,
            ids: cells.iter().map(|cell| cell.id).collect(),
            books: Books::default(),
            calls: Vec::new(),
            holds: Vec::new(),
            settled: Vec::new(),
            plans: vec![[true; 2]; ACCOUNTS],
            rng: Rng::with_seed(seed ^ 0x5eed),
            count: 0,
            now: START,
        }
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.faults.has_crashed()
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::TopUp { account, amount } => {
                let credit = NewCredit::paid(units(amount), &self.fresh("top-up"));
                self.credit(account, &credit);
            }
            Step::Grant { account, amount, priority, lasts_s } => {
                let expires_at = Some(self.engine().now().plus(Span::from_secs(lasts_s)));
                let terms = Terms { category: Category::Promo, priority, expires_at };
                let credit = NewCredit::paid(units(amount), &self.fresh("grant"));
                self.credit(account, &NewCredit { terms, kind: EntryKind::Grant, ..credit });
            }
            Step::Adjust { account, amount } => {
                let credit = NewCredit::paid(units(amount), &self.fresh("adjustment"));
                self.credit(account, &NewCredit { kind: EntryKind::Adjustment, ..credit });
            }
            Step::Pay { account, event } => self.pay(account, event),
            Step::Admit { account, output, stream } => self.admit(account, output, stream),
            Step::Produce { which, output } => self.produce(which, output),
            Step::Settle { which, output } => self.settle(which, output),
            Step::Abandon { which } => self.abandon(which),
            Step::Hold { account, amount, lasts_s } => self.hold(account, amount, lasts_s),
            Step::SettleHold { which, amount } => self.settle_hold(which, amount),
            Step::VoidHold { which } => self.end_hold(which),
            Step::ExpireHolds => self.expire_holds(),
            Step::Refund { which, amount } => self.refund(which, amount),
            Step::Plan { account, charged } => self.plan(account, charged),
            Step::Pass { secs } => {
                self.now = self.now.plus(Span::from_secs(secs));
                let then = self.engine().now().plus(Span::from_secs(secs));
                self.engine().clock().set(then);
            }
            Step::Sweep => self.engine().sweep(),
            Step::Behind { written } => self.behind(written),
            Step::Restart { skew_s } => self.restart(skew_s),
        }
        if !self.has_crashed() {
            self.check_live();
        }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn cell(&self, account: usize) -> Arc<AccountCell> {
        self.engine().account(self.ids[account]).unwrap()
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}-{}", self.count)
    }

    /// Takes note of an answer. A dead process does not answer, whatever its memory says. What
    /// came before something that was `stored` is stored as well.
    fn heard<T, E>(&mut self, answer: Result<T, E>, stored: bool) -> Option<Result<T, E>> {
        if self.has_crashed() && answer.is_err() {
            return None;
        }
        if stored && answer.is_ok() {
            self.books.answered();
        }
        Some(answer)
    }

    fn credit(&mut self, account: usize, credit: &NewCredit) {
        self.books.ask(account, &credit.reference, credit.amount);
        let posted = wait(self.engine().post_credit(&self.cell(account), credit));
        if let Some(Err(_)) = self.heard(posted, true) {
            self.books.refused(account, &credit.reference);
        }
    }

    fn pay(&mut self, account: usize, event: u8) {
        let payment = format!("pi_{event}");
        let what = PaymentFact::Paid {
            account: self.ids[account].to_string(),
            amount: units(20),
            answers: None,
        };
        let (source, id) = ("stripe", format!("evt_{event}"));
        let before = (0..ACCOUNTS).any(|other| self.books.sum(other, &payment) == Some(20 * UNIT));
        if !before {
            self.books.ask(account, &payment, units(20));
        }
        let event = PaymentEvent { source, id, payment, what };
        let taken = wait(self.engine().take_payment(&event));
        if let Some(taken) = self.heard(taken, !before) {
            let posted = matches!(taken.unwrap(), weir_engine::payments::Taken::Posted(_));
            assert_eq!(posted, !before, "a payment counts once");
        }
    }

    fn admit(&mut self, account: usize, output: u64, stream: bool) {
        let id = self.fresh("call");
        let engine = Arc::clone(self.engine());
        let key = engine.keys_of(&self.cell(account)).remove(0);
        let admission = engine.admit(&Wanted {
            policy: &engine.policy(),
            index: RouteIndex(0),
            key: &key,
            state: &key.state.load_full(),
            model: Some("m"),
            urgent: false,
            request_id: &id,
            stream,
            bound: Bound::text(0, output),
            output_max: Some(output),
        });
        let Admission::Granted(mut ticket) = admission else { return };
        let charged = ticket.is_charged();
        assert_eq!(charged, self.plans[account][1]);
        if charged {
            assert!(!ticket.available().unwrap().is_negative(), "beyond what is available");
        }
        ticket.sent();
        if stream {
            ticket.checkpointed();
        }
        self.calls.push(Call { account, id, ticket, stream, noted: 0, charged });
    }

    fn produce(&mut self, which: usize, output: u64) {
        let Some(call) = pick(&mut self.calls, which) else { return };
        call.noted += output;
        // That its credit ends is for the gate to act on.
        let _more = call.ticket.produced(&Usage::NONE.with(Meter::OutputTokens, call.noted));
    }

    fn settle(&mut self, which: usize, output: u64) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.swap_remove(which % self.calls.len());
        if call.charged {
            self.books.ask_instead(call.account, &call.id, -tokens(output));
        }
        let reported = Some(Usage::NONE.with(Meter::OutputTokens, output));
        let settled = call.ticket.settle(&Outcome { reported, status: 200, ..Outcome::default() });
        let settled = settled.unwrap();
        assert_eq!(settled.charge, call.charged.then(|| tokens(output)));
        let Some(commit) = settled.commit else { return assert!(!call.charged) };
        if let Some(Ok(_)) = self.heard(commit.wait(), true) {
            self.settled.push((call.account, call.id));
        }
    }

    fn abandon(&mut self, which: usize) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.swap_remove(which % self.calls.len());
        if call.charged {
            let known = if call.stream { call.noted } else { 0 };
            self.books.ask_instead(call.account, &call.id, -tokens(known));
        }
        drop(call.ticket);
    }

    fn hold(&mut self, account: usize, amount: i64, lasts_s: i64) {
        let reference = self.fresh("job");
        let (cell, span) = (self.cell(account), Span::from_secs(lasts_s));
        let made = wait(self.engine().create_hold(&cell, units(amount), span, &reference));
        if let Some(Ok(view)) = self.heard(made, true) {
            self.holds.push(Hold { account, id: view.id, reference, open: Some(true) });
        }
    }

    fn settle_hold(&mut self, which: usize, amount: i64) {
        let Some(hold) = pick(&mut self.holds, which) else { return };
        let (account, id, open) = (hold.account, hold.id, hold.open == Some(true));
        let reference = id.to_string();
        if open {
            hold.open = None;
            self.books.ask(account, &reference, units(-amount));
        }
        let ended = wait(self.engine().settle_hold(id, units(amount)));
        match self.heard(ended, open) {
            Some(Ok(_)) => self.told_ended(id),
            Some(Err(error)) => assert!(!open, "an open hold is not settled: {error}"),
            None => {}
        }
    }

    fn end_hold(&mut self, which: usize) {
        let Some(hold) = pick(&mut self.holds, which) else { return };
        let (id, open) = (hold.id, hold.open == Some(true));
        if open {
            hold.open = None;
        }
        let ended = wait(self.engine().void_hold(id));
        match self.heard(ended, open) {
            Some(Ok(_)) => self.told_ended(id),
            Some(Err(error)) => assert!(!open, "an open hold is not voided: {error}"),
            None => {}
        }
    }

    fn told_ended(&mut self, id: HoldId) {
        for hold in self.holds.iter_mut().filter(|hold| hold.id == id) {
            hold.open = Some(false);
        }
    }

    fn expire_holds(&mut self) {
        let ended = wait(self.engine().expire_holds());
        if self.heard(ended, false).is_some() {
            self.look_at_holds();
        }
    }

    fn refund(&mut self, which: usize, amount: i64) {
        let Some((account, call)) = pick(&mut self.settled, which).cloned() else { return };
        let entries = self.entries(account);
        let charge = entries.iter().find(|entry| *entry.reference == *call).unwrap();
        let (reference, seq) = (charge.seq.to_string(), charge.seq);
        let charged = -self.books.sum(account, &call).unwrap();
        let back = self.books.sum(account, &reference).unwrap_or(0);
        self.books.ask(account, &reference, units(amount));
        let cell = self.cell(account);
        let done = wait(self.engine().refund(&cell, seq, Some(units(amount)), "sorry"));
        if let Some(done) = self.heard(done, true) {
            assert_eq!(done.is_ok(), back + amount * UNIT <= charged, "{done:?}");
            if done.is_err() {
                self.books.refused(account, &reference);
            }
        }
    }

    fn plan(&mut self, account: usize, charged: bool) {
        self.plans[account][0] = self.plans[account][1];
        self.plans[account][1] = charged;
        let name = if charged { "payg" } else { "free" };
        let changed = wait(self.engine().change_account(self.ids[account], None, |record| {
            record.plan = name.to_owned();
            Ok(())
        }));
        if self.heard(changed, true).is_some() {
            self.plans[account][0] = charged;
        }
    }

    fn behind(&mut self, written: bool) {
        for call in self.calls.iter().filter(|call| call.stream && call.charged && call.noted > 0) {
            self.books.ask_instead(call.account, &call.id, -tokens(call.noted));
        }
        self.engine().write_behind();
        if written {
            self.engine().flush_behind();
        }
    }

    fn restart(&mut self, skew_s: i64) {
        // In good order: what runs is settled first.
        while !self.calls.is_empty() {
            self.abandon(0);
        }
        self.engine().close();
        if self.has_crashed() {
            return;
        }
        self.books.answered();
        self.reopen(skew_s);
    }

    /// What must be true of a running engine.
    fn check_live(&self) {
        for account in 0..ACCOUNTS {
            let view = self.engine().wallet_of(&self.cell(account));
            let own = |call: &&Call| call.account == account && call.charged;
            if !self.calls.iter().any(|call| own(&call)) {
                assert_eq!(
                    view.held,
                    self.engine().held_durably(self.ids[account]),
                    "held by nobody"
                );
            }
        }
    }

    /// Waits until all that was handed to the store is decided.
    pub(super) fn catch_up(&mut self) {
        let stored = wait(self.engine().change_account(self.ids[0], None, |_| Ok(())));
        assert!(stored.is_ok() || self.has_crashed(), "{stored:?}");
    }

    /// The process died: it starts anew on what is on disk.
    pub(super) fn recover(&mut self) {
        // What still runs dies with it; what its tasks do now reaches nobody.
        self.calls.clear();
        self.faults = Arc::default();
        self.faults.step_by_step();
        let skew_s = skew(&mut self.rng);
        self.reopen(skew_s);
        // A provider that heard nothing tells its events again.
        for event in 0..3 {
            self.pay(0, event);
        }
    }

    fn reopen(&mut self, skew_s: i64) {
        self.engine = None;
        let at = self.now.plus(Span::from_secs(skew_s));
        self.engine = Some(boot(self.dir.path(), at, Some(Arc::clone(&self.faults))));
        // The streams that were cut off are charged by now: nobody waits for that at a start.
        self.catch_up();
        if self.has_crashed() {
            return;
        }
        verify(self.dir.path()).unwrap();
        for account in 0..ACCOUNTS {
            let entries = self.entries(account);
            self.books.compare(account, &entries);
            let view = self.engine().wallet_of(&self.cell(account));
            let sum: Nano = entries.iter().map(|entry| entry.amount).sum();
            assert_eq!(view.balance, sum, "the wallet is not what its entries say");
            let plan = self.cell(account).record.load().plan == "payg";
            assert!(self.plans[account].contains(&plan));
            self.plans[account] = [plan; 2];
        }
        self.look_at_holds();
        self.check_live();
    }

    /// Holds stand as their owners were told, or their time has run out; those that were to end
    /// when the process died did, or did not.
    fn look_at_holds(&mut self) {
        for account in 0..ACCOUNTS {
            let views = wait(self.engine().holds_of(self.ids[account], None, 1_000)).unwrap();
            let mut open = Nano::ZERO;
            let known = self.holds.iter().filter(|hold| hold.account == account);
            for hold in known {
                assert!(views.iter().any(|view| view.id == hold.id), "a hold is gone");
            }
            for view in views {
                let is_open = view.record.status == HoldStatus::Open;
                if is_open {
                    open += view.record.amount.parse().unwrap();
                    let posted = self.books.sum(account, &view.id.to_string()).unwrap_or(0);
                    assert_eq!(posted, 0, "{view:?} is charged already");
                }
                let expired = view.record.status == HoldStatus::Expired;
                match self.holds.iter_mut().find(|hold| hold.id == view.id) {
                    Some(hold) => {
                        assert_eq!(hold.reference, view.record.reference);
                        let as_told = hold.open.is_none_or(|open| open == is_open);
                        assert!(as_told || expired, "{view:?} is not as it was told");
                        hold.open = Some(is_open);
                    }
                    // One that was made and not told of.
                    None => {
                        let (id, reference) = (view.id, view.record.reference);
                        self.holds.push(Hold { account, id, reference, open: Some(is_open) });
                    }
                }
            }
            assert_eq!(open, self.engine().held_durably(self.ids[account]));
        }
    }

    fn entries(&self, account: usize) -> Vec<Entry> {
        let reader = self.engine().store_reader();
        let all = reader.entries_after(Seq(0), 100_000).unwrap();
        all.into_iter().filter(|entry| entry.account == self.ids[account]).collect()
    }

    /// Ends everything that is open: nothing is held any more, and the books are right.
    pub(super) fn end(mut self) -> u64 {
        let commits = self.faults.batches();
        while !self.calls.is_empty() {
            self.settle(0, 1);
        }
        for which in 0..self.holds.len() {
            self.end_hold(which);
        }
        self.restart(0);
        self.engine().sweep();
        for account in 0..ACCOUNTS {
            let view = self.engine().wallet_of(&self.cell(account));
            assert_eq!(view.held, Nano::ZERO);
        }
        self.engine().close();
        verify(self.dir.path()).unwrap();
        commits
    }
}

fn pick<T>(from: &mut [T], which: usize) -> Option<&mut T> {
    let count = from.len();
    from.get_mut(which.checked_rem(count)?)
}

fn units(amount: i64) -> Nano {
    Nano::new(amount * UNIT)
}

/// The price of output: one unit for each token.
fn tokens(output: u64) -> Nano {
    units(i64::try_from(output).unwrap())
}

const UNIT: i64 = 1_000_000_000;

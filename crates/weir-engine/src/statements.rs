//! Monthly statements: nothing but the ledger, added up.

use std::collections::BTreeMap;

use weir_core::id::{AccountId, Seq};
use weir_core::ledger::{Entry, EntryKind};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_core::usage::Usage;
use weir_store::error::ReadError;
use weir_store::read::Reader;

use crate::change::ChangeError;
use crate::engine::Engine;

/// What happened to a balance from one moment to another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statement {
    /// The balance before the first entry.
    pub opening: Nano,
    /// The balance after the last entry.
    pub closing: Nano,
    /// How many entries there are.
    pub entries: u64,
    /// The sum of each kind of entry.
    pub by_kind: BTreeMap<EntryKind, Nano>,
    /// What was charged by price and model, as positive amounts, with what was used.
    pub lines: BTreeMap<(Box<str>, Box<str>), StatementLine>,
}

/// What was charged under one price for one model.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StatementLine {
    /// How many charges.
    pub charges: u64,
    /// What was used.
    pub usage: Usage,
    /// What it cost, debt included.
    pub amount: Nano,
}

impl Engine {
    /// The statement of an account over `[from, until)`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`] where the store fails.
    pub async fn statement(
        &self,
        account: AccountId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Statement, ChangeError> {
        self.read(move |reader| add_up(&reader, account, from, until)).await
    }
}

fn add_up(
    reader: &Reader,
    account: AccountId,
    from: Timestamp,
    until: Timestamp,
) -> Result<Statement, ReadError> {
    let mut statement = Statement::default();
    let mut before: Option<Seq> = None;
    let mut closed = false;
    // Newest first: the first entry before `until` closes, the first before `from` opens.
    'pages: loop {
        let page = reader.entries(account, before, PAGE)?;
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        for entry in &page {
            if entry.at >= until {
                continue;
            }
            if !closed {
                (statement.closing, closed) = (entry.balance, true);
            }
            if entry.at < from {
                statement.opening = entry.balance;
                break 'pages;
            }
            statement.add(entry);
        }
    }
    Ok(statement)
}

impl Statement {
    fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        let sum = self.by_kind.entry(entry.kind).or_default();
        *sum = sum.saturating_add(entry.amount);
        if !matches!(entry.kind, EntryKind::Charge | EntryKind::Debt) {
            return;
        }
        let call = entry.call.as_deref();
        let name = |text: Option<&str>| Box::<str>::from(text.unwrap_or_default());
        let key = (name(call.map(|call| &*call.price)), name(call.map(|call| &*call.model)));
        let line = self.lines.entry(key).or_default();
        line.amount = line.amount.saturating_sub(entry.amount);
        // A charge with debt is two entries of one call: it counts once, its usage too.
        let Some(call) = call.filter(|_| entry.kind == EntryKind::Charge) else { return };
        line.charges += 1;
        for (meter, amount) in call.usage.amounts() {
            line.usage.record(meter, line.usage.of(meter).saturating_add(amount));
        }
    }
}

const PAGE: usize = 2_000;

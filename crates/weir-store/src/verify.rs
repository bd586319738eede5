//! Recomputes what must hold in a ledger, from its entries alone.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::{Entry, EntryKind};
use weir_core::money::Nano;
use weir_core::time::Timestamp;

use crate::error::{OpenError, ReadError};
use crate::folder::Files;
use crate::index::WalletSnapshot;
use crate::load::read_wallets;
use crate::record::{ENTRY_COLUMNS, read_entry};
use crate::schema::{INDEX, LEDGER};

/// What was verified.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Entries.
    pub entries: u64,
    /// Accounts that have entries.
    pub accounts: u64,
    /// Wallet snapshots that equal a replay.
    pub snapshots: u64,
    /// The last position.
    pub last_seq: Seq,
    /// The sum of all balances in nano units.
    pub balance: i128,
}

/// Why a ledger did not pass.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be opened.
    #[error("the ledger cannot be opened")]
    Open(#[source] OpenError),
    /// It cannot be read.
    #[error("the ledger cannot be read")]
    Read(#[source] ReadError),
    /// The database contradicts itself.
    #[error("the database is damaged: {0}")]
    Database(String),
    /// An entry breaks a rule.
    #[error("entry {} of account {}: {broken}", seq.0, account.0)]
    Entry {
        /// Which entry.
        seq: Seq,
        /// Whose.
        account: AccountId,
        /// Which rule.
        broken: Broken,
    },
    /// A snapshot is not what a replay gives.
    #[error("the snapshot of account {} as of entry {} is not what its entries give", account.0, as_of.0)]
    Snapshot {
        /// Whose.
        account: AccountId,
        /// As of which entry.
        as_of: Seq,
    },
}

/// The rule that an entry breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken {
    /// The balance is not the one before plus the amount.
    #[error("the balance is {}, but {} before and {} make another", balance.get(), before.get(), amount.get())]
    Balance {
        /// The balance that is written.
        balance: Nano,
        /// The balance of the entry before.
        before: Nano,
        /// The change.
        amount: Nano,
    },
    /// It is earlier than the account's entry before.
    #[error("it is earlier than the entry before")]
    Earlier,
    /// A draw is negative.
    #[error("a draw is negative")]
    NegativeDraw,
    /// A draw is from something that is no earlier credit of the account.
    #[error("it draws from {}, which is no credit of the account", from.0)]
    NoCredit {
        /// From what.
        from: Seq,
    },
    /// More was drawn from a credit than it brought, or more brought back than drawn.
    #[error("of the credit {} more is used, or brought back, than there is", from.0)]
    Overdrawn {
        /// From which credit.
        from: Seq,
    },
    /// The draws do not add up to the amount.
    #[error("the draws do not add up to the amount")]
    Sum,
}

/// The rules by which entries make a wallet, to compare snapshots with.
pub trait Replay {
    /// Takes the next entry of the ledger.
    fn apply(&mut self, entry: &Entry);

    /// Whether a snapshot says what the entries so far give for its account.
    fn agrees(&self, snapshot: &WalletSnapshot) -> bool;
}

/// Verifies the store in a folder without its snapshots; see [`verify_with`].
///
/// # Errors
///
/// [`VerifyError`]: the first thing that does not hold.
pub fn verify(folder: &Path) -> Result<Report, VerifyError> {
    verify_with(folder, None)
}

/// Verifies the store in a folder, whether it is in use or not, as of one moment: the database
/// itself with its unique keys, the chain of balances of each account, time, draws, and with
/// `replay` the wallet snapshots.
///
/// # Errors
///
/// [`VerifyError`]: the first thing that does not hold.
pub fn verify_with(folder: &Path, replay: Option<&mut dyn Replay>) -> Result<Report, VerifyError> {
    let files = Files::of(folder);
    let read = |error: rusqlite::Error| VerifyError::Read(error.into());
    // The snapshots are read before the ledger, so that it has every entry they stand on.
    let snapshots = match &replay {
        Some(_) if files.index().exists() => {
            let index = INDEX.open_read_only(&files.index()).map_err(VerifyError::Open)?;
            read_wallets(&index).map_err(VerifyError::Read)?.0
        }
        _ => Vec::new(),
    };
    let ledger = LEDGER.open_read_only(&files.ledger()).map_err(VerifyError::Open)?;
    ledger.execute_batch("BEGIN").map_err(read)?;
    let sound: String =
        ledger.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(read)?;
    if sound != "ok" {
        return Err(VerifyError::Database(sound));
    }
    let mut audit = Audit::new(snapshots, replay);
    audit.walk(&ledger)?;
    audit.finish()
}

struct Audit<'a> {
    accounts: HashMap<AccountId, Last>,
    credits: HashMap<Seq, Credit>,
    snapshots: HashMap<AccountId, WalletSnapshot>,
    replay: Option<&'a mut dyn Replay>,
    report: Report,
}

struct Last {
    balance: Nano,
    at: Timestamp,
}

struct Credit {
    account: AccountId,
    brought: i128,
    used: i128,
}

impl<'a> Audit<'a> {
    fn new(snapshots: Vec<WalletSnapshot>, replay: Option<&'a mut dyn Replay>) -> Self {
        Self {
            accounts: HashMap::new(),
            credits: HashMap::new(),
            snapshots: snapshots.into_iter().map(|wallet| (wallet.account, wallet)).collect(),
            replay,
            report: Report::default(),
        }
    }

    fn walk(&mut self, ledger: &Connection) -> Result<(), VerifyError> {
        let read = |error: rusqlite::Error| VerifyError::Read(error.into());
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry e ORDER BY seq");
        let mut all = ledger.prepare(&sql).map_err(read)?;
        let mut rows = all.query([]).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            self.entry(&read_entry(row).map_err(VerifyError::Read)?)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), VerifyError> {
        let snapshot = self
            .snapshots
            .get(&entry.account)
            .filter(|snapshot| snapshot.as_of < entry.seq)
            .map(|snapshot| snapshot.account);
        if let Some(account) = snapshot {
            self.compare(account)?;
        }
        let checked = self.chain(entry).and_then(|()| self.draws(entry));
        checked.map_err(|broken| VerifyError::Entry {
            seq: entry.seq,
            account: entry.account,
            broken,
        })?;
        if let Some(replay) = &mut self.replay {
            replay.apply(entry);
        }
        self.report.entries += 1;
        self.report.last_seq = entry.seq;
        Ok(())
    }

    /// That positions ascend needs no check: they are the key by which the rows are read.
    fn chain(&mut self, entry: &Entry) -> Result<(), Broken> {
        let last = self
            .accounts
            .entry(entry.account)
            .or_insert(Last { balance: Nano::ZERO, at: entry.at });
        let (before, amount, balance) = (last.balance, entry.amount, entry.balance);
        if before.checked_add(amount) != Some(balance) {
            return Err(Broken::Balance { balance, before, amount });
        }
        if entry.at < last.at {
            return Err(Broken::Earlier);
        }
        *last = Last { balance, at: entry.at };
        Ok(())
    }

    /// A debit uses credits up, what adds to the balance brings them back. Only a charge and
    /// credit that ran out are covered by credits to the last unit: the rest of another entry
    /// may have gone into, or come out of, debt.
    fn draws(&mut self, entry: &Entry) -> Result<(), Broken> {
        let amount = i128::from(entry.amount.get());
        if entry.terms.is_some() && amount > 0 {
            let credit = Credit { account: entry.account, brought: amount, used: 0 };
            self.credits.insert(entry.seq, credit);
        }
        let mut sum = 0;
        for draw in &entry.draws {
            if draw.amount.is_negative() {
                return Err(Broken::NegativeDraw);
            }
            let drawn = i128::from(draw.amount.get());
            sum += drawn;
            // What a credit pays of an earlier debt is drawn from itself.
            let uses = amount < 0 || draw.from == entry.seq;
            let credit = self
                .credits
                .get_mut(&draw.from)
                .filter(|credit| credit.account == entry.account)
                .ok_or(Broken::NoCredit { from: draw.from })?;
            credit.used += if uses { drawn } else { -drawn };
            if credit.used < 0 || credit.used > credit.brought {
                return Err(Broken::Overdrawn { from: draw.from });
            }
        }
        let exact = matches!(entry.kind, EntryKind::Charge | EntryKind::Expiry);
        if sum > amount.abs() || (exact && sum != amount.abs()) {
            return Err(Broken::Sum);
        }
        Ok(())
    }

    fn compare(&mut self, account: AccountId) -> Result<(), VerifyError> {
        let (Some(snapshot), Some(replay)) = (self.snapshots.remove(&account), &self.replay) else {
            return Ok(());
        };
        if !replay.agrees(&snapshot) {
            return Err(VerifyError::Snapshot { account, as_of: snapshot.as_of });
        }
        self.report.snapshots += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Report, VerifyError> {
        let mut left: Vec<AccountId> = self.snapshots.keys().copied().collect();
        left.sort_unstable();
        for account in left {
            self.compare(account)?;
        }
        self.report.accounts = self.accounts.len() as u64;
        self.report.balance =
            self.accounts.values().map(|last| i128::from(last.balance.get())).sum();
        Ok(self.report)
    }
}

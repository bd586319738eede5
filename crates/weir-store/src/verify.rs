//! Recomputes what must hold in a ledger, from its entries alone.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::Entry;
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_core::wallet::{LedgerFault, Wallet};

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

impl Report {
    /// The sum of all balances as decimal text; it may be more than one wallet can hold.
    pub fn balance_text(&self) -> String {
        let nano = self.balance.unsigned_abs();
        let sign = if self.balance < 0 { "-" } else { "" };
        let fraction = format!("{:09}", nano % NANO);
        let fraction = fraction.trim_end_matches('0');
        format!("{sign}{}.{fraction:0<2}", nano / NANO)
    }
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
    #[error("{seq} of {account}: {broken}")]
    Entry {
        /// Which entry.
        seq: Seq,
        /// Whose.
        account: AccountId,
        /// Which rule.
        broken: Broken,
    },
    /// A snapshot is not what a replay gives.
    #[error("the snapshot of {account} as of {as_of} is not what its entries give")]
    Snapshot {
        /// Whose.
        account: AccountId,
        /// As of which entry.
        as_of: Seq,
    },
}

impl VerifyError {
    /// Whether the books are wrong, rather than not to be read.
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Open(_) | Self::Read(_) => false,
            Self::Database(_) | Self::Entry { .. } | Self::Snapshot { .. } => true,
        }
    }
}

/// The rule that an entry breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken {
    /// It cannot have followed the entries before it.
    #[error(transparent)]
    Books(LedgerFault),
    /// It is earlier than the account's entry before.
    #[error("it is earlier than the entry before")]
    Earlier,
    /// A draw is from something that is no earlier credit of the account.
    #[error("it draws from {from}, which is no credit of the account")]
    NoCredit {
        /// From what.
        from: Seq,
    },
    /// More was drawn from a credit than it brought, or more brought back than was drawn.
    #[error("of the credit {from} more is used, or brought back, than there is")]
    Overdrawn {
        /// From which credit.
        from: Seq,
    },
    /// It leaves something owed although there is credit that could pay it.
    #[error("something is owed although there is credit")]
    Owed,
}

/// Whether a snapshot, whose text only its writer understands, says that wallet.
pub type Agrees<'a> = dyn FnMut(&WalletSnapshot, &Wallet) -> bool + 'a;

/// Verifies the store in a folder without its snapshots; see [`verify_with`].
///
/// # Errors
///
/// [`VerifyError`]: the first thing that does not hold.
pub fn verify(folder: &Path) -> Result<Report, VerifyError> {
    verify_with(folder, None)
}

/// Verifies the store in a folder, whether it is in use or not, as of one moment: the database
/// itself with its unique keys, every entry by a replay of its account's wallet, time, draws,
/// and with `agrees` the wallet snapshots.
///
/// # Errors
///
/// [`VerifyError`]: the first thing that does not hold.
pub fn verify_with(folder: &Path, agrees: Option<&mut Agrees<'_>>) -> Result<Report, VerifyError> {
    let files = Files::of(folder);
    let read = |error: rusqlite::Error| VerifyError::Read(error.into());
    // The snapshots are read before the ledger, so that it has every entry they stand on.
    let snapshots = match &agrees {
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
    let mut audit = Audit::new(snapshots, agrees);
    audit.walk(&ledger)?;
    audit.finish()
}

struct Audit<'a, 'b> {
    accounts: HashMap<AccountId, Account>,
    credits: HashMap<Seq, Credit>,
    snapshots: HashMap<AccountId, WalletSnapshot>,
    agrees: Option<&'a mut Agrees<'b>>,
    report: Report,
}

struct Account {
    wallet: Wallet,
    at: Timestamp,
}

struct Credit {
    account: AccountId,
    brought: i128,
    used: i128,
}

impl<'a, 'b> Audit<'a, 'b> {
    fn new(snapshots: Vec<WalletSnapshot>, agrees: Option<&'a mut Agrees<'b>>) -> Self {
        Self {
            accounts: HashMap::new(),
            credits: HashMap::new(),
            snapshots: snapshots.into_iter().map(|wallet| (wallet.account, wallet)).collect(),
            agrees,
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
        self.draws(entry).and_then(|()| self.replay(entry)).map_err(|broken| {
            VerifyError::Entry { seq: entry.seq, account: entry.account, broken }
        })?;
        self.report.entries += 1;
        self.report.last_seq = entry.seq;
        Ok(())
    }

    /// That positions ascend needs no check: they are the key by which the rows are read.
    fn replay(&mut self, entry: &Entry) -> Result<(), Broken> {
        let account = self
            .accounts
            .entry(entry.account)
            .or_insert_with(|| Account { wallet: Wallet::default(), at: entry.at });
        account.wallet.replay(entry).map_err(Broken::Books)?;
        if entry.at < account.at {
            return Err(Broken::Earlier);
        }
        account.at = entry.at;
        if account.wallet.owed() > Nano::ZERO && has_credit(&account.wallet, entry) {
            return Err(Broken::Owed);
        }
        Ok(())
    }

    /// Over its whole life no credit gives more than it brought, nor gets more back than it
    /// gave. What pays for debt is not drawn, so that this is a bound and no sum.
    fn draws(&mut self, entry: &Entry) -> Result<(), Broken> {
        let amount = i128::from(entry.amount.get());
        if entry.terms.is_some() && entry.draws.is_empty() {
            let credit = Credit { account: entry.account, brought: amount, used: 0 };
            self.credits.insert(entry.seq, credit);
        }
        for draw in &entry.draws {
            let drawn = i128::from(draw.amount.get());
            let credit = self
                .credits
                .get_mut(&draw.from)
                .filter(|credit| credit.account == entry.account)
                .ok_or(Broken::NoCredit { from: draw.from })?;
            credit.used += if amount < 0 { drawn } else { -drawn };
            if credit.used < 0 || credit.used > credit.brought {
                return Err(Broken::Overdrawn { from: draw.from });
            }
        }
        Ok(())
    }

    fn compare(&mut self, account: AccountId) -> Result<(), VerifyError> {
        let (Some(snapshot), Some(agrees)) =
            (self.snapshots.remove(&account), self.agrees.as_deref_mut())
        else {
            return Ok(());
        };
        let known = self.accounts.get(&account).is_some_and(|it| agrees(&snapshot, &it.wallet));
        if !known {
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
            self.accounts.values().map(|it| i128::from(it.wallet.balance().get())).sum();
        Ok(self.report)
    }
}

fn has_credit(wallet: &Wallet, entry: &Entry) -> bool {
    let state = wallet.state(entry.seq);
    state.grants.iter().any(|grant| grant.terms.expires_at.is_none_or(|end| end > entry.at))
}

const NANO: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn sums_beyond_one_wallet_are_written_out() {
        let text = |balance| Report { balance, ..Report::default() }.balance_text();
        assert_eq!(text(0), "0.00");
        assert_eq!(text(-1_500_000_000), "-1.50");
        assert_eq!(text(i128::from(i64::MAX) * 10 + 1), "92233720368.547758071");
    }
}

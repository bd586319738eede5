//! Durable holds in memory: credit reserved for work that ends later.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::id::HoldId;
use weir_core::time::Timestamp;
use weir_core::wallet::Hold;

use crate::cell::AccountCell;

/// A durable hold as it is kept. Money is decimal text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HoldRecord {
    /// How much it reserves, or reserved.
    pub amount: String,
    /// What it is for, in the operator's words.
    pub reference: String,
    /// Whether it is open, and if not how it ended.
    pub status: HoldStatus,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: i64,
    /// When it ends by itself, in microseconds since the Unix epoch.
    pub expires_at_us: i64,
    /// When it ended, in microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_us: Option<i64>,
    /// What was charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<String>,
    /// The first entry of the charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// It reserves credit.
    Open,
    /// The work was charged.
    Settled,
    /// It was given back.
    Voided,
    /// Its time ran out.
    Expired,
}

impl HoldStatus {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// A hold that is open.
#[derive(Debug)]
pub(crate) struct OpenHold {
    pub(crate) cell: Arc<AccountCell>,
    pub(crate) hold: Hold,
    pub(crate) record: HoldRecord,
    /// When it ends by itself: later than its record says if the process was down then.
    pub(crate) deadline: Timestamp,
}

/// All holds that are open.
#[derive(Debug, Default)]
pub(crate) struct OpenHolds(pub(crate) Mutex<BTreeMap<HoldId, OpenHold>>);

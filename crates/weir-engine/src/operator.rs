//! Admin keys and what their holders may do.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::id::AdminKeyId;
use weir_core::time::Timestamp;

use crate::secret::SecretDigest;

/// What the holder of an admin key may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// That, and change everything but admin keys and the configuration.
    Operator,
    /// Everything.
    Owner,
}

/// An admin key as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AdminKeyRecord {
    /// What people call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// SHA-256 of its secret, in hex.
    pub digest: String,
    /// Beginning and end of the secret.
    pub hint: String,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: i64,
}

/// An admin key with its place.
#[derive(Clone, Debug)]
pub struct AdminKeyEntry {
    /// Its id.
    pub id: AdminKeyId,
    /// The key.
    pub record: AdminKeyRecord,
}

/// All of them, by digest.
#[derive(Debug, Default)]
pub(crate) struct AdminKeys(pub(crate) Mutex<HashMap<SecretDigest, AdminKeyEntry>>);

impl AdminKeyEntry {
    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_micros(self.record.created_at_us)
    }
}

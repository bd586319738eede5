//! Admin keys beside the owner's own: made, listed, withdrawn.

use serde_json::Value;
use weir_core::id::AdminKeyId;
use weir_store::op::{Delete, Expected, Op, Put, Urgency};

use crate::change::ChangeError;
use crate::engine::Engine;
use crate::operator::{AdminKeyEntry, AdminKeyRecord, Role};
use crate::secret::{NewSecret, SecretDigest, draw_admin};
use crate::trail::Change;

impl Engine {
    /// The admin key of that secret, other than the owner's own.
    pub fn admin_key(&self, digest: &SecretDigest) -> Option<AdminKeyEntry> {
        self.admin_keys.0.lock().get(digest).cloned()
    }

    /// All admin keys but the owner's own, oldest first.
    pub fn admin_keys(&self) -> Vec<AdminKeyEntry> {
        let mut all: Vec<AdminKeyEntry> = self.admin_keys.0.lock().values().cloned().collect();
        all.sort_unstable_by_key(|entry| entry.id);
        all
    }

    /// Makes an admin key; durable before it is returned with its secret.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: too many, no randomness, or the store.
    pub async fn create_admin_key(
        &self,
        name: String,
        role: Role,
    ) -> Result<(AdminKeyEntry, String), ChangeError> {
        let _turn = self.changes.lock().await;
        if self.admin_keys.0.lock().len() >= ADMIN_KEYS_MAX {
            let why = format!("there are {ADMIN_KEYS_MAX} admin keys already, which is the most");
            return Err(ChangeError::Conflict(why));
        }
        let NewSecret { secret, digest, hint } =
            draw_admin(&self.settings.key_prefix).map_err(|_| ChangeError::NoRandomness)?;
        let created_at_us = self.now().micros();
        let record = AdminKeyRecord { name, role, digest: digest.to_hex(), hint, created_at_us };
        let id = AdminKeyId(self.next_id());
        let (at, expected) = (self.now(), Expected::Absent);
        let body = serde_json::to_string(&record)?;
        let mut ops =
            vec![Op::Put(Put { kind: KIND, id: id.0, account: None, at, body, expected })];
        ops.extend(self.audit(Change {
            action: "admin_key.created",
            subject: id.to_string(),
            account: None,
            before: Value::Null,
            after: serde_json::to_value(&record)?,
        }));
        self.journal.commit(Urgency::Fresh, ops).await?;
        let entry = AdminKeyEntry { id, record };
        self.admin_keys.0.lock().insert(digest, entry.clone());
        Ok((entry, secret))
    }

    /// Withdraws an admin key at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such key, or the store.
    pub async fn revoke_admin_key(&self, id: AdminKeyId) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let known = self.admin_keys().into_iter().find(|entry| entry.id == id);
        let entry = known.ok_or(ChangeError::NotFound)?;
        let mut ops = vec![Op::Delete(Delete { kind: KIND, id: id.0, expected: None })];
        ops.extend(self.audit(Change {
            action: "admin_key.revoked",
            subject: id.to_string(),
            account: None,
            before: serde_json::to_value(&entry.record)?,
            after: Value::Null,
        }));
        self.journal.commit(Urgency::Fresh, ops).await?;
        self.admin_keys.0.lock().retain(|_, known| known.id != id);
        Ok(())
    }

    /// Takes in a key that an earlier process made.
    pub(crate) fn install_admin_key(&self, id: u64, record: AdminKeyRecord) {
        if let Some(digest) = SecretDigest::from_hex(&record.digest) {
            let entry = AdminKeyEntry { id: AdminKeyId(id), record };
            self.admin_keys.0.lock().insert(digest, entry);
        }
    }
}

/// The kind of resource in the store.
pub(crate) const KIND: &str = "operator_key";
const ADMIN_KEYS_MAX: usize = 200;

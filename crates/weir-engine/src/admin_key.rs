//! The operator's own key, where the configuration names none: made at the first start, kept as a
//! digest.

use serde::{Deserialize, Serialize};
use weir_store::op::{Expected, Op, Put, Urgency};

use crate::change::ChangeError;
use crate::engine::Engine;
use crate::secret::{NewSecret, SecretDigest, draw_admin};

/// The operator's key as the process needs it.
#[derive(Debug)]
pub struct AdminKey {
    /// What it is known by.
    pub digest: SecretDigest,
    /// The secret, if it was made just now: to be shown once.
    pub fresh: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct AdminKeyRow {
    digest: String,
}

impl Engine {
    /// The key that an earlier start made, or a new one. Reads from the disk: for the start only.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] when the store cannot be read or written.
    pub async fn own_admin_key(&self) -> Result<AdminKey, ChangeError> {
        let reader = self.journal.store().reader();
        let kept = reader.resource(KIND, ID).map_err(ChangeError::Unreadable)?;
        let digest = kept
            .and_then(|kept| serde_json::from_str::<AdminKeyRow>(&kept.body).ok())
            .and_then(|row| SecretDigest::from_hex(&row.digest));
        if let Some(digest) = digest {
            return Ok(AdminKey { digest, fresh: None });
        }
        let NewSecret { secret, digest, .. } =
            draw_admin(&self.settings.key_prefix).map_err(|_| ChangeError::NoRandomness)?;
        let body = serde_json::to_string(&AdminKeyRow { digest: digest.to_hex() })?;
        let (at, expected) = (self.now(), Expected::Any);
        let put = Op::Put(Put { kind: KIND, id: ID, account: None, at, body, expected });
        self.journal.commit(Urgency::Fresh, vec![put]).await?;
        Ok(AdminKey { digest, fresh: Some(secret) })
    }

    /// Takes no more commits and writes what is behind: the last thing a process does.
    pub fn close(&self) {
        self.write_behind();
        self.journal.store().close();
    }
}

const KIND: &str = "admin_key";
const ID: u64 = 1;

//! Keys: made, imported, changed, rotated, withdrawn.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwap;
use serde_json::Value;
use std::collections::BTreeMap;
use weir_core::admit::SPEND_CAP;
use weir_core::calendar::Zone;
use weir_core::id::{AccountId, KeyId};
use weir_core::key::{AddressBlock, Key, KeyType, SpendCap, Urgency};
use weir_core::limit::{Anchor, Period, Rule, Terms, Unit};
use weir_core::model::ModelPattern;
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::plan::{Limit, Target};
use weir_core::policy::Policy;
use weir_core::time::{Span, Timestamp};
use weir_store::op::{Expected, Op, Put, Urgency as Commit};

use crate::cell::{AccountCell, KeyCell, KeyState};
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::own::key_limit;
use crate::record::{KeyRecord, SpendCapRecord, kind};
use crate::secret::{NewSecret, SecretDigest, draw};
use crate::trail::Change;

/// What a new key shall be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// `read`, `read_write` or `service`.
    pub kind: String,
    /// The scopes it may use; `None`: all.
    pub scopes: Option<Vec<String>>,
    /// The models it may name; `None`: all.
    pub models: Option<Vec<String>>,
    /// The addresses it may be used from; `None`: all.
    pub allowed_ips: Option<Vec<String>>,
    /// Limits of its own.
    pub limits: BTreeMap<String, Value>,
    /// What it may spend.
    pub spend_cap: Option<SpendCapRecord>,
    /// The most urgent priority that it may use.
    pub urgency: Option<String>,
    /// When it stops being valid.
    pub expires_at: Option<Timestamp>,
    /// SHA-256 in hex of a secret that a customer already holds.
    pub secret_sha256: Option<String>,
}

/// A key as it was made.
#[derive(Debug)]
pub struct MadeKey {
    /// The key.
    pub key: Arc<KeyCell>,
    /// Its secret, now and never again; `None` for an imported one.
    pub secret: Option<String>,
}

impl Engine {
    /// Makes a key of an account; durable before it is returned.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such account, a wrong member, a digest in use, or the store.
    pub async fn create_key(
        &self,
        account: AccountId,
        new: NewKey,
    ) -> Result<MadeKey, ChangeError> {
        let _turn = self.changes.lock().await;
        let cell = self.account(account).ok_or(ChangeError::NotFound)?;
        let kind = KeyType::by_name(&new.kind).ok_or_else(|| {
            ChangeError::invalid("type", "it must be `read`, `read_write` or `service`")
        })?;
        if kind == KeyType::Service && new.scopes.as_ref().is_none_or(Vec::is_empty) {
            return Err(ChangeError::invalid("scopes", "a service key names its scopes"));
        }
        let (secret, digest, hint) = self.secret_of(&new, kind)?;
        if self.keys.pin().contains_key(&digest) {
            return Err(ChangeError::Conflict("a key with this secret exists".to_owned()));
        }
        let now = self.now().micros();
        let record = KeyRecord {
            name: new.name,
            kind: kind.name().to_owned(),
            digest: digest.to_hex(),
            hint,
            scopes: new.scopes,
            models: new.models,
            allowed_ips: new.allowed_ips,
            limits: new.limits,
            spend_cap: new.spend_cap,
            urgency: new.urgency,
            expires_at_us: new.expires_at.map(Timestamp::micros),
            revoked_at_us: None,
            rotated_to: None,
            created_at_us: now,
            updated_at_us: now,
            revision: 1,
        };
        let id = KeyId(self.next_id());
        let state = self.key_state(id, account, record)?;
        self.put_key(&cell, id, &state.record, "key.created").await?;
        let key = self.install_key(&cell, id, state);
        Ok(MadeKey { key, secret })
    }

    fn secret_of(
        &self,
        new: &NewKey,
        kind: KeyType,
    ) -> Result<(Option<String>, SecretDigest, String), ChangeError> {
        if let Some(hex) = &new.secret_sha256 {
            let digest = SecretDigest::from_hex(hex)
                .ok_or_else(|| ChangeError::invalid("secret_sha256", "it must be 64 hex digits"))?;
            return Ok((None, digest, format!("sha256:{}…", &hex[..8])));
        }
        let NewSecret { secret, digest, hint } =
            draw(&self.settings.key_prefix, kind).map_err(|_| ChangeError::NoRandomness)?;
        Ok((Some(secret), digest, hint))
    }

    /// Changes what a key may do. `change` gets the record and may refuse.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such key, another revision than expected, a wrong member, the store.
    pub async fn change_key(
        &self,
        id: KeyId,
        revision: Option<u64>,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), ChangeError>,
    ) -> Result<Arc<KeyCell>, ChangeError> {
        let _turn = self.changes.lock().await;
        self.change_key_in_turn(id, revision, "key.changed", change).await
    }

    /// Withdraws a key at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such key, or the store.
    pub async fn revoke_key(
        &self,
        id: KeyId,
        revision: Option<u64>,
    ) -> Result<Arc<KeyCell>, ChangeError> {
        let _turn = self.changes.lock().await;
        let now = self.now().micros();
        let revoke = |record: &mut KeyRecord| {
            record.revoked_at_us = Some(record.revoked_at_us.map_or(now, |at| at.min(now)));
            Ok(())
        };
        self.change_key_in_turn(id, revision, "key.revoked", revoke).await
    }

    /// Makes a key that takes the place of another, which stays valid for `overlap`.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such key or one no longer valid, or the store.
    pub async fn rotate_key(&self, id: KeyId, overlap: Span) -> Result<MadeKey, ChangeError> {
        let _turn = self.changes.lock().await;
        let old = self.key(id).ok_or(ChangeError::NotFound)?;
        let state = old.state.load_full();
        let now = self.now();
        if state.key.check_valid(now).is_err() {
            return Err(ChangeError::Conflict("the key is no longer valid".to_owned()));
        }
        let NewSecret { secret, digest, hint } = draw(&self.settings.key_prefix, state.key.kind)
            .map_err(|_| ChangeError::NoRandomness)?;
        let record = KeyRecord {
            digest: digest.to_hex(),
            hint,
            rotated_to: None,
            created_at_us: now.micros(),
            updated_at_us: now.micros(),
            revision: 1,
            ..state.record.clone()
        };
        let new_id = KeyId(self.next_id());
        let new_state = self.key_state(new_id, old.account.id, record)?;
        self.put_key(&old.account, new_id, &new_state.record, "key.created").await?;
        let key = self.install_key(&old.account, new_id, new_state);
        let ends = now.plus(overlap).micros();
        let retire = |record: &mut KeyRecord| {
            record.revoked_at_us = Some(ends);
            record.rotated_to = Some(new_id.to_string());
            Ok(())
        };
        self.change_key_in_turn(id, None, "key.rotated", retire).await?;
        Ok(MadeKey { key, secret: Some(secret) })
    }

    async fn change_key_in_turn(
        &self,
        id: KeyId,
        revision: Option<u64>,
        told: &'static str,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), ChangeError>,
    ) -> Result<Arc<KeyCell>, ChangeError> {
        let cell = self.key(id).ok_or(ChangeError::NotFound)?;
        let before = cell.state.load_full();
        if revision.is_some_and(|revision| revision != before.record.revision) {
            return Err(ChangeError::Stale);
        }
        let mut record = before.record.clone();
        change(&mut record)?;
        record.revision += 1;
        record.updated_at_us = self.now().micros();
        let mut state = self.key_state(id, cell.account.id, record)?;
        self.put_key(&cell.account, id, &state.record, told).await?;
        let mut live = cell.account.live.lock();
        state.limits = live.account.entitlement.for_key(&state.key, &state.own);
        let now = live.account.observe(self.now());
        live.account.entitle_key(id, &before.limits, &state.limits, now);
        cell.state.store(Arc::new(state));
        drop(live);
        Ok(cell)
    }

    async fn put_key(
        &self,
        account: &AccountCell,
        id: KeyId,
        record: &KeyRecord,
        told: &'static str,
    ) -> Result<(), ChangeError> {
        let put = Put {
            kind: kind::KEY,
            id: id.0,
            account: Some(account.id),
            at: self.now(),
            body: serde_json::to_string(record)?,
            expected: Expected::Any,
        };
        let data = serde_json::json!({
            "account_id": account.id.to_string(), "key_id": id.to_string(), "name": record.name,
            "hint": record.hint, "revoked_at_us": record.revoked_at_us,
        });
        let mut ops = vec![Op::Put(put)];
        let before = match self.key(id) {
            Some(known) => serde_json::to_value(&known.state.load().record)?,
            None => Value::Null,
        };
        ops.extend(self.audit(Change {
            action: told,
            subject: id.to_string(),
            account: Some(account.id),
            before,
            after: serde_json::to_value(record)?,
        }));
        let turn = self.journal.turn();
        ops.push(Op::Event(event(self, told, Some(account.id), &data)));
        let commit = turn.commit(Commit::Fresh, ops);
        commit.await?;
        Ok(())
    }

    /// Puts a key into the indexes, where calls find it from now on.
    pub(crate) fn install_key(
        &self,
        account: &Arc<AccountCell>,
        id: KeyId,
        mut state: KeyState,
    ) -> Arc<KeyCell> {
        let mut live = account.live.lock();
        state.limits = live.account.entitlement.for_key(&state.key, &state.own);
        let digest = state.digest;
        let cell = Arc::new(KeyCell {
            id,
            account: Arc::clone(account),
            state: ArcSwap::from_pointee(state),
            last_used_us: AtomicI64::new(0),
        });
        live.keys.push(Arc::clone(&cell));
        self.keys.pin().insert(digest, Arc::clone(&cell));
        self.key_ids.pin().insert(id, Arc::clone(&cell));
        cell
    }

    /// What a record means under the present policy.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Invalid`] names the member that means nothing.
    pub(crate) fn key_state(
        &self,
        id: KeyId,
        account: AccountId,
        record: KeyRecord,
    ) -> Result<KeyState, ChangeError> {
        let policy = self.policy();
        let mut names = self.names.lock();
        let own = own_limits(&record, &policy, &mut names)?;
        drop(names);
        let digest = SecretDigest::from_hex(&record.digest)
            .ok_or_else(|| ChangeError::invalid("digest", "it must be 64 hex digits"))?;
        let key = key_of(id, account, &record)?;
        Ok(KeyState { key, record, digest, own, limits: Box::default() })
    }
}

fn own_limits(
    record: &KeyRecord,
    policy: &Policy,
    names: &mut LimitNames,
) -> Result<Vec<Limit>, ChangeError> {
    let mut own = Vec::with_capacity(record.limits.len() + 1);
    for (name, value) in &record.limits {
        let limit = key_limit(name, value, policy, names)
            .map_err(|why| ChangeError::invalid(&format!("limits.{name}"), why.why))?;
        own.push(limit);
    }
    if let Some(cap) = &record.spend_cap {
        let (id, name) = names.intern(SPEND_CAP);
        own.push(Limit { id, name, target: Target::All, rule: spend_cap(cap)?.rule });
    }
    Ok(own)
}

fn spend_cap(record: &SpendCapRecord) -> Result<SpendCap, ChangeError> {
    let invalid = |why: String| ChangeError::invalid("spend_cap", why);
    let amount: Nano = record.amount.parse().map_err(|why| invalid(format!("amount: {why}")))?;
    let quota = u64::try_from(amount.get())
        .ok()
        .filter(|quota| *quota <= Rule::QUOTA_MAX)
        .ok_or_else(|| invalid("amount: it must be between 0 and 9007199".to_owned()))?;
    let (period, anchor) = match record.period.as_deref() {
        Some("day") => (Period::DAY, Anchor::Calendar(Zone::UTC)),
        Some("week") => (Period::Span(Span::from_secs(7 * 86_400)), Anchor::Calendar(Zone::UTC)),
        Some("month") => (Period::MONTH, Anchor::Calendar(Zone::UTC)),
        // The longest window there is stands for one that never begins anew.
        None => (Period::Span(Rule::PERIOD_MAX), Anchor::FirstRequest),
        Some(_) => return Err(invalid("period: it must be `day`, `week` or `month`".to_owned())),
    };
    let terms = Terms { anchor, unit: Unit::Credits, ..Terms::new(Some(quota), period) };
    let rule = Rule::new(terms).map_err(|why| invalid(why.to_string()))?;
    Ok(SpendCap { amount, rule })
}

fn key_of(id: KeyId, account: AccountId, record: &KeyRecord) -> Result<Key, ChangeError> {
    let kind = KeyType::by_name(&record.kind)
        .ok_or_else(|| ChangeError::invalid("type", "there is no such key type"))?;
    let models = record.models.as_ref().map(|models| {
        models.iter().map(|model| ModelPattern::parse(model)).collect::<Result<_, _>>()
    });
    let blocks = record.allowed_ips.as_ref().map(|blocks| {
        blocks.iter().map(|block| AddressBlock::parse(block)).collect::<Result<_, _>>()
    });
    let urgency = match record.urgency.as_deref() {
        None | Some("normal") => Urgency::Normal,
        Some("low") => Urgency::Low,
        Some("high") => Urgency::High,
        Some("critical") => Urgency::Critical,
        Some(_) => {
            let words = "it must be `low`, `normal`, `high` or `critical`";
            return Err(ChangeError::invalid("urgency", words));
        }
    };
    let scopes = record.scopes.as_ref();
    Ok(Key {
        id,
        account,
        kind,
        scopes: scopes.map(|scopes| scopes.iter().map(|scope| scope.as_str().into()).collect()),
        models: models.transpose().map_err(|why| ChangeError::invalid("models", why))?,
        allowed_ips: blocks.transpose().map_err(|why| ChangeError::invalid("allowed_ips", why))?,
        expires_at: record.expires_at_us.map(Timestamp::from_micros),
        revoked_at: record.revoked_at_us.map(Timestamp::from_micros),
        spend_cap: record.spend_cap.as_ref().map(spend_cap).transpose()?,
        urgency,
    })
}

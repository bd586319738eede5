//! Who changed what: written in the same commit as the change.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::id::AccountId;
use weir_core::time::{Span, Timestamp};
use weir_store::op::{Expected, Op, Put};

use crate::change::ChangeError;
use crate::engine::Engine;

/// Who acts through an API.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Actor {
    /// The credential: the id of a key, or `admin` for the operator's own.
    pub name: String,
    /// The request's id.
    pub request_id: String,
}

/// A change as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Who made it.
    pub actor: Actor,
    /// What was done, such as `key.rotated`.
    pub action: String,
    /// The id of what was changed.
    pub subject: String,
    /// The members that changed, as they were; nothing of what is new.
    pub before: Value,
    /// The members that changed, as they are; nothing of what is gone.
    pub after: Value,
}

/// A change with its place in the list.
#[derive(Clone, Debug)]
pub struct Audited {
    /// Its number, ascending in time.
    pub id: u64,
    /// Whom it concerns.
    pub account: Option<AccountId>,
    /// When it was made.
    pub at: Timestamp,
    /// The change.
    pub record: AuditRecord,
}

/// A change that is about to be written.
pub(crate) struct Change<'a> {
    pub(crate) action: &'a str,
    pub(crate) subject: String,
    pub(crate) account: Option<AccountId>,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

tokio::task_local! {
    static ACTOR: Actor;
}

/// Runs what `actor` does: every change in it is written down as theirs.
pub async fn acting<T>(actor: Actor, work: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, work).await
}

/// Who acts in this task, if anyone said so.
pub(crate) fn actor() -> Option<Actor> {
    ACTOR.try_with(Clone::clone).ok()
}

impl Engine {
    /// The operation that writes a change down; none where the process itself changes something.
    pub(crate) fn audit(&self, change: Change<'_>) -> Option<Op> {
        let actor = actor()?;
        let (before, after) = difference(change.before, change.after);
        let (action, subject) = (change.action.to_owned(), change.subject);
        let record = AuditRecord { actor, action, subject, before, after };
        Some(Op::Put(Put {
            kind: KIND,
            id: self.next_id(),
            account: change.account,
            at: self.now(),
            body: serde_json::to_string(&record).ok()?,
            expected: Expected::Absent,
        }))
    }

    /// How long changes stay in the list; 400 days unless said.
    pub fn keep_audit(&self, length: Span) {
        self.audit_kept_us.store(length.micros(), Ordering::Relaxed);
    }

    /// What of the list has had its time.
    pub(crate) fn audit_before(&self, now: Timestamp) -> (&'static str, u64) {
        let kept = Span::from_micros(self.audit_kept_us.load(Ordering::Relaxed));
        (KIND, self.id_at(now.minus(kept)))
    }

    /// Changes (of one account, or all) before a number (or the last ones), newest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn audited(
        &self,
        account: Option<AccountId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, ChangeError> {
        let rows =
            self.read(move |reader| reader.resources_before(KIND, account, before, limit)).await?;
        let read = |row: weir_store::read::Resource| {
            let record = serde_json::from_str(&row.body)?;
            Ok(Audited { id: row.id, account: row.account, at: row.created_at, record })
        };
        rows.into_iter().map(read).collect()
    }
}

/// Of two objects only the members that differ; secrets and their digests are left out.
fn difference(before: Value, after: Value) -> (Value, Value) {
    let (mut before, mut after) = match (before, after) {
        (Value::Object(before), Value::Object(after)) => (before, after),
        (before, after) => return (without_noise(before), without_noise(after)),
    };
    let same: Vec<String> = before
        .iter()
        .filter(|(name, value)| after.get(*name) == Some(*value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in same {
        before.remove(&name);
        after.remove(&name);
    }
    (without_noise(Value::Object(before)), without_noise(Value::Object(after)))
}

fn without_noise(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let said = |(name, _): &(String, Value)| !NOISE.contains(&name.as_str());
    Value::Object(members.into_iter().filter(said).collect::<Map<_, _>>())
}

const KIND: &str = "audit";
/// Members that say nothing about a change, or that nobody is to read.
const NOISE: [&str; 6] =
    ["digest", "secret", "previous", "revision", "updated_at_us", "created_at_us"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_kept() {
        let before = json!({"name": "A", "plan": "free", "revision": 1});
        let after = json!({"name": "A", "plan": "pro", "revision": 2, "email": "a@b"});
        let (before, after) = difference(before, after);
        assert_eq!(before, json!({"plan": "free"}));
        assert_eq!(after, json!({"plan": "pro", "email": "a@b"}));
        let (before, after) = difference(Value::Null, json!({"name": "k", "digest": "00"}));
        assert_eq!((before, after), (Value::Null, json!({"name": "k"})));
    }
}

//! Facts that are told: written in the same commit as the fact itself.

use serde_json::Value;
use weir_core::id::{AccountId, EventId};
use weir_store::op::Event;

use crate::engine::Engine;

/// An event with a new id. Made in one's turn at the journal, so that ids ascend in the order of
/// commit and whoever reads on from an id misses none.
pub(crate) fn event(
    engine: &Engine,
    kind: &str,
    account: Option<AccountId>,
    data: &Value,
) -> Event {
    Event {
        id: EventId(engine.next_id()),
        at: engine.now(),
        account,
        kind: kind.into(),
        body: data.to_string(),
    }
}

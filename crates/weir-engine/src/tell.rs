//! What limits have to tell, on its way into the events.

use std::sync::Arc;

use serde_json::json;
use weir_core::account::Owner;
use weir_core::limit::Unit;
use weir_store::op::{Event, Op, Urgency};

use crate::alarm::{Alarm, Level};
use crate::engine::Engine;
use crate::event::event;

impl Engine {
    /// Writes down what limits have to tell, until the process ends. Only the first caller does.
    pub async fn tell_alarms(self: Arc<Self>) {
        let drain = self.alarms.drain.lock().take();
        let Some(mut drain) = drain else { return };
        let mut alarms = Vec::with_capacity(BATCH_MAX);
        while drain.recv_many(&mut alarms, BATCH_MAX).await > 0 {
            let turn = self.journal.turn();
            let ops = alarms.drain(..).map(|alarm| Op::Event(told(&self, &alarm))).collect();
            let commit = turn.commit(Urgency::Fresh, ops);
            if let Err(error) = commit.await {
                tracing::warn!(%error, "what limits had to tell was lost");
            }
        }
    }
}

fn told(engine: &Engine, alarm: &Alarm) -> Event {
    let view = &alarm.view;
    let (per, key) = match view.owner {
        Owner::Account => ("account", None),
        Owner::Key(id) => ("key", Some(id.to_string())),
    };
    let unit = match view.unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::Credits => "credits",
    };
    let kind = match alarm.level {
        Level::Threshold => "limit.threshold",
        Level::Exceeded => "limit.exceeded",
    };
    let data = json!({
        "account_id": alarm.account.to_string(), "key_id": key,
        "limit": {
            "name": view.name, "per": per, "unit": unit, "limit": view.now.limit,
            "used": view.now.used, "remaining": view.now.remaining,
            "window_s": view.now.window.secs_ceil(),
            "reset_at_us": view.now.reset_at.micros(),
        },
    });
    event(engine, kind, Some(alarm.account), &data)
}
/// What is written at once.
const BATCH_MAX: usize = 64;

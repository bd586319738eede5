//! Answers to calls that never reach an upstream: counted, with where the limits stand.

use std::sync::Arc;

use weir_core::admit::LimitView;
use weir_engine::call::{Refused, Wanted};
use weir_engine::cell::KeyCell;
use weir_engine::engine::Engine;

use crate::pipeline::{Incoming, Pipeline, millis};
use crate::refuse::{Context, Dialect, Failure};

impl Pipeline {
    /// An answer to a valid key that no route gave: its general limits still stand in the headers.
    pub(crate) fn without_route(&self, failure: Failure, incoming: &Incoming<'_>) -> Failure {
        let method = incoming.parts.method.as_str();
        let views = general_views(&self.engine, incoming.key, method);
        failure.limits(&views, Dialect::Problem, self.engine.now())
    }

    /// A refusal by limits, wallet or store, counted.
    pub(crate) fn refuse_call(
        &self,
        refused: &Refused,
        wanted: &Wanted<'_>,
        context: &Context<'_>,
        incoming: &Incoming<'_>,
    ) -> Failure {
        let failure = context.refused(refused, wanted.model.unwrap_or_default());
        let limited = matches!(failure.status(), 402 | 429);
        let latency = millis(incoming.arrived);
        self.engine.count_unsent(wanted, failure.status(), limited, latency);
        failure
    }

    /// A failure before admission, counted, with where the limits stand.
    pub(crate) fn unsent(
        &self,
        failure: Failure,
        wanted: &Wanted<'_>,
        dialect: Dialect,
        incoming: &Incoming<'_>,
    ) -> Failure {
        self.engine.count_unsent(wanted, failure.status(), false, millis(incoming.arrived));
        let (views, available, at) = self.engine.standing(wanted);
        failure.limits(&views, dialect, at).wallet(available)
    }
}

/// The limits of a key that count calls of any route with this method.
pub(crate) fn general_views(engine: &Engine, key: &Arc<KeyCell>, method: &str) -> Vec<LimitView> {
    let class = if weir_core::operation::is_safe(method) { "read" } else { "write" };
    let mut views = engine.limits_of(&key.account, Some(key));
    views.retain(|view| {
        let name = view.name.strip_prefix("key:").unwrap_or(view.name);
        let stem = name.split('.').next().unwrap_or_default();
        stem == class || stem == "all" || stem == "concurrency"
    });
    views
}

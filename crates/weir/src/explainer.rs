//! The data plane as the admin API asks it what would become of a call.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use weir_api::settings::Explainer;
use weir_engine::engine::Engine;
use weir_engine::rehearse::{Explained, Question};
use weir_gate::explain::explain;
use weir_gate::gate::Setups;

/// The data plane under whatever configuration is in force.
pub(crate) struct GateExplainer {
    engine: Arc<Engine>,
    setups: Arc<Setups>,
}

impl GateExplainer {
    pub(crate) fn shared(engine: &Arc<Engine>, setups: &Arc<Setups>) -> Arc<dyn Explainer> {
        Arc::new(Self { engine: Arc::clone(engine), setups: Arc::clone(setups) })
    }
}

impl Explainer for GateExplainer {
    fn explain(&self, question: &Question) -> Explained<Result<HeaderMap, Response<Bytes>>> {
        explain(&self.engine, &self.setups.present(), question)
    }
}

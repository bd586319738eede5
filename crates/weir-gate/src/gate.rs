//! The data plane of one core, under whatever configuration is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use weir_engine::engine::Engine;

use crate::answer::{Answer, AnswerBody};
use crate::handler::{Handler, Peer, Refuser, RequestBody};
use crate::head::HeadRefusal;
use crate::identify::request_id;
use crate::lane::Lane;
use crate::out_body::OutBody;
use crate::pipeline::{Pipeline, Shared};
use crate::refuse::Dialect;
use crate::upstream::Upstreams;

/// What a configuration says of the data plane. Replaced as a whole between two requests.
pub struct Setup {
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// The upstreams; each core opens connections of its own.
    pub upstreams: Upstreams<OutBody>,
}

/// The setup in force.
pub struct Setups(ArcSwap<Setup>);

/// The data plane of one core.
pub struct Gate {
    setups: Arc<Setups>,
    engine: Arc<Engine>,
    detached: Arc<AtomicUsize>,
    lane: Arc<Lane>,
    core: ArcSwap<Core>,
}

/// A setup as this core uses it.
struct Core {
    of: Arc<Setup>,
    pipeline: Arc<Pipeline>,
}

impl Setups {
    /// Begins with this one.
    pub fn new(setup: Setup) -> Self {
        Self(ArcSwap::from_pointee(setup))
    }

    /// The setup in force.
    pub fn present(&self) -> Arc<Setup> {
        self.0.load_full()
    }

    /// Puts another in force, from the next request on.
    pub fn replace(&self, setup: Setup) {
        self.0.store(Arc::new(setup));
    }
}

impl Gate {
    /// The data plane of one core, within the runtime of that core.
    pub fn new(engine: Arc<Engine>, setups: Arc<Setups>) -> Self {
        let of = setups.present();
        let detached = Arc::default();
        let upstreams = of.upstreams.for_another_core();
        let lane = Lane::open();
        let core = core(&engine, of, upstreams, &detached, &lane);
        Self { core: ArcSwap::from_pointee(core), setups, engine, detached, lane }
    }

    /// The pipeline under the setup in force.
    fn pipeline(&self) -> Arc<Pipeline> {
        let core = self.core.load();
        let setup = self.setups.0.load();
        if Arc::ptr_eq(&core.of, &setup) {
            return Arc::clone(&core.pipeline);
        }
        // Connections to upstreams that stay as they were stay open.
        let upstreams = setup.upstreams.for_core_after(&core.pipeline.upstreams);
        let of = Arc::clone(&setup);
        let fresh = self::core(&self.engine, of, upstreams, &self.detached, &self.lane);
        let pipeline = Arc::clone(&fresh.pipeline);
        self.core.store(Arc::new(fresh));
        pipeline
    }
}

impl Refuser for Gate {
    fn refuse(&self, refusal: HeadRefusal, _peer: &Peer) -> Response<Bytes> {
        let request_id = request_id(&HeaderMap::new());
        let pipeline = self.pipeline();
        let context = pipeline.context(&request_id, Dialect::Problem);
        let failure = context.head(refusal);
        pipeline.count_refused_head(&failure);
        failure.into_response(&context)
    }
}

impl Handler for Gate {
    type Body = AnswerBody;

    fn call(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send + 'static {
        self.pipeline().answer(request, peer)
    }

    fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }
}

fn core(
    engine: &Arc<Engine>,
    of: Arc<Setup>,
    upstreams: Upstreams<OutBody>,
    detached: &Arc<AtomicUsize>,
    lane: &Arc<Lane>,
) -> Core {
    let pipeline = Pipeline {
        engine: Arc::clone(engine),
        upstreams,
        shared: Arc::clone(&of.shared),
        detached: Arc::clone(detached),
        lane: Arc::clone(lane),
    };
    Core { of, pipeline: Arc::new(pipeline) }
}

//! The whole engine with its store: what the data plane calls for each request.

use std::error::Error;
use std::sync::Arc;

use weir_core::limit::Period;
use weir_core::names::LimitNames;
use weir_core::operation::RouteIndex;
use weir_core::policy::Policy;
use weir_core::price::Bound;
use weir_engine::accounts::NewAccount;
use weir_engine::call::{Admission, Wanted};
use weir_engine::cell::KeyCell;
use weir_engine::clock::Clock;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::keys::NewKey;
use weir_store::store::Options;

use crate::contender::Contender;
use crate::policy;

/// An engine with a key of each of so many accounts.
pub(crate) struct Whole {
    engine: Arc<Engine>,
    policy: Arc<Policy>,
    keys: Vec<Arc<KeyCell>>,
    _folder: tempfile::TempDir,
}

impl Whole {
    /// Opens an engine in a folder of its own, in memory where there is such a place: what is
    /// measured writes nothing.
    pub(crate) fn open(accounts: u32) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let mut names = LimitNames::default();
        let policy = policy::with_limits(4, Period::MINUTE, &mut names)?;
        let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
        let (options, clock) = (Options::default(), Clock::running());
        let engine = Engine::boot(folder.path(), options, settings, policy, names, clock)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut keys = Vec::new();
        for _ in 0..accounts {
            let new = NewAccount { plan: policy::PLAN.into(), ..NewAccount::default() };
            let account = runtime.block_on(engine.create_account(new))?;
            let key = NewKey { name: "k".into(), kind: "read_write".into(), ..NewKey::default() };
            keys.push(runtime.block_on(engine.create_key(account.id, key))?.key);
        }
        Ok(Self { policy: engine.policy(), engine, keys, _folder: folder })
    }

    /// Ends the engine in order.
    pub(crate) fn close(self) {
        self.engine.close();
    }
}

impl Contender for Whole {
    fn decide(&self, key: u32) -> bool {
        let key = usize::try_from(key).ok().and_then(|key| self.keys.get(key));
        let Some(key) = key else { return false };
        let wanted = Wanted {
            policy: &self.policy,
            index: RouteIndex(0),
            key,
            state: &key.state.load_full(),
            model: None,
            urgent: false,
            request_id: "call",
            bound: Bound::text(0, 100),
            output_max: None,
            stream: false,
        };
        matches!(self.engine.admit(&wanted), Admission::Granted(_))
    }
}

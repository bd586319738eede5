//! The interned names of limits: small numbers that mean the same across policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limit::LimitId;

/// Every limit name that this process has met, in the order of meeting.
#[derive(Clone, Debug, Default)]
pub struct LimitNames {
    ids: BTreeMap<Arc<str>, LimitId>,
    names: Vec<Arc<str>>,
}

impl LimitNames {
    /// The id of a name, new if it was never met.
    pub fn intern(&mut self, name: &str) -> (LimitId, Arc<str>) {
        if let Some((known, id)) = self.ids.get_key_value(name) {
            return (*id, Arc::clone(known));
        }
        let name: Arc<str> = name.into();
        let id = LimitId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.ids.insert(Arc::clone(&name), id);
        self.names.push(Arc::clone(&name));
        (id, name)
    }

    /// The name of an id.
    pub fn name(&self, id: LimitId) -> Option<&Arc<str>> {
        usize::try_from(id.0).ok().and_then(|index| self.names.get(index))
    }
}

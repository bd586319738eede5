//! The interned names of limits: small numbers that mean the same across policies.

use crate::limit::LimitId;
use std::collections::BTreeMap;

/// Every limit name that this process has met, in the order of meeting.
///
/// Names are kept for the life of the process, so that a decision can carry them without counting
/// references. Whoever interns names that customers choose bounds how many there can be.
#[derive(Debug, Default)]
pub struct LimitNames {
    ids: BTreeMap<&'static str, LimitId>,
    names: Vec<&'static str>,
}

impl LimitNames {
    /// The id of a name, new if it was never met.
    pub fn intern(&mut self, name: &str) -> (LimitId, &'static str) {
        if let Some((known, id)) = self.ids.get_key_value(name) {
            return (*id, known);
        }
        let name: &'static str = Box::leak(name.into());
        let id = LimitId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.ids.insert(name, id);
        self.names.push(name);
        (id, name)
    }

    /// The name of an id.
    pub fn name(&self, id: LimitId) -> Option<&'static str> {
        usize::try_from(id.0).ok().and_then(|index| self.names.get(index)).copied()
    }
}

//! Whose turn is next: webhooks by the time at which something waits for them.

use std::collections::{BTreeSet, HashMap};

use weir_core::id::WebhookId;
use weir_core::time::Timestamp;

/// Webhooks by the time at which something waits for them, each once.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    by_time: BTreeSet<(Timestamp, WebhookId)>,
    times: HashMap<WebhookId, Timestamp>,
}

impl Agenda {
    /// Looks at a webhook at that time, or earlier if that was planned already.
    pub(crate) fn plan(&mut self, webhook: WebhookId, at: Timestamp) {
        if let Some(planned) = self.times.get(&webhook).copied() {
            if planned <= at {
                return;
            }
            self.by_time.remove(&(planned, webhook));
        }
        self.times.insert(webhook, at);
        self.by_time.insert((at, webhook));
    }

    /// A webhook whose time has come, the longest waiting first; it is then off the agenda.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<WebhookId> {
        let (at, webhook) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, webhook));
        self.times.remove(&webhook);
        Some(webhook)
    }

    /// When there is something to do next.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_plan_of_each_counts_and_the_longest_waiting_goes_first() {
        let at = Timestamp::from_secs;
        let mut agenda = Agenda::default();
        agenda.plan(WebhookId(1), at(10));
        agenda.plan(WebhookId(2), at(5));
        agenda.plan(WebhookId(1), at(3));
        agenda.plan(WebhookId(2), at(9));
        assert_eq!(agenda.next(), Some(at(3)));
        assert_eq!(agenda.take_due(at(2)), None);
        assert_eq!(agenda.take_due(at(5)), Some(WebhookId(1)));
        assert_eq!(agenda.take_due(at(5)), Some(WebhookId(2)));
        assert_eq!(agenda.take_due(at(99)), None);
    }
}

//! Limits that tell how full they are: `limit.threshold` and `limit.exceeded`, at best effort.
//!
//! Admission only compares two numbers; where a limit crosses its level, a note goes into a
//! bounded channel, and is lost where that is full. Whoever drains it writes the events.

use parking_lot::Mutex;
use tokio::sync::mpsc;
use weir_core::account::Owner;
use weir_core::admit::{LimitView, Refusal};
use weir_core::id::AccountId;
use weir_core::limit::Algorithm;
use weir_core::time::{Span, Timestamp};

/// Notes on their way to the events.
#[derive(Debug)]
pub(crate) struct Alarms {
    notes: mpsc::Sender<Alarm>,
    pub(crate) drain: Mutex<Option<mpsc::Receiver<Alarm>>>,
}

/// What an account's limits have told already.
#[derive(Debug, Default)]
pub(crate) struct AlarmLevels(Vec<Told>);

/// A limit that crossed a level.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) account: AccountId,
    pub(crate) level: Level,
    pub(crate) view: LimitView,
}

/// How full a limit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// Four fifths are used.
    Threshold,
    /// It refused a call.
    Exceeded,
}

#[derive(Debug)]
struct Told {
    owner: Owner,
    name: &'static str,
    level: Level,
    until: Timestamp,
}

impl Default for Alarms {
    fn default() -> Self {
        let (notes, drain) = mpsc::channel(WAITING_MAX);
        Self { notes, drain: Mutex::new(Some(drain)) }
    }
}

impl Alarms {
    /// Looks at the limits of a call that was let through.
    pub(crate) fn passed(
        &self,
        levels: &mut AlarmLevels,
        account: AccountId,
        views: &[LimitView],
        now: Timestamp,
    ) {
        for view in views {
            let Some(limit) = view.now.limit else { continue };
            if u128::from(view.now.used) * 5 >= u128::from(limit) * 4 && limit > 0 {
                self.note(levels, account, Level::Threshold, view, now);
            }
        }
    }

    /// Looks at a refusal.
    pub(crate) fn refused(
        &self,
        levels: &mut AlarmLevels,
        account: AccountId,
        refusal: &Refusal,
        now: Timestamp,
    ) {
        if let Refusal::Limited(view, _) | Refusal::SpendCap(view, _) = refusal {
            self.note(levels, account, Level::Exceeded, view, now);
        }
    }

    fn note(
        &self,
        levels: &mut AlarmLevels,
        account: AccountId,
        level: Level,
        view: &LimitView,
        now: Timestamp,
    ) {
        if view.shadow || view.algorithm == Algorithm::Concurrency {
            return;
        }
        if levels.is_first(view, level, now) {
            // A full channel loses it: best effort is all that is promised.
            let _ = self.notes.try_send(Alarm { account, level, view: view.clone() });
        }
    }
}

impl AlarmLevels {
    /// Whether this window has not told this level yet. Windows shorter than a minute tell once a
    /// minute.
    fn is_first(&mut self, view: &LimitView, level: Level, now: Timestamp) -> bool {
        let until = view.now.reset_at.max(now.plus(PAUSE_MIN));
        let known = self
            .0
            .iter_mut()
            .find(|told| told.level == level && told.owner == view.owner && told.name == view.name);
        if let Some(told) = known {
            if told.until > now {
                return false;
            }
            told.until = until;
            return true;
        }
        if self.0.len() >= LEVELS_MAX {
            self.0.retain(|told| told.until > now);
        }
        if self.0.len() >= LEVELS_MAX {
            return false;
        }
        self.0.push(Told { owner: view.owner, name: view.name, level, until });
        true
    }
}

/// What may wait to be written.
const WAITING_MAX: usize = 1_024;
/// What one account remembers to have told.
const LEVELS_MAX: usize = 128;
/// How often one limit tells one level at most.
const PAUSE_MIN: Span = Span::from_secs(60);

//! How long usage is kept, by the length of its intervals.

use weir_core::time::{Span, Timestamp};
use weir_store::usage::{Forget, Grain};

/// How long usage is kept, by the length of its intervals; `None`: for good.
///
/// Invariant: each is at least [`Self::LEAST`], so that summaries tell a whole day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsageRetention {
    /// By minutes.
    pub minute: Option<Span>,
    /// By hours.
    pub hour: Option<Span>,
    /// By days.
    pub day: Option<Span>,
}

impl UsageRetention {
    /// What summaries and the runway of wallets read: the last 24 hours, and the hour that was
    /// running when they began.
    pub const LEAST: Span = Span::from_secs(25 * 3_600);

    /// What has had its time.
    pub(crate) fn forgotten(&self, now: Timestamp) -> impl Iterator<Item = Forget> + use<> {
        let grains =
            [(Grain::Minute, self.minute), (Grain::Hour, self.hour), (Grain::Day, self.day)];
        grains.into_iter().filter_map(move |(grain, kept)| {
            kept.map(|kept| Forget::Rollups(grain, now.minus(kept)))
        })
    }
}

impl Default for UsageRetention {
    fn default() -> Self {
        let days = |days: i64| Some(Span::from_secs(days * 86_400));
        Self { minute: days(2), hour: days(100), day: None }
    }
}

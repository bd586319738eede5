//! Low-balance alerts: a level for each threshold, told once each time it is crossed.
//!
//! [`burn`] is how fast an account spends, [`notice`] tells of credit that is about to expire.

pub mod burn;
pub mod notice;
pub mod threshold;

use smallvec::SmallVec;

pub use self::burn::Burn;
pub use self::notice::{Expiring, Notices, Told};
pub use self::threshold::{InvalidThreshold, Threshold};

use crate::money::Nano;

/// What the levels are judged by, at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// What may be spent.
    pub available: Nano,
    /// The amount of the latest top-up, zero if there was none.
    pub last_top_up: Nano,
    /// What is spent per hour, if that is known.
    pub burn_per_hour: Option<Nano>,
}

/// Something that an account can fall to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Nothing is available.
    Depleted,
    /// A threshold is reached.
    Low(Threshold),
}

/// Where an account stands towards a level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Above it.
    Above,
    /// At or below it, and that was told.
    Below,
    /// At or below it since before anyone asked: its recovery is not told either.
    Seeded,
}

/// A level with where the account stands: the whole durable state of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LevelState {
    /// The level.
    pub level: Level,
    /// Where the account stands.
    pub standing: Standing,
}

/// A level that was crossed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crossing {
    /// Which.
    pub level: Level,
    /// What it amounts to now in money.
    pub value: Nano,
}

/// All levels that one reading crossed, in each direction the most severe first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Crossings {
    /// Levels that the account fell to.
    pub fallen: SmallVec<[Crossing; 1]>,
    /// Levels that it came back from.
    pub recovered: SmallVec<[Crossing; 1]>,
}

/// The alerts of one account: a level for depletion and one for each threshold.
///
/// A level T is reached at `available <= T` and left at `available >= T + max(2 % of T, 1 nano)`.
/// For each level, what is told alternates, beginning with the fall.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alerts(SmallVec<[LevelState; 4]>);

/// More thresholds than are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at most {max} alert thresholds", max = Alerts::THRESHOLDS_MAX)]
pub struct TooManyThresholds;

impl Level {
    /// What it amounts to in money; `None` while that is not known (no top-up, no burn rate).
    pub fn value(self, reading: &Reading) -> Option<Nano> {
        match self {
            Self::Depleted => Some(Nano::ZERO),
            Self::Low(threshold) => threshold.value(reading.last_top_up, reading.burn_per_hour),
        }
    }
}

impl Alerts {
    /// The most thresholds of one account.
    pub const THRESHOLDS_MAX: usize = 20;

    /// Alerts at these thresholds (repeated ones count once) for an account that stands as
    /// `reading` says: nothing is told of what is already so.
    ///
    /// # Errors
    ///
    /// [`TooManyThresholds`] above [`Alerts::THRESHOLDS_MAX`].
    pub fn seeded(thresholds: &[Threshold], reading: &Reading) -> Result<Self, TooManyThresholds> {
        let mut alerts = Self(SmallVec::new());
        alerts.reconfigure(thresholds, reading)?;
        Ok(alerts)
    }

    /// Changes the thresholds: those that stay keep their standing, new ones take it from
    /// `reading`; nothing is told.
    ///
    /// # Errors
    ///
    /// [`TooManyThresholds`] above [`Alerts::THRESHOLDS_MAX`]; nothing is changed.
    pub fn reconfigure(
        &mut self,
        thresholds: &[Threshold],
        reading: &Reading,
    ) -> Result<(), TooManyThresholds> {
        if thresholds.len() > Self::THRESHOLDS_MAX {
            return Err(TooManyThresholds);
        }
        let mut levels: SmallVec<[LevelState; 4]> = SmallVec::new();
        let wanted = thresholds.iter().copied().map(Level::Low);
        for level in std::iter::once(Level::Depleted).chain(wanted) {
            if levels.iter().any(|known| known.level == level) {
                continue;
            }
            let known = self.0.iter().find(|known| known.level == level).copied();
            levels.push(known.unwrap_or_else(|| {
                let below = level.value(reading).is_some_and(|value| reading.available <= value);
                let standing = if below { Standing::Seeded } else { Standing::Above };
                LevelState { level, standing }
            }));
        }
        self.0 = levels;
        Ok(())
    }

    /// Alerts as they were kept; thresholds and levels are then settled by
    /// [`Alerts::reconfigure`].
    ///
    /// # Errors
    ///
    /// [`TooManyThresholds`] when more are given than can have been kept.
    pub fn restore(
        levels: impl IntoIterator<Item = LevelState>,
    ) -> Result<Self, TooManyThresholds> {
        let levels: SmallVec<[LevelState; 4]> =
            levels.into_iter().take(Self::THRESHOLDS_MAX + 2).collect();
        if levels.len() > Self::THRESHOLDS_MAX + 1 {
            return Err(TooManyThresholds);
        }
        Ok(Self(levels))
    }

    /// Every level with where the account stands: what is to be kept.
    pub fn levels(&self) -> &[LevelState] {
        &self.0
    }

    /// Takes a new reading and says what it crossed. Ask after settlements, top-ups and refused
    /// holds, not after every hold: what is only reserved flickers.
    pub fn read(&mut self, reading: &Reading) -> Crossings {
        let mut crossings = Crossings::default();
        for state in &mut self.0 {
            let Some(value) = state.level.value(reading) else { continue };
            let crossing = Crossing { level: state.level, value };
            let below = reading.available <= value;
            let back = reading.available >= value.saturating_add(hysteresis(value));
            match state.standing {
                Standing::Above if below => {
                    state.standing = Standing::Below;
                    crossings.fallen.push(crossing);
                }
                Standing::Below if back => {
                    state.standing = Standing::Above;
                    crossings.recovered.push(crossing);
                }
                Standing::Seeded if back => state.standing = Standing::Above,
                Standing::Above | Standing::Below | Standing::Seeded => {}
            }
        }
        // Depletion is the first level and the sort keeps the order of equals.
        crossings.fallen.sort_by_key(|crossing| crossing.value);
        crossings.recovered.sort_by_key(|crossing| crossing.value);
        crossings
    }
}

impl Crossings {
    /// Whether nothing was crossed.
    pub fn is_empty(&self) -> bool {
        self.fallen.is_empty() && self.recovered.is_empty()
    }
}

/// How far above a level the account must be to have left it.
fn hysteresis(value: Nano) -> Nano {
    Nano::new((value.get() / 50).max(1))
}

#[cfg(test)]
mod tests;

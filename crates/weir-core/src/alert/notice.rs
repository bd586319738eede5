//! Telling of credit that is about to expire: 30, 7 and 1 days before.

use smallvec::SmallVec;

use crate::grant::Grant;
use crate::id::Seq;
use crate::money::Nano;
use crate::time::{Span, Timestamp};

/// Credit that is about to expire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expiring {
    /// The entry that brought it.
    pub grant: Seq,
    /// How much is left of it.
    pub remaining: Nano,
    /// When it expires.
    pub expires_at: Timestamp,
    /// How many days before this is told: 30, 7 or 1. The nearest, where several came at once.
    pub days_before: u8,
}

/// Which notices were given of which credit; each is given once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notices(SmallVec<[Told; 1]>);

/// How many of the notices, from the earliest, were given of one credit or passed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Told {
    /// The entry that brought the credit.
    pub grant: Seq,
    /// How many of the three.
    pub stages: u8,
}

impl Notices {
    /// Notices as they were kept.
    pub fn restore(told: impl IntoIterator<Item = Told>) -> Self {
        Self(told.into_iter().collect())
    }

    /// What is to be kept.
    pub fn told(&self) -> &[Told] {
        &self.0
    }

    /// Takes note of new credit: notices whose day is past before it came are never given.
    pub fn begin(&mut self, grant: &Grant, now: Timestamp) {
        let passed = stages_due(grant, now);
        if passed > 0 {
            self.note(grant.seq, passed);
        }
    }

    /// The notices that are due and were not given yet, at most one of each credit. Credit that
    /// is no longer among `grants` is forgotten.
    pub fn due<'a>(
        &mut self,
        grants: impl Iterator<Item = &'a Grant>,
        now: Timestamp,
    ) -> Vec<Expiring> {
        let mut due = Vec::new();
        let mut kept: SmallVec<[Told; 1]> = SmallVec::new();
        for grant in grants {
            let (before, stages) = (self.stages_of(grant.seq), stages_due(grant, now));
            let told = Told { grant: grant.seq, stages: before.max(stages) };
            if told.stages > 0 {
                kept.push(told);
            }
            let days = DAYS_BEFORE.get(usize::from(stages).wrapping_sub(1));
            if let Some(days_before) = days.filter(|_| stages > before && !grant.is_due(now)) {
                due.push(Expiring {
                    grant: grant.seq,
                    remaining: grant.remaining,
                    expires_at: grant.expires_at(),
                    days_before: *days_before,
                });
            }
        }
        self.0 = kept;
        due
    }

    /// When the next notice is due, if nothing changes before; may lie in the past.
    pub fn next<'a>(&self, grants: impl Iterator<Item = &'a Grant>) -> Option<Timestamp> {
        grants
            .filter_map(|grant| {
                let days = DAYS_BEFORE.get(usize::from(self.stages_of(grant.seq)))?;
                grant.terms.expires_at.map(|expires_at| expires_at.minus(span(*days)))
            })
            .min()
    }

    fn stages_of(&self, grant: Seq) -> u8 {
        self.0.iter().find(|told| told.grant == grant).map_or(0, |told| told.stages)
    }

    fn note(&mut self, grant: Seq, stages: u8) {
        match self.0.iter_mut().find(|told| told.grant == grant) {
            Some(told) => told.stages = told.stages.max(stages),
            None => self.0.push(Told { grant, stages }),
        }
    }
}

/// How many of the notices have their day at or before `now`.
fn stages_due(grant: &Grant, now: Timestamp) -> u8 {
    let Some(expires_at) = grant.terms.expires_at else { return 0 };
    let due = |days: &&u8| expires_at.minus(span(**days)) <= now;
    DAYS_BEFORE.iter().filter(due).fold(0, |count, _| count + 1)
}

fn span(days: u8) -> Span {
    Span::from_secs(i64::from(days) * 86_400)
}

/// How many days before the expiry it is told, the earliest first.
const DAYS_BEFORE: [u8; 3] = [30, 7, 1];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Category, Terms};

    fn day(days: i64) -> Timestamp {
        Timestamp::from_secs(days * 86_400)
    }

    fn grant(seq: u64, expires_day: Option<i64>) -> Grant {
        let expires_at = expires_day.map(day);
        let terms = Terms { category: Category::Promo, priority: 50, expires_at };
        Grant { seq: Seq(seq), remaining: Nano::new(5), terms }
    }

    #[track_caller]
    fn check(notices: &mut Notices, grants: &[Grant], on_day: i64, expected: &[(u64, u8)]) {
        let due = notices.due(grants.iter(), day(on_day));
        let found: Vec<_> = due.iter().map(|due| (due.grant.0, due.days_before)).collect();
        assert_eq!(found, expected, "on day {on_day}");
    }

    #[test]
    fn each_notice_is_given_once() {
        let (mut notices, grants) = (Notices::default(), [grant(1, Some(100)), grant(2, None)]);
        notices.begin(&grants[0], day(0));
        notices.begin(&grants[1], day(0));
        assert_eq!(notices.next(grants.iter()), Some(day(70)));
        check(&mut notices, &grants, 69, &[]);
        check(&mut notices, &grants, 70, &[(1, 30)]);
        check(&mut notices, &grants, 71, &[]);
        assert_eq!(notices.next(grants.iter()), Some(day(93)));
        let mut notices = Notices::restore(notices.told().iter().copied());
        check(&mut notices, &grants, 93, &[(1, 7)]);
        check(&mut notices, &grants, 99, &[(1, 1)]);
        check(&mut notices, &grants, 99, &[]);
        assert_eq!(notices.next(grants.iter()), None);
    }

    #[test]
    fn several_at_once_give_the_nearest_only() {
        let (mut notices, grants) =
            (Notices::default(), [grant(1, Some(100)), grant(2, Some(110))]);
        check(&mut notices, &grants, 94, &[(1, 7), (2, 30)]);
        check(&mut notices, &grants, 95, &[]);
    }

    #[test]
    fn short_lived_credit_is_not_announced_as_it_comes() {
        let (mut notices, grants) = (Notices::default(), [grant(1, Some(5))]);
        notices.begin(&grants[0], day(0));
        check(&mut notices, &grants, 0, &[]);
        check(&mut notices, &grants, 4, &[(1, 1)]);
    }

    #[test]
    fn credit_that_is_spent_or_expired_is_not_announced_and_forgotten() {
        let (mut notices, grants) = (Notices::default(), [grant(1, Some(100))]);
        check(&mut notices, &grants, 75, &[(1, 30)]);
        check(&mut notices, &grants, 100, &[]);
        check(&mut notices, &[], 100, &[]);
        assert_eq!(notices, Notices::default());
    }
}

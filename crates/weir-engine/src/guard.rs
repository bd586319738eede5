//! Against guessing keys: how many failed authentications an address may make.
//!
//! A table of fixed size of token buckets, set-associative, hashed with a random seed. A flood
//! from many addresses costs no memory; it displaces the addresses that failed least.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use weir_core::time::{Span, Timestamp};

/// How many failures each address has left.
#[derive(Debug)]
pub struct Guard {
    seed: RandomState,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
    /// Time that one failure uses up, in microseconds.
    cost: AtomicI64,
}

/// A token bucket as the generic cell rate algorithm: empty until `used_until` is over.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Hash of the address; two addresses of one hash share a bucket.
    tag: u64,
    used_until: i64,
}

impl Guard {
    /// Failures per minute and address that are answered as such, unless the operator says else.
    pub const DEFAULT_PER_MINUTE: u32 = 30;

    /// A guard that lets through `per_minute` failures per address, at least one.
    pub fn new(per_minute: u32) -> Self {
        let set = || Mutex::new([Bucket::default(); WAYS]);
        Self {
            seed: RandomState::new(),
            sets: std::iter::repeat_with(set).take(SETS).collect(),
            cost: AtomicI64::new(cost_of(per_minute)),
        }
    }

    /// Lets through another number of failures per address from now on, at least one.
    pub fn allow(&self, per_minute: u32) {
        self.cost.store(cost_of(per_minute), Ordering::Relaxed);
    }

    /// Counts a failed authentication.
    ///
    /// # Errors
    ///
    /// The time after which the next one will be counted: the address has used up its failures.
    /// Refused ones do not count, so that the time runs down however often one tries.
    pub fn fail(&self, address: IpAddr, now: Timestamp) -> Result<(), Span> {
        let tag = self.seed.hash_one(block(address));
        let now = now.micros();
        let index = usize::try_from(tag % SETS as u64).unwrap_or_default();
        let mut set = self.sets[index].lock();
        let bucket = match set.iter().position(|bucket| bucket.tag == tag) {
            Some(known) => &mut set[known],
            None => {
                // Whoever failed least, or longest ago, makes room.
                let least = set.iter().enumerate().min_by_key(|(_, bucket)| bucket.used_until);
                let least = least.map_or(0, |(place, _)| place);
                set[least] = Bucket { tag, used_until: 0 };
                &mut set[least]
            }
        };
        let cost = self.cost.load(Ordering::Relaxed);
        let after = bucket.used_until.max(now).saturating_add(cost);
        if after > now.saturating_add(MINUTE) {
            return Err(Span::from_micros(after - now - MINUTE));
        }
        bucket.used_until = after;
        Ok(())
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PER_MINUTE)
    }
}

fn cost_of(per_minute: u32) -> i64 {
    MINUTE / i64::from(per_minute.max(1))
}

/// What shares a bucket: an IPv4 address, or the /64 of an IPv6 address, which one customer has
/// as a whole.
fn block(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let half: [u8; 8] = std::array::from_fn(|place| octets[place]);
            u64::from_be_bytes(half)
        }
    }
}

/// 16,384 addresses in 320 KiB.
const SETS: usize = 4_096;
const WAYS: usize = 4;
const MINUTE: i64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn address(nth: u32) -> IpAddr {
        IpAddr::V4(nth.into())
    }

    #[test]
    fn thirty_failures_a_minute_pass_and_the_wait_is_true() {
        let guard = Guard::default();
        for _ in 0..30 {
            assert_eq!(guard.fail(HOME, at(0)), Ok(()));
        }
        assert_eq!(guard.fail(HOME, at(0)), Err(Span::from_secs(2)));
        assert_eq!(guard.fail(HOME, at(1)), Err(Span::SECOND));
        assert_eq!(guard.fail(HOME, at(2)), Ok(()));
        assert_eq!(guard.fail(HOME, at(2)), Err(Span::from_secs(2)));
        assert_eq!(guard.fail(address(1), at(2)), Ok(()));
    }

    #[test]
    fn another_number_counts_from_the_next_failure_on() {
        let guard = Guard::new(1);
        assert_eq!(guard.fail(HOME, at(0)), Ok(()));
        assert_eq!(guard.fail(HOME, at(0)), Err(Span::from_secs(60)));
        guard.allow(60);
        assert_eq!(guard.fail(HOME, at(0)), Err(Span::SECOND));
        assert_eq!(guard.fail(HOME, at(1)), Ok(()));
    }

    #[test]
    fn one_network_of_ipv6_has_one_bucket() {
        let guard = Guard::new(1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(guard.fail(address("2001:db8::1"), at(0)), Ok(()));
        assert!(guard.fail(address("2001:db8::2"), at(0)).is_err());
        assert_eq!(guard.fail(address("2001:db8:0:1::1"), at(0)), Ok(()));
        assert_eq!(guard.fail(address("10.0.0.1"), at(0)), Ok(()));
        assert!(guard.fail(address("::ffff:10.0.0.1"), at(0)).is_err());
    }

    #[test]
    fn a_flood_of_addresses_does_not_forgive_whoever_failed_most() {
        let guard = Guard::default();
        while guard.fail(HOME, at(0)).is_ok() {}
        let flood: u32 =
            std::env::var("WEIR_FLOOD").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
        for nth in 0..flood {
            let _ = guard.fail(address(nth.wrapping_add(1 << 24)), at(1));
        }
        assert!(guard.fail(HOME, at(1)).is_err());
    }
}

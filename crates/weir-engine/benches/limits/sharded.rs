//! The least that a limiter can be: shards of a map of fixed-window cells under a mutex each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::Mutex;
use weir_engine::clock::Clock;

use crate::contender::Contender;

/// A bare sharded map of cells.
pub(crate) struct Sharded {
    clock: Clock,
    shards: Box<[Mutex<Shard>]>,
    quota: u64,
    length: i64,
}

type Shard = HashMap<u64, Cell, BuildHasherDefault<Quick>>;

#[derive(Default)]
struct Cell {
    start: i64,
    used: u64,
}

impl Sharded {
    /// With windows of so many microseconds.
    pub(crate) fn new(quota: u64, length: i64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { clock: Clock::running(), shards, quota, length }
    }
}

impl Contender for Sharded {
    fn decide(&self, key: u32) -> bool {
        let now = self.clock.now().micros();
        // Low bits choose the shard, so that the map's own (the high ones) stay free.
        let shard = usize::try_from(key).unwrap_or(0) % SHARDS;
        let mut shard = self.shards[shard].lock();
        let cell = shard.entry(u64::from(key)).or_default();
        if now - cell.start >= self.length {
            *cell = Cell { start: now, used: 0 };
        }
        let passes = cell.used < self.quota;
        cell.used += u64::from(passes);
        passes
    }
}

/// One multiplication: keys are numbers of ours.
#[derive(Clone, Copy, Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

const SHARDS: usize = 64;

//! Which keys call, in which order.

/// The keys that each of two threads decides on, one after the other.
pub(crate) type Traffic = [Vec<u32>; 2];

/// Zipf with exponent 1 over so many keys, the same at each run; the often used ones are spread.
pub(crate) fn zipf(keys: u32, length: usize) -> Traffic {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    [1, 2].map(|seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let draw = |_| {
            let point = random.f64() * sum;
            let rank = sums.partition_point(|sum| *sum < point).min(sums.len() - 1);
            spread(u64::try_from(rank).unwrap_or(0), keys)
        };
        (0..length).map(draw).collect()
    })
}

/// The same with every sixteenth call from a key that has never called.
pub(crate) fn growing(keys: u32, length: usize) -> Traffic {
    let mut fresh = keys;
    zipf(keys, length).map(|mut sequence| {
        for slot in sequence.iter_mut().step_by(FRESH_EVERY) {
            *slot = fresh;
            fresh += 1;
        }
        sequence
    })
}

/// How many keys [`growing`] adds.
pub(crate) fn added(length: usize) -> u32 {
    u32::try_from(2 * length.div_ceil(FRESH_EVERY)).unwrap_or(u32::MAX)
}

/// One to one: a prime above every number of keys shares no factor with it.
fn spread(rank: u64, keys: u32) -> u32 {
    u32::try_from(rank * 2_654_435_761 % u64::from(keys)).unwrap_or(0)
}

const FRESH_EVERY: usize = 16;

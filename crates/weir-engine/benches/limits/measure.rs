//! Decisions per second of processor time, and how long single ones take.

use std::error::Error;
use std::sync::Barrier;
use std::time::Instant;

use weir_engine::clock::instant;

use crate::contender::Contender;
use crate::traffic::Traffic;

/// Decisions per second that two threads make while they have a processor each: what others take
/// of the machine is left out.
pub(crate) fn rate(contender: &impl Contender, traffic: &Traffic) -> Result<f64, Box<dyn Error>> {
    let begin = Barrier::new(traffic.len());
    let run = |keys: &[u32]| -> Option<f64> {
        begin.wait();
        let before = cpu_ns()?;
        let passed = keys.iter().filter(|key| contender.decide(**key)).count();
        let spent = cpu_ns()?.checked_sub(before)?;
        // A refusal is cheaper or dearer: it would be another measurement.
        (passed == keys.len()).then(|| count(passed) / (count(spent) / 1e9))
    };
    let rates = std::thread::scope(|scope| {
        let threads: Vec<_> = traffic.iter().map(|keys| scope.spawn(|| run(keys))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect::<Vec<_>>()
    });
    let sum = rates.into_iter().sum::<Option<f64>>();
    sum.ok_or_else(|| "a call was refused, or the kernel tells no processor time".into())
}

/// The times of single decisions by two threads, in nanoseconds: median, p99, p99.9. A reading of
/// the clock is in them.
pub(crate) fn tail(contender: &impl Contender, traffic: &Traffic) -> [f64; 3] {
    let begin = Barrier::new(traffic.len());
    let run = |keys: &[u32]| -> Vec<u32> {
        let mut times = vec![0_u32; LONGEST];
        begin.wait();
        let mut last: Instant = instant();
        for key in keys {
            std::hint::black_box(contender.decide(*key));
            let now = instant();
            let took = usize::try_from((now - last).as_nanos()).unwrap_or(usize::MAX);
            times[took.min(LONGEST - 1)] += 1;
            last = now;
        }
        times
    };
    let mut all = vec![0_u32; LONGEST];
    std::thread::scope(|scope| {
        let threads: Vec<_> = traffic.iter().map(|keys| scope.spawn(|| run(keys))).collect();
        for times in threads.into_iter().filter_map(|thread| thread.join().ok()) {
            all.iter_mut().zip(times).for_each(|(all, more)| *all += more);
        }
    });
    [0.5, 0.99, 0.999].map(|share| quantile(&all, share))
}

fn quantile(times: &[u32], share: f64) -> f64 {
    let total: f64 = times.iter().map(|count| f64::from(*count)).sum();
    let mut seen = 0.0;
    let at = times.iter().position(|count| {
        seen += f64::from(*count);
        seen >= share * total
    });
    at.map_or(f64::NAN, count)
}

fn cpu_ns() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// As a figure; exact below 2^32, which is far beyond what is counted here in one go.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Longer ones count as this, in nanoseconds.
const LONGEST: usize = 1 << 18;

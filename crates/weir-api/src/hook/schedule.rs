//! When a message is tried again.

use weir_core::time::Span;

/// How long to wait after so many failed tries; `None`: it is given up. Up to a tenth is added, so
/// that messages which failed together do not come back together. `asked` is what the receiver
/// asked for; a wait is never longer than a day and a tenth.
pub(crate) fn pause_after(attempts: u32, asked: Option<Span>) -> Option<Span> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let planned = Span::from_secs(*PAUSES_S.get(index)?);
    let wanted = asked.unwrap_or(Span::ZERO).min(Span::from_secs(86_400)).max(planned);
    let tenth = u64::try_from(wanted.micros() / 10).unwrap_or(0);
    let jitter = i64::try_from(random_below(tenth + 1)).unwrap_or(0);
    Some(Span::from_micros(wanted.micros().saturating_add(jitter)))
}

fn random_below(bound: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    // Without random bytes there is no jitter, which harms nobody.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound.max(1)
}

/// The schedule of Standard Webhooks 1.0.0: ten tries within three days and four hours.
const PAUSES_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tries_spread_over_three_days_with_jitter() {
        let mut total = 0;
        for (attempts, planned) in (1..).zip(PAUSES_S) {
            let pause = pause_after(attempts, None).unwrap();
            assert!(pause >= Span::from_secs(planned), "{attempts}");
            assert!(pause <= Span::from_secs(planned + planned / 10 + 1), "{attempts}");
            total += planned;
        }
        assert_eq!(total, 75 * 3_600 + 35 * 60 + 5);
        assert_eq!(pause_after(10, None), None);
        assert_eq!(pause_after(10, Some(Span::from_secs(1))), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        assert!(pause_after(1, Some(Span::from_secs(120))).unwrap() >= Span::from_secs(120));
        assert!(
            pause_after(1, Some(Span::from_secs(i64::MAX / 2_000_000))).unwrap()
                <= Span::from_secs(95_041)
        );
        assert!(pause_after(2, Some(Span::from_secs(1))).unwrap() >= Span::from_secs(300));
    }
}

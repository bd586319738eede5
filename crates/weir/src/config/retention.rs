//! `[store] usage_retention`: how long usage is kept.

use weir_core::time::Span;
use weir_engine::retention::UsageRetention;

use super::place::At;
use super::read::{Read, Reading, Section, Value, Want};
use super::units;

/// Reads `usage_retention = { minute = "2d", hour = "100d", day = "unlimited" }`.
pub(crate) fn read_retention(
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> UsageRetention {
    section.table("usage_retention", reading, |section, reading| {
        let usual = UsageRetention::default();
        let mut all = [("minute", usual.minute), ("hour", usual.hour), ("day", usual.day)];
        let mut near = section.place();
        let mut shorter: Option<(&str, Option<Span>)> = None;
        for (name, kept) in &mut all {
            if let Some(At { value: Kept(given), place }) = section.get(name, reading) {
                (*kept, near) = (given, place);
            }
            reading.under(name, |reading| match shorter {
                _ if is_less(*kept, Some(UsageRetention::LEAST)) => {
                    let why =
                        "too short: summaries and the runway of wallets read the last 25 hours";
                    reading.object(near, why, "keep it for at least \"25h\"");
                }
                Some((before, least)) if is_less(*kept, least) => {
                    let what = format!("sums by {name} would be gone before those by {before}");
                    let hint = format!("keep {name} at least as long as {before}");
                    reading.object(near, what, hint);
                }
                _ => {}
            });
            shorter = Some((*name, *kept));
        }
        let [minute, hour, day] = all.map(|(_, kept)| kept);
        UsageRetention { minute, hour, day }
    })
}

/// How long something is kept; `None`: for good.
struct Kept(Option<Span>);

impl Read for Kept {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "a length of time or \"unlimited\"";
        let want = Want { what, example: "\"48h\", \"100d\" or \"unlimited\"" };
        reading.parsed(value, &want, |text| match text {
            "unlimited" => Ok(Self(None)),
            text => {
                let micros = units::duration(text)?.as_micros();
                Ok(Self(i64::try_from(micros).ok().map(Span::from_micros)))
            }
        })
    }
}

/// Whether something is kept for less time than something else.
fn is_less(kept: Option<Span>, other: Option<Span>) -> bool {
    kept.is_some_and(|kept| other.is_none_or(|other| kept < other))
}

//! All kinds of calls of one interval in one value: column by column, so that a question reads
//! and adds up what it asks for, and nothing takes room that is zero.
//!
//! A version, how many kinds there are, the keys, the words (routes, classes, models); for each
//! kind the place of its key, route, class and model among these, and its status; then the sums
//! that are not zero everywhere, told by a mask, each as one number for every kind. Numbers are
//! LEB128, those that may be negative zigzag.

use std::collections::HashMap;

use weir_core::time::Timestamp;

use super::rollup::{Apart, COLUMNS, Counters, Kind, Rollup, bounded, read_key};

/// How many kinds one value holds at most.
pub(super) const KINDS_MAX: usize = 10_000;

/// The value of some kinds, at most [`KINDS_MAX`].
pub(super) fn packed(kinds: &[Kind]) -> Vec<u8> {
    let mut keys = Places::default();
    let mut words = Places::default();
    let told: Vec<[u64; APART]> = kinds
        .iter()
        .map(|kind| {
            let key = keys.of(kind.key.map_or(0, |key| bounded(key.0)).unsigned_abs());
            let [route, class, model] =
                [&kind.route, &kind.class, &kind.model].map(|word| words.of(&**word));
            [key, route, class, model, u64::from(kind.status)]
        })
        .collect();
    let sums: Vec<[i64; COLUMNS]> = kinds.iter().map(|kind| kind.counters.columns()).collect();
    let mut out = vec![VERSION];
    write(&mut out, kinds.len() as u64);
    write(&mut out, keys.all.len() as u64);
    keys.all.iter().for_each(|key| write(&mut out, *key));
    write(&mut out, words.all.len() as u64);
    for word in &words.all {
        write(&mut out, word.len() as u64);
        out.extend_from_slice(word.as_bytes());
    }
    for column in 0..APART {
        told.iter().for_each(|kind| write(&mut out, kind[column]));
    }
    let used = |column: &usize| sums.iter().any(|sums| sums[*column] != 0);
    let mask = (0..COLUMNS).filter(used).fold(0, |mask, column| mask | 1_u64 << column);
    write(&mut out, mask);
    for column in (0..COLUMNS).filter(used) {
        sums.iter().for_each(|sums| write(&mut out, zigzag(sums[column])));
    }
    out
}

/// Shows the kinds of a value, added up where they are not told apart. `None`: it is damaged; what
/// was shown by then is not to be used.
pub(super) fn show(
    value: &[u8],
    start: Timestamp,
    apart: Apart,
    mut visit: impl FnMut(Rollup<'_>, Counters),
) -> Option<()> {
    let mut rest = Rest(value);
    if rest.byte()? != VERSION {
        return None;
    }
    let count = rest.length()?;
    let keys = rest.length()?;
    let keys = (0..keys).map(|_| read_key(i64::try_from(rest.number()?).ok()?));
    let keys = keys.collect::<Option<Vec<_>>>()?;
    let words = rest.length()?;
    let words = (0..words).map(|_| rest.word()).collect::<Option<Vec<_>>>()?;
    let wanted = [apart.key, apart.route, apart.class, apart.model, apart.status];
    let mut told = vec![[0; APART]; count];
    for (column, wanted) in wanted.into_iter().enumerate() {
        for kind in &mut told {
            let place = rest.number()?;
            if wanted {
                kind[column] = place;
            }
        }
    }
    let mut groups: HashMap<[u64; APART], usize> = HashMap::new();
    let mut shown = Vec::new();
    let of_kinds: Vec<usize> = told
        .into_iter()
        .map(|kind| {
            *groups.entry(kind).or_insert_with(|| {
                shown.push(kind);
                shown.len() - 1
            })
        })
        .collect();
    let mut sums = vec![[0_i64; COLUMNS]; shown.len()];
    let mask = rest.number()?;
    for column in (0..COLUMNS).filter(|column| mask & 1_u64 << column != 0) {
        for group in &of_kinds {
            let sum = &mut sums[*group][column];
            *sum = sum.saturating_add(unzigzag(rest.number()?));
        }
    }
    let word = |wanted: bool, place: u64| match wanted {
        true => words.get(usize::try_from(place).ok()?).copied(),
        false => Some(""),
    };
    for ([key, route, class, model, status], sums) in shown.into_iter().zip(sums) {
        let row = Rollup {
            start,
            key: if apart.key { *keys.get(usize::try_from(key).ok()?)? } else { None },
            route: word(apart.route, route)?,
            class: word(apart.class, class)?,
            model: word(apart.model, model)?,
            status: u16::try_from(status).ok()?,
        };
        visit(row, Counters::of(sums));
    }
    rest.0.is_empty().then_some(())
}

/// Values, each once, and where each stands.
#[derive(Default)]
struct Places<T> {
    all: Vec<T>,
    places: HashMap<T, u64>,
}

impl<T: Copy + Eq + std::hash::Hash> Places<T> {
    fn of(&mut self, value: T) -> u64 {
        *self.places.entry(value).or_insert_with(|| {
            self.all.push(value);
            self.all.len() as u64 - 1
        })
    }
}

/// What of a value is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// How many follow, of which each takes a byte at least.
    fn length(&mut self) -> Option<usize> {
        let length = usize::try_from(self.number()?).ok()?;
        (length <= self.0.len()).then_some(length)
    }

    fn word(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (word, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(word).ok()
    }
}

fn write(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// What kinds are told apart by: key, route, class, model, status.
const APART: usize = 5;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_core::id::KeyId;

    use super::*;

    const ALL: Apart = Apart { key: true, route: true, class: true, model: true, status: true };

    fn kind() -> impl Strategy<Value = Kind> {
        let word = || prop::sample::select(vec!["", "a", "POST /v1/chat", "ä"]);
        let sum = prop_oneof![3 => Just(0), 2 => 0..1_000_i64, 1 => any::<i64>()];
        let sums = prop::collection::vec(sum, COLUMNS);
        let key = prop::option::of(1..=i64::MAX.unsigned_abs());
        (key, word(), word(), word(), any::<u16>(), sums).prop_map(
            |(key, route, class, model, status, sums)| Kind {
                key: key.map(KeyId),
                route: route.into(),
                class: class.into(),
                model: model.into(),
                status,
                counters: Counters::of(sums.try_into().unwrap()),
            },
        )
    }

    fn shown(value: &[u8], apart: Apart) -> Option<Vec<Kind>> {
        let mut found = Vec::new();
        let show = |row: Rollup<'_>, counters| {
            let Rollup { key, route, class, model, status, .. } = row;
            let [route, class, model] = [route, class, model].map(Into::into);
            found.push(Kind { key, route, class, model, status, counters });
        };
        super::show(value, Timestamp::from_secs(1), apart, show).map(|()| found)
    }

    proptest! {
        #[test]
        fn kinds_come_back_as_they_were(kinds in prop::collection::vec(kind(), 0..40)) {
            let mut once: Vec<Kind> = Vec::new();
            for kind in kinds {
                let same = |other: &Kind| Kind { counters: kind.counters, ..other.clone() } == kind;
                if !once.iter().any(same) {
                    once.push(kind);
                }
            }
            prop_assert_eq!(shown(&packed(&once), ALL), Some(once));
        }

        #[test]
        fn a_damaged_value_is_told_and_never_a_panic(
            kinds in prop::collection::vec(kind(), 1..10),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut value = packed(&kinds);
            let cut = at.index(value.len());
            prop_assert_eq!(shown(&value[..cut], ALL), None);
            value[cut] = byte;
            let _whatever = shown(&value, ALL);
        }
    }
}

//! On-disk twins of the core's words, and the way from one to the other.
//!
//! The shape of these twins belongs to the schema's version: a change of shape comes with a
//! migration, or with a member that is optional.

use std::borrow::Cow;
use std::fmt;

use rusqlite::Row;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_core::id::{AccountId, KeyId, PolicyNumber, Seq};
use weir_core::ledger::{Call, Category, Draw, Entry, EntryKind, Flags, Terms};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_core::usage::{Meter, Usage};

use crate::error::{CommitError, ReadError};

/// An entry as the row that it becomes. Made by whoever commits, so that the thread that writes
/// only has to bind it.
#[derive(Debug)]
pub(crate) struct EntryRow {
    pub(crate) seq: i64,
    pub(crate) account: i64,
    pub(crate) at: i64,
    pub(crate) kind: &'static str,
    pub(crate) amount: i64,
    pub(crate) balance: i64,
    pub(crate) policy: u32,
    pub(crate) reference: Box<str>,
    pub(crate) note: Option<Box<str>>,
    pub(crate) terms: Option<String>,
    pub(crate) draws: Option<String>,
    pub(crate) call: Option<String>,
}

/// The columns of an entry in the order that [`read_entry`] expects.
pub(crate) const ENTRY_COLUMNS: &str = "e.seq, e.account, e.at, e.kind, e.amount, e.balance, \
     e.policy, e.reference, e.note, e.terms, e.draws, e.call";

impl EntryRow {
    /// The row of an entry.
    pub(crate) fn of(entry: Entry) -> Result<Self, CommitError> {
        if entry.reference.len() > REFERENCE_BYTES_MAX {
            return Err(CommitError::TooLarge {
                bytes: entry.reference.len(),
                max: REFERENCE_BYTES_MAX,
            });
        }
        Ok(Self {
            seq: stored_id(entry.seq.0)?,
            account: stored_id(entry.account.0)?,
            at: entry.at.micros(),
            kind: entry.kind.name(),
            amount: entry.amount.get(),
            balance: entry.balance.get(),
            policy: entry.policy.0,
            reference: entry.reference,
            note: entry.note,
            terms: entry.terms.map(|terms| json(&TermsRecord::of(terms), "terms")).transpose()?,
            draws: match entry.draws.is_empty() {
                true => None,
                false => Some(json(&draw_records(&entry.draws), "draws")?),
            },
            call: entry.call.map(|call| json(&CallRecord::of(&call), "call")).transpose()?,
        })
    }

    /// The entry of the row; `None` if it is not as [`EntryRow::of`] makes it.
    pub(crate) fn entry(&self) -> Option<Entry> {
        let columns = Columns {
            seq: self.seq,
            account: self.account,
            at: self.at,
            kind: self.kind,
            amount: self.amount,
            balance: self.balance,
            policy: self.policy,
            reference: &self.reference,
            note: self.note.as_deref(),
            terms: self.terms.as_deref(),
            draws: self.draws.as_deref(),
            call: self.call.as_deref(),
        };
        columns.entry().ok()
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        64 + self.reference.len()
            + self.note.as_ref().map_or(0, |note| note.len())
            + text(&self.terms)
            + text(&self.draws)
            + text(&self.call)
    }
}

/// The entry in a row of [`ENTRY_COLUMNS`].
pub(crate) fn read_entry(row: &Row<'_>) -> Result<Entry, ReadError> {
    let seq: i64 = row.get(0)?;
    let damaged = || ReadError::Damaged { what: "entry", id: seq };
    let text = |column: usize| -> Result<Option<&str>, ReadError> {
        row.get_ref(column)?.as_str_or_null().map_err(|_| damaged())
    };
    let columns = Columns {
        seq,
        account: row.get(1)?,
        at: row.get(2)?,
        kind: text(3)?.unwrap_or_default(),
        amount: row.get(4)?,
        balance: row.get(5)?,
        policy: row.get(6)?,
        reference: text(7)?.ok_or_else(damaged)?,
        note: text(8)?,
        terms: text(9)?,
        draws: text(10)?,
        call: text(11)?,
    };
    columns.entry().map_err(|Unreadable| damaged())
}

/// The columns of an entry, borrowed from where they are.
struct Columns<'a> {
    seq: i64,
    account: i64,
    at: i64,
    kind: &'a str,
    amount: i64,
    balance: i64,
    policy: u32,
    reference: &'a str,
    note: Option<&'a str>,
    terms: Option<&'a str>,
    draws: Option<&'a str>,
    call: Option<&'a str>,
}

impl Columns<'_> {
    fn entry(&self) -> Result<Entry, Unreadable> {
        let terms = self.terms.map(|text| parse::<TermsRecord>(text).map(Terms::from));
        let draws: Vec<(u64, i64)> = self.draws.map(parse).transpose()?.unwrap_or_default();
        let call = self.call.map(|text| parse::<CallRecord<'_>>(text).map(Call::from));
        Ok(Entry {
            seq: Seq(read_id(self.seq).ok_or(Unreadable)?),
            account: AccountId(read_id(self.account).ok_or(Unreadable)?),
            at: Timestamp::from_micros(self.at),
            kind: EntryKind::by_name(self.kind).ok_or(Unreadable)?,
            amount: Nano::new(self.amount),
            balance: Nano::new(self.balance),
            policy: PolicyNumber(self.policy),
            reference: self.reference.into(),
            note: self.note.map(Into::into),
            terms: terms.transpose()?,
            draws: draws
                .into_iter()
                .map(|(from, amount)| Draw { from: Seq(from), amount: Nano::new(amount) })
                .collect(),
            call: call.transpose()?.map(Box::new),
        })
    }
}

/// An id as SQLite keeps it, in the same order.
pub(crate) fn stored_id(id: u64) -> Result<i64, CommitError> {
    i64::try_from(id).map_err(|_| CommitError::IdTooLarge(id))
}

/// An id as SQLite kept it.
pub(crate) fn read_id(id: i64) -> Option<u64> {
    u64::try_from(id).ok()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsRecord {
    category: CategoryRecord,
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CategoryRecord {
    Paid,
    Promo,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallRecord<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<u64>,
    #[serde(borrow)]
    route: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    model: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    usage: UsageRecord,
    /// As text: it may exceed what readers of JSON take for a number.
    pico: PicoRecord,
    held: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u16,
}

/// Amounts by the meters' names.
struct UsageRecord(Usage);

struct PicoRecord(u128);

/// Text that is not the twin it should be; the caller knows which record it stood in.
struct Unreadable;

impl TermsRecord {
    fn of(terms: Terms) -> Self {
        Self {
            category: match terms.category {
                Category::Paid => CategoryRecord::Paid,
                Category::Promo => CategoryRecord::Promo,
            },
            priority: terms.priority,
            expires_at: terms.expires_at.map(Timestamp::micros),
        }
    }
}

impl From<TermsRecord> for Terms {
    fn from(record: TermsRecord) -> Self {
        Self {
            category: match record.category {
                CategoryRecord::Paid => Category::Paid,
                CategoryRecord::Promo => Category::Promo,
            },
            priority: record.priority,
            expires_at: record.expires_at.map(Timestamp::from_micros),
        }
    }
}

impl<'a> CallRecord<'a> {
    fn of(call: &'a Call) -> Self {
        Self {
            key: call.key.map(|key| key.0),
            route: Cow::Borrowed(&call.route),
            model: Cow::Borrowed(&call.model),
            price: Cow::Borrowed(&call.price),
            usage: UsageRecord(call.usage),
            pico: PicoRecord(call.pico),
            held: call.held.get(),
            flags: call.flags.0,
        }
    }
}

impl From<CallRecord<'_>> for Call {
    fn from(record: CallRecord<'_>) -> Self {
        Self {
            key: record.key.map(KeyId),
            route: record.route.into(),
            model: record.model.into(),
            price: record.price.into(),
            usage: record.usage.0,
            pico: record.pico.0,
            held: Nano::new(record.held),
            flags: Flags(record.flags),
        }
    }
}

impl Serialize for UsageRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (meter, amount) in self.0.amounts() {
            map.serialize_entry(meter.name(), &amount)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for UsageRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UsageVisitor)
    }
}

struct UsageVisitor;

impl<'de> Visitor<'de> for UsageVisitor {
    type Value = UsageRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("amounts by meter")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsageRecord, A::Error> {
        let mut usage = Usage::NONE;
        while let Some((name, amount)) = map.next_entry::<Cow<'de, str>, u64>()? {
            let meter =
                Meter::by_name(&name).ok_or_else(|| A::Error::custom("no meter of that name"))?;
            usage.record(meter, amount);
        }
        Ok(UsageRecord(usage))
    }
}

impl Serialize for PicoRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PicoRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

fn draw_records(draws: &[Draw]) -> Vec<(u64, i64)> {
    draws.iter().map(|draw| (draw.from.0, draw.amount.get())).collect()
}

fn json<T: Serialize>(record: &T, what: &'static str) -> Result<String, CommitError> {
    serde_json::to_string(record).map_err(|_| CommitError::Unwritable(what))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|_| Unreadable)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(flags: &u16) -> bool {
    *flags == 0
}

/// As the core says at `Entry::reference`.
const REFERENCE_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    fn any_call() -> impl Strategy<Value = Call> {
        let usage = proptest::collection::vec((0..Meter::ALL.len(), any::<u64>()), 0..4);
        let names = (".{0,20}", ".{0,20}", ".{0,20}");
        (any::<Option<u64>>(), names, usage, any::<u128>(), any::<i64>(), any::<u16>()).prop_map(
            |(key, (route, model, price), amounts, pico, held, flags)| {
                let mut usage = Usage::NONE;
                for (meter, amount) in amounts {
                    usage.record(Meter::ALL[meter], amount);
                }
                Call {
                    key: key.map(KeyId),
                    route: route.into(),
                    model: model.into(),
                    price: price.into(),
                    usage,
                    pico,
                    held: Nano::new(held),
                    flags: Flags(flags),
                }
            },
        )
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let id = 0..=i64::MAX.unsigned_abs();
        let terms = proptest::option::of((any::<bool>(), any::<u8>(), any::<Option<i64>>()));
        let draws = proptest::collection::vec((any::<u64>(), any::<i64>()), 0..4);
        let head = (id.clone(), id, any::<i64>(), 0..EntryKind::ALL.len());
        let amounts = (any::<i64>(), any::<i64>(), any::<u32>());
        let texts = (".{0,40}", proptest::option::of(".{0,40}"));
        (head, amounts, texts, terms, draws, proptest::option::of(any_call())).prop_map(
            |((seq, account, at, kind), (amount, balance, policy), texts, terms, draws, call)| {
                Entry {
                    seq: Seq(seq),
                    account: AccountId(account),
                    at: Timestamp::from_micros(at),
                    kind: EntryKind::ALL[kind],
                    amount: Nano::new(amount),
                    balance: Nano::new(balance),
                    reference: texts.0.into(),
                    policy: PolicyNumber(policy),
                    note: texts.1.map(Into::into),
                    terms: terms.map(|(paid, priority, expires_at)| Terms {
                        category: if paid { Category::Paid } else { Category::Promo },
                        priority,
                        expires_at: expires_at.map(Timestamp::from_micros),
                    }),
                    draws: draws
                        .into_iter()
                        .map(|(from, amount)| Draw { from: Seq(from), amount: Nano::new(amount) })
                        .collect(),
                    call: call.map(Box::new),
                }
            },
        )
    }

    fn read_back(row: &EntryRow) -> Result<Entry, ReadError> {
        let conn = Connection::open_in_memory().unwrap();
        let sql = format!(
            "SELECT {} FROM (SELECT ?1 seq, ?2 account, ?3 at, ?4 kind, ?5 amount, ?6 balance, \
             ?7 policy, ?8 reference, ?9 note, ?10 terms, ?11 draws, ?12 call) e",
            ENTRY_COLUMNS
        );
        let mut select = conn.prepare(&sql).unwrap();
        let mut rows = select
            .query(rusqlite::params![
                row.seq,
                row.account,
                row.at,
                row.kind,
                row.amount,
                row.balance,
                row.policy,
                row.reference,
                row.note,
                row.terms,
                row.draws,
                row.call
            ])
            .unwrap();
        read_entry(rows.next().unwrap().unwrap())
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_written(entry in any_entry()) {
            let row = EntryRow::of(entry.clone()).unwrap();
            prop_assert_eq!(row.entry(), Some(entry.clone()));
            prop_assert_eq!(read_back(&row).unwrap(), entry);
        }

        #[test]
        fn text_that_is_no_record_is_damage_and_no_panic(text in ".{0,60}", column in 0..3) {
            let mut row = EntryRow::of(Entry {
                seq: Seq(1),
                account: AccountId(1),
                at: Timestamp::EPOCH,
                kind: EntryKind::Charge,
                amount: Nano::ZERO,
                balance: Nano::ZERO,
                reference: "r".into(),
                policy: PolicyNumber(0),
                note: None,
                terms: None,
                draws: Default::default(),
                call: None,
            })
            .unwrap();
            match column {
                0 => row.terms = Some(text),
                1 => row.draws = Some(format!("[{text}")),
                _ => row.call = Some(text),
            }
            let damaged = matches!(read_back(&row), Err(ReadError::Damaged { id: 1, .. }));
            prop_assert!(damaged || row.draws.as_deref() == Some("[]"));
        }
    }

    #[test]
    fn the_shape_on_disk_does_not_change_by_accident() {
        let call = Call {
            key: Some(KeyId(7)),
            route: "POST /v1/chat".into(),
            model: "m".into(),
            price: "p".into(),
            usage: Usage::NONE.with(Meter::InputTokens, 3).with(Meter::OutputTokens, 4),
            pico: u128::MAX,
            held: Nano::new(9),
            flags: Flags::ESTIMATED,
        };
        assert_eq!(
            serde_json::to_string(&CallRecord::of(&call)).unwrap(),
            r#"{"key":7,"route":"POST /v1/chat","model":"m","price":"p","usage":{"input_tokens":3,"output_tokens":4},"pico":"340282366920938463463374607431768211455","held":9,"flags":1}"#
        );
        let terms = Terms {
            category: Category::Promo,
            priority: 50,
            expires_at: Some(Timestamp::from_secs(1)),
        };
        assert_eq!(
            serde_json::to_string(&TermsRecord::of(terms)).unwrap(),
            r#"{"category":"promo","priority":50,"expires_at":1000000}"#
        );
    }
}

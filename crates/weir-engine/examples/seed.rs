//! Fills the folder of a store with accounts and keys, for measurements.
//!
//! `cargo run -p weir-engine --example seed FOLDER PLAN:KEYS[:CREDIT]... [charges:COUNT]`: keys of a
//! plan, ten to an account, each account with that credit, and so many charges over all who have
//! credit. The first secret of each plan is printed, one a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_core::id::{PolicyNumber, Seq};
use weir_core::ledger::{Call, Draw, Entry, EntryKind, Flags};
use weir_core::money::Nano;
use weir_core::names::LimitNames;
use weir_core::plan::{Billing, Plan};
use weir_core::policy::{Policy, PolicyParts};
use weir_core::usage::{Meter, Usage};
use weir_engine::accounts::NewAccount;
use weir_engine::clock::Clock;
use weir_engine::credit::NewCredit;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::keys::NewKey;
use weir_store::op::{Op, Urgency};
use weir_store::store::{Options, Store};

type Failure = Box<dyn std::error::Error>;

/// How many keys of a plan there shall be.
struct Wish {
    plan: String,
    keys: usize,
    credit: Option<String>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("no folder is named")?;
    let (charges, wishes): (Vec<_>, Vec<_>) =
        arguments.partition(|text| text.starts_with("charges:"));
    let wishes = wishes.iter().map(|text| wish(text)).collect::<Result<Vec<_>, _>>()?;
    let engine = boot(Path::new(&folder), &wishes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for wish in &wishes {
        runtime.block_on(grant(&engine, wish))?;
    }
    engine.close();
    drop(engine);
    if let Some(count) = charges.first().and_then(|text| text.strip_prefix("charges:")) {
        charge(Path::new(&folder), count.parse()?)?;
        // Takes them up once, as a server would that had posted them.
        boot(Path::new(&folder), &wishes)?.close();
    }
    Ok(())
}

fn boot(folder: &Path, wishes: &[Wish]) -> Result<Arc<Engine>, Failure> {
    let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
    let plans = wishes.iter().map(|wish| plan(&wish.plan));
    let parts = PolicyParts { plans: plans.collect(), ..PolicyParts::default() };
    let policy = Policy::new(PolicyNumber(0), parts)?;
    let (options, names) = (Options::default(), LimitNames::default());
    Ok(Engine::boot(folder, options, settings, policy, names, Clock::running())?)
}

/// Posts charges to all who have credit, in turn.
fn charge(folder: &Path, count: u64) -> Result<(), Failure> {
    let (store, loaded) = Store::open(folder, Options::default())?;
    let mut credits = loaded.entries_after(Seq(0)).collect::<Result<Vec<Entry>, _>>()?;
    let mut last = loaded.last_seq.0;
    drop(loaded);
    let accounts = u64::try_from(credits.len())?.max(1);
    let mut waiting = None;
    let mut left = count;
    while left > 0 {
        let ops = (0..left.min(AT_ONCE)).filter_map(|_| {
            last += 1;
            let credit = credits.get_mut(usize::try_from(last % accounts).ok()?)?;
            credit.balance -= PRICE;
            Some(Op::Append(charge_of(credit, Seq(last))))
        });
        let ops: Vec<Op> = ops.collect();
        left -= u64::try_from(ops.len())?;
        let before = waiting.replace(store.commit(Urgency::Settlement, ops));
        before.map_or(Ok(()), |commit| commit.wait().map(drop))?;
    }
    waiting.map_or(Ok(()), |commit| commit.wait().map(drop))?;
    Ok(())
}

/// A charge such as a proxied call makes.
fn charge_of(credit: &Entry, seq: Seq) -> Entry {
    let call = Call {
        key: None,
        route: "POST /v1/chat/completions".into(),
        model: "llama-3-8b".into(),
        price: "llama-3-8b".into(),
        usage: Usage::NONE.with(Meter::InputTokens, 812).with(Meter::OutputTokens, 240),
        pico: u128::from(PRICE.get().unsigned_abs()) * 1_000,
        held: Nano::new(2_700_000),
        flags: Flags::default(),
    };
    Entry {
        seq,
        kind: EntryKind::Charge,
        amount: -PRICE,
        reference: format!("0198c1f2-7a51-7cc3-98c4-{:012x}", seq.0).into(),
        terms: None,
        draws: std::iter::once(Draw { from: credit.seq, amount: PRICE }).collect(),
        call: Some(Box::new(call)),
        ..credit.clone()
    }
}

fn wish(text: &str) -> Result<Wish, Failure> {
    let mut parts = text.splitn(3, ':');
    let plan = parts.next().unwrap_or_default().to_owned();
    let keys = parts.next().ok_or("a wish is PLAN:KEYS or PLAN:KEYS:CREDIT")?.parse()?;
    Ok(Wish { plan, keys, credit: parts.next().map(str::to_owned) })
}

/// Only the name is kept; what the plan allows is said by the configuration of whoever serves.
fn plan(name: &str) -> Plan {
    Plan {
        name: name.into(),
        billing: Billing::None,
        endpoint_multiplier_ppm: 1_000_000,
        limits: Vec::new(),
        key_limits: BTreeMap::new(),
        alerts: Vec::new(),
    }
}

#[expect(clippy::print_stdout, reason = "whoever measures needs the keys")]
async fn grant(engine: &Arc<Engine>, wish: &Wish) -> Result<(), Failure> {
    for number in 0..wish.keys.div_ceil(KEYS_PER_ACCOUNT) {
        let name = format!("{} {number}", wish.plan);
        let new = NewAccount { name, plan: wish.plan.clone(), ..NewAccount::default() };
        let account = engine.create_account(new).await?;
        if let Some(credit) = &wish.credit {
            engine.post_credit(&account, &NewCredit::paid(credit.parse()?, "seed")).await?;
        }
        let left = wish.keys - number * KEYS_PER_ACCOUNT;
        for position in 0..left.min(KEYS_PER_ACCOUNT) {
            let (name, kind) = ("seed".to_owned(), "read_write".to_owned());
            let key = NewKey { name, kind, ..NewKey::default() };
            let made = engine.create_key(account.id, key).await?;
            if number == 0 && position == 0 {
                println!("{}", made.secret.unwrap_or_default());
            }
        }
    }
    Ok(())
}

const KEYS_PER_ACCOUNT: usize = 10;
const PRICE: Nano = Nano::new(265_800);
/// Charges in a commit.
const AT_ONCE: u64 = 2_000;

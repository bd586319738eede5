//! Fills the folder of a store with accounts and keys, for measurements.
//!
//! `cargo run -p weir-engine --example seed FOLDER PLAN:KEYS[:CREDIT]...`: keys of a plan, ten to
//! an account, each account with that credit. The first secret of each plan is printed, one a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_core::id::PolicyNumber;
use weir_core::names::LimitNames;
use weir_core::plan::{Billing, Plan};
use weir_core::policy::{Policy, PolicyParts};
use weir_engine::accounts::NewAccount;
use weir_engine::clock::Clock;
use weir_engine::credit::NewCredit;
use weir_engine::engine::{Engine, EngineSettings};
use weir_engine::keys::NewKey;
use weir_store::store::Options;

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
    let wishes = arguments.map(|text| wish(&text)).collect::<Result<Vec<_>, _>>()?;
    let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
    let plans = wishes.iter().map(|wish| plan(&wish.plan));
    let parts = PolicyParts { plans: plans.collect(), ..PolicyParts::default() };
    let policy = Policy::new(PolicyNumber(0), parts)?;
    let (options, names) = (Options::default(), LimitNames::default());
    let engine =
        Engine::boot(Path::new(&folder), options, settings, policy, names, Clock::running())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for wish in &wishes {
        runtime.block_on(grant(&engine, wish))?;
    }
    engine.close();
    Ok(())
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

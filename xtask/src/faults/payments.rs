//! Payments, refunds and disputes, told in any order, any number of times, across kills.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::auditor::nano;
use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::{Customer, Rig, Weir};
use super::wire::call;
use crate::step::say;

/// What a payment comes to in the end, in cents.
#[derive(Clone, Copy, Debug, Default)]
struct Payment {
    paid: u64,
    refunded: u64,
    disputed: u64,
}

impl Payment {
    fn left(self) -> u64 {
        self.paid.saturating_sub(self.refunded + self.disputed)
    }
}

/// In each round forty payments with what befalls them are told in a random order, each event up to
/// five times, several at once, with kills in between; the provider repeats what was not answered.
pub(super) fn in_any_order(plan: &Plan) -> anyhow::Result<()> {
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("payments", plan.seed + round)?;
        let billing = format!("{PLANS}[billing]\nstripe_webhook_secret = \"{SECRET}\"\n");
        let rig = Rig::selling(&plan.binary, folder.clone(), "0", &billing)?;
        let mut draw = Draw::new(plan.seed + (round << 8));
        let mut weir = rig.serve(&[])?;
        let customers = (0..3).map(|_| weir.customer("0")).collect::<Result<Vec<_>, _>>()?;
        let mut due = BTreeMap::new();
        let mut events = Vec::new();
        for number in 0..PAYMENTS {
            let whose = draw.of(&customers);
            let (payment, told) = befalls(&mut draw, whose, number);
            let sum: &mut (u64, usize) = due.entry(&whose.account).or_default();
            *sum = (sum.0 + payment.left(), sum.1 + 1);
            events.extend(told);
        }
        let distinct = events.len();
        let again: Vec<_> =
            events.iter().flat_map(|event| vec![event; copies(&mut draw)]).collect();
        let mut queue: Vec<&Value> = again;
        draw.shuffle(&mut queue);
        let (mut told, mut kills) = (0, 0);
        while !queue.is_empty() {
            let several = queue.split_off(queue.len().saturating_sub(5));
            let dies = draw.below(6) == 0;
            let pause = Duration::from_micros(draw.below(8_000));
            told += several.len();
            let unanswered = at_once(&weir, &several, dies.then_some(pause))?;
            if dies {
                drop(weir);
                weir = rig.serve(&[])?;
                kills += 1;
            }
            for event in unanswered {
                queue.insert(usize::try_from(draw.below(queue.len() as u64 + 1))?, event);
            }
            forged(&weir, &customers, &mut draw)?;
        }
        drop(weir);
        let weir = rig.serve(&[])?;
        // Once more, all of it: nothing of it counts again.
        for event in &events {
            ensure!(tell(&weir, event, SECRET) == 200, "{event} is not taken");
        }
        for Customer { account, .. } in &customers {
            let (cents, payments) = due.get(account).copied().unwrap_or_default();
            let wallet = weir.wallet(account)?;
            let balance = nano(wallet["balance"].as_str().context("no balance")?)?;
            ensure!(balance == cents * CENT, "{cents} cents are due, and there is {wallet}");
            let entries = weir.entries(account, usize::MAX)?;
            let credits = entries.iter().filter(|entry| entry["kind"] == "top_up").count();
            ensure!(credits == payments, "{credits} top-ups of {payments} payments");
        }
        drop(weir);
        say(&format!(
            "round {round}: {PAYMENTS} payments, {distinct} events told {told} times and once more, \
             {kills} kills; each counts once; {}",
            rig.verify()?
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// A payment, and the events that tell of it.
fn befalls(draw: &mut Draw, whose: &Customer, number: u64) -> (Payment, Vec<Value>) {
    let mut payment = Payment { paid: 100 + draw.below(9_900), ..Payment::default() };
    let id = format!("pi_{number}");
    let mut events = Vec::new();
    let mut add = |kind: &str, object: Value| {
        let event = format!("evt_{number}_{}", events.len());
        events.push(json!({"id": event, "type": kind, "data": {"object": object}}));
    };
    let metadata = json!({"weir_account": whose.account});
    if draw.below(3) > 0 {
        add(
            "payment_intent.succeeded",
            json!({"id": id, "amount_received": payment.paid, "currency": "usd", "metadata": metadata}),
        );
    }
    // At least one of the two tells of it; both say the same.
    add(
        "checkout.session.completed",
        json!({"id": format!("cs_{number}"), "payment_intent": id, "payment_status": "paid",
            "amount_total": payment.paid, "currency": "usd", "metadata": metadata}),
    );
    for _ in 0..draw.below(4) {
        let more = draw.below(payment.paid - payment.refunded + 1);
        payment.refunded += more;
        add(
            "charge.refunded",
            json!({"id": format!("ch_{number}"), "payment_intent": id, "currency": "usd",
                "amount_refunded": payment.refunded}),
        );
    }
    for dispute in 0..draw.below(3) {
        let amount = draw.below(payment.paid + 1);
        let (id, of) = (format!("dp_{number}_{dispute}"), &id);
        let about = |status: &str| {
            json!({"id": id, "payment_intent": of, "currency": "usd", "amount": amount,
                "status": status})
        };
        add("charge.dispute.created", about("needs_response"));
        match draw.below(3) {
            0 => add("charge.dispute.closed", about("won")),
            1 => {
                add("charge.dispute.closed", about("lost"));
                payment.disputed += amount;
            }
            _ => payment.disputed += amount,
        }
    }
    (payment, events)
}

/// How often an event is told.
fn copies(draw: &mut Draw) -> usize {
    *draw.of(&[1, 1, 1, 2, 3, 5])
}

/// Tells several events at once, and kills the process meanwhile if asked to; which of them were
/// not answered.
fn at_once<'e>(
    weir: &Weir,
    events: &[&'e Value],
    dies_after: Option<Duration>,
) -> anyhow::Result<Vec<&'e Value>> {
    std::thread::scope(|scope| {
        let told: Vec<_> = events
            .iter()
            .map(|event| (*event, scope.spawn(move || tell(weir, event, SECRET))))
            .collect();
        if let Some(pause) = dies_after {
            std::thread::sleep(pause);
            weir.process.power_cut();
        }
        let mut unanswered = Vec::new();
        for (event, told) in told {
            match told.join().ok().context("a panic")? {
                200 => {}
                0 if dies_after.is_some() => unanswered.push(event),
                status => anyhow::bail!("{event} is answered by {status}"),
            }
        }
        Ok(unanswered)
    })
}

/// A payment that nobody signed is refused.
fn forged(weir: &Weir, customers: &[Customer], draw: &mut Draw) -> anyhow::Result<()> {
    let event = json!({"id": "evt_forged", "type": "payment_intent.succeeded", "data": {"object": {
        "id": "pi_forged", "amount_received": 1_000_000, "currency": "usd",
        "metadata": {"weir_account": draw.of(customers).account}}}});
    let status = tell(weir, &event, "whsec_anyone");
    ensure!(status == 400, "a forged payment is answered by {status}");
    Ok(())
}

/// Tells an event as Stripe does; the status of the answer, 0 if there is none.
fn tell(weir: &Weir, event: &Value, secret: &str) -> u16 {
    let body = event.to_string();
    let at = seconds();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return 0 };
    mac.update(format!("{at}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let headers = [format!("stripe-signature: t={at},v1={signature}")];
    let reply = call(weir.admin, "POST /admin/v1/payments/stripe", &headers, &body);
    if reply.complete { reply.status } else { 0 }
}

#[expect(clippy::disallowed_methods, reason = "a provider signs by the clock of the machine")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const SECRET: &str = "whsec_only-for-experiments";
const PAYMENTS: u64 = 40;
/// A cent, in nano units.
const CENT: u64 = 10_000_000;
const PLANS: &str = "\n[plans.payg]\nbilling = \"wallet\"\n\n";

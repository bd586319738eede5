//! Payments that a provider tells of, in the shape and with the signature of Stripe's webhooks.

use axum::extract::{Request, State};
use axum::response::Response;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use utoipa::ToSchema;
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_engine::payments::{PaymentEvent, PaymentFact, Taken};
use weir_wire::error::Code;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::read_body;
use crate::settings::App;

/// What an event came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PaymentTaken {
    /// `posted`: it changed a balance; `known`: it was taken before; `kept`: its payment was not
    /// told yet, and it takes effect if that comes within 90 days; `ignored`: it is not about an
    /// account here.
    outcome: &'static str,
    /// The entry that it posted.
    #[schema(required = true)]
    entry_id: Option<String>,
}

/// Takes a signed payment event: each event and each payment once. It needs no admin key: the
/// signature in `Stripe-Signature` says who sends it.
#[utoipa::path(post, path = "/payments/stripe", tag = "wallets", request_body = Object,
    security(()),
    params(("Stripe-Signature" = String, Header, description = "`t=…,v1=…`")),
    responses((status = 200, description = "It is taken.", body = PaymentTaken),
              (status = 404, description = "not_found")))]
pub(crate) async fn stripe(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let Some(secret) = app.settings.stripe_secret.clone() else {
        let detail =
            "This server takes no payment events: billing.stripe_webhook_secret is not set.";
        return Err(Problem::new(Code::NotFound, detail));
    };
    let signature = request.headers().get("stripe-signature").cloned();
    let body = read_body(request).await?;
    let header = signature.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_signed(secret.as_bytes(), header, &body, app.engine.now()) {
        let detail = "The signature is missing, wrong, or older than five minutes.";
        return Err(Problem::new(Code::InvalidRequest, detail).param("Stripe-Signature"));
    }
    let event: Value = serde_json::from_slice(&body)
        .map_err(|_| Problem::new(Code::InvalidRequest, "The body is not JSON."))?;
    let taken = match read_event(&event, app.engine.currency())? {
        Some(event) => Some(app.engine.take_payment(&event).await?),
        None => None,
    };
    let shape = match taken {
        Some(Taken::Posted(posted)) => {
            PaymentTaken { outcome: "posted", entry_id: Some(posted.entry.to_string()) }
        }
        Some(Taken::Before) => PaymentTaken { outcome: "known", entry_id: None },
        Some(Taken::Kept) => PaymentTaken { outcome: "kept", entry_id: None },
        None => PaymentTaken { outcome: "ignored", entry_id: None },
    };
    Ok(Shown::plain(shape).changed(app.engine.now()))
}

/// Whether one of the header's `v1` signatures is of `t.body`, and `t` is near enough.
fn is_signed(secret: &[u8], header: &str, body: &[u8], now: Timestamp) -> bool {
    let mut parts = header.split(',').filter_map(|part| part.trim().split_once('='));
    let Some(at) = parts.clone().find(|(name, _)| *name == "t").map(|(_, at)| at) else {
        return false;
    };
    let near = at.parse::<i64>().is_ok_and(|secs| {
        let off = now.secs_ceil().saturating_sub(secs);
        (-TOLERANCE_S..=TOLERANCE_S).contains(&off)
    });
    near && parts.any(|(name, hex_digest)| {
        let Ok(digest) = hex::decode(hex_digest) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        mac.update(at.as_bytes());
        mac.update(b".");
        mac.update(body);
        name == "v1" && mac.verify_slice(&digest).is_ok()
    })
}

/// What an event says; `None`: nothing that concerns a wallet.
fn read_event(event: &Value, currency: &str) -> Result<Option<PaymentEvent>, Problem> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let object = &event["data"]["object"];
    let Some(id) = text(&event["id"]) else {
        return Err(Problem::invalid("id", "the event has none"));
    };
    let account = text(&object["metadata"]["weir_account"]);
    let answers = text(&object["metadata"]["weir_auto_top_up"]);
    let amount = |member: &str| money(object, member, currency);
    let (payment, what) = match event["type"].as_str().unwrap_or_default() {
        "payment_intent.succeeded" => {
            let Some(account) = account else { return Ok(None) };
            (
                &object["id"],
                PaymentFact::Paid { account, amount: amount("amount_received")?, answers },
            )
        }
        "checkout.session.completed" => {
            let paid = object["payment_status"].as_str() == Some("paid");
            let Some(account) = account.filter(|_| paid) else { return Ok(None) };
            let of_intent = !object["payment_intent"].is_null();
            let payment = if of_intent { &object["payment_intent"] } else { &object["id"] };
            (payment, PaymentFact::Paid { account, amount: amount("amount_total")?, answers })
        }
        "charge.refunded" => {
            (&object["payment_intent"], PaymentFact::RefundedTo(amount("amount_refunded")?))
        }
        "charge.dispute.created" => {
            let Some(dispute) = text(&object["id"]) else { return Ok(None) };
            let amount = amount("amount")?;
            (&object["payment_intent"], PaymentFact::Disputed { dispute, amount })
        }
        "charge.dispute.closed" => {
            let won = matches!(object["status"].as_str(), Some("won" | "warning_closed"));
            let Some(dispute) = text(&object["id"]).filter(|_| won) else { return Ok(None) };
            (&object["payment_intent"], PaymentFact::DisputeWon { dispute })
        }
        _ => return Ok(None),
    };
    let Some(payment) = text(payment) else { return Ok(None) };
    let dispute = match &what {
        PaymentFact::Disputed { dispute, .. } | PaymentFact::DisputeWon { dispute } => dispute,
        PaymentFact::Paid { .. } | PaymentFact::RefundedTo(_) => &payment,
    };
    let ids = [("id", &id), ("data.object.payment_intent", &payment), ("data.object.id", dispute)];
    for (member, text) in ids {
        if text.is_empty() || text.len() > ID_MAX {
            return Err(Problem::invalid(member, format!("it must have 1 to {ID_MAX} characters")));
        }
    }
    Ok(Some(PaymentEvent { source: "stripe", id, payment, what }))
}

/// An amount in the smallest unit of its currency, which must be this server's.
fn money(object: &Value, member: &str, currency: &str) -> Result<Nano, Problem> {
    let name = format!("data.object.{member}");
    let found = object["currency"].as_str().unwrap_or_default();
    if !found.eq_ignore_ascii_case(currency) {
        let why = format!("payments must be in {currency}, this one is in `{found}`");
        return Err(Problem::invalid("data.object.currency", why));
    }
    let unit = match currency {
        _ if WITHOUT_DECIMALS.contains(&currency) => 1_000_000_000,
        _ if WITH_THREE_DECIMALS.contains(&currency) => 1_000_000,
        _ => 10_000_000,
    };
    object[member]
        .as_i64()
        .and_then(|units: i64| units.checked_mul(unit))
        .map(Nano::new)
        .filter(|amount| !amount.is_negative() && *amount <= Nano::BOUND)
        .ok_or_else(|| {
            Problem::invalid(&name, "it must be a whole number from 0 on, within reason")
        })
}

const TOLERANCE_S: i64 = 300;
const ID_MAX: usize = 200;
/// Stripe's lists: docs.stripe.com/currencies.
const WITHOUT_DECIMALS: [&str; 16] = [
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV",
    "XAF", "XOF", "XPF",
];
const WITH_THREE_DECIMALS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn header(secret: &[u8], at: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        format!("t={at},v0=00,v1={}", hex::encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn only_a_fresh_signature_of_the_same_bytes_counts() {
        let now = Timestamp::from_secs(1_000_000);
        let signed = header(b"whsec", 1_000_000, b"{}");
        assert!(is_signed(b"whsec", &signed, b"{}", now));
        assert!(is_signed(b"whsec", &header(b"whsec", 999_700, b"{}"), b"{}", now));
        assert!(!is_signed(b"whsec", &header(b"whsec", 999_699, b"{}"), b"{}", now));
        assert!(!is_signed(b"whsec", &header(b"whsec", 1_000_301, b"{}"), b"{}", now));
        assert!(!is_signed(b"other", &signed, b"{}", now));
        assert!(!is_signed(b"whsec", &signed, b"{ }", now));
        for header in ["", "t=1000000", "v1=00", "t=1000000,v1=zz", "t=x,v1=00"] {
            assert!(!is_signed(b"whsec", header, b"{}", now), "{header}");
        }
    }

    #[test]
    fn amounts_are_read_in_the_smallest_unit_of_the_currency() {
        let object = |currency: &str, amount: Value| json!({ "currency": currency, "a": amount });
        let read = |currency: &str, amount| {
            money(&object(currency, amount), "a", &currency.to_uppercase())
        };
        assert_eq!(read("usd", json!(2_500)).unwrap(), "25".parse().unwrap());
        assert_eq!(read("jpy", json!(2_500)).unwrap(), "2500".parse().unwrap());
        assert_eq!(read("kwd", json!(2_500)).unwrap(), "2.5".parse().unwrap());
        for wrong in [json!(-1), json!(1.5), json!("5"), json!(i64::MAX), Value::Null] {
            assert!(read("usd", wrong).is_err());
        }
        assert!(money(&object("eur", json!(1)), "a", "USD").is_err());
    }
}

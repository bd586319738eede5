//! Durable holds: credit reserved for jobs and other work that ends later.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::{AccountId, HoldId};
use weir_core::time::Timestamp;
use weir_engine::holds::{self as engine, HoldView};

use crate::answer::{Page, Paging, Shown};
use crate::once::{Once, made_once};
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::check;
use crate::time::{parse_span, rfc3339};

/// A durable hold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldShape {
    /// Its id.
    id: String,
    /// Whose credit it reserves.
    account_id: String,
    /// How much it reserves, or reserved.
    #[schema(example = "12.50")]
    amount: String,
    /// What it is for.
    reference: String,
    /// `open`, `settled`, `voided`, `expired`.
    status: &'static str,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When it ended; `null`: it is open.
    #[schema(required = true, format = DateTime)]
    ended_at: Option<String>,
    /// What was charged; `null`: nothing.
    #[schema(required = true)]
    charge: Option<String>,
    /// The entry of the charge; `null`: there is none.
    #[schema(required = true)]
    entry_id: Option<String>,
}

/// A new hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHold {
    /// How much to reserve, above zero.
    #[schema(example = "12.50")]
    amount: String,
    /// When it ends by itself: `30s` to `366d`.
    #[schema(example = "6h")]
    expires_in: String,
    /// What it is for; it stands beside the charge.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reference: String,
}

/// What the work of a hold really cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldCharge {
    /// How much: less or more than was held, or nothing.
    #[schema(example = "9.75")]
    amount: String,
}

/// The holds of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldsShape {
    /// What durable holds reserve now.
    held_durably: String,
    /// What running calls reserve now.
    held_in_flight: String,
    /// A page of durable holds, the oldest first.
    data: Vec<HoldShape>,
    /// Where the next page begins; `null`: this is the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl HoldShape {
    fn of(view: HoldView) -> Self {
        let HoldView { id, account, record } = view;
        let at = |micros| rfc3339(Timestamp::from_micros(micros));
        Self {
            id: id.to_string(),
            account_id: account.to_string(),
            amount: record.amount,
            reference: record.reference,
            status: record.status.name(),
            created_at: at(record.created_at_us),
            expires_at: at(record.expires_at_us),
            ended_at: record.ended_at_us.map(at),
            charge: record.charge,
            entry_id: record.entry.map(|seq| weir_core::id::Seq(seq).to_string()),
        }
    }
}

/// Reserves credit for work that ends later.
#[utoipa::path(post, path = "/accounts/{id}/holds", tag = "holds", request_body = NewHold,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is reserved.", body = HoldShape),
              (status = 402, description = "insufficient_credits")))]
pub(crate) async fn create(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    once: Once,
    Body(new): Body<NewHold>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let amount = check::money("amount", &new.amount)?;
    let span = parse_span(&new.expires_in).map_err(|why| Problem::invalid("expires_in", why))?;
    check::text("reference", &new.reference)?;
    let new = engine::NewHold { amount, expires_in: span, reference: &new.reference };
    let answering = once.answering(|hold: &HoldView| HoldShape::of(hold.clone()));
    let hold = app.engine.create_hold_answering(&cell, new, answering).await?;
    Ok(made_once(&HoldShape::of(hold)))
}

/// Lists the holds of an account, with what running calls hold beside them.
#[utoipa::path(get, path = "/accounts/{id}/holds", tag = "holds",
    params(("id" = String, Path, description = "The account's id."), Paging),
    responses((status = 200, description = "A page of them.", body = HoldsShape)))]
pub(crate) async fn list(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let (limit, after) = paging.read::<HoldId>()?;
    let holds = app.engine.holds_of(id, after, limit + 1).await?;
    let page = Page::of(holds, limit, |hold| hold.id.to_string());
    let durable = app.engine.held_durably(id);
    let held = app.engine.wallet_of(&cell).held;
    let shape = HoldsShape {
        held_durably: durable.to_string(),
        held_in_flight: held.saturating_sub(durable).or_zero().to_string(),
        data: page.data.into_iter().map(HoldShape::of).collect(),
        next_cursor: page.next_cursor,
    };
    Ok(Shown::plain(shape).answer(&headers, app.engine.now()))
}

/// Charges what the work of a hold really cost, once: the same answer to whoever asks again.
#[utoipa::path(post, path = "/holds/{id}/settle", tag = "holds", request_body = HoldCharge,
    params(("id" = String, Path, description = "The hold's id.")),
    responses((status = 200, description = "It is settled.", body = HoldShape)))]
pub(crate) async fn settle(
    State(app): State<App>,
    Id(id): Id<HoldId>,
    Body(charge): Body<HoldCharge>,
) -> Result<Response, Problem> {
    let amount = check::money("amount", &charge.amount)?;
    let hold = app.engine.settle_hold(id, amount).await?;
    Ok(Shown::plain(HoldShape::of(hold)).changed(app.engine.now()))
}

/// Gives back what a hold reserves: nothing is charged.
#[utoipa::path(post, path = "/holds/{id}/void", tag = "holds",
    params(("id" = String, Path, description = "The hold's id.")),
    responses((status = 200, description = "It is given back.", body = HoldShape)))]
pub(crate) async fn void(State(app): State<App>, Id(id): Id<HoldId>) -> Result<Response, Problem> {
    let hold = app.engine.void_hold(id).await?;
    Ok(Shown::plain(HoldShape::of(hold)).changed(app.engine.now()))
}

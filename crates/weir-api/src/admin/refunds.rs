//! Refunds and monthly statements.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::id::{AccountId, Seq};
use weir_core::price::Period;
use weir_engine::refunds::NewRefund;
use weir_engine::statements::Statement;

use crate::answer::Shown;
use crate::once::{Once, made_once};
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::check;
use crate::shape::wallet::PostedShape;
use crate::time::parse_rfc3339;

/// A charge that is taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refund {
    /// The charge.
    entry_id: String,
    /// How much of it; left out: all that is left.
    #[schema(example = "1.25")]
    amount: Option<String>,
    /// Why, for the ledger.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// In which form a statement is given.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatementForm {
    /// `json` (default) or `csv`.
    format: Option<String>,
}

/// What happened to a balance in a month. It equals the ledger: opening + sums = closing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementShape {
    /// Whose.
    account_id: String,
    /// Which month, in UTC.
    #[schema(example = "2026-03")]
    month: String,
    /// ISO 4217.
    currency: String,
    /// The balance at its beginning.
    opening: String,
    /// The balance at its end.
    closing: String,
    /// How many entries it has.
    entries: u64,
    /// The sum of each kind of entry.
    sums: BTreeMap<&'static str, String>,
    /// What was charged by price and model.
    lines: Vec<LineShape>,
}

/// What was charged under one price for one model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineShape {
    /// The price's name; empty: charged without one.
    price: String,
    /// The model, empty if none.
    model: String,
    /// How many charges.
    charges: u64,
    /// What was used, by meter; `second` is in milliseconds.
    usage: BTreeMap<&'static str, u64>,
    /// What it cost.
    amount: String,
}

/// Takes a charge back, wholly or in part.
#[utoipa::path(post, path = "/accounts/{id}/wallet/refunds", tag = "wallets", request_body = Refund,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is posted.", body = PostedShape)))]
pub(crate) async fn refund(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    once: Once,
    Body(refund): Body<Refund>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let charge: Seq = refund
        .entry_id
        .parse()
        .map_err(|_| Problem::invalid("entry_id", "it must be the id of an entry"))?;
    let amount = refund.amount.as_deref().map(|text| check::money("amount", text)).transpose()?;
    if refund.reason.trim().is_empty() {
        return Err(Problem::invalid("reason", "it must say why"));
    }
    check::text("reason", &refund.reason)?;
    let refund = NewRefund { charge, amount, reason: &refund.reason };
    let answering = once.answering(PostedShape::of);
    let posted = app.engine.refund_answering(&cell, refund, answering).await?;
    Ok(made_once(&PostedShape::of(&posted)))
}

/// Shows what happened to a wallet in a month.
#[utoipa::path(get, path = "/accounts/{id}/statements/{month}", tag = "wallets",
    params(("id" = String, Path, description = "The account's id."),
           ("month" = String, Path, description = "YYYY-MM, in UTC."), StatementForm),
    responses((status = 200, description = "The statement.", body = StatementShape)))]
pub(crate) async fn statement(
    State(app): State<App>,
    Path((id, month)): Path<(String, String)>,
    headers: HeaderMap,
    Query(form): Query<StatementForm>,
) -> Result<Response, Problem> {
    let id: AccountId = id.parse().map_err(|_| Problem::not_found("account"))?;
    if app.engine.account(id).is_none() {
        return Err(Problem::not_found("account"));
    }
    let start = parse_rfc3339(&format!("{month}-01T00:00:00Z"))
        .ok()
        .filter(|_| month.len() == 7)
        .ok_or_else(|| Problem::invalid("month", "it must be written YYYY-MM"))?;
    let statement = app.engine.statement(id, start, Period::Month.end(start)).await?;
    let shape = StatementShape::of(id, month, app.engine.currency(), &statement);
    match form.format.as_deref() {
        None | Some("json") => Ok(Shown::plain(shape).answer(&headers, app.engine.now())),
        Some("csv") => {
            let kind = [(CONTENT_TYPE, "text/csv; charset=utf-8")];
            Ok((kind, shape.csv()).into_response())
        }
        Some(_) => Err(Problem::invalid("format", "it must be `json` or `csv`")),
    }
}

impl StatementShape {
    fn of(id: AccountId, month: String, currency: &str, statement: &Statement) -> Self {
        let sums = statement.by_kind.iter().map(|(kind, sum)| (kind.name(), sum.to_string()));
        let lines = statement.lines.iter().map(|((price, model), line)| LineShape {
            price: price.to_string(),
            model: model.to_string(),
            charges: line.charges,
            usage: line.usage.amounts().map(|(meter, amount)| (meter.name(), amount)).collect(),
            amount: line.amount.to_string(),
        });
        Self {
            account_id: id.to_string(),
            month,
            currency: currency.to_owned(),
            opening: statement.opening.to_string(),
            closing: statement.closing.to_string(),
            entries: statement.entries,
            sums: sums.collect(),
            lines: lines.collect(),
        }
    }

    /// One row for the opening, each sum, each line and the closing.
    fn csv(&self) -> String {
        let mut text = String::from("type,name,model,count,amount,currency\r\n");
        let mut row = |kind: &str, name: &str, model: &str, count: &str, amount: &str| {
            let fields = [kind, name, model, count, amount, &self.currency].map(field);
            // Writing to a string does not fail.
            let _ = write!(text, "{}\r\n", fields.join(","));
        };
        row("opening", "", "", "", &self.opening);
        for (kind, sum) in &self.sums {
            row("sum", kind, "", "", sum);
        }
        for line in &self.lines {
            row("line", &line.price, &line.model, &line.charges.to_string(), &line.amount);
        }
        row("closing", "", "", &self.entries.to_string(), &self.closing);
        text
    }
}

/// A field by RFC 4180; what a spreadsheet would take for a formula is marked as text.
fn field(text: &str) -> String {
    let numeric = text.parse::<weir_core::money::Nano>().is_ok();
    let formula = !numeric && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_cannot_leave_its_place_or_become_a_formula() {
        assert_eq!(field("a,b"), "\"a,b\"");
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
        assert_eq!(field("=SUM(A1)"), "'=SUM(A1)");
        assert_eq!(field("-3.50"), "-3.50");
        assert_eq!(field("-cmd"), "'-cmd");
    }
}

//! Wallets: shown, topped up, adjusted, put on other terms.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use weir_core::alert::Threshold;
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::{Category, EntryKind, Terms};
use weir_core::money::Nano;
use weir_engine::credit::NewCredit;
use weir_engine::record::AccountRecord;

use crate::answer::{Page, Paging, Shown};
use crate::once::{Once, made_once};
use crate::problem::Problem;
use crate::request::{Body, Change, Id, IfMatch, Query};
use crate::settings::App;
use crate::shape::check;
use crate::shape::key::future;
use crate::shape::wallet::{
    AdjustmentShape, AutoTopUp, EntryShape, PostedShape, TopUp, TopUpDeclined, WalletChange,
    WalletShape,
};

/// Shows the wallet of an account.
#[utoipa::path(get, path = "/accounts/{id}/wallet", tag = "wallets",
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The wallet.", body = WalletShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let shown = shown(&app, id).await?;
    Ok(shown.answer(&headers, app.engine.now()))
}

/// Changes the terms of a wallet.
#[utoipa::path(patch, path = "/accounts/{id}/wallet", tag = "wallets", request_body = WalletChange,
    params(("id" = String, Path, description = "The account's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 200, description = "The wallet as it is now.", body = WalletShape)))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    IfMatch(revision): IfMatch,
    Body(change): Body<WalletChange>,
) -> Result<Response, Problem> {
    checked(&change)?;
    let apply = |record: &mut AccountRecord| {
        change.credit_line.apply(&mut record.credit_line);
        change.alerts.apply(&mut record.alerts);
        match change.auto_top_up {
            Change::Absent => {}
            Change::Null => record.auto_top_up = None,
            Change::To(auto) => record.auto_top_up = Some(auto.kept()),
        }
        Ok(())
    };
    app.engine.change_account(id, revision, apply).await?;
    Ok(shown(&app, id).await?.changed(app.engine.now()))
}

/// Posts credit; it can be spent when this is answered.
#[utoipa::path(post, path = "/accounts/{id}/wallet/top-ups", tag = "wallets", request_body = TopUp,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is posted.", body = PostedShape)))]
pub(crate) async fn top_up(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    once: Once,
    Body(top_up): Body<TopUp>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let amount = check::money("amount", &top_up.amount)?;
    if let Some(note) = &top_up.note {
        check::text("note", note)?;
    }
    let now = app.engine.now();
    let expires_at = top_up.expires_at.as_deref().map(|at| future(at, now)).transpose()?;
    let terms = top_up.terms(expires_at);
    let kind = match terms.category {
        Category::Paid => EntryKind::TopUp,
        Category::Promo => EntryKind::Grant,
    };
    let (note, answers) = (top_up.note, top_up.reference);
    let reference = answers.clone().unwrap_or_else(|| REFERENCE.to_owned());
    let credit = NewCredit { amount, kind, terms, reference, note, once: None, answers };
    let answering = once.answering(PostedShape::of);
    let posted = app.engine.post_credit_answering(&cell, &credit, answering).await?;
    Ok(made_once(&PostedShape::of(&posted)))
}

/// Says that the automatic top-up which was asked for is not made: the next request waits an hour,
/// twice as long each time, at most 32 hours.
#[utoipa::path(post, path = "/accounts/{id}/wallet/auto-top-up/decline", tag = "wallets",
    request_body = TopUpDeclined, params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The wallet.", body = WalletShape)))]
pub(crate) async fn decline_top_up(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    Body(declined): Body<TopUpDeclined>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let reason = declined.reason.unwrap_or_default();
    check::text("reason", &reason)?;
    app.engine.decline_top_up(&cell, &declined.reference, &reason).await?;
    Ok(shown(&app, id).await?.changed(app.engine.now()))
}

/// Posts a change by hand.
#[utoipa::path(post, path = "/accounts/{id}/wallet/adjustments", tag = "wallets",
    request_body = AdjustmentShape,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is posted.", body = PostedShape)))]
pub(crate) async fn adjust(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    once: Once,
    Body(adjustment): Body<AdjustmentShape>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let amount = check::money("amount", &adjustment.amount)?;
    if adjustment.reason.trim().is_empty() {
        return Err(Problem::invalid("reason", "it must say why"));
    }
    check::text("reason", &adjustment.reason)?;
    let terms = Terms { category: Category::Paid, priority: 50, expires_at: None };
    let credit = NewCredit {
        amount,
        kind: EntryKind::Adjustment,
        terms,
        reference: REFERENCE.to_owned(),
        note: Some(adjustment.reason),
        once: None,
        answers: None,
    };
    let answering = once.answering(PostedShape::of);
    let posted = app.engine.post_credit_answering(&cell, &credit, answering).await?;
    Ok(made_once(&PostedShape::of(&posted)))
}

/// Lists the entries of a wallet, newest first.
#[utoipa::path(get, path = "/accounts/{id}/wallet/entries", tag = "wallets",
    params(("id" = String, Path, description = "The account's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<EntryShape>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    if app.engine.account(id).is_none() {
        return Err(Problem::not_found("account"));
    }
    let page = entries_page(&app, id, &paging).await?;
    Ok(Shown::plain(page).answer(&headers, app.engine.now()))
}

/// A page of an account's entries.
pub(crate) async fn entries_page(
    app: &App,
    id: AccountId,
    paging: &Paging,
) -> Result<Page<EntryShape>, Problem> {
    let (limit, before) = paging.read::<Seq>()?;
    let entries = app.engine.entries_of(id, before, limit + 1).await?;
    let page = Page::of(entries, limit, |entry| entry.seq.to_string());
    Ok(page.map(|entry| EntryShape::of(&entry)))
}

async fn shown(app: &App, id: AccountId) -> Result<Shown<WalletShape>, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let revision = Some(cell.record.load().revision);
    let body = WalletShape::of(&app.engine, &cell).await?;
    Ok(Shown { body, revision, changed_at: None })
}

fn checked(change: &WalletChange) -> Result<(), Problem> {
    if let Change::To(line) = &change.credit_line {
        check::money("credit_line", line)?;
    }
    if let Change::To(alerts) = &change.alerts {
        check::members("alerts", alerts.len())?;
        for alert in alerts {
            alert
                .parse::<Threshold>()
                .map_err(|why| Problem::invalid("alerts", format!("`{alert}`: {why}")))?;
        }
    }
    if let Change::To(auto) = &change.auto_top_up {
        let AutoTopUp { threshold, amount, monthly_max } = auto;
        let amounts = [("auto_top_up.amount", Some(amount))];
        let bounds = [("auto_top_up.monthly_max", monthly_max.as_ref())];
        for (member, text) in amounts.into_iter().chain(bounds) {
            let Some(text) = text else { continue };
            let amount = check::money(member, text)?;
            if amount <= Nano::ZERO || amount > Nano::BOUND {
                let why = "it must be above zero and at most 1000000000";
                return Err(Problem::invalid(member, why));
            }
        }
        check::money("auto_top_up.threshold", threshold)?;
    }
    Ok(())
}

/// What the ledger names as the cause.
const REFERENCE: &str = "admin";

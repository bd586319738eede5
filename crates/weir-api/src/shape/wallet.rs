//! Wallets and their entries as the APIs write and read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use weir_core::grant::Grant;
use weir_core::ledger::{Call, Category, Entry, Terms};
use weir_core::time::{Span, Timestamp};
use weir_engine::alerts::{AlertView, level_name};
use weir_engine::cell::AccountCell;
use weir_engine::change::ChangeError;
use weir_engine::commitments::CommitmentView;
use weir_engine::credit::Posted;
use weir_engine::engine::Engine;

use crate::request::Change;
use crate::time::rfc3339;

/// A wallet: prepaid credit of an account. All money is a decimal string.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wallet)]
pub(crate) struct WalletShape {
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// The sum of all entries.
    #[schema(example = "25.00")]
    balance: String,
    /// What running calls and open holds reserve.
    held: String,
    /// What may be spent: balance − held + credit line, without credit whose time ran out.
    available: String,
    /// How far the balance may fall below zero.
    credit_line: String,
    /// Credit with something left, in the order in which it burns.
    grants: Vec<GrantShape>,
    /// When its owner is told that it is low.
    #[schema(example = json!(["5.00", "20%", "24h"]))]
    alerts: Vec<String>,
    /// How it is topped up by itself; `null`: not at all.
    #[schema(required = true)]
    auto_top_up: Option<AutoTopUp>,
    /// The automatic top-up that was asked for and waits for its answer; `null`: there is none.
    #[schema(required = true)]
    auto_top_up_pending: Option<TopUpAsked>,
    /// The least that its contract wants to be spent in the running month; `null`: there is none.
    #[schema(required = true)]
    commitment: Option<CommitmentShape>,
    /// Where it stands towards those alerts, and towards being empty.
    levels: Vec<LevelShape>,
    /// What is spent per hour; `null` before six hours of history.
    #[schema(required = true)]
    burn_per_hour: Option<String>,
    /// How long the available credit lasts at that rate.
    #[schema(required = true)]
    runway_s: Option<i64>,
}

/// Minimum spending in a calendar month in UTC, or the part of one that the contract covers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Commitment)]
pub(crate) struct CommitmentShape {
    /// The minimum.
    #[schema(example = "500.00")]
    amount: String,
    /// What was charged so far.
    spent: String,
    /// What would be charged if the period ended now.
    short: String,
    /// When the period began.
    #[schema(format = DateTime)]
    from: String,
    /// When it ends: then what it falls short is charged.
    #[schema(format = DateTime)]
    until: String,
}

/// A level that the wallet can fall to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LevelShape {
    /// As it is written in `alerts`, or `depleted`.
    name: String,
    /// What it amounts to now; `null`: not known yet.
    #[schema(required = true)]
    value: Option<String>,
    /// Whether the wallet is at or below it.
    reached: bool,
}

/// Credit of one entry, as far as it is left.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub(crate) struct GrantShape {
    /// The entry that brought it.
    entry_id: String,
    /// How much is left.
    remaining: String,
    /// Whether it was paid for.
    category: CategoryShape,
    /// 0 burns first, 100 last.
    priority: u8,
    /// When it can no longer be used; `null`: never.
    #[schema(required = true, format = DateTime)]
    expires_at: Option<String>,
}

/// Whether credit was paid for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Category)]
pub(crate) enum CategoryShape {
    /// Paid for.
    #[default]
    Paid,
    /// Given; never becomes refundable cash.
    Promo,
}

/// One change of a balance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub(crate) struct EntryShape {
    /// Its id, ascending.
    pub(crate) id: String,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// Why: `top_up`, `grant`, `charge`, `debt`, `refund`, `adjustment`, `expiry`, `correction`.
    kind: String,
    /// The change: positive adds credit, negative takes it.
    amount: String,
    /// The balance after it.
    balance: String,
    /// What caused it: a request id, a payment, another entry.
    reference: String,
    /// Words of whoever posted it.
    #[schema(required = true)]
    note: Option<String>,
    /// The terms of the credit that it brought.
    #[schema(required = true)]
    terms: Option<TermsShape>,
    /// Which credit it used up, in order.
    draws: Vec<DrawShape>,
    /// The number of the policy by which it was priced or posted.
    policy: u32,
    /// The call that was charged.
    #[schema(required = true)]
    call: Option<CallShape>,
}

/// On what terms credit was brought in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Terms)]
pub(crate) struct TermsShape {
    /// Whether it was paid for.
    category: CategoryShape,
    /// 0 burns first, 100 last.
    priority: u8,
    /// When it can no longer be used; `null`: never.
    #[schema(required = true, format = DateTime)]
    expires_at: Option<String>,
}

/// A part of a debit that came from one credit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Draw)]
pub(crate) struct DrawShape {
    /// The entry that brought the credit.
    entry_id: String,
    /// How much of it.
    amount: String,
}

/// A charged call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Call)]
pub(crate) struct CallShape {
    /// The key that made it.
    #[schema(required = true)]
    key_id: Option<String>,
    /// The route; `commitment` where a month fell short of it.
    route: String,
    /// The model, empty if none.
    model: String,
    /// The price's name.
    price: String,
    /// What was used, by meter; `second` is in milliseconds.
    usage: BTreeMap<&'static str, u64>,
    /// What was held for it.
    held: String,
    /// What was out of the ordinary.
    flags: Vec<&'static str>,
}

/// Credit that comes in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopUp {
    /// How much, above zero.
    #[schema(example = "25.00")]
    pub(crate) amount: String,
    /// Words for the ledger.
    #[schema(max_length = 1000)]
    pub(crate) note: Option<String>,
    /// When it can no longer be used; left out: never.
    #[schema(format = DateTime)]
    pub(crate) expires_at: Option<String>,
    /// 0 burns first, 100 last.
    #[serde(default = "priority_default")]
    #[schema(minimum = 0, maximum = 100, default = 50)]
    pub(crate) priority: u8,
    /// Whether it was paid for.
    #[serde(default)]
    pub(crate) category: CategoryShape,
    /// The automatic top-up that this answers: the reference of its request.
    pub(crate) reference: Option<String>,
}

/// An automatic top-up that is not made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopUpDeclined {
    /// The reference of the request.
    pub(crate) reference: String,
    /// Why, for whoever is told.
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
}

/// An automatic top-up that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopUpAsked {
    /// What the answer is to name.
    reference: String,
    /// How much.
    amount: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    requested_at: String,
    /// Until when it waits for an answer.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// A change by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Adjustment)]
pub(crate) struct AdjustmentShape {
    /// How much: positive adds credit, negative takes it.
    #[schema(example = "-3.50")]
    pub(crate) amount: String,
    /// Why, for the ledger.
    #[schema(min_length = 1, max_length = 1000)]
    pub(crate) reason: String,
}

/// A change of the balance that is durable.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Posted)]
pub(crate) struct PostedShape {
    /// Its entry.
    entry_id: String,
    /// The balance after it.
    balance: String,
    /// What may be spent after it.
    available: String,
}

/// What shall change of a wallet's terms; members that are left out stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WalletChange {
    /// How far the balance may fall below zero; `null`: not at all.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) credit_line: Change<String>,
    /// When its owner is told that it is low: amounts, shares of the last top-up, runway; `null`:
    /// as the plan says.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) alerts: Change<Vec<String>>,
    /// How it is topped up by itself; `null`: not at all.
    #[serde(default)]
    #[schema(value_type = Option<AutoTopUp>)]
    pub(crate) auto_top_up: Change<AutoTopUp>,
}

/// How a wallet is topped up by itself.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AutoTopUp {
    /// When what is available falls to this.
    pub(crate) threshold: String,
    /// By how much.
    pub(crate) amount: String,
    /// At most so much in a calendar month; `null` or left out: no bound.
    #[serde(default)]
    pub(crate) monthly_max: Option<String>,
}

impl WalletShape {
    /// The wallet of an account as it stands.
    pub(crate) async fn of(engine: &Engine, cell: &Arc<AccountCell>) -> Result<Self, ChangeError> {
        let commitment = engine.commitment_of(cell).await?;
        let view = engine.wallet_of(cell);
        let (levels, spending) = engine.alerts_of(cell);
        let record = cell.record.load();
        let alerts = record.alerts.clone().unwrap_or_else(|| {
            let policy = engine.policy();
            let plan = policy.plan(&record.plan).map(|plan| plan.alerts.as_slice());
            plan.unwrap_or_default().iter().map(ToString::to_string).collect()
        });
        let auto = record.auto_top_up.clone();
        Ok(Self {
            currency: engine.currency().to_owned(),
            balance: view.balance.to_string(),
            held: view.held.to_string(),
            available: view.available.to_string(),
            credit_line: view.credit_line.to_string(),
            grants: view.grants.iter().map(GrantShape::of).collect(),
            alerts,
            auto_top_up: auto.and_then(|auto| serde_json::from_value(auto).ok()),
            auto_top_up_pending: engine.top_up_asked(cell).map(|asked| TopUpAsked {
                reference: asked.reference,
                amount: asked.amount,
                requested_at: rfc3339(Timestamp::from_micros(asked.at_us)),
                expires_at: rfc3339(Timestamp::from_micros(asked.expires_us)),
            }),
            commitment: commitment.as_ref().map(CommitmentShape::of),
            levels: levels.iter().map(LevelShape::of).collect(),
            burn_per_hour: spending.per_hour.map(|burn| burn.to_string()),
            runway_s: spending.runway.map(Span::secs_ceil),
        })
    }
}

impl CommitmentShape {
    fn of(view: &CommitmentView) -> Self {
        let CommitmentView { period, spent } = view;
        Self {
            amount: period.amount.to_string(),
            spent: spent.to_string(),
            short: (period.amount - *spent).or_zero().to_string(),
            from: rfc3339(period.from),
            until: rfc3339(period.until),
        }
    }
}

impl LevelShape {
    fn of(view: &AlertView) -> Self {
        Self {
            name: level_name(view.level),
            value: view.value.map(|value| value.to_string()),
            reached: view.reached,
        }
    }
}

impl GrantShape {
    fn of(grant: &Grant) -> Self {
        let terms = TermsShape::of(&grant.terms);
        Self {
            entry_id: grant.seq.to_string(),
            remaining: grant.remaining.to_string(),
            category: terms.category,
            priority: terms.priority,
            expires_at: terms.expires_at,
        }
    }
}

impl TermsShape {
    fn of(terms: &Terms) -> Self {
        let category = match terms.category {
            Category::Paid => CategoryShape::Paid,
            Category::Promo => CategoryShape::Promo,
        };
        let expires_at = terms.expires_at.map(rfc3339);
        Self { category, priority: terms.priority, expires_at }
    }
}

impl EntryShape {
    /// An entry of the ledger.
    pub(crate) fn of(entry: &Entry) -> Self {
        let draws = entry.draws.iter().map(|draw| DrawShape {
            entry_id: draw.from.to_string(),
            amount: draw.amount.to_string(),
        });
        Self {
            id: entry.seq.to_string(),
            at: rfc3339(entry.at),
            kind: entry.kind.name().to_owned(),
            amount: entry.amount.to_string(),
            balance: entry.balance.to_string(),
            reference: entry.reference.to_string(),
            note: entry.note.as_deref().map(str::to_owned),
            terms: entry.terms.as_ref().map(TermsShape::of),
            draws: draws.collect(),
            policy: entry.policy.0,
            call: entry.call.as_deref().map(CallShape::of),
        }
    }
}

impl CallShape {
    fn of(call: &Call) -> Self {
        Self {
            key_id: call.key.map(|key| key.to_string()),
            route: call.route.to_string(),
            model: call.model.to_string(),
            price: call.price.to_string(),
            usage: call.usage.amounts().map(|(meter, amount)| (meter.name(), amount)).collect(),
            held: call.held.to_string(),
            flags: call.flags.names().collect(),
        }
    }
}

impl PostedShape {
    /// A posting that is durable.
    pub(crate) fn of(posted: &Posted) -> Self {
        Self {
            entry_id: posted.entry.to_string(),
            balance: posted.balance.to_string(),
            available: posted.available.to_string(),
        }
    }
}

impl TopUp {
    /// The terms of the credit.
    pub(crate) fn terms(&self, expires_at: Option<Timestamp>) -> Terms {
        let category = match self.category {
            CategoryShape::Paid => Category::Paid,
            CategoryShape::Promo => Category::Promo,
        };
        Terms { category, priority: self.priority, expires_at }
    }
}

impl AutoTopUp {
    /// As it is kept with the account.
    pub(crate) fn kept(&self) -> Value {
        json!({
            "threshold": self.threshold, "amount": self.amount, "monthly_max": self.monthly_max,
        })
    }
}

const fn priority_default() -> u8 {
    50
}

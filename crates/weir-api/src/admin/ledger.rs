//! Proving the books while they are written.

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use weir_wire::error::Code;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::settings::App;

/// What recomputing the ledger came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerVerified {
    /// Whether every invariant holds.
    ok: bool,
    /// The first thing that does not hold; `null`: all holds, and the rest says what was proven.
    #[schema(required = true)]
    violation: Option<String>,
    /// Entries.
    #[schema(required = true)]
    entries: Option<u64>,
    /// Accounts that have entries.
    #[schema(required = true)]
    accounts: Option<u64>,
    /// Kept wallets that equal what their entries give.
    #[schema(required = true)]
    snapshots: Option<u64>,
    /// The last entry.
    #[schema(required = true)]
    last_entry: Option<String>,
    /// The sum of all balances.
    #[schema(required = true)]
    balance: Option<String>,
}

/// Recomputes every invariant of the ledger from its entries, as of one moment. It reads the whole
/// ledger, and one such question is answered at a time.
#[utoipa::path(post, path = "/ledger/verify", tag = "operations",
    responses((status = 200, description = "What it came to.", body = LedgerVerified)))]
pub(crate) async fn verify(State(app): State<App>) -> Result<Response, Problem> {
    let turn = ONE_AT_A_TIME.lock().await;
    let engine = Arc::clone(&app.engine);
    let verified = tokio::task::spawn_blocking(move || {
        // The turn ends with the work, not with the patience of whoever asked.
        let _turn = turn;
        engine.verify_ledger()
    });
    let verified = verified.await;
    let shape = match verified.map_err(|error| Problem::internal(&error))? {
        Ok(report) => LedgerVerified {
            ok: true,
            violation: None,
            entries: Some(report.entries),
            accounts: Some(report.accounts),
            snapshots: Some(report.snapshots),
            last_entry: Some(report.last_seq.to_string()),
            balance: Some(report.balance_text()),
        },
        Err(error) if error.is_violation() => LedgerVerified::broken(&error),
        Err(error) => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, why, "the ledger could not be verified");
            let detail = "The ledger could not be read; the log says why.";
            return Err(Problem::new(Code::StoreUnavailable, detail));
        }
    };
    Ok(Shown::plain(shape).changed(app.engine.now()))
}

impl LedgerVerified {
    fn broken(why: &dyn Error) -> Self {
        tracing::error!(%why, "the ledger breaks a rule");
        Self {
            ok: false,
            violation: Some(why.to_string()),
            entries: None,
            accounts: None,
            snapshots: None,
            last_entry: None,
            balance: None,
        }
    }
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

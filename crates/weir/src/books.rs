//! How proven books are told.

use serde_json::{Value, json};
use weir_store::verify::Report;

/// What was proven, as the admin API tells it.
pub(crate) fn told(report: &Report) -> Value {
    json!({
        "ok": true, "violation": null, "entries": report.entries, "accounts": report.accounts,
        "snapshots": report.snapshots, "last_entry": report.last_seq.to_string(),
        "balance": report.balance_text(),
    })
}

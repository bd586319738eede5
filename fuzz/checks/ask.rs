//! A request body: what is read of it is what any other JSON parser reads.

use serde_json::Value;
use weir_gate::ask::{Ask, Endpoint};

/// The first byte chooses the endpoint.
pub(crate) fn check(data: &[u8]) {
    let Some((endpoint, body)) = data.split_first() else { return };
    let endpoint = [
        None,
        Some(Endpoint::Chat),
        Some(Endpoint::Completions),
        Some(Endpoint::Responses),
        Some(Endpoint::Messages),
    ][usize::from(endpoint % 5)];
    let Ok(ask) = Ask::read(body, endpoint) else { return };
    assert!(ask.n >= 1 && ask.best_of >= 1 && ask.prompts >= 1);
    // Nested too deep for the other parser is no disagreement.
    let Ok(other) = serde_json::from_slice::<Value>(body) else { return };
    if ask.unambiguous().is_err() {
        return;
    }
    assert!(other.is_object());
    if let Some(model) = &ask.model {
        assert_eq!(other["model"].as_str(), Some(&**model));
    }
    assert_eq!(ask.stream, other["stream"].as_bool().unwrap_or(false));
}

//! Whether an answer is one that the OpenAPI documents declare.

use std::sync::LazyLock;

use serde_json::Value;

/// Fails where a known operation answers with a status, or an error with a code, that its document
/// does not name.
#[track_caller]
pub(crate) fn check(method: &str, target: &str, status: u16, body: &Value) {
    let path = target.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    let Some(declared) = operation["responses"].get(status.to_string()) else {
        panic!("{method} {path} answers with {status}, which is not declared: {body}");
    };
    if let Some(code) = body["error"]["code"].as_str().filter(|_| status >= 400) {
        let told = declared["description"].as_str().unwrap_or_default();
        assert!(told.contains(&format!("`{code}`")), "{method} {path}: {code} is not declared");
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('/').collect();
    // What is written out is meant before what has a place for an id.
    let mut fitting: Vec<(usize, &Value)> = DOCUMENTS
        .iter()
        .flat_map(|document| document["paths"].as_object().into_iter().flatten())
        .filter_map(|(pattern, item)| Some((pattern, item.get(method.to_ascii_lowercase())?)))
        .filter_map(|(pattern, operation)| {
            let places: Vec<&str> = pattern.split('/').collect();
            let fits = places.len() == asked.len()
                && places.iter().zip(&asked).all(|(place, part)| {
                    place == part || (place.starts_with('{') && !part.is_empty())
                });
            let open = places.iter().filter(|place| place.starts_with('{')).count();
            fits.then_some((open, operation))
        })
        .collect();
    fitting.sort_by_key(|(open, _)| *open);
    fitting.first().map(|(_, operation)| *operation)
}

static DOCUMENTS: LazyLock<[Value; 2]> = LazyLock::new(|| {
    [weir_api::admin::openapi(), weir_api::customer::openapi("/weir")]
        .map(|document| serde_json::to_value(document).unwrap())
});

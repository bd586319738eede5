//! What a message says: the event's type, time and data, the same on every try.

use serde_json::{Map, Value};
use weir_core::time::Timestamp;
use weir_engine::outbox::Event;

use crate::time::rfc3339;

/// The body of the message about an event: `{type, timestamp, data}`.
pub fn body(event: &Event) -> String {
    let mut body = Map::new();
    body.insert("type".to_owned(), Value::from(&*event.kind));
    body.insert("timestamp".to_owned(), Value::from(rfc3339(event.at)));
    body.insert("data".to_owned(), data(event));
    Value::Object(body).to_string()
}

/// An event's data. The engine keeps times as microseconds in members that end in `_us`; they are
/// told as RFC 3339, without that ending.
pub(crate) fn data(event: &Event) -> Value {
    dated(serde_json::from_str(&event.body).unwrap_or(Value::Null))
}

fn dated(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let member = |(name, value): (String, Value)| match (name.strip_suffix("_us"), value) {
        (Some(name), Value::Null) => (name.to_owned(), Value::Null),
        (Some(stem), Value::Number(micros)) => match micros.as_i64() {
            Some(micros) => (stem.to_owned(), Value::from(rfc3339(Timestamp::from_micros(micros)))),
            None => (name, Value::Number(micros)),
        },
        (_, value) => (name, dated(value)),
    };
    members.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::id::EventId;

    #[test]
    fn a_message_tells_type_time_and_data_with_times_for_people() {
        let event = Event {
            id: EventId(7),
            at: Timestamp::from_secs(0),
            account: None,
            kind: "key.revoked".into(),
            body: r#"{"key_id":"k","revoked_at_us":1000000,"limit":{"reset_at_us":null}}"#.into(),
        };
        let told: Value = serde_json::from_str(&body(&event)).unwrap();
        let wanted = serde_json::json!({
            "type": "key.revoked", "timestamp": "1970-01-01T00:00:00Z",
            "data": {
                "key_id": "k", "revoked_at": "1970-01-01T00:00:01Z", "limit": {"reset_at": null},
            },
        });
        assert_eq!(told, wanted);
    }
}

//! What notices say: built-in texts that the operator can replace, with `{{name}}` places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_engine::event_type::EVENT_TYPES;
use weir_engine::outbox::Event;

use crate::hook::message::data;
use crate::time::rfc3339;

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder or file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no subject.
    #[error("{}: the first line must be `Subject: …`, the second empty", path.display())]
    NoSubject {
        /// Which.
        path: PathBuf,
    },
}

/// Templates by the type of event.
#[derive(Debug)]
pub(crate) struct Templates(BTreeMap<&'static str, Letter>);

/// A subject and a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl Templates {
    /// The built-in templates, and instead of each the file `<type>.txt` of the folder if there
    /// is one.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut templates = BTreeMap::new();
        for (kind, subject, text) in BUILT_IN {
            let text = format!(
                "{text}\n\nAccount: {{{{account_name}}}} ({{{{account_id}}}})\nTime: {{{{timestamp}}}}\n"
            );
            templates.insert(kind, Letter { subject: subject.to_owned(), text });
        }
        for kind in folder.into_iter().flat_map(|_| EVENT_TYPES) {
            let path = folder.unwrap_or(Path::new("")).join(format!("{kind}.txt"));
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text.replace("\r\n", "\n"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(TemplateError::Unreadable { path, source }),
            };
            let parts = text.split_once("\n\n");
            let subject = parts.and_then(|(head, _)| head.strip_prefix("Subject: "));
            match (subject, parts) {
                (Some(subject), Some((_, rest))) if !subject.contains('\n') => {
                    let (subject, text) = (subject.to_owned(), rest.to_owned());
                    templates.insert(kind, Letter { subject, text });
                }
                _ => return Err(TemplateError::NoSubject { path }),
            }
        }
        Ok(Self(templates))
    }

    /// The letter about an event; `None` where there is no template for it.
    pub(crate) fn render(&self, event: &Event, account_name: &str) -> Option<Letter> {
        let template = self.0.get(&*event.kind)?;
        let mut values = BTreeMap::new();
        flatten("", &data(event), &mut values);
        values.insert("type".to_owned(), event.kind.to_string());
        values.insert("event_id".to_owned(), event.id.to_string());
        values.insert("timestamp".to_owned(), rfc3339(event.at));
        values.insert("account_name".to_owned(), printable(account_name));
        let account = event.account.map(|account| account.to_string()).unwrap_or_default();
        values.insert("account_id".to_owned(), account);
        let (subject, text) = (fill(&template.subject, &values), fill(&template.text, &values));
        Some(Letter { subject, text })
    }
}

/// Members of members are named `limit.name`.
fn flatten(prefix: &str, value: &Value, values: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), value, values);
            }
        }
        Value::Null => drop(values.insert(prefix.to_owned(), String::new())),
        Value::String(text) => drop(values.insert(prefix.to_owned(), printable(text))),
        other => drop(values.insert(prefix.to_owned(), other.to_string())),
    }
}

/// Nothing that a customer writes begins a new line or a new header.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Values are put in once: what they contain is not a place again. Unknown places are left empty.
fn fill(template: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        filled.push_str(values.get(name.trim()).map_or("", String::as_str));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

const BUILT_IN: [(&str, &str, &str); 13] = [
    (
        "grant.expiring",
        "Credit of {{amount}} is about to expire",
        "Credit of {{amount}} expires at {{expires_at}}. Use it until then.",
    ),
    (
        "key.created",
        "A new API key: {{name}}",
        "The key {{name}} ({{hint}}) was created. If that was not you, revoke it now.",
    ),
    (
        "key.expiring",
        "Your API key {{name}} is about to expire",
        "The key {{name}} ({{hint}}) expires at {{expires_at}}. Rotate it before then.",
    ),
    (
        "key.revoked",
        "Your API key {{name}} was revoked",
        "The key {{name}} ({{hint}}) was revoked at {{revoked_at}}. Calls with it are refused.",
    ),
    (
        "key.rotated",
        "Your API key {{name}} was rotated",
        "The key {{name}} ({{hint}}) has a successor. The old one works until {{revoked_at}}.",
    ),
    (
        "limit_increase.approved",
        "Your request for a higher limit was approved",
        "The limit {{limit}} was raised for you.",
    ),
    (
        "limit_increase.declined",
        "Your request for a higher limit was declined",
        "The limit {{limit}} stays as it is. {{reason}}",
    ),
    (
        "limit_increase.requested",
        "{{account_name}} asks for a higher limit",
        "{{account_name}} asks for {{limit}}. Use case: {{use_case}}",
    ),
    (
        "wallet.auto_top_up_failed",
        "Your wallet could not be topped up",
        "Topping up your wallet failed. {{reason}}",
    ),
    (
        "wallet.depleted",
        "Your balance is used up",
        "Nothing is left: {{available}} available. Calls are refused until the wallet is topped up.",
    ),
    (
        "wallet.low",
        "Your balance is low: {{available}}",
        "Your balance fell below {{threshold}}: {{available}} is available. Top up before calls are refused.",
    ),
    (
        "wallet.recovered",
        "Your balance is fine again: {{available}}",
        "Your wallet was topped up: {{available}} is available.",
    ),
    (
        "webhook.disabled",
        "A webhook was switched off",
        "The webhook {{webhook_id}} to {{url}} was switched off ({{reason}}). Repair the receiver and switch it on again.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::id::{AccountId, EventId};
    use weir_core::time::Timestamp;

    fn low() -> Event {
        Event {
            id: EventId(7),
            at: Timestamp::from_secs(0),
            account: Some(AccountId(3)),
            kind: "wallet.low".into(),
            body: r#"{"available":"1.50","threshold":"5.00","by":{"rule":"{{type}}\nBcc: x"}}"#
                .into(),
        }
    }

    #[test]
    fn every_built_in_letter_fills_its_places() {
        let templates = Templates::load(None).unwrap();
        let letter = templates.render(&low(), "Zoë\r\nBcc: all").unwrap();
        assert_eq!(letter.subject, "Your balance is low: 1.50");
        assert!(letter.text.contains("below 5.00: 1.50 is available"), "{}", letter.text);
        assert!(letter.text.contains("Account: Zoë  Bcc: all (acct_"), "{}", letter.text);
        for (kind, ..) in BUILT_IN {
            assert!(EVENT_TYPES.contains(&kind), "{kind}");
        }
    }

    #[test]
    fn a_file_of_the_operator_takes_the_place_and_values_are_not_filled_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.low.txt");
        std::fs::write(&path, "Subject: Low {{ available }}\n\n{{by.rule}}{{unknown}} {{open")
            .unwrap();
        let letter = Templates::load(Some(folder.path())).unwrap().render(&low(), "").unwrap();
        let wanted = Letter { subject: "Low 1.50".into(), text: "{{type}} Bcc: x {{open".into() };
        assert_eq!(letter, wanted);
        std::fs::write(&path, "no subject").unwrap();
        let error = Templates::load(Some(folder.path())).unwrap_err();
        assert!(matches!(error, TemplateError::NoSubject { .. }));
    }
}

//! `[store]`, `[billing]`, `[auth]`, `[webhooks]`: the small sections.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use weir_api::hook::mail::{MailSettings, Mailer};
use weir_engine::guard::Guard;
use weir_engine::retention::UsageRetention;

use super::place::{At, Place};
use super::read::{Read, Reading, Section, Value, Want};
use super::retention::read_retention;
use super::server::{RELATIVE_HINT, bounded, read_list};
use super::values::Url;

/// What `[store]` says.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// The folder of the embedded store.
    pub(crate) path: PathBuf,
    /// What to do when the disk fails.
    pub(crate) on_store_failure: OnStoreFailure,
    /// How long the audit log reaches back.
    pub(crate) audit_retention: Duration,
    /// How long usage is kept.
    pub(crate) usage_retention: UsageRetention,
}

/// What to do when the disk fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnStoreFailure {
    /// Go on with unpriced calls and refuse the priced ones.
    Fence,
    /// End the process.
    Exit,
}

/// What `[billing]` says.
#[derive(Clone, Debug)]
pub(crate) struct BillingSettings {
    /// The currency of every wallet and price.
    pub(crate) currency: String,
    /// Where customers buy credit.
    pub(crate) top_up_url: Option<String>,
    /// What payment events in Stripe's shape are signed with.
    pub(crate) stripe_webhook_secret: Option<Secret>,
}

/// What `[auth]` says.
#[derive(Clone, Debug)]
pub(crate) struct AuthSettings {
    /// Where a key may stand; the first one present wins.
    pub(crate) headers: Vec<HeaderName>,
    /// What the secrets of new keys begin with.
    pub(crate) key_prefix: String,
    /// The key of the admin API; without one the first start makes one.
    pub(crate) admin_key: Option<Secret>,
    /// How many keys that do not exist an address may send per minute.
    pub(crate) failed_keys_per_minute: u32,
}

/// What `[webhooks]` says.
#[derive(Clone, Debug)]
pub(crate) struct WebhookSettings {
    /// Whether webhooks may go to private and loopback addresses.
    pub(crate) allow_private: bool,
}

/// What `[email]` says.
#[derive(Clone, Debug)]
pub(crate) struct EmailSettings {
    /// How notices are sent; `None`: they are not.
    pub(crate) mail: Option<MailSettings>,
}

/// A text that is never shown.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl StoreSettings {
    /// Reads `[store]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let path = section.get::<PathBuf>("path", reading).map(|at| at.value);
        Self {
            path: path.unwrap_or_else(|| reading.world().folder.join("weir-data")),
            on_store_failure: section.or("on_store_failure", OnStoreFailure::Fence, reading),
            audit_retention: section.or("audit_retention", AUDIT_RETENTION, reading),
            usage_retention: read_retention(section, reading),
        }
    }
}

impl BillingSettings {
    /// Reads `[billing]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let currency = section.or("currency", Currency("USD".to_owned()), reading).0;
        let top_up_url = section.get::<Url>("top_up_url", reading);
        let stripe = section.get::<String>("stripe_webhook_secret", reading);
        Self {
            currency,
            top_up_url: top_up_url.map(|at| at.value.0.to_string()),
            stripe_webhook_secret: stripe.map(|at| Secret(at.value)),
        }
    }
}

impl AuthSettings {
    /// Reads `[auth]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let place = section.value("headers").map(|value| Place::from(value.span()));
        let noted = reading.noted();
        let mut headers = read_list::<HeaderName>(section, "headers", reading);
        if headers.is_empty() {
            if let Some(place) = place.filter(|_| reading.noted() == noted) {
                let hint = "name at least one: headers = [\"authorization\"]";
                reading.object(place, "no header is left that could carry a key", hint);
            }
            headers = vec![http::header::AUTHORIZATION, HeaderName::from_static("x-api-key")];
        }
        let failed = section.get::<u64>(FAILED_KEYS, reading);
        let failed = bounded(failed, FAILED_KEYS, 1_000_000, reading);
        Self {
            failed_keys_per_minute: failed.unwrap_or(Guard::DEFAULT_PER_MINUTE),
            headers,
            key_prefix: section.or("key_prefix", KeyPrefix("weir".to_owned()), reading).0,
            admin_key: read_admin_key(section, reading),
        }
    }
}

impl WebhookSettings {
    /// Reads `[webhooks]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        Self { allow_private: section.or("allow_private", false, reading) }
    }
}

impl EmailSettings {
    /// Reads `[email]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let place = section.place();
        let smtp_url = section.get::<String>("smtp_url", reading);
        let from = section.get::<String>("from", reading);
        let to_operator = section.get::<String>("to_operator", reading).map(|at| at.value);
        let templates_dir = section.get::<PathBuf>("templates_dir", reading).map(|at| at.value);
        let (smtp_url, from) = match (smtp_url, from) {
            (Some(smtp_url), Some(from)) => (smtp_url.value, from.value),
            (None, None) if to_operator.is_none() && templates_dir.is_none() => {
                return Self { mail: None };
            }
            _ => {
                let hint = "smtp_url = \"smtp://user:${SMTP_PASSWORD}@host:587\" and from = \"…\"";
                reading.object(place, "e-mail needs both smtp_url and from", hint);
                return Self { mail: None };
            }
        };
        let mail = MailSettings { smtp_url, from, to_operator, templates_dir };
        if let Err(error) = Mailer::new(&mail) {
            reading.object(place, error.to_string(), None);
            return Self { mail: None };
        }
        Self { mail: Some(mail) }
    }
}

impl Read for OnStoreFailure {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("fence", Self::Fence), ("exit", Self::Exit)])
    }
}

impl Read for HeaderName {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "the name of a header", example: "\"x-api-key\"" };
        reading.parsed(value, &want, |text| text.parse().map_err(|_| None))
    }
}

struct Currency(String);

impl Read for Currency {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let want = Want { what: "a currency: 3 to 8 capital letters", example: "\"USD\"" };
        reading.parsed(value, &want, |text| {
            let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase());
            let upper = text.to_ascii_uppercase();
            match (3..=8).contains(&text.len()) {
                true if is_word(text) => Ok(Self(text.to_owned())),
                true if is_word(&upper) => Err(Some(upper)),
                _ => Err(None),
            }
        })
    }
}

struct KeyPrefix(String);

impl Read for KeyPrefix {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "1 to 16 small letters and digits, a letter first";
        reading.parsed(value, &Want { what, example: "\"weir\"" }, |text| {
            let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let sound = text.len() <= 16
                && text.starts_with(|first: char| first.is_ascii_lowercase())
                && text.bytes().all(word);
            if sound { Ok(Self(text.to_owned())) } else { Err(None) }
        })
    }
}

fn read_admin_key(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Secret> {
    let direct: Option<At<String>> = section.get("admin_key", reading);
    let file: Option<At<PathBuf>> = section.get("admin_key_file", reading);
    let (key, secret, place) = match (direct, file) {
        (Some(_), Some(file)) => {
            let hint = "keep one of them";
            reading.object(file.place, "admin_key and admin_key_file are both given", hint);
            return None;
        }
        (Some(direct), None) => ("admin_key", Some(direct.value), direct.place),
        (None, Some(file)) => {
            let secret = reading.under("admin_key_file", |reading| read_file(&file, reading));
            ("admin_key_file", secret, file.place)
        }
        (None, None) => return None,
    };
    let secret = secret?;
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        reading.under(key, |reading| {
            let hint = "it travels in a header: visible ASCII characters without spaces";
            reading.object(place, "the admin key has characters that no key may have", hint);
        });
        return None;
    }
    Some(Secret(secret))
}

/// The text of a small file, without the line end at its end.
pub(crate) fn read_file(path: &At<PathBuf>, reading: &mut Reading<'_>) -> Option<String> {
    let shown = path.value.display();
    let (message, hint) = match std::fs::metadata(&path.value) {
        Ok(found) if found.len() > SECRET_BYTES_MAX => {
            (format!("{shown} is larger than 64 KiB"), "it holds one value and nothing else")
        }
        _ => match std::fs::read_to_string(&path.value) {
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => (format!("{shown} is empty"), "it holds one value and nothing else"),
                value => return Some(value.to_owned()),
            },
            Err(error) => (format!("cannot read {shown}: {error}"), RELATIVE_HINT),
        },
    };
    reading.object(path.place, message, hint);
    None
}

const SECRET_BYTES_MAX: u64 = 64 * 1024;
const AUDIT_RETENTION: Duration = Duration::from_secs(400 * 86_400);
const FAILED_KEYS: &str = "failed_keys_per_minute";

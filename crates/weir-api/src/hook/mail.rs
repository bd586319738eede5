//! Notices by e-mail: the same events and the same tries as webhooks, to a person.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::client::{CertificateStore, Tls, TlsParameters};
use lettre::{AsyncTransport, Message, Tokio1Executor};
use weir_core::id::WebhookId;
use weir_engine::engine::Engine;
use weir_engine::outbox::Event;

use crate::hook::connect::has_native_roots;
use crate::hook::post::Tried;
use crate::hook::template::{TemplateError, Templates};

/// What is needed to send e-mail.
#[derive(Clone)]
pub struct MailSettings {
    /// `smtp://user:password@host:587` or `smtps://…`.
    pub smtp_url: String,
    /// Who it comes from.
    pub from: String,
    /// Where the operator's notices go.
    pub to_operator: Option<String>,
    /// Where templates are that replace the built-in ones.
    pub templates_dir: Option<std::path::PathBuf>,
}

/// Why e-mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address is none.
    #[error("email.{member}: `{text}` is no e-mail address")]
    Address {
        /// Which.
        member: &'static str,
        /// What stands there.
        text: String,
    },
    /// The URL of the server is none.
    #[error("email.smtp_url: it must be smtp://user:password@host:587 or smtps://…")]
    Url,
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Sends notices by e-mail.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to_operator: Option<Mailbox>,
    templates: Templates,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailSettings").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Mailer {
    /// Makes ready to send. Nothing is connected before the first notice.
    ///
    /// # Errors
    ///
    /// [`MailError`]: what in the settings makes no sense.
    pub fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let address = |member, text: &str| {
            let wrong = |_| MailError::Address { member, text: text.to_owned() };
            text.parse::<Mailbox>().map_err(wrong)
        };
        let to_operator = settings.to_operator.as_deref();
        let transport = transport(&settings.smtp_url, has_native_roots())?;
        Ok(Self {
            transport,
            from: address("from", &settings.from)?,
            to_operator: to_operator.map(|to| address("to_operator", to)).transpose()?,
            templates: Templates::load(settings.templates_dir.as_deref().map(Path::new))?,
        })
    }

    /// Whether this id stands for a person's mailbox instead of a webhook.
    pub(crate) fn is_mail(id: WebhookId) -> bool {
        id == TO_ACCOUNT || id == TO_OPERATOR
    }

    /// Whose mailboxes an event goes to.
    pub(crate) fn wanting(&self, engine: &Engine, event: &Event) -> Vec<WebhookId> {
        let mut wanting = Vec::new();
        let of_account = event.account.and_then(|account| engine.account(account));
        let has_address = of_account.is_some_and(|cell| cell.record.load().email.is_some());
        if has_address && ACCOUNT_KINDS.contains(&&*event.kind) {
            wanting.push(TO_ACCOUNT);
        }
        let operators_own = event.account.is_none() && &*event.kind == "webhook.disabled";
        if self.to_operator.is_some() && (operators_own || OPERATOR_KINDS.contains(&&*event.kind)) {
            wanting.push(TO_OPERATOR);
        }
        wanting
    }

    /// Sends one notice.
    pub(crate) async fn send(&self, engine: &Engine, id: WebhookId, event: &Event) -> Tried {
        let hopeless = |why: &str| Tried { hopeless: true, ..Tried::failed(why) };
        let account = event.account.and_then(|account| engine.account(account));
        let record = account.map(|cell| cell.record.load_full());
        let to = match id {
            TO_OPERATOR => self.to_operator.clone(),
            _ => record.as_ref().and_then(|it| it.email.as_deref()?.parse::<Mailbox>().ok()),
        };
        let Some(to) = to else { return hopeless("there is no e-mail address to send it to") };
        let name = record.as_ref().map_or("", |record| record.name.as_str());
        let Some(letter) = self.templates.render(event, name) else {
            return hopeless("there is no template for this type of event");
        };
        let message_id = format!("<{}.{id}@{}>", event.id, self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject)
            .message_id(Some(message_id))
            .body(letter.text);
        let Ok(message) = message else { return hopeless("the message cannot be built") };
        match self.transport.send(message).await {
            Ok(_) => Tried::default(),
            Err(error) => {
                let why: String = error.to_string().chars().take(200).collect();
                Tried { hopeless: error.is_permanent(), ..Tried::failed(why) }
            }
        }
    }
}

fn transport(
    url: &str,
    native_roots: bool,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let url = secured(url);
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url);
    let builder = builder.map_err(|_| MailError::Url)?.timeout(Some(TIMEOUT));
    if native_roots {
        return Ok(builder.build());
    }
    // Where the system names no authorities, Mozilla's are trusted.
    let parameters = || {
        let builder = TlsParameters::builder(host(&url).to_owned());
        let builder = builder.certificate_store(CertificateStore::WebpkiRoots);
        builder.build().map_err(|_| MailError::Url)
    };
    let tls = match (url.starts_with("smtps://"), asked_tls(&url)) {
        (true, _) => Tls::Wrapper(parameters()?),
        (false, Some("required")) => Tls::Required(parameters()?),
        (false, Some(_)) => Tls::Opportunistic(parameters()?),
        (false, None) => Tls::None,
    };
    Ok(builder.tls(tls).build())
}

/// A plain `smtp://` must upgrade to TLS before the password is sent, unless it never leaves the
/// machine or its URL says otherwise (`?tls=opportunistic`).
fn secured(url: &str) -> String {
    let host = host(url);
    let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !url.starts_with("smtp://") || local || asked_tls(url).is_some() {
        return url.to_owned();
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}tls=required")
}

/// The host of a URL, without the brackets of IPv6.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    match place.strip_prefix('[') {
        Some(place) => place.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    }
}

/// What the query of a URL says of TLS.
fn asked_tls(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|one| one.strip_prefix("tls="))
}

/// What people are told by e-mail.
const ACCOUNT_KINDS: [&str; 12] = [
    "grant.expiring",
    "key.created",
    "key.expiring",
    "key.revoked",
    "key.rotated",
    "limit_increase.approved",
    "limit_increase.declined",
    "wallet.auto_top_up_failed",
    "wallet.depleted",
    "wallet.low",
    "wallet.recovered",
    "webhook.disabled",
];
const OPERATOR_KINDS: [&str; 2] = ["limit_increase.requested", "wallet.auto_top_up_failed"];

/// Drawn ids begin at the time in milliseconds: these are never drawn.
const TO_ACCOUNT: WebhookId = WebhookId(1);
const TO_OPERATOR: WebhookId = WebhookId(2);
const TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_machine_only_encrypted() {
        assert_eq!(
            secured("smtp://u:p@mail.example:587"),
            "smtp://u:p@mail.example:587?tls=required"
        );
        for (url, secure) in [
            ("smtp://u:p@127.0.0.1.example", "smtp://u:p@127.0.0.1.example?tls=required"),
            ("smtp://u:p@localhost.example:25", "smtp://u:p@localhost.example:25?tls=required"),
            ("smtp://u:tls=p@mail.example/me", "smtp://u:tls=p@mail.example/me?tls=required"),
            ("smtp://u:p@mail.example?x=1", "smtp://u:p@mail.example?x=1&tls=required"),
        ] {
            assert_eq!(secured(url), secure);
        }
        for same in [
            "smtp://u:p@[::1]:25",
            "smtps://u:p@mail.example",
            "smtp://127.0.0.1:2525",
            "smtp://u:p@localhost:25",
            "smtp://mail.example?tls=opportunistic",
        ] {
            assert_eq!(secured(same), same);
        }
    }
    #[tokio::test]
    async fn without_roots_of_the_system_every_kind_of_server_can_be_set_up() {
        for url in ["smtps://u:p@mail.example", "smtp://mail.example", "smtp://127.0.0.1:25"] {
            assert!(transport(url, false).is_ok(), "{url}");
        }
        assert!(matches!(transport("imap://mail.example", false), Err(MailError::Url)));
    }
}

//! TLS on the way out: to receivers of webhooks and to mail servers, by an authority of the
//! operator's own.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tempfile::TempDir;

use crate::mail_sink::{MailSink, Secrecy};
use crate::receiver::{Manner, Receiver};
use crate::seed::on;
use crate::server::Weir;
use crate::support::{Mock, PATIENCE, within};
use crate::wallet::config;

/// An authority that nobody else knows, and a certificate by it for this machine.
struct Authority {
    folder: TempDir,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let own_key = KeyPair::generate().expect("a key");
        let mut own = CertificateParams::new(Vec::new()).expect("parameters");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = own.self_signed(&own_key).expect("signed").pem();
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).expect("parameters");
        let leaf = leaf.signed_by(&key, &Issuer::new(own, own_key)).expect("signed");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("root.pem"), root).expect("written");
        Self { folder, server: Arc::new(server) }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Serves again, trusting this authority.
    fn trusted_by(&self, weir: &mut Weir) {
        let root = self.root();
        weir.stop();
        weir.serve_again_with(&[("SSL_CERT_FILE", root.to_str().expect("a path"))]);
    }
}

#[test]
fn a_receiver_by_an_authority_of_the_operators_is_reached_once_the_system_trusts_it() {
    let (mock, authority) = (Mock::start(), Authority::new());
    let config = format!("{}[webhooks]\nallow_private = true\n", config(&mock));
    let mut weir = Weir::start(&config, &[on("payg")]);
    let tls = Arc::clone(&authority.server);
    let receiver = Receiver::start_secure(Manner::Answer(200, String::new()), tls);
    let url = receiver.url().replace("http://", "https://");
    let new = json!({"url": url, "events": ["key.created"]}).to_string();
    let made = weir.admin("POST", "/admin/v1/webhooks", &new);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str());
    let own = weir.call(0, "GET", "/weir/v1/key", "").json();
    let path = format!("/admin/v1/accounts/{}/keys", own["account"]["id"].as_str().expect("an id"));
    assert_eq!(weir.admin("POST", &path, r#"{"name":"k","type":"read"}"#).status, 201);
    within(PATIENCE, "the certificate is refused, and the log of deliveries says so", || {
        let told = weir.admin("GET", &format!("/admin/v1/webhooks/{id}/deliveries"), "").json();
        let error = told["data"][0]["last_error"].as_str().unwrap_or_default().to_owned();
        error.contains("certificate")
    });
    assert!(receiver.messages().is_empty());
    authority.trusted_by(&mut weir);
    // The same event, tried again.
    let got = receiver.wait_for(1);
    assert_eq!(got[0].kind(), "key.created");
    assert!(got[0].is_signed_by(secret.expect("a secret")));
}

/// A letter arrives at this server, whose URL has this form.
fn letter(authority: &Authority, secrecy: Secrecy, url: &str) -> String {
    let mock = Mock::start();
    let sink = MailSink::start_with(1, secrecy);
    let url = url.replace("PORT", &sink.address.port().to_string());
    let mail = format!("[email]\nsmtp_url = \"{url}\"\nfrom = \"Weir <weir@example.com>\"\n");
    let mut weir = Weir::start(&format!("{mail}{}", config(&mock)), &[on("payg")]);
    authority.trusted_by(&mut weir);
    told_by_mail(&weir);
    sink.wait_for(1).remove(0)
}

/// Something happens that is told by e-mail.
fn told_by_mail(weir: &Weir) {
    let own = weir.call(0, "GET", "/weir/v1/key", "").json();
    let path = format!("/admin/v1/accounts/{}", own["account"]["id"].as_str().expect("an id"));
    assert_eq!(weir.admin("PATCH", &path, r#"{"email":"zoe@example.org"}"#).status, 200);
    let made = weir.admin("POST", &format!("{path}/keys"), r#"{"name":"ci","type":"read"}"#);
    assert_eq!(made.status, 201, "{}", made.text());
}

#[test]
fn letters_go_out_over_starttls_and_over_tls_with_the_password_of_the_url() {
    let authority = Authority::new();
    let tls = || Arc::clone(&authority.server);
    let credentials = STANDARD.encode("\0weir\0pass word");
    for (secrecy, url) in [
        (Secrecy::StartTls(tls()), "smtp://weir:pass%20word@localhost:PORT?tls=required"),
        (Secrecy::Wrapped(tls()), "smtps://weir:pass%20word@127.0.0.1:PORT"),
    ] {
        let letter = letter(&authority, secrecy, url);
        assert!(letter.starts_with(&format!("AUTH PLAIN {credentials}")), "{letter}");
        assert!(letter.contains("RCPT TO:<zoe@example.org>"), "{letter}");
        assert!(letter.contains("Subject: A new API key: ci"), "{letter}");
    }
}

#[test]
fn no_password_goes_to_a_mail_server_without_tls_where_tls_is_required() {
    let mock = Mock::start();
    let sink = MailSink::start(0);
    let url = format!("smtp://weir:password@localhost:{}?tls=required", sink.address.port());
    let mail = format!("[email]\nsmtp_url = \"{url}\"\nfrom = \"Weir <weir@example.com>\"\n");
    let weir = Weir::start(&format!("{mail}{}", config(&mock)), &[on("payg")]);
    told_by_mail(&weir);
    within(PATIENCE, "it is tried", || sink.commands().contains("EHLO"));
    let retried = || {
        let metrics = weir.admin("GET", "/metrics", "");
        let line = "weir_webhook_deliveries_total{result=\"retried\"} 1";
        metrics.text().contains(line) || sink.commands().matches("EHLO").count() > 1
    };
    within(PATIENCE, "it has failed", retried);
    let commands = sink.commands();
    assert!(!commands.contains("AUTH") && !commands.contains("MAIL"), "{commands}");
}

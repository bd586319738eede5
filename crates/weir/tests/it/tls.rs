//! TLS at the front, its certificate renewed while it serves, and upstreams whose own is wrong.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::seed::on;
use crate::server::Weir;
use crate::support::{Mock, eventually};

const CONFIG: &str = r#"
[server]
tls = { cert = "cert.pem", key = "key.pem" }
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.free]
[[routes]]
match = "GET /clusters/*"
upstream = "mock"
"#;

/// Writes a certificate for localhost by a new authority, and gives the authority's own.
fn issue(folder: &Path) -> String {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("signed").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("signed");
    std::fs::write(folder.join("cert.pem"), leaf.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
    root
}

/// The status of a call by who trusts this authority alone; or why there is none.
fn call(weir: &Weir, root: &str) -> Result<u16, String> {
    let root = Certificate::from_pem(root.as_bytes()).expect("a certificate");
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root])).build();
    let agent: Agent =
        Agent::config_builder().http_status_as_error(false).tls_config(tls).build().into();
    let url = format!("https://localhost:{}/clusters/x", weir.data.port());
    let sent = agent.get(&url).header("x-api-key", &weir.keys[0]).call();
    sent.map(|answer| answer.status().as_u16()).map_err(|why| why.to_string())
}

#[test]
fn a_renewed_certificate_is_shown_by_itself_or_after_a_reload_and_a_broken_one_is_not() {
    let mock = Mock::start();
    let folder = tempfile::tempdir().expect("a folder");
    let first = issue(folder.path());
    let config = CONFIG
        .replace("UPSTREAM", &mock.address.to_string())
        .replace("cert.pem", &folder.path().join("cert.pem").display().to_string())
        .replace("key.pem", &folder.path().join("key.pem").display().to_string());
    let weir = Weir::start(&config, &[on("free")]);
    assert_eq!(call(&weir, &first), Ok(200));
    let second = issue(folder.path());
    assert_eq!(weir.admin("POST", "/admin/v1/config/reload", "").status, 200);
    assert_eq!(call(&weir, &second), Ok(200));
    assert!(call(&weir, &first).is_err(), "the old one is gone");
    let third = issue(folder.path());
    eventually("the renewed one is noticed", || call(&weir, &third) == Ok(200));
    assert!(call(&weir, &second).is_err(), "the one before is gone");
    std::fs::write(folder.path().join("cert.pem"), "-----BEGIN nothing").expect("written");
    let refused = weir.admin("POST", "/admin/v1/config/reload", "");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(call(&weir, &third), Ok(200), "a broken one changes nothing");
}

#[test]
fn an_upstream_with_a_wrong_certificate_is_told_as_such() {
    let mock = Mock::start();
    let folder = tempfile::tempdir().expect("a folder");
    issue(folder.path());
    let behind = CONFIG
        .replace("UPSTREAM", &mock.address.to_string())
        .replace("cert.pem", &folder.path().join("cert.pem").display().to_string())
        .replace("key.pem", &folder.path().join("key.pem").display().to_string());
    let behind = Weir::start(&behind, &[on("free")]);
    let front = CONFIG
        .replace("http://UPSTREAM", &format!("https://localhost:{}", behind.data.port()))
        .replace("tls = { cert = \"cert.pem\", key = \"key.pem\" }\n", "");
    let weir = Weir::start(&front, &[on("free")]);
    let refused = weir.call(0, "GET", "/clusters/x", "");
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "upstream_unreachable", "{}", refused.text());
    eventually("the log names the certificate", || {
        let log = weir.process.log();
        log.contains("certificate") && log.contains("mock")
    });
}

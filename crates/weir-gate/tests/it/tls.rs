//! TLS at both ends, with a certificate authority made for it (`tls/`, valid for a century).

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use weir_gate::dial::DialError;
use weir_gate::sent_mark::SentMark;
use weir_gate::settings::UpstreamSettings;
use weir_gate::upstream::{UpstreamError, Upstreams};

use crate::support::{Front, settings, start};

fn front(protocols: &[&str]) -> Front {
    let chain = CertificateDer::from_pem_slice(include_bytes!("tls/leaf.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/leaf.key")).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut settings = settings();
    settings.tls = Some(Arc::new(config));
    start(&settings)
}

fn upstreams(front: &Front, trusted: bool) -> Upstreams<Full<Bytes>> {
    let url = format!("https://localhost:{}/base", front.serving.addr().port());
    let mut settings = UpstreamSettings::new("u", vec![url.parse().unwrap()]);
    if trusted {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(include_bytes!("tls/root.pem")).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        settings.tls = Some(Arc::new(config));
    }
    Upstreams::new(vec![settings]).unwrap()
}

fn post() -> Request<Full<Bytes>> {
    Request::post("/x?y").body(Full::new(Bytes::from_static(b"abc"))).unwrap()
}

#[tokio::test]
async fn the_protocol_is_what_both_ends_speak() {
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"][..], Version::HTTP_11)]
    {
        let front = front(protocols);
        let upstreams = upstreams(&front, true);
        for _ in 0..3 {
            let upstream = upstreams.by_name("u").unwrap();
            let answer = upstream.send(post(), &SentMark::default()).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.ends_with("/base/x?y 3"), "{body}");
        }
        assert_eq!(front.serving.connections(), 1);
    }
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let front = front(&["http/1.1"]);
    let upstreams = upstreams(&front, false);
    let mark = SentMark::default();
    let error = upstreams.by_name("u").unwrap().send(post(), &mark).await.unwrap_err();
    let tls = matches!(error, UpstreamError::Unreachable { source: DialError::Tls(_), .. });
    assert!(tls, "{error:?}");
    assert!(!mark.is_set());
}

//! Calls as spans, at a collector (feature `otlp`).

use crate::recorder::Recorder;
use crate::seed::on;
use crate::server::Weir;
use crate::support::eventually;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_call_is_a_span_whose_parent_is_the_callers() {
    let (upstream, collector) = (Recorder::start(), Recorder::start());
    let config = format!(
        "[upstreams.u]\nurls = [\"http://{}\"]\n[plans.open]\n\
         [[routes]]\nmatch = \"GET /things/*\"\nupstream = \"u\"\n",
        upstream.address
    );
    let mut weir = Weir::start(&config, &[on("open")]);
    weir.stop();
    let place = format!("http://{}", collector.address);
    weir.serve_again_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &place),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let (key, parent) = (weir.bearer(0), format!("traceparent: {PARENT}"));
    let answer = weir.line().call("GET", "/things/1", &[&key, "x-request-id: mine-1", &parent], "");
    assert_eq!(answer.status, 200);
    assert_eq!(weir.call(0, "GET", "/elsewhere", "").status, 404);
    assert!(upstream.text().to_ascii_lowercase().contains(&parent), "passed on as it came");

    let sent = |what: &[u8]| {
        collector.bodies().iter().any(|body| body.windows(what.len()).any(|piece| piece == what))
    };
    let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    eventually("the span is at the collector", || sent(&trace) && sent(b"unrouted"));
    assert!(sent(&0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()), "its parent");
    for word in
        ["weir", "GET /things/*", "mine-1", "http.response.status_code", "weir.plan", "open"]
    {
        assert!(sent(word.as_bytes()), "{word}");
    }
    assert!(!sent(weir.keys[0].as_bytes()), "a secret in a span");
    let heads = collector.text().to_ascii_lowercase();
    assert!(
        heads.contains("post /v1/traces ") && heads.contains("application/x-protobuf"),
        "{heads}"
    );
    assert!(!weir.process.log().contains("answered"), "spans do not make the log louder");
}

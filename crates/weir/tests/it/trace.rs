//! W3C trace context: passed on as it came, and in the log beside the request's id.

use serde_json::Value;

use crate::recorder::Recorder;
use crate::seed::on;
use crate::server::Weir;
use crate::support::eventually;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

#[test]
fn trace_context_reaches_the_upstream_and_the_log_with_the_requests_id() {
    let upstream = Recorder::start();
    let config = format!(
        "[upstreams.u]\nurls = [\"http://{}\"]\n[plans.open]\n\
         [[routes]]\nmatch = \"* /*\"\nupstream = \"u\"\n",
        upstream.address
    );
    let mut weir = Weir::start(&config, &[on("open")]);
    weir.stop();
    weir.serve_again_with(&[("RUST_LOG", "info,weir_gate=debug"), ("WEIR_LOG", "json")]);
    let key = weir.bearer(0);
    let parent = format!("traceparent: {PARENT}");
    let state = format!("tracestate: {STATE}");
    let answer =
        weir.line().call("GET", "/a", &[&key, "x-request-id: mine-1", &parent, &state], "");
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("mine-1")));
    let told = upstream.text().to_ascii_lowercase();
    for line in [&*parent, &*state.to_ascii_lowercase(), "x-request-id: mine-1"] {
        assert_eq!(told.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {told}");
    }
    // What nobody sent, nobody makes up.
    assert_eq!(weir.call(0, "GET", "/b", "").status, 200);
    assert_eq!(upstream.text().to_ascii_lowercase().matches("traceparent").count(), 1);

    let logged = || {
        let log = weir.process.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["fields"]["request_id"] == "mine-1")
    };
    eventually("the call is logged", || logged().is_some());
    let fields = &logged().expect("a line")["fields"];
    assert_eq!((&fields["traceparent"], &fields["status"]), (&PARENT.into(), &200.into()));
    assert!(!weir.process.log().contains(&weir.keys[0]), "a secret in the log");
}

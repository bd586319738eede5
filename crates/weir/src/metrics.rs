//! The metrics as Prometheus reads them: names and help of what engine and data plane count.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use weir_api::hook::deliver::DeliveryCounts;
use weir_engine::engine::Engine;
use weir_engine::meters::Durations;
use weir_gate::meters::GateMeters;

/// What one node counts.
pub(crate) struct Metrics {
    engine: Arc<Engine>,
    gate: Arc<GateMeters>,
    deliveries: Arc<DeliveryCounts>,
}

/// A function that tells the metrics of a node as text.
pub(crate) fn exposition(
    engine: &Arc<Engine>,
    gate: &Arc<GateMeters>,
    deliveries: &Arc<DeliveryCounts>,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    let mut registry = Registry::with_prefix("weir");
    let metrics = Metrics {
        engine: Arc::clone(engine),
        gate: Arc::clone(gate),
        deliveries: Arc::clone(deliveries),
    };
    registry.register_collector(Box::new(metrics));
    Arc::new(move || {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &registry) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        out
    })
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.counts(&mut encoder)?;
        let (gate, meters) = (&self.gate, self.engine.meters());
        let histograms = [
            ("decision_duration", "Time of one decision on limits and wallet", &meters.decisions),
            (
                "overhead",
                "Time from a request's arrival to the call of its upstream",
                &gate.overhead,
            ),
            ("upstream_duration", "Time from the call of an upstream to its head", &gate.upstream),
            ("time_to_first_byte", "Time from a request's arrival to its answer", &gate.first_byte),
            ("store_commit", "Time for which answers waited for their charge", &gate.commits),
        ];
        for (name, help, durations) in histograms {
            histogram(&mut encoder, &format!("{name}_seconds"), help, durations)?;
        }
        self.levels(&mut encoder)
    }
}

impl Metrics {
    fn counts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counter = MetricType::Counter;
        let help = "Requests by route, class, plan and outcome";
        let mut requests = encoder.encode_descriptor("requests", help, None, counter)?;
        for (labels, outcome, count) in self.gate.requests() {
            let labels = [
                ("route", &*labels.route),
                ("class", &*labels.class),
                ("plan", &*labels.plan),
                ("outcome", outcome),
            ];
            requests.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&count, None)?;
        }
        let help = "Refusals and failures by code";
        let mut refusals = encoder.encode_descriptor("refusals", help, None, counter)?;
        for (code, count) in self.gate.refusals() {
            let labels = [("code", code)];
            refusals.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&count, None)?;
        }
        let help = "Tries to deliver a webhook by result: delivered, retried, failed (given up)";
        let mut tries = encoder.encode_descriptor("webhook_deliveries", help, None, counter)?;
        for (result, count) in self.deliveries.by_result() {
            let labels = [("result", result)];
            tries.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&count, None)?;
        }
        let help = "Tokens by direction and model";
        let mut tokens = encoder.encode_descriptor("tokens", help, None, counter)?;
        for read in self.engine.meters().tokens() {
            for (direction, count) in [("input", read.input), ("output", read.output)] {
                let labels = [("direction", direction), ("model", &*read.model)];
                tokens.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&count, None)?;
            }
        }
        let money = [
            (
                "charged",
                "Charged to wallets, in units of the currency",
                self.engine.meters().charged(),
            ),
            (
                "charged_withheld",
                "Not charged: the store refused it, and the answer was withheld",
                self.engine.meters().withheld(),
            ),
            ("debt", "Charged beyond what wallets had", self.engine.debt_total()),
        ];
        for (name, help, amount) in money {
            let value = units(amount.get());
            let mut metric = encoder.encode_descriptor(name, help, None, counter)?;
            metric.encode_counter::<NoLabels, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn levels(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let help = "Calls that hold credit now";
        let mut holds = encoder.encode_descriptor("holds_open", help, None, gauge)?;
        holds.encode_gauge(&self.engine.meters().holds_open())?;
        let help = "Whether charges can be recorded: 1, or 0 while the disk is full or fenced";
        let healthy = self.engine.health() == weir_store::health::StoreHealth::Ok;
        let mut health = encoder.encode_descriptor("store_healthy", help, None, gauge)?;
        health.encode_gauge(&i64::from(healthy))?;
        let help = "The number of the policy in force; it grows with each reload";
        let mut policy = encoder.encode_descriptor("policy_number", help, None, gauge)?;
        let number = i64::from(self.engine.policy().number().0);
        policy.encode_gauge(&number)?;
        let help = "Always 1; the version is a label";
        let mut build = encoder.encode_descriptor("build_info", help, None, gauge)?;
        build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?.encode_gauge(&1_i64)
    }
}

fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    durations: &Durations,
) -> fmt::Result {
    let (sum_us, buckets) = durations.read();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let seconds = |us: u64| if us == u64::MAX { f64::MAX } else { of_millionths(us) };
    let buckets: Vec<(f64, u64)> =
        buckets.into_iter().map(|(bound, count)| (seconds(bound), count)).collect();
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabels>(of_millionths(sum_us), count, &buckets, None)
}

/// Metrics are floats; money and time are exact until here.
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough for a display")]
fn of_millionths(us: u64) -> f64 {
    us as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are enough for a display")]
fn units(nano: i64) -> f64 {
    nano as f64 / 1e9
}

type NoLabels = [(&'static str, &'static str); 0];

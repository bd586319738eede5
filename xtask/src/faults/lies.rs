//! Upstreams that report nonsense as usage, figure by figure.

use std::ops::RangeInclusive;

use anyhow::{Context, ensure};

use super::auditor::nano;
use super::kill::scratch;
use super::plan::{Draw, Plan};
use super::rig::{Rig, Weir};
use super::shapes::{Shape, estimated, shop};
use super::wire::{call, watch};
use crate::step::say;

/// What is said of one figure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Truth,
    Doubled,
    /// Written so that it is no plain figure, yet means one.
    Oddly(&'static str),
    /// It means nothing, or more than can be.
    Nonsense(&'static str),
    Absent,
}

/// What an upstream says of a call of so many tokens of output.
#[derive(Clone, Copy, Debug)]
struct Lie {
    output: Said,
    input: Said,
    cached: Said,
    /// The whole report comes twice.
    twice: bool,
}

/// Two hundred calls in each round, whole and streamed: none is credit, none costs more than its
/// output may, and each whose report is odd is flagged.
pub(super) fn any(plan: &Plan) -> anyhow::Result<()> {
    for round in plan.from..plan.from + plan.rounds {
        let folder = scratch("lies", plan.seed + round)?;
        let rig = Rig::selling(&plan.binary, folder.clone(), "100000", &shop(&[("lie", "")]))?;
        let weir = rig.serve(&[])?;
        let outcomes = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (rig, weir) = (&rig, &weir);
                    let mut draw = Draw::new(plan.seed + (round << 8) + client);
                    scope.spawn(move || told(rig, weir, &mut draw, client))
                })
                .collect();
            let joined = clients.into_iter().map(|client| client.join().ok().context("a panic")?);
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let (odd, guessed) =
            outcomes.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        drop(weir);
        say(&format!(
            "round {round}: {} lies, {odd} flagged, {guessed} charged by what was produced; {}",
            CLIENTS * CALLS,
            rig.verify()?
        ))?;
        drop(rig);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// The calls of one customer: how many were flagged, how many charged by what was produced.
fn told(rig: &Rig, weir: &Weir, draw: &mut Draw, client: u64) -> anyhow::Result<(u64, u64)> {
    let customer = weir.customer("1000")?;
    let (mut flagged, mut guessed) = (0, 0);
    for number in 0..CALLS {
        let (shape, stream, lie) = (Shape::draw(draw), draw.below(2) == 0, Lie::draw(draw));
        let id = format!("c{client}n{number}");
        let report = lie.report(shape);
        let headers = [
            customer.bearer.clone(),
            format!("x-request-id: {id}"),
            format!("x-mock-tokens: {TOKENS}"),
            format!("x-mock-usage: {}", if lie.twice { "double" } else { "exact" }),
            format!("x-mock-usage-json: {report}"),
        ];
        let (line, body) = (shape.line("lie", &id), shape.body(stream, 2 * TOKENS));
        let said = || format!("{id}: {}, stream {stream}, {report}", shape.name);
        let status = match stream {
            true => watch(weir.data, &line, &headers, &body, usize::MAX).status,
            false => call(weir.data, &line, &headers, &body).status,
        };
        ensure!(status == 200, "{}: answered {status}", said());
        let entries = weir.entries(&customer.account, 1)?;
        let entry = entries.first().with_context(|| format!("{}: not charged", said()))?;
        ensure!(entry["reference"] == *id && entry["kind"] == "charge", "{}: {entry}", said());
        let amount = entry["amount"].as_str().unwrap_or_default();
        ensure!(amount.starts_with('-'), "{}: {amount} is no debit", said());
        let (cost, may) = (nano(amount)? / TOKEN, lie.may_cost());
        ensure!(may.contains(&cost), "{}: {cost} tokens, not {may:?}: {entry}", said());
        let flags = entry["call"]["flags"].as_array().context("no flags")?;
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        ensure!(!lie.is_odd() || has("implausible_usage"), "{}: not flagged: {entry}", said());
        flagged += u64::from(has("implausible_usage"));
        guessed += u64::from(cost != TOKENS && cost != 2 * TOKENS);
    }
    let wallet = weir.wallet(&customer.account)?;
    ensure!(wallet["held"] == "0.00", "something stays held: {wallet}");
    ensure!(rig.look(weir).status != 0, "it is gone");
    Ok((flagged, guessed))
}

impl Lie {
    fn draw(draw: &mut Draw) -> Self {
        let figure = |draw: &mut Draw| match draw.below(8) {
            0 => Said::Truth,
            1 => Said::Doubled,
            2 => Said::Absent,
            3..=4 => Said::Oddly(draw.of::<&str>(&ODDLY)),
            _ => Said::Nonsense(draw.of::<&str>(&NONSENSE)),
        };
        let output = figure(draw);
        // Two of three lie about one figure only.
        let (input, cached) = match draw.below(3) {
            0 => (figure(draw), figure(draw)),
            _ => (Said::Truth, Said::Absent),
        };
        Self { output, input, cached, twice: draw.below(6) == 0 }
    }

    /// The usage object of a shape.
    fn report(self, shape: Shape) -> String {
        let [input, output] = match shape.name {
            "chat" => ["prompt_tokens", "completion_tokens"],
            _ => ["input_tokens", "output_tokens"],
        };
        let mut members = Vec::new();
        let mut add = |name: &str, said: Said, truth: u64| match said {
            Said::Truth => members.push(format!(r#""{name}":{truth}"#)),
            Said::Doubled => members.push(format!(r#""{name}":{}"#, truth * 2)),
            Said::Oddly(text) | Said::Nonsense(text) => members.push(format!(r#""{name}":{text}"#)),
            Said::Absent => {}
        };
        add(input, self.input, 1);
        add(output, self.output, TOKENS);
        if shape.name == "messages" {
            add("cache_read_input_tokens", self.cached, 1);
        } else if self.cached != Said::Absent {
            let mut inside = Vec::new();
            std::mem::swap(&mut inside, &mut members);
            let cached = match self.cached {
                // More of it than there is of input.
                Said::Truth | Said::Doubled | Said::Absent => "101",
                Said::Oddly(text) | Said::Nonsense(text) => text,
            };
            let details = input.replace("tokens", "tokens_details");
            inside.push(format!(r#""{details}":{{"cached_tokens":{cached}}}"#));
            members = inside;
        }
        format!("{{{}}}", members.join(","))
    }

    /// What the call may cost, in tokens: only output has a price.
    fn may_cost(self) -> RangeInclusive<u64> {
        match self.output {
            Said::Truth | Said::Oddly(_) => TOKENS..=TOKENS,
            Said::Doubled => 2 * TOKENS..=2 * TOKENS,
            Said::Absent | Said::Nonsense(_) => estimated(TOKENS),
        }
    }

    fn is_odd(self) -> bool {
        let odd = |said| matches!(said, Said::Oddly(_) | Said::Nonsense(_));
        odd(self.output) || odd(self.input) || odd(self.cached)
    }
}

const CLIENTS: u64 = 8;
const CALLS: u64 = 25;
const TOKENS: u64 = 50;
/// What a token costs, in nano units.
const TOKEN: u64 = 1_000_000;
/// Fifty, or a little less.
const ODDLY: [&str; 4] = [r#""50""#, "49.5", r#"" 50 ""#, "4.91e1"];
const NONSENSE: [&str; 14] = [
    "-1",
    "-50",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854775807",
    "18446744073709551616",
    "1e18",
    "1e999",
    "-1e999",
    r#""many""#,
    r#""""#,
    "true",
    "[50]",
    r#"{"value":50}"#,
];

//! `weir webhook listen`: events as they happen, posted to a receiver on one's own machine.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Value, json};
use ureq::Agent;
use weir_api::hook::sign::Signed;
use weir_engine::clock::{Clock, instant};

use crate::client::{Client, RefusedByServer};
use crate::pattern::is_wanted;

/// What `weir webhook listen` takes.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Post each event there, signed as webhooks are; without: only print them.
    #[arg(long, value_name = "URL")]
    forward_to: Option<String>,
    /// Only events of this type, such as `wallet.low` or `wallet.*`; may be repeated.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Only events of this account, by its id or your own.
    #[arg(long)]
    account: Option<String>,
    /// Sign with the secret in WEIR_WEBHOOK_SECRET rather than with one drawn for this run.
    #[arg(long, requires = "forward_to")]
    own_secret: bool,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    most: Option<u64>,
}

/// Where events go.
struct Forward<'a> {
    agent: Agent,
    url: &'a str,
    secret: String,
}

/// Follows events until as many as were asked for, the reader or the server's consent is gone.
///
/// # Errors
///
/// [`RefusedByServer`], no secret, or standard output is gone. A server that cannot be reached for
/// a while is waited for: no event is left out.
pub(crate) fn run(args: &ListenArgs, client: &Client, json: bool) -> anyhow::Result<()> {
    let account = args.account.as_deref().map(|named| client.account(named)).transpose()?;
    let forward = args.forward_to.as_deref().map(|url| Forward::new(url, args.own_secret));
    let forward = forward.transpose()?;
    let begin = client.read("events?after=latest")?;
    let mut cursor = cursor_of(&begin).context("the server does not say where its events begin")?;
    greet(forward.as_ref(), args.own_secret)?;
    let mut left = args.most.unwrap_or(u64::MAX);
    let mut pause = PAUSE_MIN;
    while left > 0 {
        let page = match client.read_waiting(&format!("events?after={cursor}"), WAIT_S) {
            Ok(page) => page,
            Err(error) if error.is::<RefusedByServer>() => return Err(error),
            Err(error) => {
                writeln!(io::stderr(), "{error:#}; trying again in {} s", pause.as_secs())?;
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
        };
        pause = PAUSE_MIN;
        for event in page["data"].as_array().into_iter().flatten() {
            let of_account =
                account.as_deref().is_none_or(|id| event["account_id"].as_str() == Some(id));
            if !of_account || !is_wanted(&args.events, text(event, "type")) {
                continue;
            }
            let answered = forward.as_ref().map(|forward| forward.post(event));
            tell(event, answered.as_ref(), json)?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        cursor = cursor_of(&page).unwrap_or(cursor);
    }
    Ok(())
}

impl<'a> Forward<'a> {
    fn new(url: &'a str, own_secret: bool) -> anyhow::Result<Self> {
        let parsed: http::Uri = url.parse().with_context(|| format!("`{url}` is no address"))?;
        let sound = matches!(parsed.scheme_str(), Some("http" | "https"));
        anyhow::ensure!(sound, "`{url}` must be like http://127.0.0.1:3000/webhooks");
        let secret = if own_secret {
            let name = "WEIR_WEBHOOK_SECRET";
            std::env::var(name).with_context(|| format!("there is no secret: set {name}"))?
        } else {
            let mut key = [0_u8; 32];
            getrandom::fill(&mut key).map_err(|_| anyhow::anyhow!("there are no random bytes"))?;
            format!("whsec_{}", BASE64.encode(key))
        };
        let unsigned = Signed { id: "", timestamp: "0", body: b"" };
        unsigned.sign(secret.trim()).context("WEIR_WEBHOOK_SECRET")?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(ANSWER_TIMEOUT));
        Ok(Self { agent: config.build().into(), url, secret: secret.trim().to_owned() })
    }

    /// What the receiver answered, and after how many milliseconds; or why there is no answer.
    fn post(&self, event: &Value) -> Result<(u16, u128), String> {
        let body = json!({
            "type": event["type"], "timestamp": event["timestamp"], "data": event["data"],
        });
        let body = body.to_string();
        let id = text(event, "id");
        let timestamp = (Clock::running().now().micros() / 1_000_000).to_string();
        let signed = Signed { id, timestamp: &timestamp, body: body.as_bytes() };
        let signature = signed.sign(&self.secret).map_err(|why| why.to_string())?;
        let began = instant();
        let call = self
            .agent
            .post(self.url)
            .header("content-type", "application/json")
            .header("user-agent", concat!("weir-webhooks/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", &signature);
        let answered = call.send(&body).map_err(|error| error.to_string())?;
        Ok((answered.status().as_u16(), began.elapsed().as_millis()))
    }
}

fn greet(forward: Option<&Forward<'_>>, own_secret: bool) -> io::Result<()> {
    let mut hints = io::stderr().lock();
    match forward {
        None => writeln!(hints, "listening; Ctrl-C ends it"),
        Some(forward) => {
            if !own_secret {
                writeln!(hints, "messages are signed with {}", forward.secret)?;
            }
            writeln!(hints, "forwarding to {}; Ctrl-C ends it", forward.url)
        }
    }
}

fn tell(
    event: &Value,
    answered: Option<&Result<(u16, u128), String>>,
    json: bool,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let mut line = event.clone();
        line["forwarded"] = match answered {
            None => Value::Null,
            Some(Ok((status, ms))) => json!({ "status": status, "latency_ms": ms }),
            Some(Err(why)) => json!({ "error": why }),
        };
        writeln!(out, "{line}")?;
    } else {
        let time = text(event, "timestamp");
        let time = time.split('T').nth(1).and_then(|time| time.get(..8)).unwrap_or(time);
        let account = event["account_id"].as_str().unwrap_or("-");
        let (kind, id) = (text(event, "type"), text(event, "id"));
        write!(out, "{time}  {kind:<24}  {account}  {id}")?;
        match answered {
            None => writeln!(out)?,
            Some(Ok((status, ms))) => writeln!(out, "  -> {status} in {ms} ms")?,
            Some(Err(why)) => writeln!(out, "  -> {why}")?,
        }
    }
    out.flush()
}

fn cursor_of(page: &Value) -> Option<String> {
    page["next_cursor"].as_str().map(str::to_owned)
}

fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event[member].as_str().unwrap_or_default()
}

const WAIT_S: u64 = 30;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

//! The admin API as the command line calls it.

use std::io::{BufReader, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, BodyReader};
use weir_wire::header::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};

use crate::context::Contexts;
use crate::once::{Failing, Once, fresh_key};

/// Where the admin API is and by what key one gets in. The key never stands in an argument.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Where the admin API is; without it that of the context, else http://127.0.0.1:8081.
    #[arg(
        long,
        global = true,
        env = "WEIR_ADMIN_URL",
        value_name = "URL",
        value_parser = admin_url,
        help_heading = SERVER
    )]
    admin_url: Option<String>,
    /// The file that holds the admin key; without it the key is read from WEIR_ADMIN_KEY.
    #[arg(long, global = true, value_name = "FILE", help_heading = SERVER)]
    admin_key_file: Option<PathBuf>,
    /// A server known by name (weir context).
    #[arg(long, global = true, env = "WEIR_CONTEXT", value_name = "NAME", help_heading = SERVER)]
    context: Option<String>,
    /// Print JSON, as the API answers.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Where an admin key is taken from.
enum KeySource {
    Text(String),
    File(PathBuf),
}

impl KeySource {
    fn read(self) -> anyhow::Result<String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the admin key from {}", path.display())),
        }
    }
}

/// The admin API.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

/// The server refused: its own words, and exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RefusedByServer {
    message: String,
}

impl RefusedByServer {
    /// A refusal in these words.
    pub(crate) fn new(message: String) -> Self {
        Self { message }
    }
}

impl Target {
    /// A client of the target.
    ///
    /// # Errors
    ///
    /// When there is no key.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let (base, secret) = self.resolved()?;
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Ok(Client {
            agent: config.build().into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {}", secret.trim()),
        })
    }

    /// Address and key. A context that is named counts alone; else what is said here and in the
    /// environment comes first. The key of a context goes to no other address than its own.
    fn resolved(&self) -> anyhow::Result<(String, String)> {
        let named = self.context.is_some();
        let said = (self.admin_url.clone(), self.admin_key_file.clone().map(KeySource::File));
        let (url, key) = if named { (None, said.1) } else { said };
        let from_environment = || std::env::var("WEIR_ADMIN_KEY").ok().map(KeySource::Text);
        let key = key.or_else(|| if named { None } else { from_environment() });
        let (url, key) = match (url, key) {
            (Some(url), key) => (url, key),
            (None, key) => {
                let context = Contexts::read()?.chosen(self.context.as_deref())?;
                let url = context.as_ref().map(|context| context.admin_url.clone());
                let own = context.and_then(|context| {
                    let file = context.admin_key_file.map(KeySource::File);
                    file.or(context.admin_key.map(KeySource::Text))
                });
                (url.unwrap_or_else(|| DEFAULT_URL.to_owned()), key.or(own))
            }
        };
        let key = key.context(
            "there is no admin key: set WEIR_ADMIN_KEY, name a file with --admin-key-file, or use \
             a context (weir context add)",
        )?;
        Ok((url, key.read()?))
    }
}

impl Client {
    /// GETs a path below `/admin/v1/`.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn read(&self, path: &str) -> anyhow::Result<Value> {
        let call = self.agent.get(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.call())
    }

    /// POSTs a question, which changes nothing, to a path below `/admin/v1/`.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn ask(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        let body = serde_json::to_string(body)?;
        let call = self.agent.post(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.content_type("application/json").send(body))
    }

    /// POSTs the one change of a command to a path below `/admin/v1/`, which takes effect once
    /// even where the connection breaks off.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer, and how to say it again.
    pub(crate) fn post_once(
        &self,
        path: &str,
        body: &impl Serialize,
        once: &Once,
    ) -> anyhow::Result<Value> {
        let key = once.key()?;
        let advice = format!(
            "the same command with --idempotency-key {key} says it again and takes effect once"
        );
        self.post_keyed(path, serde_json::to_string(body)?, &key, &advice)
    }

    /// The same for one change of many, of a command that does nothing twice when it is run again.
    ///
    /// # Errors
    ///
    /// As [`Self::post_once`].
    pub(crate) fn post_of_many(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        let advice = "run the same command again: what took effect is not done twice";
        self.post_keyed(path, serde_json::to_string(body)?, &fresh_key()?, advice)
    }

    /// POSTs to a path below `/admin/v1/` and takes any time for the answer.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn post_patiently(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let call = patient().post(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.content_type("application/json").send(body.to_string()))
    }

    /// POSTs a text to a path below `/admin/v1/`.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn post_text(&self, path: &str, text: &str) -> anyhow::Result<Value> {
        let call = self.agent.post(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.content_type("application/toml").send(text))
    }

    /// PATCHes a path below `/admin/v1/`.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let call = self.agent.patch(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.content_type("application/json").send(body.to_string()))
    }

    /// DELETEs a path below `/admin/v1/`.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let call = self.agent.delete(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.call())
    }

    /// The lines of an event stream below `/admin/v1/`, for as long as it runs.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`], or what is in the way of an answer.
    pub(crate) fn follow(&self, path: &str) -> anyhow::Result<BufReader<BodyReader<'static>>> {
        let call = patient().get(self.url(path)).header("authorization", &self.authorization);
        let response = call.call().with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(BufReader::new(response.into_body().into_reader()));
        }
        self.answer(Ok(response))?;
        anyhow::bail!("the server's answer is no stream")
    }

    /// Waits for up to so many seconds for the answer to a GET that the server may hold back.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn read_waiting(&self, path: &str, wait_s: u64) -> anyhow::Result<Value> {
        let call = self.agent.get(self.url(path)).header("authorization", &self.authorization);
        self.answer(call.header("prefer", format!("wait={wait_s}")).call())
    }

    /// POSTs to a path below `/admin/v1/` and writes the answer into `to`; gives its length in
    /// bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], also when the answer breaks off before its end.
    pub(crate) fn post_into(&self, path: &str, to: &mut impl Write) -> anyhow::Result<u64> {
        let call = patient().post(self.url(path)).header("authorization", &self.authorization);
        self.copied(call.send_empty(), to)
    }

    /// GETs a path below `/admin/v1/` and writes the answer into `to`, as [`Self::post_into`].
    ///
    /// # Errors
    ///
    /// As [`Self::read`], also when the answer breaks off before its end.
    pub(crate) fn read_into(&self, path: &str, to: &mut impl Write) -> anyhow::Result<u64> {
        let call = patient().get(self.url(path)).header("authorization", &self.authorization);
        self.copied(call.call(), to)
    }

    fn copied(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
        to: &mut impl Write,
    ) -> anyhow::Result<u64> {
        let response = sent.with_context(|| self.unreachable())?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            anyhow::bail!("the server's answer is no file");
        }
        let length = response.headers().get("content-length").and_then(|it| it.to_str().ok());
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        let mut body = response.into_body().into_reader();
        let copied = std::io::copy(&mut body, to).context("the answer broke off")?;
        if length.is_some_and(|length| length != copied) {
            anyhow::bail!("the answer broke off");
        }
        Ok(copied)
    }

    /// Every row of a list, page after page, up to `most`.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn list(&self, path: &str, most: usize) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = None;
        while rows.len() < most {
            let (page, next) = self.page(path, (most - rows.len()).min(PAGE_MAX), cursor)?;
            rows.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    /// Shows `visit` every row of a list, page after page, until it has seen enough.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and what `visit` fails with.
    pub(crate) fn each(
        &self,
        path: &str,
        mut visit: impl FnMut(Value) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let mut cursor = None;
        loop {
            let (page, next) = self.page(path, PAGE_MAX, cursor)?;
            for row in page {
                if visit(row)?.is_break() {
                    return Ok(());
                }
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// A page of a list, and where the next one begins.
    fn page(
        &self,
        path: &str,
        limit: usize,
        cursor: Option<String>,
    ) -> anyhow::Result<(Vec<Value>, Option<String>)> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let mut answer = self.read(&format!("{path}{joint}limit={limit}{after}"))?;
        let next = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        match answer.get_mut("data").map(Value::take) {
            Some(Value::Array(data)) => Ok((data, next)),
            _ => anyhow::bail!("the server's answer is no list"),
        }
    }

    /// The id of an account that is named by its id or by the operator's own.
    ///
    /// # Errors
    ///
    /// [`RefusedByServer`] when there is none.
    pub(crate) fn account(&self, named: &str) -> anyhow::Result<String> {
        if named.starts_with("acct_") {
            return Ok(named.to_owned());
        }
        let found = self.list(&format!("accounts?external_id={}", escape(named)), 1)?;
        let id = found.first().and_then(|account| account.get("id")).and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| {
            RefusedByServer::new(format!(
                "there is no account with the id or external id `{named}`\n  weir account list \
                 shows them all"
            ))
            .into()
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/admin/v1/{path}", self.base)
    }

    fn unreachable(&self) -> String {
        let asked = "is `weir serve` running, and is this its admin_listen?";
        format!("cannot reach the admin API at {} ({asked})", self.base)
    }

    /// Sends it once more where the connection broke off before the whole answer was there.
    fn post_keyed(
        &self,
        path: &str,
        body: String,
        key: &str,
        advice: &str,
    ) -> anyhow::Result<Value> {
        let exchange = || {
            let call = self.agent.post(self.url(path)).header("authorization", &self.authorization);
            let call = call.header(IDEMPOTENCY_KEY, key).content_type("application/json");
            call.send(&body).and_then(Told::read)
        };
        let unsure = |why: &dyn std::fmt::Display| {
            let (base, what) = (&self.base, "it may or may not have taken effect");
            format!("the admin API at {base} gave no whole answer: {why}\n  {what}; {advice}")
        };
        let told = match exchange() {
            Err(error) if Failing::of(&error) == Failing::BrokenOff => {
                exchange().map_err(|error| anyhow::anyhow!(unsure(&error)))?
            }
            Err(error) if Failing::of(&error) == Failing::Unsent => {
                return Err(error).with_context(|| self.unreachable());
            }
            told => told.map_err(|error| anyhow::anyhow!(unsure(&error)))?,
        };
        // A gateway in between knows as little of what became of it; and what still runs may end well.
        if told.is_unsure() {
            let status = told.status.as_u16();
            return Err(RefusedByServer::new(unsure(&format!("status {status}"))).into());
        }
        let again = told.again;
        let answer = self.judge(told)?;
        if again && answer.get("secret").is_some_and(Value::is_null) {
            let how = "rotate it, or withdraw it and make another";
            // Nothing is left to be done when stderr is gone.
            let _ = writeln!(
                std::io::stderr(),
                "this had taken effect, but its secret is in no answer but the first: {how}"
            );
        }
        Ok(answer)
    }

    fn answer(&self, sent: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Value> {
        let response = sent.with_context(|| self.unreachable())?;
        self.judge(Told::read(response).context("the answer broke off")?)
    }

    fn judge(&self, Told { status, body, .. }: Told) -> anyhow::Result<Value> {
        if status.is_success() {
            return Ok(body);
        }
        let word = |name: &str| body.get(name).and_then(Value::as_str);
        let detail = word("detail").unwrap_or("the server gave no reason");
        let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or("no code");
        // Of these the detail says more than what can be said of the code.
        let help = word("help").filter(|_| !matches!(code, "invalid_request" | "conflict"));
        let mut help = help.map(|help| format!("\n  {help}")).unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED {
            let asked = "is it the admin_listen of the server that the key is for?";
            help.push_str(&format!("\n  {} was asked: {asked}", self.base));
        }
        let message = format!("{detail} ({}, {code}){help}", status.as_u16());
        Err(RefusedByServer { message }.into())
    }
}

/// A whole answer.
struct Told {
    status: StatusCode,
    /// Whether it is that of an earlier request with the same key.
    again: bool,
    body: Value,
}

impl Told {
    fn read(mut response: Response<Body>) -> Result<Self, ureq::Error> {
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let again = response.headers().contains_key(IDEMPOTENCY_REPLAYED);
        Ok(Self { status: response.status(), again, body })
    }

    /// Whether it leaves open what became of the request.
    fn is_unsure(&self) -> bool {
        let code = self.body.pointer("/error/code").and_then(Value::as_str);
        matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
            || code == Some("idempotency_in_progress")
    }
}

/// Turns the outcome of a command that talks to a server into its exit code: 3 where the server
/// refused.
///
/// # Errors
///
/// Everything that is no refusal of the server.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<RefusedByServer>() {
            Some(refused) => {
                writeln!(std::io::stderr(), "error: {refused}")?;
                Ok(ExitCode::from(REFUSED))
            }
            None => Err(error),
        },
    }
}

/// An address of an admin API, without a slash at its end.
///
/// # Errors
///
/// How it must be written.
pub(crate) fn admin_url(text: &str) -> Result<String, String> {
    let parsed = text.parse::<ureq::http::Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && url.query().is_none()
    });
    match parsed {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("it must be like http://127.0.0.1:8081".to_owned()),
    }
}

/// A path with those members of a query that are said.
pub(crate) fn query(path: &str, members: &[(&str, Option<&str>)]) -> String {
    let mut whole = path.to_owned();
    for (name, value) in members {
        if let Some(value) = value {
            let joint = if whole.contains('?') { '&' } else { '?' };
            whole.push_str(&format!("{joint}{name}={}", escape(value)));
        }
    }
    whole
}

/// A value in a query string.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Takes any time for an answer.
fn patient() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(None).build().into()
}

const SERVER: &str = "Server";
const DEFAULT_URL: &str = "http://127.0.0.1:8081";
const TIMEOUT: Duration = Duration::from_secs(60);
const PAGE_MAX: usize = 100;
const REFUSED: u8 = 3;

//! `weir webhook receive`: a receiver for trying things out, which verifies what comes.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weir_api::hook::sign::Signed;
use weir_engine::clock::Clock;

use super::verify::read_secret;

/// What `weir webhook receive` takes.
#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The file that holds the secret; without it, it is read from WEIR_WEBHOOK_SECRET.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    most: Option<u64>,
}

/// A message, and what verifying it said.
struct Received {
    id: String,
    body: Bytes,
    wrong: Option<String>,
}

/// Prints each message that comes, until as many as were asked for: 1 if one did not verify.
///
/// # Errors
///
/// No secret, no port, or standard output is gone.
pub(crate) fn run(args: &ReceiveArgs, json: bool) -> anyhow::Result<ExitCode> {
    let secret = read_secret(args.secret_file.as_deref())?;
    let unsigned = Signed { id: "", timestamp: "0", body: b"" };
    unsigned.sign(secret.trim()).context("WEIR_WEBHOOK_SECRET")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{}", args.port))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        writeln!(io::stderr(), "receiving at http://{address}/; Ctrl-C ends it")?;
        let (told, mut heard) = mpsc::channel(1);
        tokio::spawn(accept(listener, Arc::from(secret.trim()), told));
        let mut all_genuine = true;
        for _ in 0..args.most.unwrap_or(u64::MAX) {
            let Some(received) = heard.recv().await else { break };
            all_genuine &= received.wrong.is_none();
            tell(&received, json)?;
        }
        Ok(if all_genuine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn accept(listener: tokio::net::TcpListener, secret: Arc<str>, told: mpsc::Sender<Received>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (secret, told) = (Arc::clone(&secret), told.clone());
        let service = service_fn(move |request| answer(request, Arc::clone(&secret), told.clone()));
        let mut http = http1::Builder::new();
        let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is the sender's affair: it sends again.
        tokio::spawn(async move { drop(serving.await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    secret: Arc<str>,
    told: mpsc::Sender<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let answered = |status, text: &str| {
        let mut response = Response::new(Full::from(text.to_owned()));
        *response.status_mut() = status;
        Ok(response)
    };
    if head.method != Method::POST {
        return answered(StatusCode::METHOD_NOT_ALLOWED, "messages are posted\n");
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return answered(StatusCode::BAD_REQUEST, "the message is not whole, or too large\n");
    };
    let body = body.to_bytes();
    let header = |name| head.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let now_s = Clock::running().now().micros() / 1_000_000;
    let signed = Signed { id, timestamp, body: &body };
    let verified = signed.verify(&secret, header("webhook-signature"), now_s);
    let wrong = verified.err().map(|why| why.to_string());
    let status = if wrong.is_none() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let text = wrong.as_ref().map(|why| format!("{why}\n")).unwrap_or_default();
    // If nobody listens any more the process is about to end.
    let _gone = told.send(Received { id: id.to_owned(), body, wrong }).await;
    answered(status, &text)
}

fn tell(received: &Received, json: bool) -> io::Result<()> {
    let Received { id, body, wrong } = received;
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut out = io::stdout().lock();
    if json {
        let told = json!({ "id": id, "ok": wrong.is_none(), "why": wrong, "message": message });
        writeln!(out, "{told}")?;
    } else if let Some(why) = wrong {
        writeln!(out, "refused   {id}  {why}")?;
    } else {
        let kind = message["type"].as_str().unwrap_or("-");
        writeln!(out, "verified  {id}  {kind}  {}", message["data"])?;
    }
    out.flush()
}

const BODY_BYTES_MAX: usize = 1 << 20;

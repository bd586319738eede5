//! The pages that the `type` of an error points to.

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, VARY};
use http::{HeaderMap, HeaderValue};
use weir_wire::error::{Code, Entry};

use crate::problem::Problem;
use crate::settings::App;

/// Says what a code means and what to do: to browsers as HTML, to all others as text.
pub(crate) async fn error_page(
    State(app): State<App>,
    code: Option<Path<String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let code = code.and_then(|Path(name)| Code::by_name(&name));
    let entry = code.ok_or_else(|| Problem::not_found("error code"))?.entry();
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let support = app.settings.links.support_url.as_deref();
    let mut response = if accept.contains("text/html") {
        let mut page = Html(html(entry, support)).into_response();
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        page
    } else {
        text(entry, support).into_response()
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    let kept = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, kept);
    Ok(response)
}

fn text(entry: &Entry, support: Option<&str>) -> String {
    let Entry { name, status, title, help, .. } = entry;
    let ask = support.map_or_else(String::new, |url| format!("\nWhere to ask\n  {url}\n"));
    format!("{name} (HTTP {status})\n\nWhat it means\n  {title}.\n\nWhat to do\n  {help}\n{ask}")
}

fn html(entry: &Entry, support: Option<&str>) -> String {
    let Entry { name, status, title, .. } = entry;
    let help = escape(entry.help);
    let ask = support.map_or_else(String::new, |url| {
        let url = escape(url);
        format!("<h2>Where to ask</h2>\n<p><a href=\"{url}\">{url}</a></p>\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;\
         padding:0 1rem;color-scheme:light dark}}code{{font-size:1.2em}}</style>\n</head>\n<body>\n\
         <main>\n<h1><code>{name}</code></h1>\n<p>HTTP status {status}</p>\n\
         <h2>What it means</h2>\n<p>{}.</p>\n<h2>What to do</h2>\n<p>{help}</p>\n{ask}\
         </main>\n</body>\n</html>\n",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}

//! What is said about wrong files, drawn as `weir check` draws it without a terminal.

use super::support::{good, read, read_in};

#[track_caller]
fn check(name: &str, text: &str) {
    match read(text) {
        Ok(_) => panic!("{name} was accepted"),
        Err(rejected) => insta::assert_snapshot!(name, rejected.to_string()),
    }
}

/// Enough for a route to stand on.
const BASE: &str = "[plans.free]\n[upstreams.main]\nurls = [\"http://127.0.0.1:9000\"]\n";

#[test]
fn every_syntax_error_is_told_with_its_place() {
    check("syntax_quote", "[server]\nlisten = \"127.0.0.1:8080\n");
    check("syntax_twice", "[plans.free]\n[plans.free]\n[server\n");
    check("syntax_no_value", "[server]\nlisten =\nadmin_listen\n");
}

#[test]
fn an_empty_file_has_no_plan() {
    check("empty", "");
}

#[test]
fn unknown_keys_are_told_with_the_known_ones() {
    check("unknown_key_near", "[server]\nlisen = \"127.0.0.1:8080\"\n[plans.free]\n");
    check("unknown_key_far", "[store]\nengine = \"sqlite\"\n[plans.free]\n");
    check("unknown_section", "[plan.free]\nlimits = {}\n");
    check(
        "unknown_key_in_limit",
        "[plans.free]\nlimits = { read = { limits = 5, window = \"1h\" } }\n",
    );
}

#[test]
fn a_wrong_type_is_told_with_the_right_one() {
    let text = r#"
[server]
listen = 8080
trusted_proxies = "10.0.0.0/8"
max_connections = "many"
tls = "cert.pem"
[webhooks]
allow_private = "yes"
[billing]
currency = "usd"
[plans]
free = "100/hour"
"#;
    check("wrong_types", text);
}

#[test]
fn a_wrong_unit_is_told_with_the_right_one() {
    let text = r#"
[server]
header_timeout = "30sec"
body_timeout = "5 min"
drain_timeout = 30
max_body = "32M"
max_headers = 0
[upstreams.main]
urls = ["http://127.0.0.1:9000"]
connect_timeout = "0s"
response_timeout = "soon"
[plans.free]
"#;
    check("wrong_units", text);
}

#[test]
fn usage_that_is_kept_too_short_is_told_what_needs_it() {
    let text = r#"
[store]
usage_retention = { minute = "1d", hour = "30d", day = "2w" }
[plans.free]
"#;
    check("usage_kept_too_short", text);
    check(
        "usage_kept_out_of_order",
        "[store.usage_retention]\nminute = \"200d\"\nday = \"99d\"\n[plans.free]\n",
    );
}

#[test]
fn wrong_addresses_are_told_with_an_example() {
    let text = r#"
[server]
listen = "localhost:8080"
admin_listen = ":8080"
public_url = "https://api.example.com/?a=b"
support_url = "example.com"
api_prefix = "weir/v1"
trusted_proxies = ["10.0.0.0/99"]
cors = { origins = ["https://app.example.com/"] }
[plans.free]
"#;
    check("wrong_addresses", text);
    check("same_address", "[server]\nadmin_listen = \"0.0.0.0:8080\"\n[plans.free]\n");
}

#[test]
fn missing_variables_and_files_are_told_at_their_place() {
    let text = r#"
[server]
tls = { cert = "/nowhere/cert.pem" }
[auth]
admin_key = "a-${NOPE}-b"
[upstreams.main]
urls = ["http://127.0.0.1:9000"]
headers = { authorization_file = "/nowhere/key", x-a = "${", x-b = "${MODELS_KEY", content-length = "1" }
[plans.free]
"#;
    check("missing_variables", text);
}

#[test]
fn an_error_never_shows_what_a_variable_holds() {
    let rejected = read("[auth]\nadmin_key = \"${WITH_SPACE}\"\n[plans.free]\n").unwrap_err();
    assert!(!rejected.to_string().contains("two words"), "{rejected}");
    assert!(rejected.to_string().contains("weir.toml:2:13"), "{rejected}");
}

#[test]
fn an_admin_key_given_twice_or_empty_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "\n").unwrap();
    let text = "[auth]\nadmin_key_file = \"key\"\n[plans.free]\n";
    let rejected = read_in(folder.path(), text).unwrap_err();
    assert!(rejected.to_string().contains("is empty"), "{rejected}");
    check("admin_key_twice", "[auth]\nadmin_key = \"a\"\nadmin_key_file = \"b\"\n[plans.free]\n");
}

#[test]
fn headers_and_prefixes_that_cannot_be_are_refused() {
    check("wrong_auth", "[auth]\nheaders = [\"x key\"]\nkey_prefix = \"We_ir\"\n[plans.free]\n");
    check("no_auth_header", "[auth]\nheaders = []\n[plans.free]\n");
}

#[test]
fn upstreams_without_a_sound_url_are_refused() {
    let text = r#"
[upstreams.a]
[upstreams.b]
urls = []
[upstreams.c]
urls = ["ftp://example.com", "localhost:9000", "http://x:y@example.com"]
max_in_flight = 0
[upstreams.d]
urls = "http://127.0.0.1:9000"
[plans.free]
"#;
    check("wrong_upstreams", text);
}

#[test]
fn wrong_limits_are_told_with_what_was_meant() {
    let text = r#"
[plans.free.limits]
read = "100/hr"
write = "100"
ai = 50
training = "0/day"
all = "10k/day"
"model:*gpt" = "1/hour"
concurrency = 5
Read = "1/hour"
"#;
    check("wrong_limit_texts", text);
}

#[test]
fn terms_of_a_limit_that_do_not_go_together_are_refused() {
    let text = r#"
[plans.a.limits]
read = { limit = 100 }
write = { window = "1h" }
ai = { limit = 100, window = "1h", burst = 10 }
training = { limit = 100, window = "401d" }
all = { limit = 100, window = "1h", reserve = "110%" }
[plans.b.limits]
read = { limit = 100, window = "7h", anchor = "calendar" }
write = { limit = 100, window = "1d", algorithm = "sliding-window", anchor = "calendar" }
ai = { limit = 100, window = "1d", anchor = "calendar", time_zone = "Berlin" }
training = { limit = 100, window = "1d", time_zone = "UTC" }
[plans.c.limits]
read = { limit = 5, window = "1d", unit = "credits" }
write = { limit = 5, window = "1d", unit = "token" }
ai = ["5/hour", "6/hour"]
training = { limit = 5, window = "1 hour", algorithm = "leaky-bucket", mode = "on" }
"#;
    check("wrong_limit_tables", text);
}

#[test]
fn wrong_plans_are_refused() {
    let text = r#"
[plans.free]
billing = "walet"
endpoint_multiplier = 0.5
concurrency = 0
[plans.free.key_limits]
read_only = { read = "5/hour" }
[plans.paid]
billing = "wallet"
alerts = ["5 dollars", "200%", "24hours", 5]
[plans.trial]
alerts = ["5.00"]
"#;
    check("wrong_plans", text);
}

#[test]
fn routes_that_could_never_match_are_refused() {
    let text = r#"
[[routes]]
upstream = "main"
[[routes]]
match = "post /a"
upstream = "mian"
[[routes]]
match = "GET a"
upstream = "main"
class = "AI"
[[routes]]
match = "GET /a*"
upstream = "main"
usage = "open-ai"
[[routes]]
match = "GET /a/../b"
upstream = "main"
usage = "json:usage.total"
[[routes]]
match = "GET /ok"
upstream = "elsewhere"
scope = "a b"
weight = 0
on_low_balance = "clam"
cache = true
"#;
    check("wrong_routes", &format!("{BASE}{text}"));
    check("routes_with_one_bracket", &format!("{BASE}[routes]\nmatch = \"GET /\"\n"));
}

#[test]
fn routes_that_tie_are_refused() {
    let text = r#"
[[routes]]
match = "PUT,PATCH /files/*"
upstream = "main"
[[routes]]
match = "PATCH /files/*"
upstream = "main"
"#;
    check("tie", &format!("{BASE}{text}"));
}

#[test]
fn a_route_below_the_own_api_is_refused() {
    let text = "[[routes]]\nmatch = \"GET /weir/x\"\nupstream = \"main\"\n";
    check("own_api", &format!("{BASE}{text}"));
    good(&format!("{BASE}{}", text.replace("/weir/x", "/weird")));
    good(&format!("[server]\napi_prefix = \"/gate\"\n{BASE}{text}"));
}

#[test]
fn a_class_is_known_if_a_route_and_a_plan_name_it() {
    let text = r#"
[plans.pro]
limits = { trainign = "5/day", gpu = "5/day" }
[[routes]]
match = "POST /a"
upstream = "main"
class = "a1"
[[routes]]
match = "POST /b"
upstream = "main"
class = "video"
"#;
    check("unknown_classes", &format!("{BASE}{text}"));
    let text = "[plans.pro]\nlimits = { video = \"5/day\" }\n[[routes]]\nmatch = \"POST /b\"\n";
    good(&format!("{BASE}{text}upstream = \"main\"\nclass = \"video\"\n"));
}

#[test]
fn a_call_is_never_free_by_accident() {
    let text = r#"
[plans.payg]
billing = "wallet"
[[routes]]
match = "POST /a"
upstream = "main"
[[routes]]
match = "POST /b"
upstream = "main"
price = "lama"
[[routes]]
match = "POST /c"
upstream = "main"
price = "llama"
[models.llama-3]
[models.other]
price = "nothing"
upstream = "mine"
max_output_tokens = 0
[models."a*b"]
[[routes]]
match = "POST /d"
upstream = "main"
price = "model"
usage = "openai"
[prices.llama]
output_tokens = "0.60/1M"
"#;
    check("missing_prices", &format!("{BASE}{text}"));
    let text = "[[routes]]\nmatch = \"POST /a\"\nupstream = \"main\"\nprice = \"model\"\n";
    check("no_prices", &format!("{BASE}{text}"));
}

#[test]
fn prices_that_are_not_exact_or_not_ascending_are_refused() {
    let text = r#"
[prices.a]
input_tokens = 0.15
output_tokens = "0.15 per 1M"
request = "-1"
image = "0.0000000000004"
tokens = "1"
[prices.b]
output_tokens = { per = "1M", mode = "graduated", tiers = [{ up_to = "10M", amount = "0.60" }, { up_to = "5M", amount = "0.45" }, { amount = "0.30" }] }
input_tokens = { per = "1M", mode = "volume", tiers = [{ up_to = "10M", amount = "0.60" }, { amount = "0.70" }] }
request = { tiers = [] }
image = { tiers = [{ up_to = "10G", amount = 0.60 }] }
[prices.c]
[prices.free]
request = "0"
"#;
    check("wrong_prices", &format!("{BASE}{text}"));
}

#[test]
fn the_json_output_has_the_same_places() {
    let rejected = read("[server]\nlisen = \"1\"\n[plans.free]\n").unwrap_err();
    let json = serde_json::to_value(rejected.words()).unwrap();
    assert_eq!(json[0]["line"], 2);
    assert_eq!(json[0]["column"], 1);
    assert_eq!(json[0]["message"], "unknown key `lisen`");
}

#[test]
fn columns_count_characters() {
    let rejected = read("[plans.free]\nlimits = { \"ä\" = 5, read = 5 }\n").unwrap_err();
    let json = serde_json::to_value(rejected.words()).unwrap();
    assert_eq!((&json[0]["column"], &json[1]["column"]), (&12.into(), &28.into()));
}

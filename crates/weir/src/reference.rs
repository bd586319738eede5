//! Writes `docs/reference.md` from what the binary itself goes by: the schema of the configuration,
//! the command line, and the documents of both APIs.

mod table;

mod api;
mod command_line;
mod config;

use clap::CommandFactory;

use crate::cli::Cli;

/// `docs/reference.md` is written by this test where `WEIR_BLESS` is set, and compared elsewhere.
#[test]
fn the_documented_reference_is_what_the_binary_goes_by() {
    let mut page = String::from(HEAD);
    page.push_str(&config::section(include_str!("../../../docs/weir.schema.json")));
    page.push_str(&command_line::section(Cli::command()));
    for (name, text) in [
        ("Admin API", include_str!("../../../docs/openapi-admin.json")),
        ("Customer API", include_str!("../../../docs/openapi-customer.json")),
    ] {
        page.push_str(&api::section(name, &serde_json::from_str(text).unwrap()));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let documented = std::fs::read_to_string(path).unwrap();
    let differs = documented.lines().zip(page.lines()).find(|(one, other)| one != other);
    assert!(
        documented == page,
        "run this test with WEIR_BLESS=1 and commit docs/reference.md: {differs:?}"
    );
}

const HEAD: &str = "\
# Reference

Generated from the schema of the configuration ([weir.schema.json](weir.schema.json)), from the command line and from the
OpenAPI documents ([admin](openapi-admin.json), [customer](openapi-customer.json)); a test compares. What things are
for is in [concepts](glossary.md), [limits](limits.md), [wallet](wallet.md), [pricing](pricing.md) and
[webhooks](webhooks.md); headers are in [headers](headers.md), error codes in [errors](errors.md).

- [Configuration](#configuration)
- [Command line](#command-line)
- [Admin API](#admin-api)
- [Customer API](#customer-api)
";

//! The whole file: parsed, every section read, every problem noted.

use toml::de::DeTable;
use weir_core::price::Price;
use weir_gate::settings::UpstreamSettings;

use super::diagnose::Problem;
use super::place::Named;
use super::plan::PlanFile;
use super::price::read_price;
use super::read::{Reading, Section, Value, World};
use super::route::{ModelFile, RouteFile, read_routes};
use super::server::ServerSettings;
use super::services::{
    AuthSettings, BillingSettings, EmailSettings, StoreSettings, WebhookSettings,
};
use super::upstream::read_upstream;

/// What a file says, section by section, with the places that later objections may need.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    /// `[server]`.
    pub(crate) server: ServerSettings,
    /// `[store]`.
    pub(crate) store: StoreSettings,
    /// `[billing]`.
    pub(crate) billing: BillingSettings,
    /// `[auth]`.
    pub(crate) auth: AuthSettings,
    /// `[webhooks]`.
    pub(crate) webhooks: WebhookSettings,
    /// `[email]`.
    pub(crate) email: EmailSettings,
    /// `[upstreams.NAME]`, in order.
    pub(crate) upstreams: Vec<Named<UpstreamSettings>>,
    /// `[[routes]]`, in order.
    pub(crate) routes: Vec<RouteFile>,
    /// `[models.NAME]`, in order.
    pub(crate) models: Vec<Named<ModelFile>>,
    /// `[plans.NAME]`, in order.
    pub(crate) plans: Vec<Named<PlanFile>>,
    /// `[prices.NAME]`, in order; `None` where one is not sound.
    pub(crate) prices: Vec<Named<Option<Price>>>,
}

/// Parses and reads a file.
///
/// The file is `None` only where its syntax is broken; else it is what could be read, and is to be
/// trusted only if there are no problems.
pub(crate) fn read_file(text: &str, world: &World<'_>) -> (Option<ConfigFile>, Vec<Problem>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return (None, errors.iter().map(|error| syntax_problem(error, text)).collect());
    }
    let mut reading = Reading::new(text, world);
    let file = read_root(Section::root(root.get_ref()), &mut reading);
    (Some(file), reading.into_problems())
}

fn read_root(mut root: Section<'_, '_>, reading: &mut Reading<'_>) -> ConfigFile {
    let file = ConfigFile {
        server: root.table("server", reading, ServerSettings::read),
        store: root.table("store", reading, StoreSettings::read),
        billing: root.table("billing", reading, BillingSettings::read),
        auth: root.table("auth", reading, AuthSettings::read),
        webhooks: root.table("webhooks", reading, WebhookSettings::read),
        email: root.table("email", reading, EmailSettings::read),
        upstreams: root.named("upstreams", reading, |name, value, reading| {
            let read = |section: &mut Section<'_, '_>, reading: &mut Reading<'_>| {
                read_upstream(&name.value, section, reading)
            };
            Some(whole(value, reading, read))
        }),
        routes: read_routes(&mut root, reading),
        models: root.named("models", reading, |_, value, reading| {
            Some(whole(value, reading, ModelFile::read))
        }),
        plans: root.named("plans", reading, |_, value, reading| {
            Some(whole(value, reading, PlanFile::read))
        }),
        prices: root.named("prices", reading, |name, value, reading| {
            Some(whole(value, reading, |section, reading| read_price(name, section, reading)))
        }),
    };
    root.finish(reading);
    file
}

/// Reads a table to its end; what is not a table is noted and read as an empty one.
fn whole<T>(
    value: &Value<'_>,
    reading: &mut Reading<'_>,
    read: impl FnOnce(&mut Section<'_, '_>, &mut Reading<'_>) -> T,
) -> T {
    let empty = DeTable::new();
    let mut section =
        Section::of(value, reading).unwrap_or_else(|| Section::absent(&empty, value.span().into()));
    let result = read(&mut section, reading);
    section.finish(reading);
    result
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    Problem {
        place: span.into(),
        path: String::new(),
        message: error.message().to_owned(),
        hint: SYNTAX_HINTS
            .into_iter()
            .find(|(part, _)| error.message().contains(part))
            .map(|(_, hint)| hint.to_owned()),
        also: None,
    }
}

/// Parts of the parser's messages, and what to do about them.
const SYNTAX_HINTS: [(&str, &str); 6] = [
    ("string values must be quoted", "a value follows `=`; text stands in quotes: key = \"text\""),
    ("key with no value", "write key = value"),
    ("duplicate key", "it stands in the file once already: put both together"),
    ("invalid basic string", "close the quotes on the same line"),
    ("unclosed table", "close the bracket: [section]"),
    ("unclosed array", "close the bracket: [\"a\", \"b\"]"),
];

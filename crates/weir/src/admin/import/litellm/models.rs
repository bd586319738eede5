//! The proxy's `model_list` as upstreams, models and prices.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use super::super::decimal::Decimal;

/// What was read of a proxy's configuration.
#[derive(Debug, Default)]
pub(crate) struct Models {
    models: BTreeMap<String, Model>,
    upstreams: BTreeMap<String, Upstream>,
    /// What could not be taken over, or not as it was.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
struct Model {
    upstream: String,
    /// By the meter's name: an amount for a million.
    prices: BTreeMap<&'static str, String>,
    max_output_tokens: Option<u64>,
}

#[derive(Debug)]
struct Upstream {
    urls: Vec<String>,
    header: &'static str,
    /// The variable that holds its key.
    variable: String,
}

/// Reads the models; what is unsound or has no counterpart becomes a note.
pub(crate) fn read(proxy: &Value) -> Models {
    let mut models = Models::default();
    let list = proxy["model_list"].as_array().map_or(&[][..], |list| list);
    for entry in list {
        models.take(entry);
    }
    if models.models.is_empty() {
        models.notes.push("the configuration has no model that can be taken over".to_owned());
    }
    models
}

impl Models {
    fn take(&mut self, entry: &Value) {
        let (params, info) = (&entry["litellm_params"], &entry["model_info"]);
        let (Some(name), Some(model)) = (entry["model_name"].as_str(), params["model"].as_str())
        else {
            self.notes
                .push("a model without model_name or litellm_params.model is left out".into());
            return;
        };
        let (provider, upstream_name) = model.split_once('/').unwrap_or(("openai", model));
        let base = params["api_base"].as_str().map(|base| base.trim_end_matches('/'));
        let Some(base) = base.or_else(|| home_of(provider)) else {
            self.notes.push(format!(
                "{name}: {provider} speaks no API that Weir passes on as it is; it is left out"
            ));
            return;
        };
        let base = base.strip_suffix("/v1").unwrap_or(base);
        if upstream_name != name {
            self.notes.push(format!(
                "{name}: LiteLLM renames it to {upstream_name}; Weir sends the name as the client \
                 wrote it, so clients must write {upstream_name}"
            ));
        }
        let upstream = self.upstream(provider, base, params["api_key"].as_str());
        let known = self.models.entry(upstream_name.to_owned()).or_insert_with(|| Model {
            upstream: upstream.clone(),
            prices: BTreeMap::new(),
            max_output_tokens: None,
        });
        if known.upstream != upstream {
            self.notes.push(format!(
                "{name}: there are several deployments; only that at {} is taken over",
                known.upstream
            ));
            return;
        }
        for (theirs, ours) in PRICES {
            let price = [&params[theirs], &info[theirs]].into_iter().find(|it| !it.is_null());
            let Some(price) = price else { continue };
            let text = price.as_str().map_or_else(|| price.to_string(), str::to_owned);
            match Decimal::parse(&text) {
                Some(price) => drop(known.prices.insert(ours, price.shifted(6).text(9))),
                None => self.notes.push(format!("{name}: {theirs} is no number and is left out")),
            }
        }
        let most = info["max_output_tokens"].as_u64().or_else(|| info["max_tokens"].as_u64());
        known.max_output_tokens = known.max_output_tokens.max(most);
        if known.prices.is_empty() {
            self.notes.push(format!(
                "{name}: it has no price here (LiteLLM has tables of its own); it is commented out \
                 until [prices.{}] is written: weir import litellm-prices may have it",
                quoted(upstream_name)
            ));
        }
    }

    /// The name of the upstream at that address, known from now on.
    fn upstream(&mut self, provider: &str, base: &str, key: Option<&str>) -> String {
        let taken = |upstream: &Upstream| upstream.urls.iter().any(|url| url == base);
        if let Some((name, _)) = self.upstreams.iter().find(|(_, upstream)| taken(upstream)) {
            return name.clone();
        }
        let word: String = provider
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .collect();
        let mut name = word.clone();
        let mut count = 1;
        while self.upstreams.contains_key(&name) {
            count += 1;
            name = format!("{word}-{count}");
        }
        let own = format!("{}_API_KEY", name.to_uppercase().replace('-', "_"));
        let variable = match key.map(|key| key.strip_prefix("os.environ/")) {
            Some(Some(variable)) => variable.to_owned(),
            Some(None) => {
                self.notes.push(format!(
                    "{name}: its key stands in the file; it is not copied: set {own}"
                ));
                own
            }
            None => own,
        };
        let header = if provider == "anthropic" { "x-api-key" } else { "authorization" };
        let upstream = Upstream { urls: vec![base.to_owned()], header, variable };
        self.upstreams.insert(name.clone(), upstream);
        name
    }

    /// A whole configuration for Weir.
    pub(crate) fn file(&self) -> String {
        let mut file = HEAD.to_owned();
        let mut line = |text: String| {
            file.push_str(&text);
            file.push('\n');
        };
        for (name, upstream) in &self.upstreams {
            let bearer = if upstream.header == "authorization" { "Bearer " } else { "" };
            line(format!("[upstreams.{name}]"));
            line(format!("urls = [{}]", list(&upstream.urls)));
            let (header, variable) = (upstream.header, &upstream.variable);
            line(format!("headers = {{ {header} = \"{bearer}${{{variable}}}\" }}\n"));
        }
        let first = self.upstreams.keys().next().map_or("models", String::as_str);
        for (pattern, usage) in ROUTES {
            line(format!("[[routes]]\nmatch = \"{pattern}\"\nupstream = \"{first}\""));
            line(format!("class = \"ai\"\nusage = \"{usage}\"\nprice = \"model\"\n"));
        }
        line(format!("[[routes]]\nmatch = \"GET /v1/models/*\"\nupstream = \"{first}\""));
        line("price = \"free\"\n".to_owned());
        for (name, model) in &self.models {
            // A model without a price would be refused; here it says what is missing.
            let (off, why) = match model.prices.is_empty() {
                true => ("# ", format!("# needs [prices.{}]\n", quoted(name))),
                false => ("", String::new()),
            };
            let (name, upstream) = (quoted(name), &model.upstream);
            line(format!("{why}{off}[models.{name}]\n{off}upstream = \"{upstream}\""));
            if let Some(most) = model.max_output_tokens {
                line(format!("{off}max_output_tokens = {most}"));
            }
            line(String::new());
        }
        for (name, model) in &self.models {
            if model.prices.is_empty() {
                continue;
            }
            line(format!("[prices.{}]", quoted(name)));
            for (meter, price) in &model.prices {
                line(format!("{meter} = \"{price}/1M\""));
            }
            line(String::new());
        }
        file.trim_end().to_owned() + "\n"
    }

    /// The models as JSON.
    pub(crate) fn told(&self) -> Value {
        let models = self.models.iter().map(|(name, model)| {
            json!({
                "name": name, "upstream": model.upstream, "prices_per_1M": model.prices,
                "max_output_tokens": model.max_output_tokens,
            })
        });
        models.collect()
    }

    /// The models for people.
    pub(crate) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        let (models, upstreams) = (self.models.len(), self.upstreams.len());
        writeln!(out, "{models} models at {upstreams} upstreams; prices for 1M tokens")?;
        for (name, model) in &self.models {
            let mut prices = String::new();
            for (meter, price) in &model.prices {
                // Writing to a String cannot fail.
                let _ = write!(prices, "  {} {price}", meter.trim_end_matches("_tokens"));
            }
            let prices = if prices.is_empty() { "  no price" } else { &prices };
            writeln!(out, "  {name}  at {}{prices}", model.upstream)?;
        }
        Ok(())
    }
}

fn home_of(provider: &str) -> Option<&'static str> {
    let known = HOMES.iter().find(|(name, _)| *name == provider);
    known.map(|(_, home)| *home)
}

fn quoted(name: &str) -> String {
    toml::Value::from(name).to_string()
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")
}

/// What LiteLLM calls a price for one token, and the meter it is.
const PRICES: [(&str, &str); 4] = [
    ("input_cost_per_token", "input_tokens"),
    ("output_cost_per_token", "output_tokens"),
    ("cache_read_input_token_cost", "cached_input_tokens"),
    ("cache_creation_input_token_cost", "cache_write_tokens"),
];
/// Providers whose API is OpenAI's or Anthropic's own, and where it is.
const HOMES: [(&str, &str); 8] = [
    ("openai", "https://api.openai.com"),
    ("text-completion-openai", "https://api.openai.com"),
    ("anthropic", "https://api.anthropic.com"),
    ("groq", "https://api.groq.com/openai"),
    ("mistral", "https://api.mistral.ai"),
    ("together_ai", "https://api.together.xyz"),
    ("deepseek", "https://api.deepseek.com"),
    ("openrouter", "https://openrouter.ai/api"),
];
const ROUTES: [(&str, &str); 5] = [
    ("POST /v1/chat/completions", "openai"),
    ("POST /v1/completions", "openai"),
    ("POST /v1/responses", "openai"),
    ("POST /v1/embeddings", "openai"),
    ("POST /v1/messages", "anthropic"),
];
const HEAD: &str = r#"# Taken over from a LiteLLM proxy by weir import litellm. Look it over, then: weir check

[server]
listen = "127.0.0.1:8080"
admin_listen = "127.0.0.1:8081"

[store]
path = "weir-data"

[auth]
headers = ["authorization", "x-api-key"]

# Teams and users whose budget begins anew, or who have none: valued, and limited by what the
# import sets for each.
[plans.imported]
billing = "none"

# Teams and users with a budget once and for all: what is left of it becomes their balance.
[plans.imported-prepaid]
billing = "wallet"

"#;

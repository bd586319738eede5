//! Teams, users and keys of the proxy's database as accounts and keys.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use weir_engine::clock::Clock;
use weir_engine::secret::SecretDigest;

use super::super::decimal::Decimal;

/// Who would be taken over.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// By the external id that they get.
    pub(crate) accounts: BTreeMap<String, Account>,
    /// What could not be taken over, or not as it was.
    pub(crate) notes: Vec<String>,
}

/// One paying party to be.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) limits: Map<String, Value>,
    /// What is left of a budget once and for all: the balance to begin with.
    pub(crate) balance: Option<String>,
    pub(crate) suspended: bool,
    pub(crate) keys: Vec<Value>,
}

/// Reads an export: `{"LiteLLM_VerificationToken": [...], "LiteLLM_TeamTable": [...], ...}`.
///
/// # Errors
///
/// When there is no list of keys in it.
pub(crate) fn read(tables: &Value) -> anyhow::Result<People> {
    let keys = tables["LiteLLM_VerificationToken"].as_array();
    let keys = keys.context("there is no list `LiteLLM_VerificationToken` in it")?;
    let rows = |table: &str| tables[table].as_array().cloned().unwrap_or_default();
    let mut people = People::default();
    for team in rows("LiteLLM_TeamTable") {
        people.party("team", &team, "team_id", "team_alias");
    }
    for user in rows("LiteLLM_UserTable") {
        people.party("user", &user, "user_id", "user_alias");
    }
    for key in keys {
        people.key(key);
    }
    // Most users only ever call through the keys of a team.
    people
        .accounts
        .retain(|id, account| id.starts_with("litellm:team:") || !account.keys.is_empty());
    Ok(people)
}

impl People {
    fn party(&mut self, kind: &str, row: &Value, id: &str, alias: &str) {
        let Some(id) = row[id].as_str().filter(|id| !id.is_empty()) else { return };
        let name = [&row[alias], &row["user_email"]].into_iter().find_map(Value::as_str);
        let mut account = Account {
            name: name.filter(|name| !name.is_empty()).unwrap_or(id).to_owned(),
            email: row["user_email"].as_str().map(str::to_owned),
            limits: self.paces(row),
            balance: None,
            suspended: row["blocked"] == true,
            keys: Vec::new(),
        };
        let what = format!("{kind} {}", account.name);
        match self.budget(&what, row) {
            Budget::None => {}
            Budget::Once(left) => account.balance = Some(left),
            Budget::Again(limit) => drop(account.limits.insert("all.credits".to_owned(), limit)),
        }
        self.accounts.insert(format!("litellm:{kind}:{id}"), account);
    }

    fn key(&mut self, row: &Value) {
        let token = row["token"].as_str().unwrap_or_default();
        let told = |name: &str| row[name].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        if SecretDigest::from_hex(token).is_none() {
            // It may be the secret itself: nothing of it is told.
            let name = told("key_alias").unwrap_or_else(|| "a key without alias".to_owned());
            self.notes.push(format!("{name}: its token is no SHA-256 digest; it is left out"));
            return;
        }
        let short = token.get(..8).unwrap_or_default();
        let name = told("key_alias").or_else(|| told("key_name"));
        let name = name.unwrap_or_else(|| format!("key {short}"));
        if row["blocked"] == true {
            self.notes.push(format!("{name}: it is blocked, and left out"));
            return;
        }
        let mut key = json!({ "name": name, "type": "read_write", "secret_sha256": token });
        match expiry(&row["expires"]) {
            Ok(None) => {}
            Ok(Some(at)) => key["expires_at"] = Value::from(at),
            Err(why) => return self.notes.push(format!("{name}: {why}; it is left out")),
        }
        let models = row["models"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let models: Vec<&str> = models.collect();
        let all = |model: &&str| ["all-team-models", "all-proxy-models", "*"].contains(model);
        if !models.is_empty() && !models.iter().any(all) {
            key["models"] = json!(models);
        }
        let mut limits = self.paces(row);
        match self.budget(&format!("key {name}"), row) {
            Budget::None => {}
            Budget::Once(left) => key["spend_cap"] = json!({ "amount": left }),
            Budget::Again(limit) => drop(limits.insert("all.credits".to_owned(), limit)),
        }
        if !limits.is_empty() {
            key["limits"] = Value::Object(limits);
        }
        let own = || {
            let id = format!("litellm:key:{short}");
            let account = Account {
                name: name.clone(),
                email: None,
                limits: Map::new(),
                balance: None,
                suspended: false,
                keys: Vec::new(),
            };
            (id, account)
        };
        let of = |kind: &str, id: &str| {
            let id = row[id].as_str().filter(|id| !id.is_empty())?;
            Some(format!("litellm:{kind}:{id}")).filter(|id| self.accounts.contains_key(id))
        };
        let id = of("team", "team_id").or_else(|| of("user", "user_id"));
        let (id, account) = match id {
            Some(id) => (id, None),
            None => {
                let (id, account) = own();
                (id, Some(account))
            }
        };
        if let Some(account) = account {
            self.accounts.insert(id.clone(), account);
        }
        if let Some(account) = self.accounts.get_mut(&id) {
            account.keys.push(key);
        }
    }

    /// Requests and tokens for a minute, and calls at a time.
    fn paces(&mut self, row: &Value) -> Map<String, Value> {
        let mut limits = Map::new();
        if let Some(count) = row["rpm_limit"].as_u64() {
            limits.insert("all".to_owned(), Value::from(format!("{count}/minute")));
        }
        if let Some(count) = row["tpm_limit"].as_u64() {
            let limit = json!({ "limit": count, "window": "1m", "unit": "tokens" });
            limits.insert("all.tokens".to_owned(), limit);
        }
        if let Some(count) = row["max_parallel_requests"].as_u64() {
            limits.insert("concurrency".to_owned(), Value::from(count));
        }
        limits
    }

    fn budget(&mut self, what: &str, row: &Value) -> Budget {
        let number = |name: &str| Decimal::parse(&row[name].to_string());
        let Some(most) = number("max_budget") else { return Budget::None };
        match row["budget_duration"].as_str() {
            None => {
                let spent = number("spend").or_else(|| Decimal::parse("0"));
                let left = spent.and_then(|spent| most.less(spent));
                match left.filter(|left| left.is_positive()) {
                    Some(left) => Budget::Once(left.text(9)),
                    None => {
                        self.notes.push(format!("{what}: nothing of its budget is left"));
                        Budget::Once("0".to_owned())
                    }
                }
            }
            Some(duration) => {
                let Some(window) = window(duration) else {
                    self.notes.push(format!(
                        "{what}: its budget for {duration} cannot be taken over; it has none"
                    ));
                    return Budget::None;
                };
                self.notes.push(format!(
                    "{what}: its budget for {duration} becomes a limit on credits; what was used \
                     of the present one is not taken over"
                ));
                Budget::Again(json!({ "limit": most.text(9), "window": window, "unit": "credits" }))
            }
        }
    }

    /// Who would be taken over, as JSON.
    pub(crate) fn told(&self) -> Value {
        let told = self.accounts.iter().map(|(id, account)| {
            json!({
                "external_id": id, "name": account.name, "plan": account.plan(),
                "balance": account.balance, "limits": account.limits,
                "suspended": account.suspended,
                "keys": account.keys.iter().map(|key| &key["name"]).collect::<Vec<_>>(),
            })
        });
        told.collect()
    }

    /// Who would be taken over, for people.
    pub(crate) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        let keys: usize = self.accounts.values().map(|account| account.keys.len()).sum();
        writeln!(out, "{} accounts with {keys} keys, which customers keep", self.accounts.len())?;
        for (id, account) in &self.accounts {
            let balance = account.balance.as_ref().map(|it| format!(", balance {it}"));
            let suspended = if account.suspended { ", suspended" } else { "" };
            let (name, plan, keys) = (&account.name, account.plan(), account.keys.len());
            let balance = balance.unwrap_or_default();
            writeln!(out, "  {name} ({id}): plan {plan}, {keys} keys{balance}{suspended}")?;
        }
        Ok(())
    }
}

impl Account {
    /// The plan of the generated configuration that fits.
    pub(crate) fn plan(&self) -> &'static str {
        if self.balance.is_some() { "imported-prepaid" } else { "imported" }
    }
}

enum Budget {
    None,
    /// So much is left, once and for all.
    Once(String),
    /// A limit on credits that begins anew.
    Again(Value),
}

/// A duration of LiteLLM's as a window; a month is thirty days, as it is there.
fn window(duration: &str) -> Option<String> {
    let split = duration.find(|letter: char| !letter.is_ascii_digit())?;
    let (count, unit) = duration.split_at(split);
    let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
    match unit {
        "s" | "m" | "h" | "d" => Some(format!("{count}{unit}")),
        "w" => Some(format!("{}d", count.checked_mul(7)?)),
        "mo" => Some(format!("{}d", count.checked_mul(30)?)),
        _ => None,
    }
}

/// The end of a key's time as RFC 3339; the database writes UTC without saying so.
fn expiry(value: &Value) -> Result<Option<String>, &'static str> {
    let Some(text) = value.as_str() else { return Ok(None) };
    let zoned = text.replace(' ', "T");
    let at: Option<jiff::Timestamp> =
        zoned.parse().ok().or_else(|| format!("{zoned}Z").parse().ok());
    let at = at.ok_or("it says in no known way when it expires")?;
    if at.as_microsecond() <= Clock::running().now().micros() {
        return Err("it has expired");
    }
    Ok(Some(at.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_windows() {
        let windows = ["30d", "1mo", "2w", "24h", "0d", "d", "1y", ""].map(window);
        let expected = [Some("30d"), Some("30d"), Some("14d"), Some("24h"), None, None, None, None];
        assert_eq!(windows, expected.map(|it| it.map(str::to_owned)));
    }

    #[test]
    fn a_key_goes_to_its_team_else_its_user_else_an_account_of_its_own() {
        let row = |digit: char, more: Value| {
            let mut row = json!({ "token": digit.to_string().repeat(64), "spend": 0 });
            for (name, value) in more.as_object().unwrap() {
                row[name] = value.clone();
            }
            row
        };
        let people = read(&json!({
            "LiteLLM_TeamTable": [{ "team_id": "t", "max_budget": 10.5, "spend": 0.1 }],
            "LiteLLM_UserTable": [{ "user_id": "u", "user_email": "u@example.com" },
                                  { "user_id": "idle" }],
            "LiteLLM_VerificationToken": [
                row('a', json!({ "team_id": "t", "user_id": "u" })),
                row('b', json!({ "user_id": "u", "max_budget": 2, "budget_duration": "1d" })),
                row('c', json!({ "rpm_limit": 5, "models": ["all-team-models"] })),
                row('d', json!({ "blocked": true })),
                row('e', json!({ "expires": "2020-01-01T00:00:00" })),
                json!({ "token": "sk-plain" }),
            ],
        }));
        let people = people.unwrap();
        let ids: Vec<&str> = people.accounts.keys().map(String::as_str).collect();
        assert_eq!(ids, ["litellm:key:cccccccc", "litellm:team:t", "litellm:user:u"]);
        let team = &people.accounts["litellm:team:t"];
        assert_eq!((team.plan(), team.balance.as_deref()), ("imported-prepaid", Some("10.4")));
        let limit = &people.accounts["litellm:user:u"].keys[0]["limits"]["all.credits"];
        assert_eq!((&limit["limit"], &limit["window"]), (&"2".into(), &"1d".into()));
        let own = &people.accounts["litellm:key:cccccccc"].keys[0];
        assert_eq!((&own["limits"]["all"], &own["models"]), (&"5/minute".into(), &Value::Null));
        assert_eq!(people.notes.len(), 4, "{:?}", people.notes);
        assert!(!people.notes.join(" ").contains("sk-"), "{:?}", people.notes);
    }
}

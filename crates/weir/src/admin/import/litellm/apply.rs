//! Makes what was read on a running server; what is there already stays as it is.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::people::{Account, People};
use crate::client::{Client, RefusedByServer, escape};

/// What was made.
#[derive(Debug, Default)]
struct Made {
    accounts: usize,
    keys: usize,
    known: usize,
    refused: Vec<String>,
}

/// Makes accounts, keys and balances. It can be run again: it goes on where it ended.
///
/// # Errors
///
/// When the server cannot be reached, refuses the key, or refused something of this.
pub(crate) fn apply(people: &People, client: &Client, json: bool) -> anyhow::Result<()> {
    // Whether there is a server that lets us in is asked before anything is made.
    client.read("accounts?limit=1")?;
    let mut made = Made::default();
    for (external_id, account) in &people.accounts {
        made.account(external_id, account, client)?;
    }
    let mut hints = io::stderr().lock();
    for refused in &made.refused {
        writeln!(hints, "refused: {refused}")?;
    }
    let mut out = io::stdout().lock();
    let (accounts, keys, known) = (made.accounts, made.keys, made.known);
    if json {
        let refused = &made.refused;
        let told =
            json!({ "accounts": accounts, "keys": keys, "known": known, "refused": refused });
        writeln!(out, "{told:#}")?;
    } else {
        writeln!(out, "made {accounts} accounts and {keys} keys; {known} were there already")?;
    }
    anyhow::ensure!(made.refused.is_empty(), "{} could not be made", made.refused.len());
    Ok(())
}

impl Made {
    fn account(
        &mut self,
        external_id: &str,
        account: &Account,
        client: &Client,
    ) -> anyhow::Result<()> {
        let found = client.list(&format!("accounts?external_id={}", escape(external_id)), 1)?;
        let id = match found.first() {
            Some(known) => {
                self.known += 1;
                known["id"].as_str().map(str::to_owned)
            }
            None => self.new_account(external_id, account, client)?,
        };
        let Some(id) = id else { return Ok(()) };
        self.balance(&id, account, client)?;
        for key in &account.keys {
            match attempt(client.post_of_many(&format!("accounts/{id}/keys"), key))? {
                Ok(_) => self.keys += 1,
                Err(why) if why.contains("key with this secret exists") => self.known += 1,
                Err(why) => self.refused.push(format!("key {}: {why}", key["name"])),
            }
        }
        Ok(())
    }

    fn new_account(
        &mut self,
        external_id: &str,
        account: &Account,
        client: &Client,
    ) -> anyhow::Result<Option<String>> {
        let mut body = json!({
            "name": account.name, "plan": account.plan(), "external_id": external_id,
        });
        if let Some(email) = &account.email {
            body["email"] = Value::from(email.as_str());
        }
        let made = match attempt(client.post_of_many("accounts", &body))? {
            Ok(made) => made,
            Err(why) => {
                self.refused.push(format!("account {}: {why}", account.name));
                return Ok(None);
            }
        };
        self.accounts += 1;
        let Some(id) = made["id"].as_str().map(str::to_owned) else { return Ok(None) };
        let mut change = json!({});
        if !account.limits.is_empty() {
            change["limits"] = Value::Object(account.limits.clone());
        }
        if account.suspended {
            change["status"] = Value::from("suspended");
        }
        if change != json!({})
            && let Err(why) = attempt(client.patch(&format!("accounts/{id}"), &change))?
        {
            self.refused.push(format!("limits of {}: {why}", account.name));
        }
        Ok(Some(id))
    }

    /// Tops up once: only a wallet in which nothing ever happened.
    fn balance(&mut self, id: &str, account: &Account, client: &Client) -> anyhow::Result<()> {
        let Some(amount) = account.balance.as_deref().filter(|amount| *amount != "0") else {
            return Ok(());
        };
        let entries = client.list(&format!("accounts/{id}/wallet/entries"), 1)?;
        if !entries.is_empty() {
            return Ok(());
        }
        let body = json!({ "amount": amount, "note": "what was left of the budget at LiteLLM" });
        if let Err(why) =
            attempt(client.post_of_many(&format!("accounts/{id}/wallet/top-ups"), &body))?
        {
            self.refused.push(format!("balance of {}: {why}", account.name));
        }
        Ok(())
    }
}

/// Tells a refusal, which concerns one thing, from what is in the way of everything.
fn attempt(answer: anyhow::Result<Value>) -> anyhow::Result<Result<Value, String>> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.downcast_ref::<RefusedByServer>() {
            Some(refused) => Ok(Err(refused.to_string())),
            None => Err(error),
        },
    }
}

//! Prices of a list put into a configuration that is there: whatever else it says stays as it is
//! written, comments and all.

use anyhow::{Context as _, bail};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};
use weir_core::price::Rate;

use super::sheet::{Listed, Sheet};

/// A configuration with prices in it that it did not have.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) text: String,
    /// Prices of the list that differ from those that are there, and stayed.
    pub(super) kept: Vec<String>,
    /// What was not touched although it was to be, and why.
    pub(super) notes: Vec<String>,
}

/// Puts the prices of a list into a configuration: those that it lacks, and with `update` also the
/// figures of those that it has.
///
/// # Errors
///
/// When the text is no TOML, or its `prices` or `models` are no tables.
pub(super) fn merge(text: &str, sheet: &Sheet, update: bool) -> anyhow::Result<Merged> {
    let mut document: DocumentMut = text.parse().context("not TOML")?;
    let mut merged = Merged { text: String::new(), kept: Vec::new(), notes: Vec::new() };
    for (name, listed) in sheet.prices() {
        let prices = section(&mut document, "prices")?;
        match prices.get_mut(name) {
            None => {
                prices.insert(name, Item::Table(priced(listed)));
            }
            Some(present) => {
                let Some(present) = present.as_table_like_mut() else {
                    bail!("prices.{name} is no table")
                };
                let differs = apply(name, listed, present, update, &mut merged.notes);
                if differs && !update {
                    merged.kept.push(name.to_owned());
                }
            }
        }
        if let Some(most) = listed.max_output_tokens {
            let models = section(&mut document, "models")?;
            if models.get(name).is_none() {
                let mut model = Table::new();
                model.insert("max_output_tokens", number(most));
                models.insert(name, Item::Table(model));
            }
        }
    }
    merged.text = document.to_string();
    Ok(merged)
}

/// A table at the top, made where there is none.
fn section<'d>(document: &'d mut DocumentMut, name: &str) -> anyhow::Result<&'d mut dyn TableLike> {
    if document.get(name).is_none() {
        let mut table = Table::new();
        table.set_implicit(true);
        document.insert(name, Item::Table(table));
    }
    let found = document.get_mut(name).and_then(Item::as_table_like_mut);
    found.with_context(|| format!("`{name}` is no table"))
}

fn priced(listed: &Listed) -> Table {
    let mut table = Table::new();
    for (meter, rate) in &listed.rates {
        table.insert(meter, Item::Value(Value::from(rate.as_str())));
    }
    if let Some(long) = long_context(listed) {
        table.insert(LONG, Item::Value(long));
    }
    table
}

/// Compares a price with the list's, and changes its figures to those if it shall; whether there was
/// any difference. Rates that are more than a figure are somebody's own and stay.
fn apply(
    name: &str,
    listed: &Listed,
    present: &mut dyn TableLike,
    update: bool,
    notes: &mut Vec<String>,
) -> bool {
    let mut differs = false;
    for (meter, rate) in &listed.rates {
        match present.get_mut(meter) {
            Some(Item::Value(Value::String(own))) if same(own.value(), rate) => {}
            Some(Item::Value(value @ Value::String(_))) => {
                differs = true;
                if update {
                    let decor = value.decor().clone();
                    *value = Value::from(rate.as_str());
                    *value.decor_mut() = decor;
                }
            }
            Some(_) => notes.push(format!("{name}: {meter} has tiers of its own; it stays")),
            None => {
                differs = true;
                if update {
                    present.insert(meter, Item::Value(Value::from(rate.as_str())));
                }
            }
        }
    }
    if let Some(long) = long_context(listed) {
        match present.get(LONG) {
            None if update => drop(present.insert(LONG, Item::Value(long))),
            None => differs = true,
            Some(own) if own.to_string().trim() == long.to_string().trim() => {}
            Some(_) => notes.push(format!("{name}: {LONG} is there already; it stays")),
        }
    }
    differs
}

fn same(own: &str, listed: &str) -> bool {
    own == listed || own.parse::<Rate>().is_ok_and(|own| Ok(own) == listed.parse::<Rate>())
}

fn long_context(listed: &Listed) -> Option<Value> {
    let steps = listed.long.iter().map(|(above, rates)| {
        let mut step = InlineTable::new();
        step.insert("above", i64::try_from(*above).unwrap_or(i64::MAX).into());
        for (meter, rate) in rates {
            step.insert(*meter, rate.as_str().into());
        }
        step
    });
    let steps: Array = steps.collect();
    (!steps.is_empty()).then_some(Value::Array(steps))
}

fn number(amount: u64) -> Item {
    Item::Value(Value::from(i64::try_from(amount).unwrap_or(i64::MAX)))
}

const LONG: &str = "long_context";

#[cfg(test)]
mod tests {
    use super::super::sheet;
    use super::*;

    const LIST: &str = r#"{
        "a": { "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "max_output_tokens": 9 },
        "b/c": { "input_cost_per_token": 3e-06, "input_cost_per_token_above_200k_tokens": 6e-06 }
    }"#;
    const CONFIG: &str = r#"# mine
[plans.payg] # a plan
billing = "wallet"

[prices.a]  # ours
input_tokens = "1.50/1M"   # agreed in May
output_tokens = { per = "1M", tiers = [{ up_to = "10M", amount = "5" }, { amount = "4" }] }

[[routes]]
match = "GET /x" # kept
upstream = "m"
price = "free"
"#;

    #[track_caller]
    fn merged(config: &str, update: bool) -> Merged {
        merge(config, &sheet::read(LIST, |_| true).unwrap(), update).unwrap()
    }

    #[test]
    fn what_is_lacking_is_added_and_all_else_stays_as_it_is_written() {
        let Merged { text, kept, .. } = merged(CONFIG, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(CONFIG.lines().all(|line| lines.contains(&line)), "{text}");
        assert_eq!(kept, ["a"]);
        let read: toml::Value = toml::from_str(&text).unwrap();
        assert_eq!(read["prices"]["b/c"]["input_tokens"].as_str(), Some("3/1M"));
        assert_eq!(read["prices"]["b/c"]["long_context"][0]["above"].as_integer(), Some(200_000));
        assert_eq!(read["models"]["a"]["max_output_tokens"].as_integer(), Some(9));
        assert_eq!(merged(&text, false).text, text, "a second time there is nothing to add");
    }

    #[test]
    fn an_update_changes_figures_and_leaves_comments_and_tiers() {
        let Merged { text, kept, notes } = merged(CONFIG, true);
        assert!(text.contains("input_tokens = \"1/1M\"   # agreed in May"), "{text}");
        assert!(text.contains("tiers = [{ up_to"), "{text}");
        assert!(kept.is_empty());
        assert_eq!(notes, ["a: output_tokens has tiers of its own; it stays"]);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let sheet = sheet::read(LIST, |_| true).unwrap();
        for (config, why) in [("prices = 1", "`prices` is no table"), ("[", "not TOML")] {
            let error = merge(config, &sheet, false).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        assert!(merge("[prices]\na = 1", &sheet, false).is_err());
    }
}

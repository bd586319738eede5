//! Bounds of what people write into resources.

use serde_json::{Map, Value};
use weir_core::money::Nano;

use crate::problem::Problem;

/// A name: 1 to 200 characters, none of them a control character.
pub(crate) fn name(member: &str, text: &str) -> Result<(), Problem> {
    let length = text.chars().count();
    if !(1..=NAME_MAX).contains(&length) || text.chars().any(char::is_control) {
        let why = format!("it must have 1 to {NAME_MAX} characters and no control characters");
        return Err(Problem::invalid(member, why));
    }
    Ok(())
}

/// Free text: at most 1,000 characters.
pub(crate) fn text(member: &str, text: &str) -> Result<(), Problem> {
    if text.chars().count() > TEXT_MAX {
        return Err(Problem::invalid(member, format!("it may have at most {TEXT_MAX} characters")));
    }
    Ok(())
}

/// Text of an e-mail address' form.
pub(crate) fn email(text: &str) -> Result<(), Problem> {
    let parts = text.split_once('@');
    let plausible = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let odd = text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    if !plausible || odd || text.len() > 254 {
        return Err(Problem::invalid("email", "it must be an e-mail address"));
    }
    Ok(())
}

/// What the operator keeps with a resource: at most 16 KiB.
pub(crate) fn metadata(metadata: &Map<String, Value>) -> Result<(), Problem> {
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len());
    if bytes > METADATA_BYTES_MAX {
        let why = format!("it may have at most {METADATA_BYTES_MAX} bytes");
        return Err(Problem::invalid("metadata", why));
    }
    Ok(())
}

/// A list of short texts, at most 200.
pub(crate) fn list(member: &str, items: Option<&[String]>) -> Result<(), Problem> {
    let items = items.unwrap_or_default();
    members(member, items.len())?;
    items.iter().try_for_each(|item| name(member, item))
}

/// A map or list of at most 200 members.
pub(crate) fn members(member: &str, count: usize) -> Result<(), Problem> {
    if count > MEMBERS_MAX {
        return Err(Problem::invalid(member, format!("it may have at most {MEMBERS_MAX} members")));
    }
    Ok(())
}

/// Money as it is written.
pub(crate) fn money(member: &str, text: &str) -> Result<Nano, Problem> {
    text.parse().map_err(|why: weir_core::money::InvalidAmount| Problem::invalid(member, why))
}

const NAME_MAX: usize = 200;
const TEXT_MAX: usize = 1_000;
const METADATA_BYTES_MAX: usize = 16 << 10;
const MEMBERS_MAX: usize = 200;

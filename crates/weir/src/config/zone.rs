//! Time zones by their names, and what was meant by a name that is none.

use jiff::tz::db;
use weir_core::calendar::Zone;
use weir_engine::zone;

use super::words::closest;

/// The zone of that name.
///
/// # Errors
///
/// A guess at the name that was meant, where there is one.
pub(crate) fn find(name: &str) -> Result<Zone, Option<String>> {
    zone::find(name).ok_or_else(|| guess(name))
}

fn guess(name: &str) -> Option<String> {
    let names: Vec<String> = db().available().map(|known| known.as_str().to_owned()).collect();
    let lower = name.to_ascii_lowercase().replace(' ', "_");
    let city = names.iter().find(|known| {
        known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&lower))
    });
    let near = || closest(name, names.iter().map(String::as_str)).map(str::to_owned);
    city.cloned().or_else(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_guessed_at() {
        assert_eq!(find("Berlin").unwrap_err().as_deref(), Some("Europe/Berlin"));
        assert_eq!(find("Europe/Berlim").unwrap_err().as_deref(), Some("Europe/Berlin"));
        assert_eq!(find("Middle/Earth").unwrap_err(), None);
    }
}

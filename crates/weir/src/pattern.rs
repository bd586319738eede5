//! Names that are asked for: one by one, all of a kind (`wallet.*`), or simply all.

/// Whether a name is asked for; without a pattern all are.
pub(crate) fn is_wanted(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => wanted == name,
        })
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    #[test]
    fn names_are_wanted_one_by_one_by_kind_or_all() {
        let names = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        assert!(is_wanted(&[], "wallet.low"));
        assert!(is_wanted(&names(&["key.created", "wallet.*"]), "wallet.low"));
        assert!(is_wanted(&names(&["wallet.low"]), "wallet.low"));
        assert!(!is_wanted(&names(&["wallet.lo"]), "wallet.low"));
        assert!(!is_wanted(&names(&["wallet.*"]), "walletlow"));
    }
}

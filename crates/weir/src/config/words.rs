//! Words in hints: what was probably meant, lists, dotted paths.

/// The word that was probably meant, if one is close enough.
pub(crate) fn closest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let lower = text.to_ascii_lowercase();
    words
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| {
            let shorter = word.len().min(text.len());
            *distance <= 1 + shorter / 4 && *distance < shorter
        })
        .min()
        .map(|(_, word)| word)
}

/// `"a", "b" or "c"`.
pub(crate) fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A key as it is written in a dotted path.
pub(crate) fn path_part(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare && !name.is_empty() { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(closest(text, ["listen", "ai", "wallet", "a"].into_iter()), expected, "{text}");
    }

    #[test]
    fn only_what_is_close_is_taken_for_meant() {
        check("lisen", Some("listen"));
        check("LISTEN", Some("listen"));
        check("lsiten", Some("listen"));
        check("walet", Some("wallet"));
        check("aii", Some("ai"));
        check("b", None);
        check("", None);
        check("training", None);
    }

    #[test]
    fn lists_end_with_or() {
        assert_eq!(quoted(&[]), "");
        assert_eq!(quoted(&["a"]), "\"a\"");
        assert_eq!(quoted(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}

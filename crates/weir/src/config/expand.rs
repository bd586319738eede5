//! `${VAR}` in text values: from the environment, when the file is read.

/// Why a text cannot be expanded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unexpandable {
    /// The environment has no such variable.
    Missing(String),
    /// Something follows `${` that is not a name and a `}`.
    Malformed,
}

/// Replaces each `${NAME}` by the variable of that name; `$${` stands for `${` itself.
///
/// A `$` before anything else stands for itself. What a variable brings in is not expanded again.
///
/// # Errors
///
/// [`Unexpandable`] for the first variable that is missing or badly written.
pub(crate) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Unexpandable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let (name, after) = rest[at + 2..].split_once('}').ok_or(Unexpandable::Malformed)?;
        if !is_name(name) {
            return Err(Unexpandable::Malformed);
        }
        let value = variable(name).ok_or_else(|| Unexpandable::Missing(name.to_owned()))?;
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Unexpandable>) {
        let variable = |name: &str| match name {
            "KEY" => Some("s3cret".to_owned()),
            "ODD" => Some("${KEY}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand(text, &variable), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn variables_are_put_in_once() {
        check("Bearer ${KEY}", Ok("Bearer s3cret"));
        check("${KEY}${KEY}/${EMPTY}", Ok("s3crets3cret/"));
        check("${ODD}", Ok("${KEY}"));
    }

    #[test]
    fn a_doubled_dollar_escapes_and_a_lone_one_is_itself() {
        check("$${KEY}", Ok("${KEY}"));
        check("$$${KEY}", Ok("$${KEY}"));
        check("$KEY costs 5$", Ok("$KEY costs 5$"));
        check("$${ and ${KEY}", Ok("${ and s3cret"));
    }

    #[test]
    fn missing_and_malformed_variables_are_errors() {
        check("a ${NOPE}", Err(Unexpandable::Missing("NOPE".to_owned())));
        for text in ["${", "${KEY", "${}", "${1A}", "${A-B}", "${KEY:-x}"] {
            check(text, Err(Unexpandable::Malformed));
        }
    }
}

//! Lines of a configuration as they may be shown: without the secrets that stand in them.

/// The same text, as long to the byte, with `*` for what stands in the strings of secret keys: the
/// admin key, what payments are signed with, the mail server's URL, headers for upstreams. What
/// `${…}` brings in is not there to be hidden and stays.
pub(crate) fn veiled(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut section_is_secret = false;
    for line in text.split_inclusive('\n') {
        if let Some(header) = line.trim_start().strip_prefix('[') {
            let path = header.split(']').next().unwrap_or_default();
            section_is_secret = path.rsplit('.').next().is_some_and(|last| last.trim() == HEADERS);
        }
        veil_line(line, section_is_secret, &mut shown);
    }
    shown
}

fn veil_line(line: &str, all: bool, shown: &mut String) {
    let (mut secret, mut of_headers) = (all, all);
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\'', '=', '#']) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let mark = &from[..1];
        shown.push_str(mark);
        rest = &from[1..];
        match mark {
            "#" => break,
            "=" => {
                let key = before.trim_end().rsplit([',', '{', ' ']).next().unwrap_or_default();
                let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
                let table = last == HEADERS && rest.trim_start().starts_with('{');
                of_headers |= table || above.split('.').any(|part| part == HEADERS);
                secret = of_headers && !last.ends_with("_file") || is_secret(last);
            }
            quote => {
                let end = string_end(rest, quote == "\"");
                veil_string(&rest[..end], secret, shown);
                rest = &rest[end..];
                if rest.starts_with(quote) {
                    shown.push_str(quote);
                    rest = &rest[1..];
                }
            }
        }
    }
    shown.push_str(rest);
}

/// Where a string ends: at its quote or, where that is missing, with the line.
fn string_end(rest: &str, escapes: bool) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if escapes => escaped = true,
            b'"' if escapes => return at,
            b'\'' if !escapes => return at,
            b'\n' => return at,
            _ => {}
        }
    }
    rest.len()
}

fn veil_string(text: &str, secret: bool, shown: &mut String) {
    if !secret {
        shown.push_str(text);
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        veil(&rest[..at], shown);
        let end = at + rest[at..].find('}').map_or("${".len(), |end| end + 1);
        shown.push_str(&rest[at..end]);
        rest = &rest[end..];
    }
    veil(rest, shown);
}

fn veil(text: &str, shown: &mut String) {
    shown.extend(text.chars().map(|letter| if letter.is_ascii_graphic() { '*' } else { letter }));
}

/// Also where the name is misspelt: the line is shown all the more then.
fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|known| strsim::damerau_levenshtein(known, key) <= 2)
}

const HEADERS: &str = "headers";
const SECRETS: [&str; 3] = ["admin_key", "stripe_webhook_secret", "smtp_url"];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(veiled(text), expected);
        assert_eq!(expected.len(), text.len());
    }

    #[test]
    fn strings_of_secret_keys_are_hidden_and_nothing_else() {
        check("admin_key = \"s3\\\"cret\" # why\n", "admin_key = \"********\" # why\n");
        check("admin_kye = 's3cret'", "admin_kye = '******'");
        check("admin_key = \"s3cret\n[x]", "admin_key = \"******\n[x]");
        check(
            "auth = { admin_key = \"s\", key_prefix = \"weir\" }",
            "auth = { admin_key = \"*\", key_prefix = \"weir\" }",
        );
        check("admin_key_file = \"/run/key\"", "admin_key_file = \"/run/key\"");
        check("smtp_url = \"smtp://u:${PW}@h\"", "smtp_url = \"*********${PW}**\"");
        check("headers = { x = \"é s\", y = 'k' }", "headers = { x = \"é *\", y = '*' }");
        check(
            "[upstreams.u.headers]\nx = \"k\"\n[a]\nx = \"k\"",
            "[upstreams.u.headers]\nx = \"*\"\n[a]\nx = \"k\"",
        );
        check("upstreams.u.headers.x = \"k\"", "upstreams.u.headers.x = \"*\"");
        check("headers = [\"x-api-key\"]", "headers = [\"x-api-key\"]");
        check(
            "headers = { x_file = \"k\", y = \"k${\" }",
            "headers = { x_file = \"k\", y = \"*${\" }",
        );
        check("read = { read = \"50/hour\" }", "read = { read = \"50/hour\" }");
    }
}

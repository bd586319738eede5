//! JSON in which no object says a member twice: of two values nobody knows which one is meant.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whatever JSON there is, if no object in it says a member twice.
pub(crate) struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut said = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if said.contains(&name) {
                return Err(A::Error::custom(format!("duplicate field `{name}`")));
            }
            said.insert(name);
            map.next_value::<Unique>()?;
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Unique, A::Error> {
        while all.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::Unique;

    #[track_caller]
    fn check(text: &str, twice: Option<&str>) {
        let read = serde_json::from_str::<Unique>(text).map(drop).map_err(|why| why.to_string());
        match twice {
            None => assert_eq!(read, Ok(()), "{text}"),
            Some(name) => {
                let why = read.unwrap_err();
                assert!(why.starts_with(&format!("duplicate field `{name}`")), "{why}");
            }
        }
    }

    #[test]
    fn a_member_that_is_said_twice_is_found_wherever_it_stands() {
        check(r#"{"a": [1, -2, 0.5, "x", null, true, {"a": {"b": {}}}], "b": {"a": 1}}"#, None);
        check(r#"{"a": 1, "a": 1}"#, Some("a"));
        check(r#"[{"a": {"b": [{"c": 1, "d": 2, "c": 3}]}}]"#, Some("c"));
        check(r#"{"a": 1, "\u0061": 2}"#, Some("a"));
    }
}

//! A configuration file with anything in it: taken, or refused with words that can be printed; the
//! same file always comes to the same.

use std::path::PathBuf;

use weir_core::names::LimitNames;

use crate::config::load::parse;
use crate::config::read::World;

pub(crate) fn check(data: &[u8]) {
    let first = outcome(data);
    assert_eq!(first, outcome(data));
    if let Err(words) = first {
        assert!(!words.is_empty(), "a file is refused without a word");
    }
}

/// What the policy comes to, or everything that is said against it.
fn outcome(data: &[u8]) -> Result<String, String> {
    let variable = |name: &str| (name == "SET").then(|| "a \"value\"".to_owned());
    let world = World { variable: &variable, folder: PathBuf::from("/nowhere") };
    match parse("weir.toml", data, &world, &mut LimitNames::default()) {
        Ok(settings) => Ok(format!("{:?}", settings.policy)),
        Err(rejected) => Err(format!("{rejected}{}", rejected.spoken())),
    }
}

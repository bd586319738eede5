//! Reads files for the tests.

use std::path::{Path, PathBuf};

use weir_core::names::LimitNames;

use crate::config::diagnose::Rejected;
use crate::config::load::parse;
use crate::config::read::World;
use crate::config::settings::Settings;

/// Reads a file that lies in `folder`, in an environment of two variables.
pub(super) fn read_in(folder: &Path, text: &str) -> Result<Settings, Rejected> {
    let variable = |name: &str| match name {
        "MODELS_KEY" => Some("s3cret".to_owned()),
        "WITH_SPACE" => Some("two words".to_owned()),
        _ => None,
    };
    let world = World { variable: &variable, folder: PathBuf::from(folder) };
    parse("weir.toml", text.as_bytes(), &world, &mut LimitNames::default())
}

/// Reads what may not even be text.
pub(super) fn read_bytes(bytes: &[u8]) -> Result<Settings, Rejected> {
    let world = World { variable: &|_| None, folder: PathBuf::from("/folder") };
    parse("weir.toml", bytes, &world, &mut LimitNames::default())
}

/// Reads a file in a folder that is not there.
pub(super) fn read(text: &str) -> Result<Settings, Rejected> {
    read_in(Path::new("/folder"), text)
}

/// The settings of a file that must be good.
#[track_caller]
pub(super) fn good(text: &str) -> Settings {
    match read(text) {
        Ok(settings) => settings,
        Err(rejected) => panic!("{rejected}"),
    }
}

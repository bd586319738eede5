//! From a path to settings: the one way in for `serve`, `check` and reload.

use std::io;
use std::path::{Path, PathBuf};

use super::diagnose::{Problem, Rejected};
use super::file::read_file;
use super::place::Place;
use super::read::World;
use super::settings::{Settings, settle};
use weir_core::names::LimitNames;

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it is wrong. Displays every problem, ready to be printed.
    #[error(transparent)]
    Rejected(Box<Rejected>),
}

impl LoadError {
    /// Why, without any line of the file.
    pub(crate) fn spoken(&self) -> String {
        match self {
            Self::Rejected(rejected) => rejected.spoken(),
            Self::Unreadable { source, .. } => format!("{self}: {source}\n"),
        }
    }
}

/// Reads and checks the configuration at `path` with the environment of this process; its limits
/// are interned in `names`.
///
/// # Errors
///
/// [`LoadError`] with every problem of the file.
pub(crate) fn load(path: &Path, names: &mut LimitNames) -> Result<Settings, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let world = World { variable: &|name| std::env::var(name).ok(), folder };
    let name = path.display().to_string();
    parse(&name, &bytes, &world, names).map_err(|rejected| LoadError::Rejected(Box::new(rejected)))
}

/// Reads and checks a configuration that is already in memory.
///
/// # Errors
///
/// [`Rejected`] with every problem of the file.
pub(crate) fn parse(
    name: &str,
    bytes: &[u8],
    world: &World<'_>,
    names: &mut LimitNames,
) -> Result<Settings, Rejected> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = "larger than 16 MiB, which no configuration is";
        return Err(Rejected::new(name, "", vec![whole_file(message)]));
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_text(name, bytes, error.valid_up_to())),
    };
    let (file, mut problems) = read_file(text, world);
    let Some(file) = file else { return Err(Rejected::new(name, text, problems)) };
    match settle(file, names, &mut problems) {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(Rejected::new(name, text, problems)),
    }
}

/// An objection to the first bytes that are no text, shown as the replacement character.
fn not_text(name: &str, bytes: &[u8], valid: usize) -> Rejected {
    let text = String::from_utf8_lossy(bytes);
    let mut problem = whole_file("not UTF-8 from here on");
    problem.place = Place { start: valid, end: valid };
    problem.hint = Some("save the file as UTF-8".to_owned());
    Rejected::new(name, &text, vec![problem])
}

fn whole_file(message: &str) -> Problem {
    let message = message.to_owned();
    Problem { place: Place::default(), path: String::new(), message, hint: None, also: None }
}

const FILE_BYTES_MAX: usize = 16 << 20;

//! How much is rolled up, and how often it is asked for.

use std::error::Error;
use std::path::PathBuf;

/// How much is rolled up, and how often it is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) calls: f64,
    pub(crate) accounts: u32,
    pub(crate) rounds: usize,
    /// A store that is kept for the next run, and filled if there is none.
    pub(crate) folder: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; those of the harness of `cargo bench` are passed over.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { calls: 100e6, accounts: 100, rounds: 9, folder: None };
        let mut rest = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--calls" => options.calls = value.parse::<f64>()?.max(1.0),
                "--accounts" => options.accounts = value.parse::<u32>()?.max(1),
                "--rounds" => options.rounds = value.parse::<usize>()?.max(1),
                "--folder" => options.folder = Some(value.into()),
                other => return Err(format!("bench usage does not know `{other}`").into()),
            }
        }
        Ok(options)
    }
}

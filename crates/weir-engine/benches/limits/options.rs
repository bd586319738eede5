//! What is measured, and how often.

use std::error::Error;

/// What is measured, and how often.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) keys: Vec<u32>,
    /// Decisions of each thread in one sample.
    pub(crate) decisions: usize,
    /// Accounts of the whole engine.
    pub(crate) accounts: u32,
    /// Set in a process of its own, whose memory is looked at.
    pub(crate) memory_of: Option<String>,
}

impl Options {
    /// Reads the arguments; those of the harness of `cargo bench` are passed over.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            rounds: 7,
            keys: vec![1_000, 100_000, 1_000_000],
            decisions: 1 << 20,
            accounts: 20_000,
            memory_of: None,
        };
        let mut rest = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--rounds" => options.rounds = value.parse::<usize>()?.max(1),
                "--keys" => {
                    options.keys = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--decisions" => options.decisions = value.parse::<usize>()?.max(1_000),
                "--accounts" => options.accounts = value.parse::<u32>()?.max(1),
                "--memory-of" => options.memory_of = Some(value),
                other => return Err(format!("bench limits does not know `{other}`").into()),
            }
        }
        Ok(options)
    }
}

//! What is measured, how long, and with which programs.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// What is measured, and how long.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) what: Vec<String>,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    /// Proxies on core 0, load and upstream on core 1.
    pub(super) pinned: bool,
    /// With `release` instead of `dist`: quick to build, some percent slower.
    pub(super) quick: bool,
    /// How many charges the ledger holds in the last row of `start`; 0: there is no such row.
    pub(super) entries: u64,
    /// A binary that was built before.
    pub(super) weir: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
}

/// The programs of ours that are measured with.
pub(super) struct Binaries {
    pub(super) weir: PathBuf,
    pub(super) seed: PathBuf,
}

impl Options {
    /// Reads what follows `bench`.
    ///
    /// # Errors
    ///
    /// An argument that is unknown or lacks its value.
    pub(super) fn read(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self {
            what: Vec::new(),
            rounds: 5,
            seconds: 2,
            pinned: false,
            quick: false,
            entries: 0,
            weir: None,
            json: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match *argument {
                "--quick" => options.quick = true,
                "--pin" => options.pinned = true,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
                "--entries" => options.entries = value()?.parse().context("--entries")?,
                "--weir" => options.weir = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                "all" => options.what.extend(ALL.iter().map(|&what| what.to_owned())),
                what if ALL.contains(&what) => options.what.push(what.to_owned()),
                other => {
                    bail!("bench does not know `{other}`; it knows {} and all", ALL.join(", "))
                }
            }
        }
        if options.what.is_empty() {
            options.what.push("proxy".to_owned());
        }
        Ok(options)
    }
}

const ALL: &[&str] = &["proxy", "priced", "sse", "idle", "start"];

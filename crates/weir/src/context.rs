//! Contexts: servers that the command line knows by name, in a file that only its owner may read.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Every context, and which one is in use.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that commands take when nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Known>,
}

/// A server that is known by name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Where its admin API is.
    pub(crate) admin_url: String,
    /// The admin key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_key: Option<String>,
    /// The file that holds the admin key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_key_file: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file; one that is not there has none.
    ///
    /// # Errors
    ///
    /// When others may read the file, or it is not sound.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let shown = path.display();
        let mode = std::fs::metadata(&path).with_context(|| format!("cannot read {shown}"))?.mode();
        if mode & 0o077 != 0 {
            anyhow::bail!("{shown} holds keys and others may read it: chmod 600 {shown}");
        }
        // The parser's own words would show the line, and with it perhaps a key.
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).unwrap_or_default().lines().count().max(1);
            anyhow::anyhow!("{shown}:{line}: {}", error.message())
        })
    }

    /// Writes the file anew, for its owner alone; it is replaced as a whole.
    ///
    /// # Errors
    ///
    /// When there is no home to write it to, or the disk does not take it.
    pub(crate) fn write(&self) -> anyhow::Result<PathBuf> {
        let path = path().context("there is neither HOME nor XDG_CONFIG_HOME to keep it in")?;
        let shown = path.display();
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            let text = toml::to_string(self).map_err(std::io::Error::other)?;
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            written.and_then(|()| std::fs::rename(&fresh, &path)).inspect_err(|_| {
                // What matters is why the other failed.
                let _ = std::fs::remove_file(&fresh);
            })
        };
        write().with_context(|| format!("cannot write {shown}"))?;
        Ok(path)
    }

    /// The context of that name, else the one in use.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub(crate) fn chosen(&self, name: Option<&str>) -> anyhow::Result<Option<Known>> {
        let Some(name) = name.or(self.current.as_deref()) else { return Ok(None) };
        let found = self.contexts.get(name).cloned();
        found.map(Some).with_context(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no context `{name}` (known: {known}); weir context add makes one")
        })
    }
}

fn path() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = of("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| of("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some(folder.join("weir").join("contexts.toml"))
}

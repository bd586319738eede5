//! What a million keys with three limits take: each contender in a process of its own.

use std::error::Error;
use std::process::Command;

use weir_core::limit::Period;

use crate::contender::Contender;
use crate::governed::Governed;
use crate::measure::count;
use crate::options::Options;
use crate::policy::QUOTA;
use crate::report::say;
use crate::sharded::Sharded;
use crate::weir::Weir;

/// The table, from one process each.
pub(crate) fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let keys = options.keys.iter().max().copied().unwrap_or(0);
    say(&format!("\nresident memory of {keys} keys, each used once\n"));
    say("| what | MB | bytes per (key, limit) |");
    say("|---|---:|---:|");
    for (kind, limits) in [("map", 1), ("governor", 1), ("weir-1", 1), ("weir-3", 3), ("weir-4", 4)]
    {
        let process = Command::new(std::env::current_exe()?)
            .args(["--memory-of", kind, "--keys", &keys.to_string()])
            .output()?;
        if !process.status.success() {
            return Err(String::from_utf8_lossy(&process.stderr).into_owned().into());
        }
        let bytes: f64 = String::from_utf8(process.stdout)?.trim().parse()?;
        let each = bytes / f64::from(keys) / f64::from(limits);
        say(&format!("| {kind} | {:.0} | {each:.0} |", bytes / 1e6));
    }
    Ok(())
}

/// Fills one contender and prints by how many bytes the process has grown.
pub(crate) fn tell(kind: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    let keys = options.keys.iter().max().copied().unwrap_or(0);
    let before = resident()?;
    let grown = match kind {
        "map" => grown_by(&Sharded::new(QUOTA, 60_000_000), keys, before)?,
        "governor" => grown_by(&Governed::new().ok_or("a rule of governor")?, keys, before)?,
        _ => {
            let limits = kind.trim_start_matches("weir-").parse()?;
            grown_by(&Weir::new(keys, limits, Period::MINUTE)?, keys, before)?
        }
    };
    say(&grown.to_string());
    Ok(())
}

fn grown_by(contender: &impl Contender, keys: u32, before: f64) -> Result<f64, Box<dyn Error>> {
    if !(0..keys).all(|key| contender.decide(key)) {
        return Err("a key's first call was refused".into());
    }
    Ok(resident()? - before)
}

fn resident() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).ok_or("/proc/self/statm has no second figure")?;
    Ok(count(pages.parse()?) * 4_096.0)
}

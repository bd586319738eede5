//! The one door to automation: `cargo xtask VERB`, one file per verb.

mod step;

mod bench;

mod dist;

mod faults;

mod tidy;

mod sdk;

mod test;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test"] => test::run(&root(), test::Extent::Everything),
        ["test", "--quick"] => test::run(&root(), test::Extent::WithoutSdks),
        ["faults", arguments @ ..] => faults::run(&root(), arguments),
        ["bench", options @ ..] => bench::run(&root(), options),
        ["dist"] => dist::run(&root()),
        ["tidy"] => tidy::run(&root()),
        _ => {
            // Nothing is left to be done when stderr is gone too.
            let _ = io::stderr().write_all(HELP.as_bytes());
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
///
/// cargo tells it anew at each run: what was compiled in is another clone's, where two clones
/// share a target folder.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let mut root =
        manifest.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    root.pop();
    root
}

const HELP: &str = "\
usage: cargo xtask VERB

  test [--quick]  format, house rules, lints, and every test; --quick leaves out SDKs and faults
  bench [proxy|priced|sse|idle|start|all]
        [--rounds N] [--seconds N] [--pin] [--quick] [--weir BINARY] [--json FILE] [--entries N]
                  what Weir costs beside nginx before the same upstream (docs/performance.md)
  bench limits [--quick] [--rounds N] [--keys N,N] [--decisions N] [--accounts N]
                  what a decision costs beside other limiters (docs/performance-limits.md)
  bench usage [--quick] [--rounds N] [--calls N] [--accounts N] [--folder KEPT]
                  how long questions about usage take (docs/performance.md)
  faults NAME|selection|--list [--seed N] [--rounds R] [--from N] [--weir BINARY]
                  the real binary under kill -9, failing and full disks (docs/faults.md)
  dist            the binary as it is shipped, optimised by a profile of itself at work
  tidy            the house rules alone: layers, imports, file lengths, banned words
";

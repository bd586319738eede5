//! What a decision on limits costs beside a bare sharded map of cells and `governor`, in this
//! process and in the same run: `cargo xtask bench limits`. docs/performance-limits.md tells how to read it.

mod contender;
mod options;
mod policy;
mod traffic;

mod governed;
mod sharded;
mod weir;
mod whole;

mod measure;
mod report;

mod memory;

use std::error::Error;

use options::Options;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    match &options.memory_of {
        Some(kind) => memory::tell(kind, &options),
        None => {
            report::rates(&options)?;
            report::tails(&options)?;
            memory::compare(&options)?;
            report::whole(&options)
        }
    }
}

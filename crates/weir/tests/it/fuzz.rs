//! The corpus of the fuzz targets, through the same checks on any toolchain.

use std::path::PathBuf;

#[path = "../../../../fuzz/checks/ask.rs"]
mod ask;
#[path = "../../../../fuzz/checks/decimal.rs"]
mod decimal;
#[path = "../../../../fuzz/checks/framing.rs"]
mod framing;
#[path = "../../../../fuzz/checks/sse.rs"]
mod sse;
#[path = "../../../../fuzz/checks/usage.rs"]
mod usage;

fn corpus(target: &str, check: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("there is a corpus") {
        let data = std::fs::read(file.expect("a file").path()).expect("it is read");
        // Each input, and each cut short: most of what breaks a parser is an end too early.
        (0..=data.len()).for_each(|end| check(&data[..end]));
        count += 1;
    }
    assert!(count > 1, "the corpus of {target} is empty");
}

#[test]
fn every_input_of_the_corpus_passes_its_check() {
    corpus("ask", ask::check);
    corpus("decimal", decimal::check);
    corpus("framing", framing::check);
    corpus("sse", sse::check);
    corpus("usage", usage::check);
}

//! The corpus of the fuzz target `config`, through the same check on any toolchain.

use std::path::Path;

#[path = "../../../../../fuzz/checks/config.rs"]
mod config;

#[test]
fn every_file_of_the_corpus_passes_its_check_whole_and_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let data = std::fs::read(file.unwrap().path()).unwrap();
        (0..=data.len()).for_each(|end| config::check(&data[..end]));
        count += 1;
    }
    assert!(count > 1, "the corpus is empty");
}

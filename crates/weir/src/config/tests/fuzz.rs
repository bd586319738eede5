//! The corpus of the fuzz target `config`, and what is near it, through the same check on any
//! toolchain. `WEIR_CONFIG_MUTANTS=1000000` tries as many.

use std::path::Path;

#[path = "../../../../../fuzz/checks/config.rs"]
mod config;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let files = std::fs::read_dir(folder).unwrap();
    let corpus: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(corpus.len() > 1, "the corpus is empty");
    corpus
}

#[test]
fn every_file_of_the_corpus_passes_its_check_whole_and_cut() {
    for data in corpus() {
        (0..=data.len()).for_each(|end| config::check(&data[..end]));
    }
}

#[test]
fn a_file_with_damage_is_taken_or_refused_in_words() {
    let wanted = std::env::var("WEIR_CONFIG_MUTANTS").ok().and_then(|text| text.parse().ok());
    let (corpus, mut rng) = (corpus(), fastrand::Rng::with_seed(7));
    for number in 0..wanted.unwrap_or(2_000_u64) {
        let mut data = rng.choice(&corpus).unwrap().clone();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(0..data.len().max(1));
            let other = rng.choice(&corpus).unwrap();
            let from = rng.usize(0..other.len());
            let piece = other[from..(from + rng.usize(1..24)).min(other.len())].to_vec();
            let end = (at + rng.usize(0..12)).min(data.len());
            match rng.u8(0..5) {
                0 => drop(data.splice(at..end, [rng.u8(..)])),
                1 => drop(data.splice(at..end, rng.choice(&WORDS).unwrap().iter().copied())),
                2 => drop(data.drain(at..end)),
                _ => drop(data.splice(at..end, piece)),
            }
        }
        let told = std::panic::catch_unwind(|| config::check(&data));
        assert!(told.is_ok(), "mutant {number}: {:?}", String::from_utf8_lossy(&data));
    }
}

const WORDS: [&[u8]; 16] = [
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e308",
    b"nan",
    b"\"\"",
    b"\"${SET}\"",
    b"\"${\"",
    b"\xc3\xa4",
    b"\xff",
    b"[[",
    b"{}",
    b"\"*\"",
    b"9999999999d",
    b"\"1/0\"",
    b"\"\\u0000\"",
];

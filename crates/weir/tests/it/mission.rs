//! `docs/mission.md` has every row of the mission, and what it names exists.

use std::path::Path;

#[test]
fn every_row_of_the_mission_names_a_test_that_exists_or_says_not_yet() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/mission.md")).expect("docs/mission.md");
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| W") || line.starts_with("| L")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, shown] = cells[..] else { panic!("two cells are wanted: {line}") };
        let (letter, number) = row.split_at(1);
        // The wallet comes first, as in the mission.
        rows.push((letter == "L", number.parse::<u32>().expect("a number")));
        if shown == "not yet" {
            continue;
        }
        let named = shown.trim_matches('`');
        let (file, test) = named.split_once("::").expect("a file and a test, or `not yet`");
        let source = std::fs::read_to_string(root.join(file)).expect(file);
        assert!(source.contains(&format!("fn {test}(")), "no {test} in {file}");
    }
    assert!(rows.is_sorted(), "the rows are not sorted");
    rows.dedup();
    let wanted = (1..=18).map(|row| (false, row)).chain((1..=22).map(|row| (true, row)));
    assert_eq!(rows, wanted.collect::<Vec<_>>());
}

use super::*;
use crate::time::Span;
use proptest::prelude::*;

fn reading(available: i64) -> Reading {
    Reading { available: Nano::new(available), last_top_up: Nano::ZERO, burn_per_hour: None }
}

fn absolute(amount: i64) -> Threshold {
    Threshold::Absolute(Nano::new(amount))
}

fn alerts(thresholds: &[Threshold], available: i64) -> Alerts {
    Alerts::seeded(thresholds, &reading(available)).unwrap()
}

fn values(crossings: &[Crossing]) -> Vec<i64> {
    crossings.iter().map(|crossing| crossing.value.get()).collect()
}

#[track_caller]
fn check(alerts: &mut Alerts, reading: &Reading, fallen: &[i64], recovered: &[i64]) {
    let crossings = alerts.read(reading);
    let found = (values(&crossings.fallen), values(&crossings.recovered));
    assert_eq!(found, (fallen.to_vec(), recovered.to_vec()), "{reading:?}");
    assert_eq!(crossings.is_empty(), fallen.is_empty() && recovered.is_empty());
}

#[test]
fn a_level_is_told_once_at_equality_and_left_two_percent_above() {
    let mut alerts = alerts(&[absolute(1_000)], 5_000);
    check(&mut alerts, &reading(1_001), &[], &[]);
    check(&mut alerts, &reading(1_000), &[1_000], &[]);
    check(&mut alerts, &reading(900), &[], &[]);
    check(&mut alerts, &reading(1_019), &[], &[]);
    check(&mut alerts, &reading(1_000), &[], &[]);
    check(&mut alerts, &reading(1_020), &[], &[1_000]);
    check(&mut alerts, &reading(1_000), &[1_000], &[]);
}

#[test]
fn a_jump_tells_all_levels_in_one_the_most_severe_first() {
    let mut alerts = alerts(&[absolute(500), absolute(2_000), absolute(100)], 5_000);
    check(&mut alerts, &reading(-3), &[0, 100, 500, 2_000], &[]);
    assert_eq!(alerts.levels()[0].level, Level::Depleted);
    check(&mut alerts, &reading(600), &[], &[0, 100, 500]);
    check(&mut alerts, &reading(0), &[0, 100, 500], &[]);
    check(&mut alerts, &reading(1), &[], &[0]);
    check(&mut alerts, &reading(9_000), &[], &[100, 500, 2_000]);
}

#[test]
fn what_is_so_when_alerts_begin_is_not_told() {
    let mut alerts = alerts(&[absolute(1_000)], 0);
    check(&mut alerts, &reading(0), &[], &[]);
    check(&mut alerts, &reading(5_000), &[], &[]);
    check(&mut alerts, &reading(1_000), &[1_000], &[]);
}

#[test]
fn a_change_of_thresholds_tells_nothing_and_keeps_what_stays() {
    let mut alerts = alerts(&[absolute(1_000)], 5_000);
    check(&mut alerts, &reading(800), &[1_000], &[]);
    let thresholds = [absolute(900), absolute(1_000), absolute(1_000), absolute(100)];
    alerts.reconfigure(&thresholds, &reading(800)).unwrap();
    assert_eq!(alerts.levels().len(), 4);
    check(&mut alerts, &reading(800), &[], &[]);
    check(&mut alerts, &reading(100), &[100], &[]);
    check(&mut alerts, &reading(5_000), &[], &[100, 1_000]);
    check(&mut alerts, &reading(900), &[900, 1_000], &[]);
}

#[test]
fn a_top_up_moves_the_share_and_arms_it_again() {
    let mut alerts = alerts(&[Threshold::PercentOfLastTopUp(200_000)], 50);
    check(&mut alerts, &reading(10), &[], &[]);
    let after = |available| Reading { last_top_up: Nano::new(1_000), ..reading(available) };
    check(&mut alerts, &after(1_010), &[], &[]);
    check(&mut alerts, &after(200), &[200], &[]);
    check(&mut alerts, &after(1_200), &[], &[200]);
    check(&mut alerts, &after(199), &[200], &[]);
}

#[test]
fn a_runway_is_judged_by_the_burn_rate() {
    let mut alerts = alerts(&[Threshold::Runway(Span::from_secs(86_400)), absolute(1_000)], 9_000);
    let at =
        |available, burn| Reading { burn_per_hour: Some(Nano::new(burn)), ..reading(available) };
    check(&mut alerts, &at(9_000, 100), &[], &[]);
    check(&mut alerts, &at(9_000, 500), &[12_000], &[]);
    check(&mut alerts, &at(1_000, 500), &[1_000], &[]);
    check(&mut alerts, &reading(1_000), &[], &[]);
    check(&mut alerts, &at(1_000, 0), &[], &[0]);
}

#[test]
fn the_number_of_thresholds_is_bounded() {
    let many: Vec<Threshold> = (1..=21).map(absolute).collect();
    assert_eq!(Alerts::seeded(&many, &reading(0)), Err(TooManyThresholds));
    let full = Alerts::seeded(&many[..20], &reading(0)).unwrap();
    assert_eq!(Alerts::restore(full.levels().iter().copied()), Ok(full.clone()));
    let doubled = full.levels().iter().chain(full.levels()).copied();
    assert_eq!(Alerts::restore(doubled), Err(TooManyThresholds));
}

proptest! {
    #[test]
    fn what_is_told_of_each_level_alternates_and_ends_where_the_account_stands(
        thresholds in prop::collection::vec(1..2_000_i64, 0..5),
        start in -100..3_000_i64,
        path in prop::collection::vec(-100..3_000_i64, 1..60),
    ) {
        let thresholds: Vec<Threshold> = thresholds.into_iter().map(absolute).collect();
        let mut alerts = alerts(&thresholds, start);
        let mut told = vec![Vec::new(); alerts.levels().len()];
        let place = |alerts: &Alerts, crossing: &Crossing| {
            alerts.levels().iter().position(|state| state.level == crossing.level).unwrap()
        };
        for available in &path {
            let crossings = alerts.read(&reading(*available));
            for crossing in &crossings.fallen {
                prop_assert!(*available <= crossing.value.get());
                told[place(&alerts, crossing)].push(true);
            }
            for crossing in &crossings.recovered {
                prop_assert!(*available > crossing.value.get());
                told[place(&alerts, crossing)].push(false);
            }
            prop_assert!(alerts.read(&reading(*available)).is_empty());
        }
        let last = path[path.len() - 1];
        for (state, told) in alerts.levels().iter().zip(&told) {
            prop_assert!(told.iter().zip((0..).map(|index| index % 2 == 0)).all(|(a, b)| *a == b));
            let value = state.level.value(&reading(last)).unwrap().get();
            if last <= value {
                prop_assert!(state.standing != Standing::Above);
            } else if last > value + value / 50 + 1 {
                prop_assert_eq!(state.standing, Standing::Above);
            }
        }
    }
}

use super::*;
use proptest::prelude::*;

fn tariff(mode: Mode, per: u64, tiers: &[(Option<u64>, &str)]) -> Result<Tariff, InvalidTariff> {
    let tiers: Vec<Tier> = tiers
        .iter()
        .map(|(up_to, amount)| Tier {
            up_to: *up_to,
            pico: super::super::rate::parse_amount(amount).unwrap(),
        })
        .collect();
    Tariff::new(mode, per, &tiers)
}

#[track_caller]
fn check(tariff: &Tariff, meter: Meter, total: u64, expected_pico: u128) {
    let found = tariff.cumulative(meter, total, Multiplier::ONE);
    assert_eq!(found, Some(expected_pico), "{total} of {}", meter.name());
}

const M: u64 = 1_000_000;
const TOKENS: Meter = Meter::OutputTokens;

#[test]
fn graduated_tiers_are_exact_at_each_boundary() {
    let tiers = [(Some(10 * M), "0.60"), (Some(20 * M), "0.45"), (None, "0.30")];
    let tariff = tariff(Mode::Graduated, M, &tiers).unwrap();
    check(&tariff, TOKENS, 0, 0);
    check(&tariff, TOKENS, 1, 600_000);
    check(&tariff, TOKENS, 10 * M, 6_000_000_000_000);
    check(&tariff, TOKENS, 10 * M + 1, 6_000_000_450_000);
    check(&tariff, TOKENS, 20 * M, 10_500_000_000_000);
    check(&tariff, TOKENS, 20 * M + 1, 10_500_000_300_000);
}

#[test]
fn volume_takes_all_units_at_the_tier_reached_and_gives_nothing_back() {
    let tariff = tariff(Mode::Volume, 1, &[(Some(10), "1"), (Some(20), "0.8"), (None, "0.5")]);
    let tariff = tariff.unwrap();
    let one = 1_000_000_000_000;
    for (total, units) in [(0, 0), (10, 10), (11, 10), (12, 10), (20, 16), (21, 16), (32, 16)] {
        check(&tariff, TOKENS, total, units * one);
    }
    check(&tariff, TOKENS, 13, 104 * one / 10);
    check(&tariff, TOKENS, 33, 165 * one / 10);
}

#[test]
fn the_worst_leaves_out_tiers_that_are_used_up() {
    let tariff = tariff(Mode::Graduated, 1, &[(Some(10), "5"), (Some(20), "1"), (None, "3")]);
    let tariff = tariff.unwrap();
    let worst = |before| tariff.worst(TOKENS, 2, before, Multiplier::ONE).unwrap();
    let one = 1_000_000_000_000;
    assert_eq!([worst(0), worst(9), worst(10), worst(20)], [10 * one, 10 * one, 6 * one, 6 * one]);
}

#[test]
fn a_started_package_is_charged_whole() {
    let tariff = tariff(Mode::Package, 100, &[(Some(200), "3"), (None, "2")]).unwrap();
    let one = 1_000_000_000_000;
    let totals = [(0, 0), (1, 3), (100, 3), (101, 6), (200, 6), (201, 8), (300, 8), (301, 10)];
    for (total, units) in totals {
        check(&tariff, TOKENS, total, units * one);
    }
}

#[test]
fn the_worst_of_a_package_of_time_is_that_package() {
    let tariff = tariff(Mode::Package, 60, &[(None, "3")]).unwrap();
    let worst = |millis| tariff.worst(Meter::Second, millis, 0, Multiplier::ONE);
    assert_eq!(worst(60_000), Some(3_000_000_000_000));
    assert_eq!(worst(60_001), Some(6_000_000_000_000));
}

#[test]
fn time_is_counted_in_milliseconds_and_priced_by_the_second() {
    let tariff = tariff(Mode::Graduated, 1, &[(Some(2), "1"), (None, "0.5")]).unwrap();
    check(&tariff, Meter::Second, 1, 1_000_000_000);
    check(&tariff, Meter::Second, 2_000, 2_000_000_000_000);
    check(&tariff, Meter::Second, 3_000, 2_500_000_000_000);
}

#[test]
fn a_third_per_million_adds_up_to_a_whole() {
    let tariff: Tariff = "1/3M".parse().unwrap();
    check(&tariff, TOKENS, 1, 333_333);
    check(&tariff, TOKENS, 2, 666_666);
    check(&tariff, TOKENS, 3, 1_000_000);
    check(&tariff, TOKENS, 3 * M, 1_000_000_000_000);
}

#[test]
fn a_multiplier_applies_before_rounding() {
    let tariff: Tariff = "1/3M".parse().unwrap();
    let most = Multiplier::from_ppm(1_500_000).unwrap();
    assert_eq!(tariff.cumulative(TOKENS, 2, most), Some(1_000_000));
    assert_eq!(Multiplier::from_ppm(100_000_001), None);
    assert_eq!(Tariff::amount_text(tariff.tiers()[0], most), "1.5");
}

#[track_caller]
fn check_invalid(mode: Mode, per: u64, tiers: &[(Option<u64>, &str)], text: &str) {
    assert_eq!(tariff(mode, per, tiers).map_err(|error| error.to_string()), Err(text.to_owned()));
}

#[test]
fn tiers_that_make_no_sense_are_refused() {
    let up_to = |tier| {
        format!("tier {tier}: every tier but the last needs an up_to above the one before it")
    };
    check_invalid(Mode::Graduated, 1, &[], "needs 1 to 32 tiers, flat exactly one; has 0");
    let two = [(Some(1), "1"), (None, "1")];
    check_invalid(Mode::Flat, 1, &two, "needs 1 to 32 tiers, flat exactly one; has 2");
    check_invalid(Mode::Graduated, 1, &[(Some(5), "1")], &up_to(1));
    check_invalid(Mode::Graduated, 1, &[(None, "1"), (None, "1")], &up_to(1));
    check_invalid(Mode::Graduated, 1, &[(Some(0), "1"), (None, "1")], &up_to(1));
    check_invalid(Mode::Volume, 1, &[(Some(5), "1"), (Some(5), "1"), (None, "1")], &up_to(2));
    let split = "tier 1: up_to must be a multiple of the package size 100";
    check_invalid(Mode::Package, 100, &[(Some(150), "1"), (None, "1")], split);
    let rising = "tier 2: a volume price must not rise; use mode \"graduated\"";
    check_invalid(Mode::Volume, 1, &[(Some(5), "1"), (None, "1.1")], rising);
    let count = "not a number of units such as \"1000\", \"1k\" or \"1M\", from 1 to 1000000000000";
    check_invalid(Mode::Graduated, 0, &[(None, "1")], count);
}

fn any_tariff() -> impl Strategy<Value = Tariff> {
    let mode = prop_oneof![
        Just(Mode::Flat),
        Just(Mode::Graduated),
        Just(Mode::Volume),
        Just(Mode::Package)
    ];
    let tiers = prop::collection::vec((1..50_u64, 0..2_000_u64), 1..5);
    (mode, 1..9_u64, tiers).prop_map(|(mode, per, mut steps)| {
        if mode == Mode::Flat {
            steps.truncate(1);
        }
        if mode == Mode::Volume {
            steps.sort_by_key(|(_, pico)| std::cmp::Reverse(*pico));
        }
        let last = steps.len() - 1;
        let mut end = 0;
        let tiers: Vec<Tier> = steps
            .into_iter()
            .enumerate()
            .map(|(index, (width, pico))| {
                end += width * per;
                Tier { up_to: (index < last).then_some(end), pico }
            })
            .collect();
        Tariff::new(mode, per, &tiers).unwrap()
    })
}

/// The cumulative price unit by unit, in exact fractions over `per`.
fn naive(tariff: &Tariff, total: u64) -> u128 {
    let tier_of = |unit: u64| {
        tariff.tiers().iter().find(|tier| tier.up_to.is_none_or(|end| unit <= end)).unwrap()
    };
    let per = u128::from(tariff.per());
    let pico = |unit| u128::from(tier_of(unit).pico);
    let sum: u128 = match tariff.mode() {
        Mode::Flat | Mode::Graduated => (1..=total).map(pico).sum(),
        Mode::Volume => (1..=total).map(|unit| u128::from(unit) * pico(unit)).max().unwrap_or(0),
        Mode::Package => {
            (1..=total)
                .filter(|unit| unit % tariff.per() == 1 % tariff.per())
                .map(pico)
                .sum::<u128>()
                * per
        }
    };
    sum / per
}

proptest! {
    #[test]
    fn the_total_is_what_counting_unit_by_unit_gives(tariff in any_tariff(), total in 0..2_000_u64) {
        let found = tariff.cumulative(TOKENS, total, Multiplier::ONE).unwrap();
        prop_assert_eq!(found, naive(&tariff, total));
    }

    #[test]
    fn the_total_never_falls_and_begins_at_nothing(
        tariff in any_tariff(), total in 0..2_000_u64, more in 0..500_u64, ppm in 0..3_000_000_u32,
    ) {
        let by = Multiplier::from_ppm(ppm).unwrap();
        let at = |total| tariff.cumulative(TOKENS, total, by).unwrap();
        prop_assert_eq!(at(0), 0);
        prop_assert!(at(total) <= at(total + more));
    }

    #[test]
    fn the_worst_is_never_exceeded_from_the_position_on(
        tariff in any_tariff(), before in 0..500_u64, later in 0..500_u64, units in 0..500_u64,
        ppm in 0..3_000_000_u32, meter in prop_oneof![Just(TOKENS), Just(Meter::Second)],
    ) {
        let by = Multiplier::from_ppm(ppm).unwrap();
        let at = |total| tariff.cumulative(meter, total, by).unwrap();
        let worst = tariff.worst(meter, units, before, by).unwrap();
        prop_assert!(at(before + later + units) - at(before + later) <= worst);
    }

    #[test]
    fn no_total_is_too_large_to_be_handled(tariff in any_tariff(), total in any::<u64>(), ppm in 0..=100_000_000_u32) {
        let by = Multiplier::from_ppm(ppm).unwrap();
        let _ = tariff.cumulative(Meter::Second, total, by);
        let _ = tariff.worst(TOKENS, total, total, by);
    }
}

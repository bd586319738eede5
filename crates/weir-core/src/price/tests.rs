use super::*;
use crate::money::Nano;
use crate::usage::{Meter, Usage};
use proptest::prelude::*;

fn rates(given: &[(Meter, &str)]) -> Rates {
    given
        .iter()
        .fold(Rates::default(), |rates, (meter, text)| rates.with(*meter, text.parse().unwrap()))
}

fn price(given: &[(Meter, &str)], long: Vec<LongContext>) -> Price {
    Price::new("p", rates(given), long).unwrap()
}

fn offer(price: &Price) -> Offer<'_> {
    Offer { price, multiplier: Multiplier::ONE }
}

fn usage(amounts: &[(Meter, u64)]) -> Usage {
    amounts.iter().fold(Usage::NONE, |usage, (meter, amount)| usage.with(*meter, *amount))
}

#[track_caller]
fn check(price: &Price, amounts: &[(Meter, u64)], expected: &str) {
    let charge = offer(price).charge(&usage(amounts), &Usage::NONE).unwrap();
    assert_eq!(charge.amount, expected.parse().unwrap(), "{amounts:?}");
}

use Meter::{
    AudioInputTokens, AudioOutputTokens, CacheWriteTokens, CachedInputTokens, Image, InputTokens,
    OutputTokens, ReasoningTokens, Request, Second,
};

#[test]
fn each_meter_is_charged_at_its_own_rate() {
    let price = price(
        &[
            (InputTokens, "0.15/1M"),
            (CachedInputTokens, "0.075/1M"),
            (OutputTokens, "0.60/1M"),
            (ReasoningTokens, "0.70/1M"),
            (Request, "0.01"),
            (Second, "0.5"),
            (Image, "0.04"),
        ],
        Vec::new(),
    );
    check(&price, &[(InputTokens, 1_000)], "0.00015");
    check(&price, &[(CachedInputTokens, 1_000)], "0.000075");
    check(&price, &[(OutputTokens, 10), (ReasoningTokens, 10)], "0.000013");
    check(&price, &[(Request, 1), (Image, 2), (Second, 1_500)], "0.84");
    check(&price, &[], "0");
}

#[test]
fn a_token_without_a_rate_of_its_own_costs_as_an_ordinary_one() {
    let price = price(&[(InputTokens, "1/1M"), (OutputTokens, "2/1M")], Vec::new());
    for meter in [CachedInputTokens, CacheWriteTokens, AudioInputTokens] {
        check(&price, &[(meter, 5)], "0.000005");
    }
    for meter in [ReasoningTokens, AudioOutputTokens] {
        check(&price, &[(meter, 5)], "0.00001");
    }
}

#[test]
fn tokens_charged_as_others_share_their_tiers() {
    let tiers = [Tier { up_to: Some(10), pico: 2_000_000 }, Tier { up_to: None, pico: 1_000_000 }];
    let tariff = Tariff::new(Mode::Graduated, 1, &tiers).unwrap();
    let price = Price::new("p", Rates::default().with(InputTokens, tariff), Vec::new()).unwrap();
    let both = usage(&[(InputTokens, 6), (CachedInputTokens, 6)]);
    let charge = offer(&price).charge(&both, &Usage::NONE).unwrap();
    assert_eq!(charge.pico, 22_000_000);
    let cached = usage(&[(CachedInputTokens, 6)]);
    let after = offer(&price).charge(&cached, &usage(&[(InputTokens, 6)])).unwrap();
    assert_eq!(after.pico, 10_000_000);
}

#[test]
fn a_long_prompt_changes_the_rates_of_the_whole_call() {
    let long = |above, given: &[(Meter, &str)]| LongContext { above, rates: rates(given) };
    let price = price(
        &[
            (InputTokens, "1/1M"),
            (CachedInputTokens, "0.1/1M"),
            (OutputTokens, "2/1M"),
            (Request, "1"),
        ],
        vec![
            long(272_000, &[(InputTokens, "10/1M"), (OutputTokens, "20/1M")]),
            long(200_000, &[(InputTokens, "3/1M")]),
        ],
    );
    check(&price, &[(InputTokens, 200_000), (OutputTokens, 100)], "0.2002");
    check(&price, &[(InputTokens, 200_001), (OutputTokens, 100)], "0.600203");
    check(&price, &[(InputTokens, 1), (CachedInputTokens, 200_000)], "0.600003");
    check(&price, &[(InputTokens, 300_000), (OutputTokens, 100), (Request, 1)], "4.002");
    let quote = |input| offer(&price).quote_worst(&Bound::text(input, 100), &Usage::NONE);
    assert_eq!(quote(200_000), "1.2002".parse().unwrap());
    assert_eq!(quote(200_001), "1.600203".parse().unwrap());
    assert_eq!(quote(300_000), "4.002".parse().unwrap());
}

#[test]
fn a_dearer_short_context_still_bounds_a_long_estimate() {
    let long = LongContext { above: 100, rates: rates(&[(InputTokens, "0.000001")]) };
    let price = price(&[(InputTokens, "0.001")], vec![long]);
    let quote = offer(&price).quote_worst(&Bound::text(101, 0), &Usage::NONE);
    assert_eq!(quote, "0.101".parse().unwrap());
}

#[test]
fn the_price_is_rounded_once_half_to_even() {
    let at = |pico: u64| {
        let price = price(&[(Image, &format!("0.{pico:012}"))], Vec::new());
        offer(&price).charge(&usage(&[(Image, 1)]), &Usage::NONE).unwrap()
    };
    for (pico, nano) in [(499, 0), (500, 0), (501, 1), (1_499, 1), (1_500, 2), (2_500, 2)] {
        assert_eq!(at(pico), Charge { pico: u128::from(pico), amount: Nano::new(nano) });
    }
}

#[test]
fn a_million_small_charges_add_up_exactly() {
    let price = price(&[(Request, "0.0000132")], Vec::new());
    let (one, mut sum) = (usage(&[(Request, 1)]), Nano::ZERO);
    for _ in 0..1_000_000 {
        sum += offer(&price).charge(&one, &Usage::NONE).unwrap().amount;
    }
    assert_eq!(sum, "13.2".parse().unwrap());
}

#[test]
fn absurd_usage_is_an_error_and_never_a_panic() {
    let price = price(&[(InputTokens, "0.15/1M"), (OutputTokens, "0")], Vec::new());
    let charge = |amounts: &[(Meter, u64)], before: &[(Meter, u64)]| {
        offer(&price).charge(&usage(amounts), &usage(before)).map(|charge| charge.amount)
    };
    assert_eq!(charge(&[(InputTokens, 1 << 63)], &[]), Err(TooLarge));
    assert_eq!(charge(&[(InputTokens, 1)], &[(InputTokens, u64::MAX)]), Err(TooLarge));
    assert_eq!(charge(&[(InputTokens, u64::MAX), (CachedInputTokens, 1)], &[]), Err(TooLarge));
    assert_eq!(charge(&[(OutputTokens, 1 << 63)], &[]), Ok(Nano::ZERO));
    let quote = offer(&price).quote_worst(&Bound::text(u64::MAX, u64::MAX), &Usage::NONE);
    assert_eq!(quote, Nano::BOUND);
    let many = Bound { choices: u64::MAX, ..Bound::text(0, 2) };
    assert_eq!(offer(&price).quote_worst(&many, &Usage::NONE), Nano::BOUND);
}

#[test]
fn a_charge_is_at_most_what_one_posting_can_hold() {
    let price = price(&[(Image, "1000000")], Vec::new());
    let images = |count| offer(&price).charge(&usage(&[(Image, count)]), &Usage::NONE);
    assert_eq!(images(1_000).map(|charge| charge.amount), Ok(Nano::BOUND));
    assert_eq!(images(1_001), Err(TooLarge));
}

#[test]
fn a_quote_counts_a_started_package_of_each_kind_of_token() {
    let package = |nano: u64| {
        Tariff::new(Mode::Package, 100, &[Tier { up_to: None, pico: nano * 1_000 }]).unwrap()
    };
    let rates = Rates::default().with(InputTokens, package(5)).with(CachedInputTokens, package(3));
    let price = Price::new("p", rates, Vec::new()).unwrap();
    let quote = offer(&price).quote_worst(&Bound::text(2, 0), &Usage::NONE);
    assert_eq!(quote, Nano::new(8));
}

#[test]
fn choices_multiply_the_output_and_not_the_prompt() {
    let price = price(&[(InputTokens, "1"), (OutputTokens, "10")], Vec::new());
    let bound = Bound { choices: 3, ..Bound::text(5, 2) };
    let quote = |bound| offer(&price).quote_worst(&bound, &Usage::NONE);
    assert_eq!(quote(bound), "65".parse().unwrap());
    assert_eq!(quote(Bound { choices: 0, ..bound }), "25".parse().unwrap());
}

#[test]
fn audio_rates_count_in_a_quote_only_where_audio_is_possible() {
    let given = [
        (InputTokens, "1"),
        (AudioInputTokens, "9"),
        (OutputTokens, "1"),
        (AudioOutputTokens, "7"),
    ];
    let price = price(&given, Vec::new());
    let quote =
        |audio| offer(&price).quote_worst(&Bound { audio, ..Bound::text(1, 1) }, &Usage::NONE);
    assert_eq!((quote(false), quote(true)), ("2".parse().unwrap(), "16".parse().unwrap()));
}

#[test]
fn the_affordable_output_is_the_largest_that_fits() {
    let price = price(&[(InputTokens, "1"), (OutputTokens, "2")], Vec::new());
    let affordable = |available: &str, output| {
        let bound = Bound::text(3, output);
        offer(&price).affordable_output(&bound, &Usage::NONE, available.parse().unwrap())
    };
    assert_eq!(affordable("2.99", 100), None);
    assert_eq!(affordable("3", 100), Some(0));
    assert_eq!(affordable("8.99", 100), Some(2));
    assert_eq!(affordable("9", 100), Some(3));
    assert_eq!(affordable("9000", 100), Some(100));
    assert_eq!(affordable("9", u64::MAX), Some(3));
}

#[test]
fn a_price_shows_what_it_was_made_of() {
    let long = LongContext { above: 9, rates: rates(&[(InputTokens, "2")]) };
    let price = price(&[(InputTokens, "1")], vec![long.clone()]);
    assert_eq!(price.rates(), &rates(&[(InputTokens, "1")]));
    assert_eq!(price.long_contexts(), [long]);
    assert!(price.charges(InputTokens) && price.charges(CachedInputTokens));
    assert!(!price.charges(OutputTokens) && !price.charges(Request));
    let other = Price::new("other", rates(&[(Request, "1")]), Vec::new()).unwrap();
    let book = PriceBook::new([price, other]).unwrap();
    assert_eq!(book.iter().map(Price::name).collect::<Vec<_>>(), ["other", "p"]);
}

#[test]
fn a_price_of_nothing_is_no_price() {
    let long = |above| LongContext { above, rates: rates(&[(InputTokens, "1")]) };
    let one = || rates(&[(Request, "0")]);
    assert_eq!(Price::new("p", Rates::default(), vec![]), Err(InvalidPrice::NoRates));
    assert_eq!(Price::new("", one(), vec![]), Err(InvalidPrice::Name));
    assert_eq!(Price::new(&"p".repeat(201), one(), vec![]), Err(InvalidPrice::Name));
    assert_eq!(Price::new("p", one(), vec![long(1), long(1)]), Err(InvalidPrice::LongContext));
    assert!(Price::new("p", one(), vec![long(2), long(1)]).is_ok());
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let tariff = (0..4_u8, 1..7_u64, 1..40_u64, 0..3_000_000_u64, 0..3_000_000_u64).prop_map(
        |(mode, per, width, one, two)| {
            let tiers = |one, two| {
                [Tier { up_to: Some(width * per), pico: one }, Tier { up_to: None, pico: two }]
            };
            match mode {
                0 => Tariff::flat(super::rate::Rate::new(one, per).unwrap()),
                1 => Tariff::new(Mode::Graduated, per, &tiers(one, two)).unwrap(),
                2 => Tariff::new(Mode::Volume, per, &tiers(one.max(two), one.min(two))).unwrap(),
                _ => Tariff::new(Mode::Package, per, &tiers(one, two)).unwrap(),
            }
        },
    );
    prop::collection::vec((0..Meter::ALL.len(), tariff), 1..8).prop_map(|list| {
        list.into_iter()
            .fold(Rates::default(), |rates, (meter, tariff)| rates.with(Meter::ALL[meter], tariff))
    })
}

fn any_price() -> impl Strategy<Value = Price> {
    let long = prop::option::of((0..40_u64, any_rates()));
    (any_rates(), long).prop_map(|(rates, long)| {
        let long = long.into_iter().map(|(above, rates)| LongContext { above, rates }).collect();
        Price::new("p", rates, long).unwrap()
    })
}

fn any_usage() -> impl Strategy<Value = Usage> {
    prop::array::uniform11(0..30_u64).prop_map(|amounts| {
        Meter::ALL
            .into_iter()
            .zip(amounts)
            .fold(Usage::NONE, |usage, (meter, amount)| usage.with(meter, amount))
    })
}

fn sum(one: &Usage, two: &Usage) -> Usage {
    Meter::ALL
        .into_iter()
        .fold(Usage::NONE, |usage, meter| usage.with(meter, one.of(meter) + two.of(meter)))
}

proptest! {
    #[test]
    fn how_usage_is_split_into_calls_never_matters(
        rates in any_rates(), before in any_usage(), one in any_usage(), two in any_usage(),
        ppm in 0..3_000_000_u32,
    ) {
        let price = Price::new("p", rates, Vec::new()).unwrap();
        let offer = Offer { price: &price, multiplier: Multiplier::from_ppm(ppm).unwrap() };
        let pico = |usage: &Usage, before: &Usage| offer.charge(usage, before).unwrap().pico;
        let apart = pico(&one, &before) + pico(&two, &sum(&before, &one));
        prop_assert_eq!(apart, pico(&sum(&one, &two), &before));
    }

    #[test]
    fn no_call_within_its_bound_costs_more_than_the_quote(
        price in any_price(), before in any_usage(), meantime in any_usage(), call in any_usage(),
        ppm in 0..3_000_000_u32, choices in 1..4_u64,
    ) {
        let offer = Offer { price: &price, multiplier: Multiplier::from_ppm(ppm).unwrap() };
        let bound = Bound {
            input: call.input(),
            output: call.output().div_ceil(choices),
            choices,
            audio: true,
            other: call,
        };
        let quote = offer.quote_worst(&bound, &before);
        prop_assert!(offer.charge(&call, &sum(&before, &meantime)).unwrap().amount <= quote);
        let text = call.with(AudioInputTokens, 0).with(AudioOutputTokens, 0);
        let quote = offer.quote_worst(&Bound { audio: false, ..bound }, &before);
        prop_assert!(offer.charge(&text, &sum(&before, &meantime)).unwrap().amount <= quote);
    }

    #[test]
    fn a_call_of_a_fixed_price_is_quoted_at_what_it_costs(nano in 0..1_000_000_000_000_i64) {
        let text = Nano::new(nano).to_string();
        let price = price(&[(Request, &text)], Vec::new());
        let quote = offer(&price).quote_worst(&Bound::text(1_000, 1_000), &Usage::NONE);
        prop_assert_eq!(quote, Nano::new(nano));
    }
}

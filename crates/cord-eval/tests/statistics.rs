//! Values that can be worked out by hand, edges, and messages.

use cord_core::Seed;
use cord_eval::{Estimate, PairedTest, Range, Scores, StatsError, mean, paired_difference};
use proptest::prelude::*;

fn scores(rows: &[(&str, &[f64])]) -> Scores {
    rows.iter().flat_map(|(id, values)| values.iter().map(move |value| (*id, *value))).collect()
}

/// `count` problems of one sample each, of which the first `correct` are right.
fn single(count: usize, correct: usize) -> Scores {
    (0..count).map(|i| (format!("{i:03}"), f64::from(u8::from(i < correct)))).collect()
}

#[test]
fn the_mean_is_over_problems_and_not_over_samples() {
    let uneven = scores(&[("a", &[1.0, 1.0, 1.0, 1.0]), ("b", &[0.0])]);
    let estimate = mean(&[uneven], Range::Unit).unwrap();
    assert_eq!((estimate.value, estimate.n), (0.5, 2));
}

#[test]
fn all_right_and_all_wrong_still_have_a_width() {
    let all = mean(&[single(100, 100)], Range::Unit).unwrap();
    // Wilson's interval at 0 of 100 with the t quantile for 99 degrees of freedom: t² / (100 + t²).
    let width = 1.984_216_952f64.powi(2) / (100.0 + 1.984_216_952f64.powi(2));
    assert!((1.0 - all.low - width).abs() < 1e-3 && all.high == 1.0 && all.value == 1.0, "{all:?}");
    let none = mean(&[single(100, 0)], Range::Unit).unwrap();
    assert!((none.high - width).abs() < 1e-3 && none.low == 0.0 && none.value == 0.0, "{none:?}");
}

#[test]
fn repeating_a_sample_adds_no_certainty() {
    let once = mean(&[single(50, 30)], Range::Unit).unwrap();
    let repeated: Scores =
        (0..16).flat_map(|_| (0..50).map(|i| (format!("{i:03}"), f64::from(u8::from(i < 30))))).collect();
    let sixteen = mean(&[repeated], Range::Unit).unwrap();
    assert!((once.low - sixteen.low).abs() < 1e-9 && (once.high - sixteen.high).abs() < 1e-9, "{once:?} {sixteen:?}");
}

#[test]
fn seeds_that_disagree_widen_the_interval() {
    let agree = mean(&[single(100, 60), single(100, 60), single(100, 60)], Range::Unit).unwrap();
    let disagree = mean(&[single(100, 45), single(100, 60), single(100, 75)], Range::Unit).unwrap();
    assert_eq!(agree.value, disagree.value);
    assert!(disagree.high - disagree.low > 1.5 * (agree.high - agree.low), "{agree:?} {disagree:?}");
}

#[test]
fn only_problems_of_every_replicate_count() {
    let first = scores(&[("a", &[1.0]), ("b", &[1.0]), ("c", &[0.0])]);
    let second = scores(&[("b", &[1.0]), ("c", &[0.0]), ("d", &[0.0])]);
    let estimate = mean(&[first, second], Range::Unit).unwrap();
    assert_eq!((estimate.value, estimate.n), (0.5, 2));
}

#[test]
fn a_real_mean_is_students_t() {
    let values = scores(&[("a", &[2.0]), ("b", &[4.0]), ("c", &[6.0])]);
    let Estimate { value, low, high, n } = mean(&[values], Range::Real).unwrap();
    let half = 4.302_652_730 * 2.0 / 3f64.sqrt();
    assert!(value == 4.0 && n == 3 && (low - (4.0 - half)).abs() < 1e-6 && (high - (4.0 + half)).abs() < 1e-6);
}

#[test]
fn messages() {
    let message = |error: StatsError| error.to_string();
    let nan = scores(&[("a", &[f64::NAN])]);
    assert_eq!(message(mean(&[nan], Range::Real).unwrap_err()), "problem `a`: expected a value in (-∞, ∞), got `NaN`");
    let above = scores(&[("a", &[0.0, 1.5])]);
    assert_eq!(message(mean(&[above], Range::Unit).unwrap_err()), "problem `a`: expected a value in [0, 1], got `1.5`");
    assert_eq!(
        message(mean(&[], Range::Unit).unwrap_err()),
        "expected at least 1 problems with a value in every replicate, got 0"
    );
    let (two, three) = (vec![single(5, 1); 2], vec![single(5, 1); 3]);
    assert_eq!(
        message(paired_difference(&two, &three, Seed::root(0)).unwrap_err()),
        "expected as many replicates in both sets, or one in either, got 2 and 3"
    );
    assert!(paired_difference(&[], &[single(5, 1)], Seed::root(0)).is_err());
    let one = mean(&[single(1, 1)], Range::Unit).unwrap();
    assert_eq!(one, Estimate { value: 1.0, low: 0.0, high: 1.0, n: 1 });
}

#[test]
fn a_sign_flip_counts_patterns() {
    // Five problems won and none lost: 2 of the 32 patterns are as extreme.
    let won = paired_difference(&[single(8, 5)], &[single(8, 0)], Seed::root(0)).unwrap();
    assert_eq!((won.p_value, won.test), (2.0 / 32.0, PairedTest::SignFlipExact));
    let same = paired_difference(&[single(8, 5)], &[single(8, 5)], Seed::root(0)).unwrap();
    assert_eq!((same.p_value, same.difference.value), (1.0, 0.0));
    assert!(same.difference.low < 0.0 && same.difference.high > 0.0, "agreement is not certainty: {same:?}");
    let drawn = paired_difference(&[single(40, 40)], &[single(40, 0)], Seed::root(0)).unwrap();
    assert_eq!((drawn.p_value, drawn.test), (1e-4, PairedTest::SignFlipDrawn));
    assert_eq!(drawn, paired_difference(&[single(40, 40)], &[single(40, 0)], Seed::root(0)).unwrap());
}

#[test]
fn a_single_replicate_is_compared_with_each_of_the_others() {
    let arms = [single(50, 40), single(50, 42), single(50, 41)];
    let against_one = paired_difference(&arms, &[single(50, 20)], Seed::root(0)).unwrap();
    let against_three = paired_difference(&arms, &vec![single(50, 20); 3], Seed::root(0)).unwrap();
    assert_eq!(against_one, against_three);
    assert_eq!(against_one.test, PairedTest::StudentT);
    assert!(against_one.difference.low > 0.0 && against_one.p_value < 0.001, "{against_one:?}");
}

fn any_scores() -> impl Strategy<Value = Scores> {
    let problem = prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0], 1..5);
    prop::collection::vec(problem, 1..12).prop_map(|problems| {
        let values = problems.into_iter().enumerate();
        values.flat_map(|(i, values)| values.into_iter().map(move |value| (format!("{i:02}"), value))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_interval_holds_its_value_inside_the_range(replicates in prop::collection::vec(any_scores(), 1..4)) {
        let Estimate { value, low, high, .. } = mean(&replicates, Range::Unit).unwrap();
        prop_assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{low} {value} {high}");
    }

    #[test]
    fn swapping_the_sets_mirrors_the_difference(a in any_scores(), b in any_scores()) {
        let seed = Seed::root(0);
        let (a, b) = (std::slice::from_ref(&a), std::slice::from_ref(&b));
        match (paired_difference(a, b, seed), paired_difference(b, a, seed)) {
            (Ok(ab), Ok(ba)) => {
                prop_assert!((ab.difference.value + ba.difference.value).abs() < 1e-12);
                prop_assert!((ab.difference.low + ba.difference.high).abs() < 1e-12);
                prop_assert_eq!(ab.p_value, ba.p_value);
                prop_assert!((0.0..=1.0).contains(&ab.p_value));
            }
            (Err(_), Err(_)) => {}
            (ab, ba) => prop_assert!(false, "{ab:?} {ba:?}"),
        }
    }
}

//! Rows of (gold, given) with the expected equality, and the properties that hold for any text.

use cord_math::{DEFAULT_FUEL, Doubt, Ground, OutOfFuel, Start, Verdict, equal, extract, last_number, verify};
use proptest::prelude::*;

#[track_caller]
fn check(rows: &[(&str, &str)], expected: Option<Ground>) {
    for (a, b) in rows {
        assert_eq!(equal(a, b, DEFAULT_FUEL), Ok(expected), "`{a}` and `{b}`");
        assert_eq!(equal(b, a, DEFAULT_FUEL), Ok(expected), "`{b}` and `{a}`");
    }
}

#[test]
fn spellings_of_one_answer() {
    check(
        &[
            ("7", " 7 "),
            ("7", "$7$"),
            ("7", "7."),
            ("7", r"\(7\)"),
            ("7", r"\text{7}"),
            ("7", r"\$7"),
            ("7", r"\boxed{7}"),
            (r"\frac{1}{2}", r"\dfrac{1}{2}"),
            (r"\frac{1}{2}", r"\frac12"),
            (r"\frac{1}{2}", r"\frac1{2}"),
            (r"\frac{1}{2}", r"\frac{1}2"),
            (r"\frac{1}{2}", r"\tfrac 1 2"),
            (r"\frac{\pi}{2}", r"\frac\pi2"),
            (r"\sqrt{2}", r"\sqrt2"),
            (r"\sqrt{2}", r"\sqrt 2"),
            ("x^2", "x^{2}"),
            ("x+1", "x + 1"),
            ("7, 9, 3", "7,9,3"),
            ("7, 9, 3", r"7,\ 9,\; 3"),
            (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\dfrac{\pi}{2})"),
            (r"\left\{1, x\right\}", r"\{1,x\}"),
            ("(C)", r"\text{(C)}"),
            ("north east", r"\text{north east}"),
            (r"2\times 3", r"2 \cdot 3"),
            ("−5", "-5"),
            ("-5", "- 5"),
            ("1{,}234", "1234"),
            (r"1,\!234", "1234"),
            (r"1\,234\,567", "1234567"),
            (r"1\,000.5", "1000.5"),
        ],
        Some(Ground::Spelling),
    );
}

#[test]
fn equal_values() {
    check(
        &[
            ("7", "7.0"),
            ("7", "+7"),
            ("7", "007"),
            ("7", "(7)"),
            ("0", "-0"),
            ("0.5", ".5"),
            ("0.5", "1/2"),
            ("0.5", r"\frac{1}{2}"),
            ("0.5", r"\frac{2}{4}"),
            ("-0.5", r"-\frac{1}{2}"),
            ("-0.5", r"\frac{-1}{2}"),
            ("-0.5", r"\frac{1}{-2}"),
            ("5", "--5"),
            ("1.5", "1 1/2"),
            ("1.5", r"1\frac{1}{2}"),
            ("-1.5", r"-1\frac12"),
            ("3/4", r"\frac{\frac{3}{2}}{2}"),
            ("1234", "1,234"),
            ("1234567.5", "1,234,567.5"),
            ("1,234", r"1{,}234.0"),
            ("1500", "1.5e3"),
            ("1500", r"1.5 \times 10^{3}"),
            ("0.0015", r"1.5 \cdot 10^{-3}"),
            ("0.0015", "1.5 × 10^-3"),
            ("1024", "2^{10}"),
            ("1024", "2^10"),
            ("-4", "-2^2"),
            ("4", "(-2)^2"),
            (r"\frac{1}{4}", "2^{-2}"),
            ("1", "(-1)^{10000000000000000000000}"),
            ("0", "0e99999999999999999999"),
            ("0", "0e999999999"),
            ("50\\%", "0.5"),
            ("50\\%", "50"),
            ("50%", r"\frac{100}{2}\%"),
            ("7, 9, 3", "7.0, 9, 6/2"),
            ("7, 9, 3", "(7, 9, 3.0)"),
            ("7, 9, 3", "7; 9; 3"),
            ("7, 9, 3", "[7, 9, 3]"),
            ("(1, (2, 3))", "(1.0, (2, 3))"),
            ("(0.5, x)", r"(\frac{1}{2}, x)"),
            (r"\{1, 2, 3\}", r"\{3, 2, 1\}"),
            (r"\{1, 1, 2\}", r"\{2, 1\}"),
            (r"\{0.5\}", r"\{\frac12\}"),
            // Without white space the comma is ambiguous, and both readings stand.
            ("700,123", "700123"),
            ("700,123", "700, 123.0"),
            ("1,000, 2,000", "1000, 2000"),
            ("(1,000, 2,000)", "(1000, 2000)"),
        ],
        Some(Ground::Exact),
    );
}

#[test]
fn unequal_answers() {
    check(
        &[
            ("7", "8"),
            ("7", "-7"),
            ("7", "seven"),
            ("0.3333", "1/3"),
            ("0.5", "0.50001"),
            ("7, 9, 3", "7, 3, 9"),
            ("7, 9, 3", "7, 9"),
            ("7, 9, 3", "793"),
            ("7 9 3", "793"),
            ("7 9", "7, 9"),
            ("1, 234", "1234"),
            ("12,34", "1234"),
            ("0,123", "123"),
            ("1,2,345", "12345"),
            ("(3,400)", "3400"),
            ("(1, 2)", "[1, 2]"),
            ("(1, 2)", "(1, 2]"),
            ("(1, 2)", "[1, 2)"),
            ("1, 2", "[1, 2)"),
            (r"\{1, 2\}", r"\{1, 3\}"),
            (r"\{1, 2\}", r"\{1, 2, 3\}"),
            ("50%", "5"),
            ("50%", "5000"),
            ("1/0", "0"),
            ("0^0", "1"),
            ("0^{-1}", "0"),
            ("3+4", "7"),
            (r"2 \times 3", "6"),
            ("2^{0.5}", "2"),
            ("x", "X"),
            ("x+1", "1+x"),
            ("1.2.3", "1.23"),
            ("(1)(2)", "2"),
            (r"1\frac{3}{1}", "4"),
            (r"\frac{1}", "1"),
            ("1/2/2", "1/4"),
        ],
        None,
    );
}

#[test]
fn work_is_bounded_by_fuel() {
    let long = "7".repeat(100_000);
    let nested = format!("{}1{}", "(".repeat(50_000), ")".repeat(50_000));
    let list = vec!["1"; 20_000].join(", ");
    let sets = format!(r"\{{{}\}}", (0..3_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    let other = format!(r"\{{{}\}}", (0..3_000).rev().map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    let limit = DEFAULT_FUEL;
    for (a, b) in [
        ("10^{10^{10}}", "1"),
        ("1e999999999", "1"),
        ("1e-999999999", "1"),
        ("1e99999999999999999999", "1"),
        ("(2^{1000})^{1000}", "1"),
        (long.as_str(), "1"),
        (nested.as_str(), "1"),
        (sets.as_str(), other.as_str()),
    ] {
        assert_eq!(equal(a, b, limit), Err(OutOfFuel { limit }), "`{a:.40}`");
        assert_eq!(equal(a, a, limit), Ok(Some(Ground::Spelling)), "equal spelling needs no value: `{a:.40}`");
    }
    assert_eq!(equal(&list, &format!("{list}, 1"), limit), Ok(None), "a long honest list fits");
    assert_eq!(equal("1", "2", 0), Err(OutOfFuel { limit: 0 }));
    assert_eq!(verify("1", r"</think>\boxed{1e999999999}", Start::Thinking, limit), Verdict::OutOfFuel);
}

#[test]
fn each_state_of_a_response_has_its_verdict() {
    let unparsed = |why| Verdict::Unparsed { why };
    for (gold, response, expected) in [
        ("7", r"x</think>\boxed{7}", Verdict::Correct { by: Ground::Spelling }),
        ("7", r"x</think>\boxed{7.0}", Verdict::Correct { by: Ground::Exact }),
        ("7", r"\boxed{7}</think>\boxed{8}", Verdict::Incorrect { given: "8".into() }),
        ("7", r"\boxed{7}", unparsed(Doubt::UnclosedThink)),
        ("7", r"x</think>\boxed{7", unparsed(Doubt::UnclosedBox)),
        ("7", r"x</think>7", unparsed(Doubt::NoBox)),
        ("7", r"x</think>\boxed{ }", unparsed(Doubt::EmptyBox)),
        (" ", r"x</think>\boxed{7}", unparsed(Doubt::EmptyGold)),
    ] {
        assert_eq!(verify(gold, response, Start::Thinking, DEFAULT_FUEL), expected, "{gold:?} {response:?}");
    }
}

/// Text that is rich in what the grammar treats specially.
fn answer_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "0", "7", "12", "234", "000", "1.5", ".", ",", ", ", ";", "-", "+", "/", "*", "^", "%", "\\%", "{", "}", "(",
        ")", "[", "]", "\\{", "\\}", "\\frac", "\\dfrac", "\\sqrt", "\\left", "\\right", "\\text{", "\\boxed{", "{,}",
        "\\!", "\\,", "$", " ", "e3", "x", "é", "\\", "10^", "</think>", "<think>",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_total(a in any::<String>(), b in answer_like(), fuel in 0u64..100_000) {
        for (gold, response) in [(&a, &b), (&b, &a), (&a, &a), (&b, &b)] {
            for start in [Start::Thinking, Start::Plain] {
                extract(response, start);
                verify(gold, response, start, fuel);
            }
            let _ = equal(gold, response, fuel);
            last_number(response);
        }
    }

    #[test]
    fn equality_is_reflexive_and_symmetric(a in answer_like(), b in answer_like()) {
        prop_assert_eq!(equal(&a, &a, DEFAULT_FUEL), Ok(Some(Ground::Spelling)));
        prop_assert_eq!(equal(&a, &b, DEFAULT_FUEL), equal(&b, &a, DEFAULT_FUEL));
    }

    #[test]
    fn a_boxed_gold_answer_verifies(list in prop::collection::vec(-5000i64..5000, 1..6)) {
        let gold = list.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let response = format!(r"I first say \boxed{{9}}.</think>So \boxed{{{gold}}}.");
        let verdict = verify(&gold, &response, Start::Thinking, DEFAULT_FUEL);
        prop_assert_eq!(verdict, Verdict::Correct { by: Ground::Spelling });
    }

    #[test]
    fn respelled_numbers_are_equal_and_others_are_not(
        above in -9_999i64..9_999, below in 1i64..999, factor in 1i64..50, other in 1i64..999,
    ) {
        let plain = format!("{above}/{below}");
        let latex = format!(r"\dfrac{{{}}}{{{}}}", above * factor, below * factor);
        prop_assert!(equal(&plain, &latex, DEFAULT_FUEL).unwrap().is_some());
        let different = format!("{}/{}", above * other + 1, below * other);
        prop_assert_eq!(equal(&plain, &different, DEFAULT_FUEL), Ok(None));
    }

    #[test]
    fn decimals_equal_their_fractions(units in -999_999i64..999_999, places in 1u32..6) {
        let scale = 10i64.pow(places);
        let sign = if units < 0 { "-" } else { "" };
        let (whole, part) = (units.abs() / scale, units.abs() % scale);
        let decimal = format!("{sign}{whole}.{part:0width$}", width = places as usize);
        let fraction = format!("{units}/{scale}");
        prop_assert!(equal(&decimal, &fraction, DEFAULT_FUEL).unwrap().is_some());
    }

    #[test]
    fn a_number_is_found_wherever_the_prose_ends(number in -99_999i64..99_999, digits in "[a-z ]{0,12}") {
        let text = format!("{digits} = {number}{digits}.");
        let expected = number.to_string();
        prop_assert_eq!(last_number(&text), Some(expected.as_str()));
    }
}

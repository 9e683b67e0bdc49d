//! Bounds, states and the properties that hold for any text. The rows of (gold, given) are in `conformance/`.

use cord_math::{
    DEFAULT_FUEL, Doubt, Ground, Language, ListOrder, OutOfFuel, PublishedGrader, Rules, Settings, Start, Verdict,
    equal, equal_with, extract, grade, last_number, verify,
};
use proptest::prelude::*;

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
fn the_order_of_a_bare_list_counts_as_set() {
    for (gold, given, guessed, counts, free) in [
        ("7, 9, 3", "7, 3, 9", false, false, true),
        ("1, -2", "-2, 1", true, false, true),
        ("(1, -2)", "(-2, 1)", false, false, false),
        ("7, 9, 3", "7, 9, 3.0", true, true, true),
    ] {
        for (order, expected) in [(ListOrder::Guessed, guessed), (ListOrder::Counts, counts), (ListOrder::Free, free)] {
            let found = equal_with(gold, given, order, DEFAULT_FUEL).unwrap().is_some();
            assert_eq!(found, expected, "{gold} and {given}, {order:?}");
        }
    }
}

/// Deep or wide in ways that a parser, a normal form or an evaluation could follow without end.
#[test]
fn hostile_formulas_end() {
    let tower = "2^".repeat(5_000) + "2";
    let signs = "-".repeat(50_000) + "1";
    let quotients = "1/".repeat(20_000) + "2";
    let calls = "\\sin ".repeat(5_000) + "x";
    let sums = "(x+y+z+w)".repeat(40);
    let roots = "\\sqrt{".repeat(2_000) + "2" + &"}".repeat(2_000);
    let dollars = "\\$".repeat(20_000) + "5";
    let currencies = "€".repeat(20_000) + "5";
    let bars = "|".repeat(10_000);
    let boxes = "\\boxed{".repeat(20_000);
    let choices = "(A)".repeat(20_000);
    let unions = "(1,2)\\cup".repeat(5_000) + "(1,2)";
    let factorials = "((((9!)!)!)!)!";
    let branches = "\\pm 1".repeat(10_000);
    let powers = "((((x^{999999})^{999999})^{999999})^{999999})^{999999}+y";
    for text in [
        &tower,
        &signs,
        &quotients,
        &calls,
        &sums,
        &roots,
        &dollars,
        &currencies,
        &bars,
        &boxes,
        &choices,
        &unions,
        factorials,
        &branches,
        powers,
        "e^{e^{e^{e^{e^{9}}}}}",
        "\\binom{10^{9}}{5\\cdot 10^8}",
        "\\tan 90^\\circ",
        "\\frac{1}{\\sqrt{2}-\\sqrt{2}}",
        "0^{0}",
        "\\log_1 5",
        "\\sqrt[0]{2}",
        "1_{99}",
        "0.\\overline{}",
        "2^{-10^{9}}",
    ] {
        for other in ["1", "x", "x^2+\\sin x", "(1,2)", "\\{1\\}", "x>2", "5 \\text{ cm}"] {
            let _ = equal(text, other, DEFAULT_FUEL);
            let _ = equal(other, text, DEFAULT_FUEL);
        }
        let response = format!("\\boxed{{{text}}}");
        grade("1", &response, &Settings { rules: Rules::Any, ..Settings::default() });
    }
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
        "0",
        "7",
        "12",
        "234",
        "000",
        "1.5",
        ".",
        ",",
        ", ",
        ";",
        "-",
        "+",
        "/",
        "*",
        "^",
        "%",
        "\\%",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "\\frac",
        "\\dfrac",
        "\\sqrt",
        "\\left",
        "\\right",
        "\\text{",
        "\\boxed{",
        "{,}",
        "\\!",
        "\\,",
        "$",
        " ",
        "e3",
        "x",
        "é",
        "\\",
        "10^",
        "</think>",
        "<think>",
        "\\sin",
        "\\log_",
        "\\pi",
        "\\infty",
        "\\cup",
        "\\pm",
        "\\binom",
        "|",
        "!",
        "=",
        "<",
        "\\le",
        "\\in",
        ":",
        "and",
        " or ",
        "_",
        "\\overline",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "\\\\",
        "&",
        "^\\circ",
        "cm",
        "\\$",
        "twelve",
        "half",
        "i",
        "e",
        "(B)",
        "p.m.",
        "√",
        "²",
        "½",
        "∪",
        "४",
        "####",
        "answer is",
        "\n",
        "```",
        "\\lfloor",
        "\\rfloor",
        "\\ldots",
        "U",
        "dozen",
        "per",
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
    fn equality_is_reflexive_and_deterministic(a in answer_like(), b in answer_like()) {
        prop_assert_eq!(equal(&a, &a, DEFAULT_FUEL), Ok(Some(Ground::Spelling)));
        prop_assert_eq!(equal(&a, &b, DEFAULT_FUEL), equal(&a, &b, DEFAULT_FUEL));
    }

    #[test]
    fn the_rest_is_total_too(a in answer_like(), b in answer_like(), fuel in 0u64..100_000) {
        for grader in PublishedGrader::ALL {
            let _ = grader.accepts(&a, &b, fuel);
        }
        for language in Language::ALL {
            language.plain_numbers(&a);
            let settings = Settings { language, rules: Rules::Any, order: ListOrder::Free, fuel, ..Settings::default() };
            let grade = grade(&a, &b, &settings);
            prop_assert!(grade.fuel <= fuel);
        }
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

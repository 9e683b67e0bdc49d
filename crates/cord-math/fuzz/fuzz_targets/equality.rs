//! Two halves of a text, compared by every grader: the same verdict twice, and within the fuel.
#![no_main]

use cord_math::{ListOrder, PublishedGrader, equal_with};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (gold, given) = text.split_once('\n').unwrap_or((text, text));
    for order in [ListOrder::Guessed, ListOrder::Counts, ListOrder::Free] {
        assert_eq!(equal_with(gold, given, order, 500_000), equal_with(gold, given, order, 500_000));
    }
    for grader in PublishedGrader::ALL {
        let _ = grader.accepts(gold, given, 500_000);
    }
});

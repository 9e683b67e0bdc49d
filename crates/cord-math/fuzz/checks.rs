//! What must hold of any text. The fuzz targets try it on new ones, and a test of the crate on those that they kept.

use cord_math::{
    DEFAULT_FUEL, Ground, Language, ListOrder, PublishedGrader, Rules, Settings, Start, equal, equal_with, extract,
    grade, last_number,
};

/// Two halves of a text, compared by every grader: the same verdict twice, and within the fuel.
pub(crate) fn equality(text: &str) {
    let (gold, given) = text.split_once('\n').unwrap_or((text, text));
    for order in [ListOrder::Guessed, ListOrder::Counts, ListOrder::Free] {
        assert_eq!(equal_with(gold, given, order, 500_000), equal_with(gold, given, order, 500_000));
    }
    for grader in PublishedGrader::ALL {
        let _ = grader.accepts(gold, given, 500_000);
    }
}

/// No response panics or hangs, whatever the rules and the language.
pub(crate) fn extraction(response: &str) {
    last_number(response);
    for start in [Start::Plain, Start::Thinking] {
        let _ = extract(response, start);
        for rules in [Rules::Boxed, Rules::Announced, Rules::Any] {
            for language in Language::ALL {
                let settings = Settings { start, rules, language, fuel: 100_000, ..Settings::default() };
                assert!(grade("1", response, &settings).fuel <= settings.fuel);
            }
        }
    }
}

/// Any answer equals itself and is compared with answers of every kind.
pub(crate) fn parsing(answer: &str) {
    if let Ok(found) = equal(answer, answer, DEFAULT_FUEL) {
        assert_eq!(found, Some(Ground::Spelling));
    }
    let others = [
        "1",
        "x",
        r"\sin x",
        "(1,2)",
        r"\{1,2\}",
        "x>2",
        "x=y",
        r"5 \text{ cm}",
        "3:30",
        "B",
        "three",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        r"\sum_{k=1}^n k",
        r"x \equiv 3 \pmod 7",
        r"k\pi, k \in \mathbb{Z}",
    ];
    for other in others {
        let _ = equal(answer, other, DEFAULT_FUEL);
        let _ = equal(other, answer, DEFAULT_FUEL);
    }
}

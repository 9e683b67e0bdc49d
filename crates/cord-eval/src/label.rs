//! Answers from a closed set of words, such as PubMedQA's `yes`, `no` and `maybe`, and the macro-averaged F1 over them.

use std::collections::BTreeMap;

use cord_core::Seed;
use cord_math::{Doubt, Language, Rules, Start, find};

use crate::bootstrap::percentiles;
use crate::interval::Estimate;

/// The label that a response gives, in the labels' own spelling.
///
/// The answer is looked for as in every benchmark, by the rules; it must be a label, or begin with one that a break
/// follows (`yes, because …`).
pub(crate) fn label_of<'a>(
    labels: &'a [String],
    response: &str,
    start: Start,
    rules: Rules,
    language: Language,
) -> Result<(Option<&'a str>, String), Doubt> {
    let found = find(response, start, rules, language)?;
    let label = found.iter().find_map(|found| named(labels, &found.answer));
    let given = found.into_iter().next().map(|found| found.answer).unwrap_or_default();
    Ok((label, given))
}

fn named<'a>(labels: &'a [String], answer: &str) -> Option<&'a str> {
    let answer = answer.replace("\\text{", "").to_lowercase();
    let answer = answer.trim_start_matches(|c: char| !c.is_alphanumeric());
    let begins = |label: &&String| {
        answer.strip_prefix(label.to_lowercase().as_str()).is_some_and(|rest| {
            let next = rest.trim_start_matches([' ', '}']).chars().next();
            // `no effect` is a phrase, not the label `no`.
            rest.is_empty() || next.is_none_or(|c| !c.is_alphanumeric())
        })
    };
    labels.iter().find(begins).map(String::as_str)
}

/// One answer: the problem, the gold label, and the label that was given, if one was.
pub type Labelled<'a> = (&'a str, &'a str, Option<&'a str>);

/// The mean over labels of each label's F1, as scikit-learn's `f1_score(average="macro")` has it. Labels that are neither
/// gold nor given take no part. No answer is a miss of the gold label and a false alarm of none. Nothing where there are
/// no answers.
pub fn macro_f1<'a>(answers: impl IntoIterator<Item = Labelled<'a>>) -> Option<f64> {
    // For each label: hits, gold, given.
    let mut counts: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for (_, gold, given) in answers {
        counts.entry(gold).or_default()[1] += 1.0;
        if let Some(given) = given {
            counts.entry(given).or_default()[2] += 1.0;
            if given == gold {
                counts.entry(gold).or_default()[0] += 1.0;
            }
        }
    }
    let f1 = counts.values().map(|[hits, gold, given]| 2.0 * hits / (gold + given));
    (!counts.is_empty()).then(|| f1.sum::<f64>() / counts.len() as f64)
}

/// [`macro_f1`] with a 95 % interval: percentiles of 2,000 draws of whole problems. F1 is no mean over problems, so that
/// the interval of a mean does not apply.
pub fn macro_f1_interval(answers: &[Labelled<'_>], seed: Seed) -> Option<Estimate> {
    let mut by_problem: BTreeMap<&str, Vec<Labelled<'_>>> = BTreeMap::new();
    for answer in answers {
        by_problem.entry(answer.0).or_default().push(*answer);
    }
    let clusters: Vec<Vec<Labelled<'_>>> = by_problem.into_values().collect();
    let value = macro_f1(answers.iter().copied())?;
    let statistic = |drawn: &[&Vec<Labelled<'_>>]| macro_f1(drawn.iter().flat_map(|cluster| cluster.iter().copied()));
    let (low, high) = percentiles(&clusters, &statistic, seed.named("macro-f1"));
    Some(Estimate { value, low: low.min(value), high: high.max(value), n: clusters.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macro_f1_equals_hand_computed_values() {
        // yes: 2 hits of 3 gold and 3 given, F1 2/3; no: 1 of 2 and 2, F1 1/2; maybe: 0 of 1 and 1, F1 0.
        let answers = [
            ("a", "yes", Some("yes")),
            ("b", "yes", Some("yes")),
            ("c", "yes", Some("no")),
            ("d", "no", Some("no")),
            ("e", "no", Some("maybe")),
            ("f", "maybe", Some("yes")),
        ];
        let value = macro_f1(answers).unwrap();
        assert!((value - (2.0 / 3.0 + 0.5) / 3.0).abs() < 1e-12, "{value}");
        // Without an answer: yes 1 hit of 2 gold and 1 given, F1 2/3; no 0 of 1 and 0.
        let value = macro_f1([("a", "yes", Some("yes")), ("b", "yes", None), ("c", "no", None)]).unwrap();
        assert!((value - 1.0 / 3.0).abs() < 1e-12, "{value}");
        assert_eq!(macro_f1([]), None);
        let interval = macro_f1_interval(&answers, Seed::root(1)).unwrap();
        assert!(interval.low < interval.value && interval.value < interval.high && interval.n == 6, "{interval:?}");
    }

    #[test]
    fn a_label_is_a_word_of_its_own() {
        let labels = ["yes", "no", "maybe"].map(String::from);
        for (response, expected) in [
            (r"\boxed{Yes}", Some("yes")),
            (r"\boxed{\text{no}}", Some("no")),
            ("The answer is maybe.", Some("maybe")),
            ("Answer: no, since the groups did not differ", Some("no")),
            ("Answer: no effect was seen", None),
            ("Answer: nothing", None),
        ] {
            let found = label_of(&labels, response, Start::Plain, Rules::Announced, Language::English).unwrap().0;
            assert_eq!(found, expected, "{response}");
        }
        let doubt = label_of(&labels, "who knows", Start::Plain, Rules::Announced, Language::English);
        assert_eq!(doubt.unwrap_err(), Doubt::NoBox);
    }
}

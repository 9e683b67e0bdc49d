//! Verifiers by kind: what a benchmark's answers are, and when one is right.

use std::collections::BTreeMap;

use cord_core::Problem;
use cord_math::{Doubt, Ground, Language, ListOrder, Rules, Settings, Start, Verdict, grade};
use serde::{Deserialize, Serialize};

use crate::tat_qa::{Gold, Prediction, gold_of, tat_qa_score};
use crate::{choice, label};

/// Where an answer is looked for in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Extractor {
    /// Which places count.
    pub rules: Rules,
    /// The language of the response: how an answer is announced and how numbers are written.
    pub language: Language,
}

/// How an answer is compared with the gold one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Verifier {
    /// By `cord-math`.
    Math {
        /// Whether the order of a list without brackets counts.
        #[serde(default)]
        order: ListOrder,
    },
    /// A letter of the problem's `options`; the gold answer is the letter.
    MultipleChoice,
    /// A word of a closed set; the gold answer is the word.
    Label {
        /// The set.
        labels: Vec<String>,
    },
    /// TAT-QA's official metric; right is its exact match. Marks: `exact-match`, `f1`, `scale`.
    TatQa,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::Math { order: ListOrder::default() }
    }
}

/// What a verifier makes of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The verdict.
    pub verdict: Verdict,
    /// The answer in the spelling in which it can be counted: the letter, the label, the text in the box.
    pub extracted: Option<String>,
    /// Further measures of the response, each in `[0, 1]`.
    pub marks: BTreeMap<String, f64>,
}

impl Assessment {
    fn plain(verdict: Verdict, extracted: Option<String>) -> Self {
        Self { verdict, extracted, marks: BTreeMap::new() }
    }
}

impl Verifier {
    /// What a problem lacks for this verifier: expected, given.
    pub fn fault(&self, problem: &Problem) -> Option<String> {
        match self {
            Self::Math { .. } => {
                problem.answer.trim().is_empty().then(|| "expected a gold answer, got nothing".to_owned())
            }
            Self::MultipleChoice => {
                let Some(options) = choice::options(problem) else {
                    return Some("expected a list of texts as `options`, got none".to_owned());
                };
                let letters: Vec<String> = (0..options.len()).map(|place| choice::letter(place).to_string()).collect();
                let known = letters.contains(&problem.answer);
                (!known)
                    .then(|| format!("expected one of {} as the answer, got `{}`", letters.join(", "), problem.answer))
            }
            Self::Label { labels } => {
                let known = labels.contains(&problem.answer);
                (!known)
                    .then(|| format!("expected one of {} as the answer, got `{}`", labels.join(", "), problem.answer))
            }
            Self::TatQa => gold_of(problem).err(),
        }
    }

    /// Judges a response to a problem, with at most `fuel` units of work for each comparison.
    ///
    /// Text inside a reasoning block is never an answer. A problem with a [`fault`](Self::fault) is
    /// [`Doubt::EmptyGold`].
    pub fn assess(
        &self,
        problem: &Problem,
        response: &str,
        start: Start,
        extractor: Extractor,
        fuel: u64,
    ) -> Assessment {
        let Extractor { rules, language } = extractor;
        let unread = |why: Doubt| Assessment::plain(Verdict::Unparsed { why }, None);
        match self {
            Self::Math { order } => {
                let settings = Settings { start, rules, language, order: *order, fuel };
                let grade = grade(&problem.answer, response, &settings);
                Assessment::plain(grade.verdict, grade.found.map(|found| found.answer))
            }
            Self::MultipleChoice => {
                let Some(options) = choice::options(problem) else { return unread(Doubt::EmptyGold) };
                match choice::chosen(&options, response, start, rules, language, fuel) {
                    Ok((letter, given)) => closed(letter.map(String::from), given, &problem.answer),
                    Err(choice::Refused::Unread(why)) => unread(why),
                    Err(choice::Refused::OutOfFuel) => Assessment::plain(Verdict::OutOfFuel, None),
                }
            }
            Self::Label { labels } => match label::label_of(labels, response, start, rules, language) {
                Ok((label, given)) => closed(label.map(str::to_owned), given, &problem.answer),
                Err(why) => unread(why),
            },
            Self::TatQa => match (gold_of(problem), said(response, start)) {
                (Err(_), _) => unread(Doubt::EmptyGold),
                (_, None) => unread(Doubt::UnclosedThink),
                (Ok(gold), Some(text)) => tat_qa(&gold, text),
            },
        }
    }
}

/// An answer of a closed set. One that is not in the set was not read: nothing says that it is meant as another.
fn closed(found: Option<String>, given: String, gold: &str) -> Assessment {
    let verdict = match &found {
        None => {
            return Assessment::plain(Verdict::Unparsed { why: Doubt::NoBox }, Some(given).filter(|g| !g.is_empty()));
        }
        Some(found) if found == gold => Verdict::Correct { by: Ground::Spelling },
        Some(_) => Verdict::Incorrect { given },
    };
    Assessment::plain(verdict, found)
}

fn tat_qa(gold: &Gold, said: &str) -> Assessment {
    let prediction = Prediction::find(said);
    let score = tat_qa_score(gold, prediction.as_ref().unwrap_or(&Prediction::default()));
    let marks = [("exact-match", score.exact_match), ("f1", score.f1), ("scale", score.scale)];
    let extracted = prediction.map(|prediction| prediction.readable());
    let verdict = match &extracted {
        None => Verdict::Unparsed { why: Doubt::NoBox },
        Some(_) if score.exact_match == 1.0 => Verdict::Correct { by: Ground::Convention },
        Some(given) => Verdict::Incorrect { given: given.clone() },
    };
    Assessment { verdict, extracted, marks: marks.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

/// What a response says after its reasoning; nothing where that never closes.
pub fn said(response: &str, start: Start) -> Option<&str> {
    const CLOSE: &str = "</think>";
    match response.rsplit_once(CLOSE) {
        Some((_, said)) if !said.contains("<think>") => Some(said),
        Some(_) => None,
        None if start == Start::Thinking || response.contains("<think>") => None,
        None => Some(response),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(answer: &str, metadata: &[(&str, serde_json::Value)]) -> Problem {
        Problem {
            id: "p".into(),
            question: "q".into(),
            answer: answer.into(),
            metadata: metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
    }

    #[track_caller]
    fn check(verifier: &Verifier, problem: &Problem, response: &str, extracted: Option<&str>, correct: Option<bool>) {
        assert_eq!(verifier.fault(problem), None);
        let found = verifier.assess(problem, response, Start::Thinking, Extractor::default(), 1_000_000);
        let state = match found.verdict {
            Verdict::Correct { .. } => Some(true),
            Verdict::Incorrect { .. } => Some(false),
            _ => None,
        };
        assert_eq!((found.extracted.as_deref(), state), (extracted, correct), "{verifier:?} {response:?}");
    }

    #[test]
    fn each_kind_reads_its_answers() {
        let math = problem("1/2", &[]);
        check(&Verifier::default(), &math, r"x</think>\boxed{0.5}", Some("0.5"), Some(true));
        check(&Verifier::default(), &math, r"\boxed{0.5}", None, None);
        let choice = problem("B", &[("options", json!(["1", "2"]))]);
        check(&Verifier::MultipleChoice, &choice, r"x</think>\boxed{2}", Some("B"), Some(true));
        check(&Verifier::MultipleChoice, &choice, "x</think>The answer is (A).", Some("A"), Some(false));
        check(&Verifier::MultipleChoice, &choice, r"x</think>\boxed{7}", Some("7"), None);
        let labels = Verifier::Label { labels: vec!["yes".into(), "no".into()] };
        check(&labels, &problem("no", &[]), r"yes</think>\boxed{No}", Some("no"), Some(true));
        check(&labels, &problem("no", &[]), r"no \boxed{no}", None, None);
        let report = problem(
            "3 million",
            &[("answer", json!(3)), ("answer_type", json!("arithmetic")), ("scale", json!("million"))],
        );
        check(&Verifier::TatQa, &report, "x</think>Answer: 3\nScale: million", Some("3 million"), Some(true));
        check(&Verifier::TatQa, &report, "x</think>Answer: 3\nScale: thousand", Some("3 thousand"), Some(false));
        check(&Verifier::TatQa, &report, "x</think>three", None, None);
        check(&Verifier::TatQa, &report, "Answer: 3\nScale: million", None, None);
    }

    #[test]
    fn marks_say_more_than_right_or_wrong() {
        let report = problem("", &[("answer", json!(["a b"])), ("answer_type", json!("span")), ("scale", json!(""))]);
        let found = Verifier::TatQa.assess(&report, "Answer: b c", Start::Plain, Extractor::default(), 1);
        let marks: Vec<(&str, f64)> = found.marks.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        // `a` is an article: `b` is found in two words, one of them right.
        assert_eq!(marks, [("exact-match", 0.0), ("f1", 0.67), ("scale", 1.0)]);
    }

    #[test]
    fn what_a_problem_lacks_is_said() {
        let fault = |verifier: &Verifier, problem: &Problem| verifier.fault(problem).unwrap();
        assert_eq!(
            fault(&Verifier::MultipleChoice, &problem("A", &[])),
            "expected a list of texts as `options`, got none"
        );
        let choice = problem("C", &[("options", json!(["1", "2"]))]);
        assert_eq!(fault(&Verifier::MultipleChoice, &choice), "expected one of A, B as the answer, got `C`");
        assert_eq!(fault(&Verifier::TatQa, &choice), "expected `answer_type` beside the question, got nothing");
    }
}

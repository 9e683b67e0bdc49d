//! Decontamination: training problems that share a run of words with a problem of a benchmark.
//!
//! Texts are compared as open-r1 and others do: in lower case, as words of letters and digits, by runs of n words. A text of
//! fewer than n words is one run. It finds copies and near copies; a problem in other words passes.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Problem, ProblemId};
use serde::{Deserialize, Serialize};

/// The length of the runs where nothing else is said, in words. 13 is the other usual choice, and finds less.
pub const DEFAULT_NGRAM: u32 = 8;

/// A training problem and a benchmark problem that share a run of words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Overlap {
    /// The training problem.
    pub problem: ProblemId,
    /// The benchmark.
    pub benchmark: String,
    /// Its problem, the first by name that shares a run.
    pub against: ProblemId,
    /// The first run that they share.
    pub words: String,
}

/// What was compared and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decontamination {
    /// The length of the runs, in words.
    pub ngram: u32,
    /// How many training problems were compared.
    pub problems: u64,
    /// How many problems of each benchmark they were compared with.
    pub benchmarks: BTreeMap<String, u64>,
    /// Every offending pair of a training problem and a benchmark, in the order of the problems' names.
    pub overlaps: Vec<Overlap>,
}

impl Decontamination {
    /// Compares training problems with those of benchmarks, by runs of `ngram` words, at least 1.
    pub fn of(problems: &[Problem], benchmarks: &BTreeMap<String, Vec<Problem>>, ngram: u32) -> Self {
        let length = ngram.max(1) as usize;
        let mut owners: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
        for (name, of) in benchmarks {
            let runs = owners.entry(name).or_default();
            let mut of: Vec<&Problem> = of.iter().collect();
            of.sort_by(|a, b| a.id.cmp(&b.id));
            for problem in of {
                for run in runs_of(&problem.question, length) {
                    runs.entry(run).or_insert(&problem.id);
                }
            }
        }
        let mut sorted: Vec<&Problem> = problems.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let mut overlaps = Vec::new();
        for problem in sorted {
            let runs = runs_of(&problem.question, length);
            for (benchmark, owned) in &owners {
                let shared = runs.iter().find_map(|run| owned.get(run).map(|against| (run, *against)));
                overlaps.extend(shared.map(|(words, against)| Overlap {
                    problem: problem.id.clone(),
                    benchmark: (*benchmark).to_owned(),
                    against: against.to_owned(),
                    words: words.clone(),
                }));
            }
        }
        let benchmarks = benchmarks.iter().map(|(name, of)| (name.clone(), of.len() as u64)).collect();
        Self { ngram: length as u32, problems: problems.len() as u64, benchmarks, overlaps }
    }

    /// The training problems that have to go.
    pub fn contaminated(&self) -> BTreeSet<&str> {
        self.overlaps.iter().map(|overlap| overlap.problem.as_str()).collect()
    }
}

/// The runs of a text's words, in order. A word is a run of letters and digits, so `x^2` is two words.
fn runs_of(text: &str, length: usize) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Vec::new();
    }
    words.windows(length.min(words.len())).map(|run| run.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(id: &str, question: &str) -> Problem {
        Problem { id: id.into(), question: question.into(), answer: "1".into(), metadata: BTreeMap::new() }
    }

    #[test]
    fn shared_runs_of_words_are_found() {
        let of = |training: &str, benchmark: &str, ngram: u32| {
            let benchmarks = [("b".to_owned(), vec![problem("x", benchmark)])].into();
            let found = Decontamination::of(&[problem("p", training)], &benchmarks, ngram);
            found.overlaps.into_iter().map(|overlap| overlap.words).next()
        };
        let check = |training: &str, benchmark: &str, ngram: u32, expected: Option<&str>| {
            assert_eq!(of(training, benchmark, ngram).as_deref(), expected, "{training} | {benchmark} | {ngram}");
            assert_eq!(of(benchmark, training, ngram).is_some(), expected.is_some(), "it is symmetric");
        };
        check("one two three four", "zero ONE, two:\nthree five", 3, Some("one two three"));
        check("one two three four", "zero one two four three", 3, None);
        check("Find x^2 if x = 3.", "find X 2 if x=3", 6, Some("find x 2 if x 3"));
        // A text that is shorter than a run is compared as a whole, with texts as short.
        check("How many?", "how many", 8, Some("how many"));
        check("How many?", "how many are there", 8, None);
        check("", "", 8, None);
        check("ÉTÉ été", "été Été", 2, Some("été été"));
    }

    #[test]
    fn a_report_names_every_offending_pair_once() {
        let training = [problem("b", "a b c d e"), problem("a", "p q r s"), problem("c", "nothing like it")];
        let benchmarks = [
            ("hard".to_owned(), vec![problem("h2", "x a b c"), problem("h1", "b c d y")]),
            ("test".to_owned(), vec![problem("t1", "p q r s"), problem("t2", "c d e")]),
        ];
        let found = Decontamination::of(&training, &benchmarks.into(), 3);
        let pairs: Vec<String> = found
            .overlaps
            .iter()
            .map(|one| format!("{} {} {} {}", one.problem, one.benchmark, one.against, one.words))
            .collect();
        assert_eq!(pairs, ["a test t1 p q r", "b hard h2 a b c", "b test t2 c d e"]);
        assert_eq!(found.contaminated().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((found.ngram, found.problems), (3, 3));
        assert_eq!(found.benchmarks, [("hard".to_owned(), 2), ("test".to_owned(), 2)].into());
    }

    proptest! {
        #[test]
        fn a_copy_is_always_found(words in proptest::collection::vec("[a-z]{1,4}", 1..20), ngram in 1u32..14) {
            let text = words.join(" ");
            let benchmarks = [("b".to_owned(), vec![problem("x", &text.to_uppercase())])].into();
            let found = Decontamination::of(&[problem("p", &format!("{text}."))], &benchmarks, ngram);
            prop_assert_eq!(found.contaminated().len(), 1);
        }
    }
}

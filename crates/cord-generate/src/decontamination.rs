//! Decontamination: training problems that repeat a problem of a benchmark.
//!
//! Texts are compared in lower case, as words of letters and digits, by runs of n words. A training problem is left out where it
//! holds at least a given share of the distinct runs of one benchmark problem: by default 80 % of runs of 8 words. PaLM counted 70 % of
//! runs of 8 words as contamination (Chowdhery et al. 2022, section 8), Llama 2 80 % of the words (Touvron et al. 2023, appendix A.6).
//! One shared run, the rule of open-r1 and others, is the share 0; it takes for a copy what only follows the same template.
//! In the mini world, whose problems all follow one, every training problem shares a run with the test, 9 of 4,096 hold 70 % of
//! a test problem (chains of the same moves that end in another) and one 80 %, a chain that goes on where the other ends.
//!
//! A text of fewer than n words is one run. Covered: copies, copies inside longer texts, copies with a few changed words.
//! Not covered: a problem in other words, and one that is so short that a change of a word changes most of its runs.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Problem, ProblemId};
use serde::{Deserialize, Serialize};

/// The rule by which a training problem is taken for a benchmark's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OverlapRule {
    /// The length of a run, in words; at least 1.
    pub ngram: u32,
    /// The least share of the benchmark problem's runs that the training problem holds. With 0 one run is enough.
    pub share: f64,
}

impl Default for OverlapRule {
    fn default() -> Self {
        Self { ngram: 8, share: 0.8 }
    }
}

/// A training problem and the benchmark problem of which it repeats most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Overlap {
    /// The training problem.
    pub problem: ProblemId,
    /// The benchmark.
    pub benchmark: String,
    /// Its problem; of several with the same share the first by name.
    pub against: ProblemId,
    /// The share of that problem's runs that the training problem holds.
    pub share: f64,
    /// The first run that they share.
    pub words: String,
}

/// What was compared and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decontamination {
    /// When a problem was left out.
    pub rule: OverlapRule,
    /// How many training problems were compared.
    pub problems: u64,
    /// How many problems of each benchmark they were compared with.
    pub benchmarks: BTreeMap<String, u64>,
    /// Every offending pair of a training problem and a benchmark, in the order of the problems' names.
    pub overlaps: Vec<Overlap>,
    /// The greatest share that any training problem holds of any benchmark problem: how far the rest is from the rule.
    pub greatest: f64,
}

/// A benchmark's runs.
struct Runs<'a> {
    /// Its problems' names, in order, each with how many distinct runs it has.
    problems: Vec<(&'a str, usize)>,
    /// For each run, the problems that have it, by place.
    owners: BTreeMap<String, Vec<usize>>,
}

impl<'a> Runs<'a> {
    fn of(problems: &'a [Problem], length: usize) -> Self {
        let mut sorted: Vec<&Problem> = problems.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let mut runs = Self { problems: Vec::new(), owners: BTreeMap::new() };
        for (place, problem) in sorted.into_iter().enumerate() {
            let distinct: BTreeSet<String> = runs_of(&problem.question, length).into_iter().collect();
            runs.problems.push((&problem.id, distinct.len()));
            for run in distinct {
                runs.owners.entry(run).or_default().push(place);
            }
        }
        runs
    }

    /// The problem of which a text holds the most, with the share and the first run that they share.
    fn nearest<'b>(&self, runs: &'b [String]) -> Option<(&'a str, f64, &'b str)> {
        let mut held: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for run in runs.iter().filter(|run| seen.insert(run.as_str())) {
            for place in self.owners.get(run).into_iter().flatten() {
                held.entry(*place).or_insert((0, run.as_str())).0 += 1;
            }
        }
        let shares = held.into_iter().map(|(place, (count, first))| {
            let (name, of) = self.problems[place];
            (name, count as f64 / of as f64, first)
        });
        // The first of equals: places are in the order of names.
        shares.reduce(|best, one| if one.1 > best.1 { one } else { best })
    }
}

impl Decontamination {
    /// Compares training problems with those of benchmarks.
    pub fn of(problems: &[Problem], benchmarks: &BTreeMap<String, Vec<Problem>>, rule: OverlapRule) -> Self {
        let rule = OverlapRule { ngram: rule.ngram.max(1), ..rule };
        let length = rule.ngram as usize;
        let owned: Vec<(&String, Runs<'_>)> =
            benchmarks.iter().map(|(name, of)| (name, Runs::of(of, length))).collect();
        let mut sorted: Vec<&Problem> = problems.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let (mut overlaps, mut greatest) = (Vec::new(), 0.0f64);
        for problem in sorted {
            let runs = runs_of(&problem.question, length);
            for (benchmark, of) in &owned {
                let Some((against, share, words)) = of.nearest(&runs) else { continue };
                greatest = greatest.max(share);
                if share >= rule.share {
                    overlaps.push(Overlap {
                        problem: problem.id.clone(),
                        benchmark: (*benchmark).clone(),
                        against: against.to_owned(),
                        share,
                        words: words.to_owned(),
                    });
                }
            }
        }
        let benchmarks = benchmarks.iter().map(|(name, of)| (name.clone(), of.len() as u64)).collect();
        Self { rule, problems: problems.len() as u64, benchmarks, overlaps, greatest }
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

    fn compared(training: &str, benchmark: &str, ngram: u32, share: f64) -> Decontamination {
        let benchmarks = [("b".to_owned(), vec![problem("x", benchmark)])].into();
        Decontamination::of(&[problem("p", training)], &benchmarks, OverlapRule { ngram, share })
    }

    #[test]
    fn shared_runs_of_words_are_found() {
        let of = |training: &str, benchmark: &str, ngram: u32| {
            compared(training, benchmark, ngram, 0.0).overlaps.into_iter().map(|overlap| overlap.words).next()
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
    fn a_template_is_no_copy_and_a_copy_in_a_longer_text_is_one() {
        let share = |training: &str, benchmark: &str| compared(training, benchmark, 3, 0.7).greatest;
        // Runs of the benchmark's problem: 6, of which the training problem holds the first 3.
        assert_eq!(share("find the sum of all seven odd cubes", "find the sum of all nine odd squares"), 3.0 / 6.0);
        assert_eq!(compared("find the sum of all seven", "find the sum of all nine odd squares", 3, 0.7).overlaps, []);
        // How long the training problem is does not matter, only how much of the benchmark's it holds.
        let longer = "Solve this one. Find the sum of all nine odd squares! Then double it and say why.";
        assert_eq!(share(longer, "find the sum of all nine odd squares"), 1.0);
        assert_eq!(compared(longer, "find the sum of all nine odd squares", 3, 0.7).overlaps.len(), 1);
    }

    #[test]
    fn a_report_names_every_offending_pair_once() {
        let training = [problem("b", "a b c d e"), problem("a", "p q r s"), problem("c", "nothing like it")];
        let benchmarks = [
            ("hard".to_owned(), vec![problem("h2", "x a b c"), problem("h1", "b c d y")]),
            ("test".to_owned(), vec![problem("t1", "p q r s"), problem("t2", "c d e")]),
        ];
        let found = Decontamination::of(&training, &benchmarks.into(), OverlapRule { ngram: 3, share: 0.0 });
        let pairs: Vec<String> = found
            .overlaps
            .iter()
            .map(|one| format!("{} {} {} {} {}", one.problem, one.benchmark, one.against, one.share, one.words))
            .collect();
        // Of problems with the same share the first by name.
        assert_eq!(pairs, ["a test t1 1 p q r", "b hard h1 0.5 b c d", "b test t2 1 c d e"]);
        assert_eq!(found.contaminated().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((found.rule.ngram, found.problems, found.greatest), (3, 3, 1.0));
        assert_eq!(found.benchmarks, [("hard".to_owned(), 2), ("test".to_owned(), 2)].into());
    }

    proptest! {
        #[test]
        fn a_copy_is_always_found(words in proptest::collection::vec("[a-z]{1,4}", 1..20), ngram in 1u32..14) {
            let text = words.join(" ");
            let found = compared(&format!("{text}."), &text.to_uppercase(), ngram, 1.0);
            prop_assert_eq!(found.contaminated().len(), 1);
        }
    }
}

//! Scores that ask no model: chance, length, and how sure the writer was.

use cord_core::{BoxFuture, Problem, Seed, Usage};
use serde::{Deserialize, Serialize};

use crate::{Evidence, GenerateError, Judged, Scope, Score, Scorer};

/// Scores by chance, uniformly in [0, 1): the paper's random selection. A number depends on the seed, the problem and the
/// text alone, so equal candidates have equal scores and the order of arrival changes nothing.
pub struct RandomScore(Seed);

impl RandomScore {
    /// A scorer that draws from a seed.
    pub fn new(seed: Seed) -> Self {
        Self(seed)
    }
}

/// What [`MaxLength`] measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The candidate alone.
    #[default]
    Step,
    /// The reasoning up to and with the candidate.
    Reasoning,
}

/// Scores by length in characters, which unlike tokens are the same for all teachers: the paper's max-length selection.
pub struct MaxLength(Measured);

impl MaxLength {
    /// A scorer that measures the candidate or all of its reasoning; the closing tag does not count.
    pub fn new(measured: Measured) -> Self {
        Self(measured)
    }
}

/// Scores by how sure the writer was of what it wrote: the geometric mean of its tokens' probabilities, in [0, 1]. Beyond
/// the paper. Teachers differ in how sure they are of anything, so it compares a teacher with itself best.
pub struct SelfCertainty;

fn free(value: f64) -> Score {
    Score { value: Some(value), usage: Usage::default() }
}

impl Scorer for RandomScore {
    fn name(&self) -> &'static str {
        "random"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        let of = |one: &Judged| self.0.named(&problem.id).named(&one.prefix).named(&one.step).stream().uniform();
        Box::pin(async move { Ok(candidates.iter().map(|one| free(of(one))).collect()) })
    }
}

impl Scorer for MaxLength {
    fn name(&self) -> &'static str {
        "max-length"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(
        &'a self,
        _: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        let of = |one: &Judged| match self.0 {
            Measured::Step => one.body().chars().count(),
            Measured::Reasoning => one.reasoning().chars().count(),
        };
        Box::pin(async move { Ok(candidates.iter().map(|one| free(of(one) as f64)).collect()) })
    }
}

impl Scorer for SelfCertainty {
    fn name(&self) -> &'static str {
        "self-certainty"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn evidence(&self) -> Evidence {
        Evidence::Writing
    }

    fn score<'a>(
        &'a self,
        _: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        let of = |one: &Judged| match one.mean_logprob {
            Some(mean) if mean.is_finite() => Ok(free(mean.exp())),
            given => Err(GenerateError::NotFinite {
                scorer: self.name().to_owned(),
                expected: "a writer that gives the mean log-probability of what it drew",
                given: given.map_or_else(|| "none".to_owned(), |mean| mean.to_string()),
            }),
        };
        Box::pin(async move { candidates.iter().map(of).collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use futures::executor::block_on;

    use super::*;

    fn values(scorer: &dyn Scorer, id: &str, candidates: &[Judged]) -> Vec<f64> {
        let problem = Problem { id: id.into(), question: "q".into(), answer: "1".into(), metadata: BTreeMap::new() };
        let scores = block_on(scorer.score(&problem, candidates)).unwrap();
        assert!(scores.iter().all(|score| score.usage == Usage::default()));
        scores.into_iter().map(|score| score.value.unwrap()).collect()
    }

    #[test]
    fn chance_depends_on_the_seed_the_problem_and_the_text_alone() {
        let candidates: Vec<Judged> = (0..2000).map(|n| Judged::new(format!("{}", n % 7), format!("{n}"))).collect();
        let of = |seed: u64, id: &str| values(&RandomScore::new(Seed::root(seed)), id, &candidates);
        let first = of(1, "p");
        assert_eq!(first, of(1, "p"));
        assert!(first != of(2, "p") && first != of(1, "q"));
        assert!(first.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
        assert_eq!(first.iter().map(|value| value.to_bits()).collect::<BTreeSet<_>>().len(), first.len());
    }

    #[test]
    fn length_is_in_characters_without_the_closing_tag() {
        let candidates = [
            Judged::new("abc", "éé"),
            Judged::new("", "a</think>"),
            Judged::new("ab", "</think>"),
            Judged::new("", ""),
        ];
        assert_eq!(values(&MaxLength::new(Measured::Step), "p", &candidates), [2.0, 1.0, 0.0, 0.0]);
        assert_eq!(values(&MaxLength::new(Measured::Reasoning), "p", &candidates), [5.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn certainty_is_the_writers_own_and_must_be_known() {
        let of = |mean_logprob| Judged { mean_logprob, ..Judged::new("", "a") };
        let scores = values(&SelfCertainty, "p", &[of(Some(-1.0)), of(Some(0.0))]);
        assert_eq!(scores, [(-1.0f64).exp(), 1.0]);
        let problem = Problem { id: "p".into(), question: "q".into(), answer: "1".into(), metadata: BTreeMap::new() };
        for (given, shown) in [(None, "none"), (Some(f64::NAN), "NaN")] {
            let error = block_on(SelfCertainty.score(&problem, &[of(given)])).unwrap_err();
            assert!(error.reason().ends_with(&format!("of what it drew, got {shown}")), "{}", error.reason());
        }
    }
}

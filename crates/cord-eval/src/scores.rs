//! Values by problem: what every statistic starts from.

use std::collections::BTreeMap;

use cord_core::{Outcome, ProblemId};

use crate::error::StatsError;
use crate::sample::{Sample, SampleState};

/// The values of one replicate (one seed of an arm): for each problem, one value for each sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(BTreeMap<ProblemId, Vec<f64>>);

impl Scores {
    /// Adds a value of a problem.
    pub fn push(&mut self, problem: impl Into<ProblemId>, value: f64) {
        self.0.entry(problem.into()).or_default().push(value);
    }

    /// 1 for each correct sample and 0 for each other one. Failed samples are left out: an error is not an
    /// answer.
    pub fn correct<'a>(outcomes: impl IntoIterator<Item = &'a Outcome<Sample>>) -> Self {
        let mut scores = Self::default();
        for outcome in outcomes {
            if let Outcome::Done(sample) = outcome {
                let correct = sample.state() == SampleState::Correct;
                scores.push(sample.problem.as_str(), f64::from(u8::from(correct)));
            }
        }
        scores
    }

    /// The unbiased pass@k of each problem: with n samples of which c are correct,
    /// `1 − C(n−c, k) / C(n, k)` (Chen et al. 2021, equation 1). A value counts as correct where it is 1.
    pub fn pass_at(&self, k: u32) -> Result<Self, StatsError> {
        let mut scores = Self::default();
        for (problem, values) in &self.0 {
            let n = values.len();
            if n < k as usize || k == 0 {
                return Err(StatsError::TooFewSamples { problem: problem.clone(), k: k.max(1), given: n });
            }
            let wrong = values.iter().filter(|value| **value != 1.0).count();
            // A product of ratios, since the binomials themselves overflow.
            let all_wrong: f64 = (0..k as usize).map(|i| wrong.saturating_sub(i) as f64 / (n - i) as f64).product();
            scores.push(problem.as_str(), 1.0 - all_wrong);
        }
        Ok(scores)
    }

    /// How many problems have a value.
    pub fn problems(&self) -> usize {
        self.0.len()
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The least number of values that a problem has; 0 where there is no problem.
    pub fn fewest(&self) -> u32 {
        self.0.values().map(|values| values.len() as u32).min().unwrap_or(0)
    }

    /// The mean value of each problem.
    pub(crate) fn means(&self) -> BTreeMap<&str, f64> {
        self.0.iter().map(|(id, values)| (id.as_str(), values.iter().sum::<f64>() / values.len() as f64)).collect()
    }

    /// The first value outside a range, with its problem.
    pub(crate) fn first_outside(&self, low: f64, high: f64) -> Option<(&str, f64)> {
        self.0.iter().find_map(|(id, values)| {
            let outside = values.iter().find(|value| !(value.is_finite() && (low..=high).contains(*value)));
            outside.map(|value| (id.as_str(), *value))
        })
    }
}

impl<S: Into<ProblemId>> FromIterator<(S, f64)> for Scores {
    fn from_iter<I: IntoIterator<Item = (S, f64)>>(values: I) -> Self {
        let mut scores = Self::default();
        values.into_iter().for_each(|(problem, value)| scores.push(problem, value));
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of all subsets of size k that hold a correct sample, counted one by one.
    fn counted(n: u32, c: u32, k: u32) -> f64 {
        let subsets = (0u32..1 << n).filter(|set| set.count_ones() == k);
        let (mut all, mut passed) = (0, 0);
        for set in subsets {
            all += 1;
            passed += u32::from(set & ((1 << c) - 1) != 0);
        }
        f64::from(passed) / f64::from(all)
    }

    #[test]
    fn pass_at_k_counts_subsets() {
        for n in 1..=8 {
            for c in 0..=n {
                for k in 1..=n {
                    let scores: Scores = (0..n).map(|i| ("p", f64::from(u8::from(i < c)))).collect();
                    let pass = scores.pass_at(k).unwrap().means()["p"];
                    assert!((pass - counted(n, c, k)).abs() < 1e-12, "n {n}, c {c}, k {k}: {pass}");
                }
            }
        }
    }

    #[test]
    fn pass_at_k_needs_k_samples() {
        let scores: Scores = [("a", 1.0), ("a", 0.0), ("b", 1.0)].into_iter().collect();
        let error = scores.pass_at(2).unwrap_err().to_string();
        assert_eq!(error, "problem `b`: expected at least 2 samples for pass@2, got 1");
        assert!(scores.pass_at(0).is_err());
    }
}

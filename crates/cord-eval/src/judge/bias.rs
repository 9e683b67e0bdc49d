//! Position and length bias of judges, measured on the judgements themselves.
//!
//! Every value is a share that is a half for a judge without the bias, with a 95 % interval clustered by problem; a bias
//! is *found* where the interval leaves a half out.
//!
//! - **Position**: of a judge's decided answers, how many choose the first place. Since every pair is asked in both orders,
//!   whatever is better is in the first place half of the time.
//! - **Length of pairs**: how often the longer of two responses is preferred, ties counting half. Only pairs that the
//!   verifier calls alike, where its verdicts are known: longer responses may rightly win otherwise.
//! - **Length beside a reference**: of all pairs of an accepted and a rejected response that the verifier calls alike, how
//!   many have the longer one accepted.

use std::collections::BTreeMap;

use cord_core::{ProblemId, Seed};
use serde::{Deserialize, Serialize};

use super::panel::{Comparison, Vote};
use super::rubric::{Mark, Preference};
use crate::bootstrap::percentiles;
use crate::interval::{Estimate, Range, mean};
use crate::scores::Scores;

/// A bias as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bias {
    /// The share; a half without the bias.
    pub share: Estimate,
    /// Does the interval leave a half out?
    pub found: bool,
}

impl Bias {
    fn of(share: Estimate) -> Self {
        Self { share, found: share.low > 0.5 || share.high < 0.5 }
    }
}

/// How often a judge, by its place in the panel, chooses the first place. Nothing where it decides nothing.
pub fn position(comparisons: &[Comparison], judge: usize) -> Option<Bias> {
    let mut scores = Scores::default();
    for comparison in comparisons {
        for vote in comparison.orders.get(judge)? {
            match vote.said() {
                Some(Preference::First) => scores.push(comparison.problem.as_str(), 1.0),
                Some(Preference::Second) => scores.push(comparison.problem.as_str(), 0.0),
                Some(Preference::Tie) | None => {}
            }
        }
    }
    mean(&[scores], Range::Unit).ok().map(Bias::of)
}

/// How often a judge prefers the longer response of a pair. `lengths` are those of the two responses and `alike` says
/// whether the verifier calls both the same, where it is known; by problem and sample.
pub fn pair_length(
    comparisons: &[Comparison],
    judge: usize,
    lengths: &dyn Fn(&str, u32) -> Option<[usize; 2]>,
    alike: &dyn Fn(&str, u32) -> Option<bool>,
) -> Option<Bias> {
    let mut scores = Scores::default();
    for comparison in comparisons {
        let (problem, sample) = (comparison.problem.as_str(), comparison.sample);
        let (Some(preference), Some([a, b])) = (comparison.votes.get(judge)?.said(), lengths(problem, sample)) else {
            continue;
        };
        if a == b || alike(problem, sample) == Some(false) {
            continue;
        }
        let longer = if a > b { Preference::First } else { Preference::Second };
        let value = match preference {
            Preference::Tie => 0.5,
            other => f64::from(u8::from(other == longer)),
        };
        scores.push(problem, value);
    }
    mean(&[scores], Range::Unit).ok().map(Bias::of)
}

/// A judged response for [`reference_length`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The problem.
    pub problem: ProblemId,
    /// The response's length, in characters.
    pub length: usize,
    /// Does the verifier call it right? Nothing where that is not known.
    pub verified: Option<bool>,
    /// The judge's word.
    pub vote: Vote<Mark>,
}

/// How often the longer one of an accepted and a rejected response that the verifier calls alike is the accepted one.
/// Nothing where the judge accepts all of a kind, or none.
pub fn reference_length(measured: &[Measured], seed: Seed) -> Option<Bias> {
    let mut by_problem: BTreeMap<&str, Vec<Seen>> = BTreeMap::new();
    for one in measured {
        if let Some(mark) = one.vote.said() {
            by_problem.entry(&one.problem).or_default().push((one.verified, one.length, mark == Mark::Correct));
        }
    }
    let clusters: Vec<Vec<Seen>> = by_problem.into_values().collect();
    let all: Vec<&Vec<Seen>> = clusters.iter().collect();
    let value = longer_accepted(&all)?;
    let (low, high) = percentiles(&clusters, &longer_accepted, seed.named("length-bias"));
    let share = Estimate { value, low: low.min(value), high: high.max(value), n: clusters.len() as u64 };
    Some(Bias::of(share))
}

/// What the verifier says, the response's length, and whether the judge accepts it.
type Seen = (Option<bool>, usize, bool);

fn longer_accepted(clusters: &[&Vec<Seen>]) -> Option<f64> {
    let mut kinds: BTreeMap<Option<bool>, Vec<(usize, bool)>> = BTreeMap::new();
    for (verified, length, accepted) in clusters.iter().copied().flatten() {
        kinds.entry(*verified).or_default().push((*length, *accepted));
    }
    let (mut longer, mut pairs) = (0.0, 0.0);
    for kind in kinds.values_mut() {
        kind.sort_unstable();
        let mut rejected_before = 0.0;
        for same in kind.chunk_by(|a, b| a.0 == b.0) {
            let accepted = same.iter().filter(|(_, accepted)| *accepted).count() as f64;
            let rejected = same.len() as f64 - accepted;
            longer += accepted * (rejected_before + rejected / 2.0);
            rejected_before += rejected;
        }
        pairs += rejected_before * (kind.len() as f64 - rejected_before);
    }
    (pairs > 0.0).then(|| longer / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_accepted_response_is_counted_in_pairs() {
        let kind = |rows: &[(Option<bool>, usize, bool)]| longer_accepted(&[&rows.to_vec()]);
        let wrong = Some(false);
        assert_eq!(kind(&[(wrong, 10, true), (wrong, 5, false), (wrong, 20, false)]), Some(0.5));
        assert_eq!(kind(&[(wrong, 10, true), (wrong, 10, false)]), Some(0.5));
        // A right and a wrong response are never compared.
        assert_eq!(kind(&[(Some(true), 10, true), (wrong, 5, false)]), None);
        assert_eq!(kind(&[(None, 10, true), (None, 5, false), (wrong, 1, true)]), Some(1.0));
    }
}

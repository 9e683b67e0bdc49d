//! The difference between two sets of samples on the same problems.
//!
//! Pairing by problem takes the problems' difficulty out of the comparison: two arms whose intervals
//! overlap can still differ plainly. Replicates are paired by their place (seed with seed); a set with a
//! single replicate, such as an untrained model, is compared with each of the other's.

use std::collections::BTreeMap;

use cord_core::Seed;
use serde::{Deserialize, Serialize};

use crate::distribution::{t_95, t_two_sided};
use crate::error::StatsError;
use crate::interval::{Estimate, Grid, Range, SMOOTHING, check_range};
use crate::scores::Scores;

/// Up to this many problems with a difference, every pattern of signs is counted.
const EXACT_SIGNS: usize = 14;
/// Beyond that, this many patterns are drawn.
const DRAWN_SIGNS: u32 = 9_999;

/// What is left of many weighted terms that cancel is rounding, and no difference.
const ROUNDING: f64 = 1e-12;

/// Below this many problems with a difference, their spread says too little of the variance.
const FEW_DIFFER: usize = 5;

/// How a p-value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairedTest {
    /// All patterns of signs of the problems' differences.
    SignFlipExact,
    /// 9,999 patterns of signs from a seeded stream; the p-value is at least 0.0001.
    SignFlipDrawn,
    /// Student's t with Satterthwaite's degrees of freedom: the test for several replicates, since flipping
    /// signs of problems knows nothing of the spread between seeds.
    StudentT,
}

/// How much the first set is above the second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PairedDifference {
    /// First minus second, with a 95 % interval clustered by problem; `n` is the problems that both have.
    pub difference: Estimate,
    /// Two-sided p-value of no difference.
    pub p_value: f64,
    /// How the p-value was found.
    pub test: PairedTest,
}

/// Compares two sets of values in [0, 1] on the problems that both have in every replicate.
///
/// The interval is Student's t on the problems' differences, with the variance of [`mean`](crate::mean) for
/// several replicates. Where fewer than 5 problems differ, the variance is at least that of a quarter of a
/// problem won and a quarter of a problem lost, so that two sets that agree on every problem are not said to be
/// equal without doubt.
pub fn paired_difference(first: &[Scores], second: &[Scores], seed: Seed) -> Result<PairedDifference, StatsError> {
    contrast(&[(1.0, first), (-1.0, second)], seed)
}

/// The same for a weighted sum of several sets, on the problems that all have in every replicate: a difference of
/// differences, a teacher's Shapley value. The sum must lie in [-1, 1] whatever the values in [0, 1].
pub fn contrast(terms: &[(f64, &[Scores])], seed: Seed) -> Result<PairedDifference, StatsError> {
    for (_, scores) in terms {
        check_range(scores, Range::Unit)?;
    }
    let grid = contrast_grid(terms)?;
    let n = grid.problems();
    if n < 2 {
        return Err(StatsError::TooFewProblems { needed: 2, given: n });
    }
    let spread = grid.spread();
    let differences = grid.problem_means();
    // What the variance would be if all differences were 0, but for the smoothing of a mean. Only where few problems
    // differ: elsewhere the spread speaks for itself, and with many samples it is rightly below this.
    let floor = if differences.iter().filter(|d| **d != 0.0).count() < FEW_DIFFER {
        2.0 * SMOOTHING / ((n as f64 + 2.0 * SMOOTHING) * (n as f64 - 1.0))
    } else {
        0.0
    };
    let error = (spread.between_problems.max(floor) + spread.between_replicates).sqrt();
    let half = t_95(spread.df) * error;
    let difference = Estimate {
        value: spread.mean,
        low: (spread.mean - half).max(-1.0),
        high: (spread.mean + half).min(1.0),
        n: n as u64,
    };
    let (p_value, test) = if grid.rows[0].len() > 1 {
        (t_two_sided(spread.mean / error, spread.df), PairedTest::StudentT)
    } else {
        sign_flip(&differences, seed)
    };
    Ok(PairedDifference { difference, p_value, test })
}

fn contrast_grid(terms: &[(f64, &[Scores])]) -> Result<Grid, StatsError> {
    let replicates = terms.iter().map(|(_, scores)| scores.len()).max().unwrap_or(0);
    if terms.iter().any(|(_, scores)| scores.is_empty()) {
        return Ok(Grid { rows: Vec::new() });
    }
    if let Some((_, odd)) = terms.iter().find(|(_, scores)| scores.len() != replicates && scores.len() != 1) {
        let first = terms.first().map_or(0, |(_, scores)| scores.len());
        let second = if first == odd.len() { replicates } else { odd.len() };
        return Err(StatsError::DifferentReplicates { first, second });
    }
    let sums: Vec<BTreeMap<&str, f64>> = (0..replicates)
        .map(|place| {
            let mut means = terms.iter().map(|(weight, scores)| (*weight, scores[place.min(scores.len() - 1)].means()));
            let Some((weight, first)) = means.next() else { return BTreeMap::new() };
            let first = first.into_iter().map(|(id, value)| (id, weight * value)).collect();
            let sums = means.fold(first, |sums: BTreeMap<&str, f64>, (weight, means)| {
                sums.into_iter().filter_map(|(id, sum)| Some((id, sum + weight * means.get(id)?))).collect()
            });
            sums.into_iter().map(|(id, sum)| (id, if sum.abs() < ROUNDING { 0.0 } else { sum })).collect()
        })
        .collect();
    Ok(Grid::from_means(&sums))
}

/// The share of sign patterns whose sum is at least as far from 0 as the observed one.
fn sign_flip(differences: &[f64], seed: Seed) -> (f64, PairedTest) {
    let nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    // Sums in another order differ in their last bits; those are ties, not evidence.
    let observed = nonzero.iter().sum::<f64>().abs() - 1e-9;
    if nonzero.len() <= EXACT_SIGNS {
        let patterns = 1u32 << nonzero.len();
        let reached = (0..patterns)
            .filter(|pattern| {
                let signed = |(place, d): (usize, &f64)| if pattern >> place & 1 == 1 { -d } else { *d };
                nonzero.iter().enumerate().map(signed).sum::<f64>().abs() >= observed
            })
            .count();
        return (reached as f64 / f64::from(patterns), PairedTest::SignFlipExact);
    }
    let mut stream = seed.named("sign-flip").stream();
    let reached = (0..DRAWN_SIGNS)
        .filter(|_| {
            let mut sum = 0.0;
            for some in nonzero.chunks(32) {
                let signs = stream.below(1 << 32);
                sum += some.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum::<f64>();
            }
            sum.abs() >= observed
        })
        .count();
    // The observed pattern is one of those that could have been drawn.
    ((reached as f64 + 1.0) / (f64::from(DRAWN_SIGNS) + 1.0), PairedTest::SignFlipDrawn)
}

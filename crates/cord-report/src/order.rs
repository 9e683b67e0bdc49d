//! Does an expected order of arms hold?
//!
//! An order that the point values show is not yet an order: it holds when the 95 % interval of the paired
//! difference lies above 0, or, where there is no paired difference, when the two intervals do not overlap.
//! The second is the harder test, so a pair that fails it is not decided, and not refuted.

use std::collections::BTreeMap;

use cord_eval::{Estimate, PairedDifference};
use serde::{Deserialize, Serialize};

use crate::table::Row;

/// An order that a recipe expects: each arm's metric above the next one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The metric.
    pub metric: String,
    /// The arms, highest value first.
    pub order: Vec<String>,
}

/// Names a paired difference: `above` minus `below` on a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// The metric.
    pub metric: String,
    /// The arm that is expected above.
    pub above: String,
    /// The arm that is expected below.
    pub below: String,
}

/// What is known of an expected order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It holds.
    Holds,
    /// The opposite holds.
    Reversed,
    /// Neither, with this many problems and seeds.
    Undecided,
    /// One of the arms lacks the metric, or its interval.
    Unmeasured,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Basis {
    /// The interval of the difference on the same problems.
    Paired {
        /// Two-sided, of no difference.
        #[serde(rename = "p-value")]
        p_value: f64,
    },
    /// The two arms' own intervals.
    Intervals,
}

/// The verdict on one pair of an expected order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderVerdict {
    /// The metric.
    pub metric: String,
    /// The arm that is expected above.
    pub above: String,
    /// The arm that is expected below.
    pub below: String,
    /// What is known.
    pub standing: Standing,
    /// What it rests on; absent where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// `above` minus `below`, where the two were paired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Estimate>,
}

impl Expectation {
    /// Each arm with the next one: the pairs whose paired differences [`judge_orders`] looks up.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> + '_ {
        self.order.windows(2).map(|two| Pair {
            metric: self.metric.clone(),
            above: two[0].clone(),
            below: two[1].clone(),
        })
    }
}

/// Judges each pair of neighbours in each expected order.
pub fn judge_orders(
    expectations: &[Expectation],
    rows: &[Row],
    paired: &BTreeMap<Pair, PairedDifference>,
) -> Vec<OrderVerdict> {
    let estimate = |arm: &str, metric: &str| rows.iter().find(|row| row.arm == arm)?.metrics.get(metric)?.estimate();
    let judge = |pair: Pair| {
        let (standing, basis, difference) = match paired.get(&pair) {
            Some(PairedDifference { difference, p_value, .. }) => {
                (side(difference.low, difference.high), Some(Basis::Paired { p_value: *p_value }), Some(*difference))
            }
            None => match (estimate(&pair.above, &pair.metric), estimate(&pair.below, &pair.metric)) {
                (Some(above), Some(below)) => {
                    (side(above.low - below.high, above.high - below.low), Some(Basis::Intervals), None)
                }
                _ => (Standing::Unmeasured, None, None),
            },
        };
        OrderVerdict { metric: pair.metric, above: pair.above, below: pair.below, standing, basis, difference }
    };
    expectations.iter().flat_map(Expectation::pairs).map(judge).collect()
}

/// Where an interval of differences lies.
fn side(low: f64, high: f64) -> Standing {
    if low > 0.0 {
        Standing::Holds
    } else if high < 0.0 {
        Standing::Reversed
    } else {
        Standing::Undecided
    }
}

//! `costs.json`: what a stage's models did, and what each problem took.

use std::collections::BTreeMap;

use cord_core::{ProblemId, Usage};
use serde::{Deserialize, Serialize};

/// What a stage cost, in tokens and seconds. Prices are not part of it: they may be looked up later, or change.
///
/// It is no result: seconds differ from run to run. Tokens do not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Costs {
    /// By the models' names in the recipe. Names of one model are joined by ` + `.
    pub models: BTreeMap<String, ModelCosts>,
    /// By problem: those that have an outcome.
    pub problems: BTreeMap<ProblemId, ProblemCosts>,
}

/// What one model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelCosts {
    /// Replies that the stage was made from, each counted once, however often it was killed and resumed.
    pub replies: u64,
    /// Tokens of those replies. `prompt_tokens` counts generations only.
    pub usage: Usage,
    /// Prompt tokens that the model found in its prefix cache; absent where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Seconds in which at least one request was in flight, over all attempts but the last moments of a killed one.
    pub seconds: f64,
}

/// What one problem took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProblemCosts {
    /// Tokens of all its candidates.
    pub usage: Usage,
    /// From its first request to its outcome in the attempt that ended it. Problems run side by side: the sum of
    /// these is no time that anyone waited.
    pub seconds: f64,
}

impl Costs {
    /// Adds the costs of another part of the same work: another shard.
    pub fn add(&mut self, other: Self) {
        for (name, costs) in other.models {
            let sum = self.models.entry(name).or_default();
            sum.replies += costs.replies;
            sum.usage += costs.usage;
            sum.seconds += costs.seconds;
            sum.cached_tokens = match (sum.cached_tokens, costs.cached_tokens) {
                (Some(a), Some(b)) => Some(a + b),
                (one, other) => one.or(other),
            };
        }
        self.problems.extend(other.problems);
    }
}

//! Problems and what became of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A problem's name, unique in its data set. Final files are sorted by it.
pub type ProblemId = String;

/// A problem with its gold answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique in the data set.
    pub id: ProblemId,
    /// The text that a model is asked.
    pub question: String,
    /// The gold answer, as it would stand inside `\boxed{}`.
    pub answer: String,
    /// Whatever else the data set says of it (level, subject, number of operations).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// What became of one item of a stage: one bad item never ends a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome<T> {
    /// The stage made a value.
    Done(T),
    /// The stage could not; the run goes on and its exit status says so.
    Failed {
        /// The item, in most stages a problem.
        id: String,
        /// What was expected, what was given, and where.
        reason: String,
    },
}

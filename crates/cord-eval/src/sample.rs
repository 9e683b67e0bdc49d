//! One response to one problem.

use std::collections::BTreeMap;

use cord_core::{Finish, ProblemId, Usage};
use cord_math::{Doubt, Verdict};
use serde::{Deserialize, Serialize};

/// One response and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples it is, from 0.
    pub sample: u32,
    /// The text after the opening, verbatim.
    pub response: String,
    /// Why it ended.
    pub finish: Finish,
    /// The verdict on its text, whatever the finish.
    pub verdict: Verdict,
    /// The answer that was pulled out of it, where there is one.
    pub extracted: Option<String>,
    /// Further measures by name, each in `[0, 1]`; see [`crate::Verifier`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, f64>,
    /// What it cost.
    pub usage: Usage,
}

/// What a sample counts as. Only `Correct` counts towards pass@1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleState {
    /// Ended by itself with the gold answer.
    Correct,
    /// Ended by itself with another answer.
    Incorrect,
    /// The budget ran out, whatever the text says by then: a model that does not stop has not answered.
    Truncated,
    /// Ended by itself inside its reasoning block.
    UnclosedThink,
    /// Ended by itself without an answer that could be read.
    Unparsed,
    /// The comparison ran out of fuel.
    OutOfFuel,
}

impl Sample {
    /// What the sample counts as. Truncation goes before everything else.
    pub fn state(&self) -> SampleState {
        if self.finish == Finish::Length {
            return SampleState::Truncated;
        }
        match &self.verdict {
            Verdict::Correct { .. } => SampleState::Correct,
            Verdict::Incorrect { .. } => SampleState::Incorrect,
            Verdict::Unparsed { why: Doubt::UnclosedThink } => SampleState::UnclosedThink,
            Verdict::Unparsed { .. } => SampleState::Unparsed,
            Verdict::OutOfFuel => SampleState::OutOfFuel,
        }
    }
}

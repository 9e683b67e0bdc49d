//! `[run.rates.<model>]` and `[run.expected]`: what an estimate of costs goes by. In no key: nothing runs otherwise for it.

use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};

/// How fast a model works, over all requests that are in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rate {
    /// Tokens that are generated in a second.
    pub generated: Option<f64>,
    /// Tokens that are scored in a second, the reading of what stands before them included.
    pub scored: Option<f64>,
    /// Tokens that are trained on in a second.
    pub trained: Option<f64>,
    /// The GPUs that it works with.
    pub gpus: u32,
}

impl Rate {
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let rate = |field: &Field<'_>| field.number("a number of tokens a second, above 0,", |rate| rate > 0.0);
        let found = Self {
            generated: fields.optional("generated", rate),
            scored: fields.optional("scored", rate),
            trained: fields.optional("trained", rate),
            gpus: fields.or("gpus", 1, Field::count),
        };
        if !["generated", "scored", "trained"].into_iter().any(|key| fields.has(key)) {
            fields.missing("generated", "tokens a second (or `scored`, or `trained`)");
        }
        fields.close();
        found
    }
}

/// How long texts are expected to be, in tokens. What a recipe does not say is guessed from its budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expected {
    /// The user's message.
    pub question: Option<u32>,
    /// The gold answer, as a prover scores it.
    pub gold: Option<u32>,
    /// A step.
    pub step: Option<u32>,
    /// The reasoning of a trajectory.
    pub reasoning: Option<u32>,
    /// The answer after it.
    pub answer: Option<u32>,
    /// A response to a benchmark's problem.
    pub response: Option<u32>,
}

impl Expected {
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let found = Self {
            question: fields.optional("question", Field::count),
            gold: fields.optional("gold", Field::count),
            step: fields.optional("step", Field::count),
            reasoning: fields.optional("reasoning", Field::count),
            answer: fields.optional("answer", Field::count),
            response: fields.optional("response", Field::count),
        };
        if let (Some(step), Some(reasoning)) = (found.step, found.reasoning)
            && step > reasoning
        {
            let (key, given) = (fields.path("step"), step.to_string());
            let expected = format!("at most `reasoning` = {reasoning}");
            fields.fault_at("step", FaultKind::OutOfRange { key, expected, given });
        }
        fields.close();
        found
    }
}

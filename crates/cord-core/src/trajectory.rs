//! Steps, the candidates they were chosen from, and finished trajectories.

use serde::{Deserialize, Serialize};

use crate::{Finish, ProblemId, Usage};

/// What a step is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// A part of the reasoning block.
    Reasoning,
    /// What follows the reasoning block: the answer.
    Answer,
    /// A whole response at once, reasoning and answer.
    Whole,
}

/// What a search did with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Kept when its siblings were ranked, but not part of the final trajectory.
    Kept,
    /// Kept, and part of the final trajectory.
    Chosen,
    /// Not kept.
    Dropped,
    /// The same text as a better-placed sibling.
    Duplicate,
}

/// A proposal for the next step. Every candidate is recorded, kept or not: this ledger serves figures,
/// preference pairs and re-selection without new generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number in the problem's ledger, from 0, in the order of (depth, parent, teacher, sample).
    pub id: u32,
    /// The candidate that it continues; absent at depth 0.
    pub parent: Option<u32>,
    /// How many steps stand before it.
    pub depth: u32,
    /// The teacher's name in the recipe.
    pub teacher: String,
    /// Which of the teacher's proposals for this parent it is.
    pub sample: u32,
    /// What it is a part of.
    pub kind: StepKind,
    /// Its text; the texts along a path concatenate to the response.
    pub text: String,
    /// Why its generation ended.
    pub finish: Finish,
    /// Does the reasoning (or the response) end with it?
    pub terminal: bool,
    /// The scorer's value, finite; absent where the search does not score.
    pub score: Option<f64>,
    /// Its place among its siblings, from 0; absent where the search does not rank.
    pub rank: Option<u32>,
    /// What became of it.
    pub fate: Fate,
    /// What proposing and scoring it cost.
    pub usage: Usage,
}

/// One step of a finished trajectory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The candidate it was.
    pub candidate: u32,
    /// Who wrote it.
    pub teacher: String,
    /// What it is a part of.
    pub kind: StepKind,
    /// Its text.
    pub text: String,
    /// Its score when it was chosen.
    pub score: Option<f64>,
}

/// How a trajectory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrajectoryEnd {
    /// The reasoning closed and the answer ended with the end-of-turn token.
    Complete,
    /// The reasoning budget ran out before the block closed.
    ReasoningTruncated,
    /// The answer budget ran out.
    AnswerTruncated,
    /// The model ended its turn without closing the reasoning block.
    Unclosed,
}

/// A finished trajectory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// The problem it solves.
    pub problem: ProblemId,
    /// Which of the problem's final trajectories it is, best first, from 0.
    pub index: u32,
    /// Its steps; their texts concatenate to [`Trajectory::response`].
    pub steps: Vec<Step>,
    /// The assistant's text after the opening `<think>` and line break: reasoning, `</think>`, answer.
    pub response: String,
    /// How it ended.
    pub end: TrajectoryEnd,
    /// Its score by the search's criterion, where there is one.
    pub score: Option<f64>,
    /// What the whole search for this problem cost, shared by its trajectories.
    pub usage: Usage,
}

impl Trajectory {
    /// The text inside the reasoning block, and the text after it where the block was closed.
    pub fn split(&self) -> (&str, Option<&str>) {
        match self.response.split_once("</think>") {
            Some((reasoning, answer)) => (reasoning, Some(answer)),
            None => (&self.response, None),
        }
    }
}

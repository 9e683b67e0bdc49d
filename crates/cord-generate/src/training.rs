//! From finished trajectories to the rows that a student learns from.

use std::collections::BTreeMap;

use cord_core::{Message, Problem, Trajectory, TrajectoryEnd};
use serde::{Deserialize, Serialize};

use crate::PromptTemplate;

/// Which final trajectories enter the training set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// All of them, truncated and unclosed ones too.
    All,
    /// Those that ended by themselves with an answer.
    #[default]
    Complete,
    /// Those that are complete and give the gold answer.
    Correct,
}

/// One conversation to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRow {
    /// The problem's name and the trajectory's index, `problem/index`.
    pub id: String,
    /// The user's turn and the assistant's, which opens with `<think>` and a line break.
    pub messages: Vec<Message>,
}

/// How many trajectories were left out, by the first rule that they broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// The reasoning budget ran out.
    pub reasoning_truncated: u64,
    /// The answer budget ran out.
    pub answer_truncated: u64,
    /// The reasoning was never closed.
    pub unclosed: u64,
    /// Complete, but the answer is not the gold one.
    pub incorrect: u64,
    /// The problem is not among those given.
    pub unknown_problem: u64,
}

/// The rows and what did not become one.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSet {
    /// The rows, in the order of the trajectories.
    pub rows: Vec<TrainingRow>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Makes training rows of trajectories. `correct` says whether a trajectory gives the gold answer; it is asked only
/// under [`Keep::Correct`] and only about complete trajectories.
pub fn training_set(
    problems: &[Problem],
    trajectories: &[Trajectory],
    prompt: &PromptTemplate,
    keep: Keep,
    correct: &dyn Fn(&Problem, &Trajectory) -> bool,
) -> TrainingSet {
    let problems: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut set = TrainingSet { rows: Vec::new(), left_out: LeftOut::default() };
    for trajectory in trajectories {
        let Some(problem) = problems.get(trajectory.problem.as_str()) else {
            set.left_out.unknown_problem += 1;
            continue;
        };
        let broken = match (keep, trajectory.end) {
            (Keep::All, _) | (Keep::Complete, TrajectoryEnd::Complete) => None,
            (Keep::Correct, TrajectoryEnd::Complete) => {
                (!correct(problem, trajectory)).then_some(&mut set.left_out.incorrect)
            }
            (_, TrajectoryEnd::ReasoningTruncated) => Some(&mut set.left_out.reasoning_truncated),
            (_, TrajectoryEnd::AnswerTruncated) => Some(&mut set.left_out.answer_truncated),
            (_, TrajectoryEnd::Unclosed) => Some(&mut set.left_out.unclosed),
        };
        if let Some(count) = broken {
            *count += 1;
            continue;
        }
        let mut messages = prompt.messages(problem);
        messages.push(Message::assistant(format!("<think>\n{}", trajectory.response)));
        set.rows.push(TrainingRow { id: format!("{}/{}", trajectory.problem, trajectory.index), messages });
    }
    set
}

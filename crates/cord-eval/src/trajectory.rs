//! The quality of generated trajectories: the paper's answer accuracy and mean score, and process accuracy.

use cord_core::{Problem, Trajectory, TrajectoryEnd, Usage};
use cord_math::{Start, Verdict, equal, last_number, verify};
use serde::{Deserialize, Serialize};

use crate::scores::Scores;

/// What one trajectory is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrajectoryVerdict {
    /// The verdict on its final answer.
    pub answer: Verdict,
    /// Is every step right? Absent where the problem has no gold steps.
    pub process: Option<bool>,
    /// The first step that is wrong or missing, from 0; absent where none is, or nothing is known.
    pub first_wrong_step: Option<u32>,
}

/// A problem's gold intermediate values: `metadata.steps`, an array of strings. Absent where the problem has
/// none, or anything else stands there.
pub fn gold_steps(problem: &Problem) -> Option<Vec<&str>> {
    problem.metadata.get("steps")?.as_array()?.iter().map(serde_json::Value::as_str).collect()
}

/// Judges one trajectory of a problem with at most `fuel` units of work for each comparison.
///
/// A step is right when the last number in its text, after the header `### Step n.`, equals the gold value
/// at its place. Every gold step must be there. A step beyond them is a summary, and may only repeat: its last
/// number, where it has one, must equal the last gold value.
pub fn judge_trajectory(problem: &Problem, trajectory: &Trajectory, fuel: u64) -> TrajectoryVerdict {
    let first_wrong = gold_steps(problem).map(|gold| first_wrong_step(&gold, trajectory.split().0, fuel));
    TrajectoryVerdict {
        answer: verify(&problem.answer, &trajectory.response, Start::Thinking, fuel),
        process: first_wrong.map(|wrong| wrong.is_none()),
        first_wrong_step: first_wrong.flatten(),
    }
}

fn first_wrong_step(gold: &[&str], reasoning: &str, fuel: u64) -> Option<u32> {
    let steps = step_bodies(reasoning);
    let right = |body: &str, gold: &str| last_number(body).is_some_and(|n| matches!(equal(gold, n, fuel), Ok(Some(_))));
    let by_gold =
        gold.iter().enumerate().find(|(place, gold)| !steps.get(*place).is_some_and(|body| right(body, gold)));
    let repeats = |body: &str| last_number(body).is_none() || gold.last().is_some_and(|gold| right(body, gold));
    let wrong = by_gold.map(|(place, _)| place).or_else(|| {
        let (place, _) = steps.iter().enumerate().skip(gold.len()).find(|(_, body)| !repeats(body))?;
        Some(place)
    });
    wrong.map(|place| place as u32)
}

/// The text of each step after its header: a line that begins `### Step`, a number, and an optional stop or
/// colon.
fn step_bodies(reasoning: &str) -> Vec<&str> {
    const HEADER: &str = "### Step";
    let starts: Vec<usize> = reasoning
        .match_indices(HEADER)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || reasoning.as_bytes()[at - 1] == b'\n')
        .collect();
    let ends = starts.iter().skip(1).copied().chain([reasoning.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let body = reasoning[start + HEADER.len()..end].trim_start();
            body.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['.', ':'])
        })
        .collect()
}

/// The quality of one replicate's trajectories. Each [`Scores`] goes to [`mean`](crate::mean), alone or with other
/// seeds'.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrajectoryMeasures {
    /// 1 for each right final answer, 0 for each other trajectory.
    pub accuracy: Scores,
    /// 1 for each trajectory whose steps are all right; only of problems with gold steps.
    pub process: Scores,
    /// The trajectories' own scores, where the search has one; in `[0, 1]` for predictive perplexity.
    pub score: Scores,
    /// How many trajectories there are.
    pub trajectories: u64,
    /// How many ran out of their reasoning or answer budget.
    pub truncated: u64,
    /// How many ended their turn inside the reasoning block.
    pub unclosed: u64,
    /// How many have no answer that could be read, or one that ran out of fuel.
    pub unparsed: u64,
    /// What generating them cost: each problem's search once.
    pub usage: Usage,
}

impl TrajectoryMeasures {
    /// Adds all trajectories of one problem.
    ///
    /// A truncated or unclosed trajectory counts as not correct, with its own count.
    pub fn add(&mut self, problem: &Problem, trajectories: &[Trajectory], fuel: u64) {
        if let Some(first) = trajectories.first() {
            // The search's cost stands on each of its trajectories.
            self.usage += first.usage;
        }
        for trajectory in trajectories {
            let verdict = judge_trajectory(problem, trajectory, fuel);
            let complete = trajectory.end == TrajectoryEnd::Complete;
            self.trajectories += 1;
            match trajectory.end {
                TrajectoryEnd::Complete => {
                    self.unparsed += u64::from(matches!(verdict.answer, Verdict::Unparsed { .. } | Verdict::OutOfFuel));
                }
                TrajectoryEnd::ReasoningTruncated | TrajectoryEnd::AnswerTruncated => self.truncated += 1,
                TrajectoryEnd::Unclosed => self.unclosed += 1,
            }
            let share = |yes: bool| f64::from(u8::from(yes));
            self.accuracy.push(problem.id.as_str(), share(complete && verdict.answer.is_correct()));
            if let Some(right) = verdict.process {
                self.process.push(problem.id.as_str(), share(right));
            }
            if let Some(score) = trajectory.score {
                self.score.push(problem.id.as_str(), score);
            }
        }
    }
}

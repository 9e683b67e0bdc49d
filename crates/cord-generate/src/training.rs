//! From finished trajectories to the rows that a student learns from.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Message, Problem, Trajectory, TrajectoryEnd};
use serde::{Deserialize, Serialize};

use crate::PromptTemplate;

/// Which final trajectories enter the training set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// All of them, truncated and unclosed ones too.
    All,
    /// Those that closed their reasoning; their answers may be truncated.
    Closed,
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

impl TrainingRow {
    /// The same as a prompt and its completion.
    pub fn prompt_completion(&self) -> PromptCompletionRow {
        let mut prompt = self.messages.clone();
        let completion = prompt.pop().into_iter().collect();
        PromptCompletionRow { id: self.id.clone(), prompt, completion }
    }
}

/// A conversation to learn the last turn of, in the fields of TRL's prompt and completion format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptCompletionRow {
    /// As in [`TrainingRow`].
    pub id: String,
    /// The turns before the assistant's.
    pub prompt: Vec<Message>,
    /// The assistant's turn, `<think>` block included.
    pub completion: Vec<Message>,
}

/// How many rows there are, by how their trajectories ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// The reasoning closed and the answer ended by itself.
    pub complete: u64,
    /// The reasoning budget ran out.
    pub reasoning_truncated: u64,
    /// The answer budget ran out.
    pub answer_truncated: u64,
    /// The reasoning was never closed.
    pub unclosed: u64,
}

impl Kept {
    fn count(&mut self, end: TrajectoryEnd) {
        *match end {
            TrajectoryEnd::Complete => &mut self.complete,
            TrajectoryEnd::ReasoningTruncated => &mut self.reasoning_truncated,
            TrajectoryEnd::AnswerTruncated => &mut self.answer_truncated,
            TrajectoryEnd::Unclosed => &mut self.unclosed,
        } += 1;
    }
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
    /// The problem repeats one of a benchmark.
    pub contaminated: u64,
}

/// The rows and what did not become one.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSet {
    /// The rows, in the order of the trajectories.
    pub rows: Vec<TrainingRow>,
    /// How the rows' trajectories ended.
    pub kept: Kept,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Makes training rows of trajectories. `correct` says whether a trajectory gives the gold answer; it is asked only
/// under [`Keep::Correct`] and only about complete trajectories. What `contaminated` names is left out first.
pub fn training_set(
    problems: &[Problem],
    trajectories: &[Trajectory],
    prompt: &PromptTemplate,
    keep: Keep,
    contaminated: &BTreeSet<&str>,
    correct: &dyn Fn(&Problem, &Trajectory) -> bool,
) -> TrainingSet {
    let problems: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut set = TrainingSet { rows: Vec::new(), kept: Kept::default(), left_out: LeftOut::default() };
    for trajectory in trajectories {
        let Some(problem) = problems.get(trajectory.problem.as_str()) else {
            set.left_out.unknown_problem += 1;
            continue;
        };
        if contaminated.contains(trajectory.problem.as_str()) {
            set.left_out.contaminated += 1;
            continue;
        }
        let broken = match (keep, trajectory.end) {
            (Keep::All, _)
            | (Keep::Closed, TrajectoryEnd::Complete | TrajectoryEnd::AnswerTruncated)
            | (Keep::Complete, TrajectoryEnd::Complete) => None,
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
        set.kept.count(trajectory.end);
        let mut messages = prompt.messages(problem);
        messages.push(Message::assistant(format!("<think>\n{}", trajectory.response)));
        set.rows.push(TrainingRow { id: format!("{}/{}", trajectory.problem, trajectory.index), messages });
    }
    set
}

#[cfg(test)]
mod tests {
    use cord_core::{Role, Usage};

    use super::*;

    fn trajectory(problem: &str, index: u32, end: TrajectoryEnd, response: &str) -> Trajectory {
        let response = response.to_owned();
        Trajectory {
            problem: problem.into(),
            index,
            steps: Vec::new(),
            response,
            end,
            score: None,
            usage: Usage::default(),
        }
    }

    #[test]
    fn rules_choose_rows_and_count_what_they_leave_out() {
        let problem = |id: &str, answer: &str| Problem {
            id: id.into(),
            question: format!("What is {id}?"),
            answer: answer.into(),
            metadata: BTreeMap::new(),
        };
        let problems = [problem("p", "1"), problem("q", "2")];
        let trajectories = [
            trajectory("q", 0, TrajectoryEnd::Complete, "a</think>2"),
            trajectory("p", 0, TrajectoryEnd::Complete, "a</think>2"),
            trajectory("p", 1, TrajectoryEnd::AnswerTruncated, "a</think>1"),
            trajectory("p", 2, TrajectoryEnd::ReasoningTruncated, "a"),
            trajectory("p", 3, TrajectoryEnd::Unclosed, "1"),
            trajectory("z", 0, TrajectoryEnd::Complete, "a</think>2"),
        ];
        let prompt = PromptTemplate::new("{question}").unwrap();
        let check = |keep: Keep, ids: &[&str], left_out: LeftOut| {
            let ends_well = |problem: &Problem, trajectory: &Trajectory| trajectory.response.ends_with(&problem.answer);
            let set = training_set(&problems, &trajectories, &prompt, keep, &BTreeSet::new(), &ends_well);
            assert_eq!(set.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ids, "{keep:?}");
            assert_eq!(set.left_out, left_out, "{keep:?}");
            let kept = set.kept.complete + set.kept.reasoning_truncated + set.kept.answer_truncated + set.kept.unclosed;
            assert_eq!(kept, set.rows.len() as u64);
            let [user, assistant] = set.rows[0].messages.as_slice() else { panic!("expected two turns") };
            assert_eq!((user.role, user.content.as_str()), (Role::User, "What is q?"));
            assert_eq!((assistant.role, assistant.content.as_str()), (Role::Assistant, "<think>\na</think>2"));
        };
        let unknown = LeftOut { unknown_problem: 1, ..LeftOut::default() };
        check(Keep::All, &["q/0", "p/0", "p/1", "p/2", "p/3"], unknown);
        let unfinished = LeftOut { reasoning_truncated: 1, unclosed: 1, ..unknown };
        check(Keep::Closed, &["q/0", "p/0", "p/1"], unfinished);
        let incomplete = LeftOut { reasoning_truncated: 1, answer_truncated: 1, unclosed: 1, ..unknown };
        check(Keep::Complete, &["q/0", "p/0"], incomplete);
        check(Keep::Correct, &["q/0"], LeftOut { incorrect: 1, ..incomplete });
        let without = training_set(&problems, &trajectories, &prompt, Keep::All, &BTreeSet::from(["p"]), &|_, _| false);
        assert_eq!(without.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["q/0"]);
        assert_eq!(without.left_out, LeftOut { contaminated: 4, unknown_problem: 1, ..LeftOut::default() });
        let set = training_set(&problems, &trajectories, &prompt, Keep::All, &BTreeSet::new(), &|_, _| false);
        assert_eq!(set.kept, Kept { complete: 2, reasoning_truncated: 1, answer_truncated: 1, unclosed: 1 });
        let row = set.rows[0].prompt_completion();
        let contents = |messages: &[Message]| messages.iter().map(|one| one.content.clone()).collect::<Vec<_>>();
        assert_eq!((row.id.as_str(), contents(&row.prompt)), ("q/0", vec!["What is q?".to_owned()]));
        assert_eq!(contents(&row.completion), ["<think>\na</think>2"]);
    }
}

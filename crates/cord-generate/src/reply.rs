//! What a teacher's reply makes of the candidate that it was asked for.

use cord_core::{Finish, Generation, Trajectory, TrajectoryEnd};

use crate::ledger::State;
use crate::{Closing, Reading, Segmenter, THINK_CLOSE};

/// How reasoning is closed that its writer left open; the answer is asked for behind it.
const FORCED: &str = "\n</think>\n\nThe final answer is \\boxed{";

/// Was the reasoning closed by the search, under [`Closing::Forced`]? Read from the response, which holds the words that closed it.
pub fn closed_by_force(trajectory: &Trajectory) -> bool {
    trajectory.response.contains(FORCED)
}

fn close(text: &str) -> String {
    format!("{}{FORCED}", text.trim_end())
}

pub(crate) enum Written {
    /// The candidate's text and state.
    Candidate { text: String, state: State },
    /// The teacher is asked once more, with this already said of the step, for what is left of its tokens or for the answer.
    AskAgain { lead: String, answers: bool },
    /// The teacher stopped at a string that it was not told to stop at.
    UnknownStop { given: String },
}

/// A step of reasoning. `room` says whether another step could follow this one: a step after which none can has used up
/// the reasoning's budget, however cleanly it ended.
pub(crate) fn step(segmenter: Segmenter, closing: Closing, lead: &str, generation: &Generation, room: bool) -> Written {
    let forced = closing == Closing::Forced;
    let (text, state) = match segmenter.read(lead, generation) {
        Reading::Step { text, closes: true } => (text, State::Closed),
        Reading::Step { text, closes: false } if room => (text, State::Open),
        Reading::Step { text, closes: false } | Reading::Truncated { text } if forced && !room => {
            (close(&text), State::Closed)
        }
        // A step that is cut off has run away, and only where the search closes what it leaves is its rest the next step.
        Reading::Truncated { text } if forced => (text, State::Open),
        Reading::Unclosed { text } if forced => (close(&text), State::Closed),
        Reading::Step { text, closes: false } | Reading::Truncated { text } => {
            (text, State::Ended(TrajectoryEnd::ReasoningTruncated))
        }
        Reading::Unclosed { text } => (text, State::Ended(TrajectoryEnd::Unclosed)),
        Reading::Empty => (format!("{lead}{}", generation.text), State::Empty),
        Reading::Lead { lead } => return Written::AskAgain { lead, answers: false },
        Reading::UnknownStop { given } => return Written::UnknownStop { given },
    };
    Written::Candidate { text, state }
}

/// The answer after closed reasoning.
pub(crate) fn answer(generation: &Generation) -> Written {
    ended(generation, TrajectoryEnd::Complete, TrajectoryEnd::AnswerTruncated)
}

/// Reasoning and answer in one go. Where reasoning is closed by force the teacher is asked twice: for the reasoning, or all of it, within
/// the reasoning's budget, then for the answer; `lead` is what it said first.
pub(crate) fn whole(closing: Closing, lead: &str, generation: &Generation) -> Written {
    if !lead.is_empty() {
        let text = format!("{lead}{}", generation.text);
        return ended(
            &Generation { text, ..generation.clone() },
            TrajectoryEnd::Complete,
            TrajectoryEnd::AnswerTruncated,
        );
    }
    if closing == Closing::Forced && !generation.text.trim().is_empty() {
        let closed = generation.text.contains(THINK_CLOSE);
        match (&generation.finish, closed) {
            (Finish::Eos | Finish::Length, false) => {
                return Written::AskAgain { lead: close(&generation.text), answers: true };
            }
            (Finish::Length, true) => return Written::AskAgain { lead: generation.text.clone(), answers: true },
            (Finish::Eos, true) | (Finish::Delimiter(_), _) => {}
        }
    }
    if generation.text.trim().is_empty() {
        return Written::Candidate { text: generation.text.clone(), state: State::Empty };
    }
    if generation.text.contains(THINK_CLOSE) {
        answer(generation)
    } else {
        ended(generation, TrajectoryEnd::Unclosed, TrajectoryEnd::ReasoningTruncated)
    }
}

fn ended(generation: &Generation, by_itself: TrajectoryEnd, by_budget: TrajectoryEnd) -> Written {
    let end = match &generation.finish {
        Finish::Eos => by_itself,
        Finish::Length => by_budget,
        Finish::Delimiter(given) => return Written::UnknownStop { given: given.clone() },
    };
    Written::Candidate { text: generation.text.clone(), state: State::Ended(end) }
}

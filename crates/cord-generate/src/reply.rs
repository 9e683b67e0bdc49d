//! What a teacher's reply makes of the candidate that it was asked for.

use cord_core::{Finish, Generation, TrajectoryEnd};

use crate::ledger::State;
use crate::{Reading, Segmenter, THINK_CLOSE};

pub(crate) enum Written {
    /// The candidate's text and state.
    Candidate { text: String, state: State },
    /// The teacher is asked once more, with this already said of the step.
    AskAgain { lead: String },
    /// The teacher stopped at a string that it was not told to stop at.
    UnknownStop { given: String },
}

/// A step of reasoning. `room` says whether another step could follow this one: a step after which none can has used up
/// the reasoning's budget, however cleanly it ended.
pub(crate) fn step(segmenter: Segmenter, lead: &str, generation: &Generation, room: bool) -> Written {
    let (text, state) = match segmenter.read(lead, generation) {
        Reading::Step { text, closes: true } => (text, State::Closed),
        Reading::Step { text, closes: false } if room => (text, State::Open),
        Reading::Step { text, closes: false } | Reading::Truncated { text } => {
            (text, State::Ended(TrajectoryEnd::ReasoningTruncated))
        }
        Reading::Unclosed { text } => (text, State::Ended(TrajectoryEnd::Unclosed)),
        Reading::Empty => (format!("{lead}{}", generation.text), State::Empty),
        Reading::Lead { lead } => return Written::AskAgain { lead },
        Reading::UnknownStop { given } => return Written::UnknownStop { given },
    };
    Written::Candidate { text, state }
}

/// The answer after closed reasoning.
pub(crate) fn answer(generation: &Generation) -> Written {
    ended(generation, TrajectoryEnd::Complete, TrajectoryEnd::AnswerTruncated)
}

/// Reasoning and answer in one go.
pub(crate) fn whole(generation: &Generation) -> Written {
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

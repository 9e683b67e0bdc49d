//! What can go wrong, one variant for each cause.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::Duration;

use cord_core::ModelError;

use crate::Ticket;

/// Why a search could not be set up or did not end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// The settings can't be used; all faults at once.
    #[error("{}", list(.0))]
    Settings(Vec<SettingsFault>),
    /// A prompt template has no place for the question.
    #[error("expected a prompt template that holds `{{question}}`, got `{given}`")]
    Template {
        /// The template.
        given: String,
    },
    /// A model was given a role that it can't fill.
    #[error("expected a model that can {capability} in the role of {role}, got `{model}`, which can't")]
    Incapable {
        /// The model's name.
        model: String,
        /// The role that the recipe gives it.
        role: &'static str,
        /// What the role needs.
        capability: &'static str,
    },
    /// A teacher did not answer.
    #[error("teacher `{teacher}` failed at depth {depth}")]
    Teacher {
        /// The teacher's name in the recipe.
        teacher: String,
        /// How many steps stood before the one that it was asked for.
        depth: u32,
        /// What it said.
        source: ModelError,
    },
    /// A teacher stopped at a string that it was not told to stop at.
    #[error("teacher `{teacher}`: expected a generation that ends at one of {}, got one that ended at {}", quoted(.expected), quoted(std::slice::from_ref(.given)))]
    UnexpectedStop {
        /// The teacher's name in the recipe.
        teacher: String,
        /// The stop strings of the request.
        expected: Vec<String>,
        /// The string that it named.
        given: String,
    },
    /// No teacher proposed anything at the first step.
    #[error("expected at least one proposal for the first step, got only empty ones from {}", quoted(.teachers))]
    NothingProposed {
        /// The teachers that were asked.
        teachers: Vec<String>,
    },
    /// The scorer had no opinion of any candidate.
    #[error(
        "scorer `{scorer}`: expected a score for at least one candidate at depth {depth}, got none for any of {candidates}"
    )]
    NothingScored {
        /// The scorer's name.
        scorer: String,
        /// How many steps stood before the candidates.
        depth: u32,
        /// How many candidates there were.
        candidates: usize,
    },
    /// The scorer's model did not answer.
    #[error("scorer `{scorer}` failed")]
    Scorer {
        /// The scorer's name.
        scorer: String,
        /// What its model said.
        source: ModelError,
    },
    /// A score, or a log-probability that it is made of, was not a usable number.
    #[error("scorer `{scorer}`: expected {expected}, got {given}")]
    NotFinite {
        /// The scorer's name.
        scorer: String,
        /// What it should have given.
        expected: &'static str,
        /// What it gave, in words: NaN has no other faithful form.
        given: String,
    },
    /// The scorer did not give one score for each candidate.
    #[error("scorer `{scorer}`: expected a score for each candidate ({expected}), got {given}")]
    ScoreCount {
        /// The scorer's name.
        scorer: String,
        /// The number of candidates.
        expected: usize,
        /// The number of scores.
        given: usize,
    },
    /// A ledger has no score of a candidate.
    #[error("scorer `{scorer}`: expected a recorded score of the candidate `{}`, got none", .step.escape_debug())]
    NotRecorded {
        /// The scorer's name.
        scorer: String,
        /// The candidate's text.
        step: String,
    },
    /// A scorer that is made of others was given none.
    #[error("scorer `{scorer}`: expected {expected}, got none")]
    NoSignals {
        /// The scorer's name.
        scorer: &'static str,
        /// What it needs.
        expected: &'static str,
    },
    /// The problem's other forms of its gold answer are no texts.
    #[error("scorer `{scorer}`: expected a text or a list of texts as the problem's `{key}`, got `{given}`")]
    Forms {
        /// The scorer's name.
        scorer: String,
        /// The key of the problem's metadata.
        key: String,
        /// What it holds, as JSON.
        given: String,
    },
    /// The problem has no gold answer to predict.
    #[error("scorer `{scorer}`: expected a gold answer of at least one character, got `{given}`")]
    NoGold {
        /// The scorer's name.
        scorer: String,
        /// The gold answer.
        given: String,
    },
    /// The search took longer than it may.
    #[error("expected a result within {} s, got none by depth {depth}", .limit.as_secs_f64())]
    Deadline {
        /// How long it may take.
        limit: Duration,
        /// How many steps stood before those that were being asked for.
        depth: u32,
    },
    /// A reply bears a ticket that is not open: it was answered already, never issued, or is of the other kind.
    #[error("expected a reply to an open ticket, got one to `{0}`")]
    UnknownTicket(Ticket),
}

impl GenerateError {
    /// The message with its causes, in one line: what an outcome records.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// One fault of the settings.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsFault {
    /// A number is out of its range.
    #[error("`{key}`: expected {expected}, got {given}")]
    OutOfRange {
        /// The setting, as in the recipe.
        key: &'static str,
        /// The range in words.
        expected: String,
        /// The number.
        given: u64,
    },
    /// A fraction is out of its range.
    #[error("`{key}`: expected {expected}, got {given}")]
    NotWithin {
        /// The setting, as in the recipe.
        key: &'static str,
        /// The range in words.
        expected: String,
        /// The number, in words: NaN has no other faithful form.
        given: String,
    },
    /// The model that merges is the only teacher.
    #[error("`teachers`: expected at least one teacher besides `{0}`, which merges what the others write, got none")]
    NobodyToMerge(String),
    /// A setting that only beam search has was given to another search.
    #[error("`{key}`: expected the search `beam`, got `{given}`")]
    BeamOnly {
        /// The setting, as in the recipe.
        key: &'static str,
        /// The search.
        given: &'static str,
    },
    /// A setting compares scores of different steps, and the scorer's don't stand that.
    #[error("`{key}`: expected a scorer that judges each candidate on its own, got `{scorer}`")]
    Incomparable {
        /// The setting, as in the recipe.
        key: &'static str,
        /// The scorer.
        scorer: String,
    },
    /// There is nobody to propose steps.
    #[error("`teachers`: expected at least one teacher, got none")]
    NoTeachers,
    /// Two teachers have one name, so their random streams would be the same.
    #[error("`teachers`: expected distinct names, got `{0}` more than once")]
    SameTeacher(String),
    /// A setting names a teacher that is not there.
    #[error("`{key}`: expected one of the teachers {}, got `{given}`", quoted(.known))]
    UnknownTeacher {
        /// The setting, as in the recipe.
        key: &'static str,
        /// The name.
        given: String,
        /// The teachers that there are.
        known: Vec<String>,
    },
}

fn quoted(names: &[String]) -> Quoted<'_> {
    Quoted(names)
}

struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}`{}`", if index == 0 { "" } else { ", " }, name.escape_debug())?;
        }
        Ok(())
    }
}

fn list(faults: &[SettingsFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

//! How good a candidate is: an open set, hence a trait.

use cord_core::{BoxFuture, Problem, Usage};

use crate::{GenerateError, THINK_CLOSE};

/// A candidate as a scorer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The reasoning before the candidate.
    pub prefix: String,
    /// The candidate: one step, or the reasoning part of a whole response.
    pub step: String,
}

impl Judged {
    /// The reasoning with the candidate, without the tag that closes the block.
    pub fn reasoning(&self) -> String {
        format!("{}{}", self.prefix, self.step.strip_suffix(THINK_CLOSE).unwrap_or(&self.step))
    }

    /// Does the candidate close the reasoning block?
    pub fn closes(&self) -> bool {
        self.step.ends_with(THINK_CLOSE)
    }
}

/// A scorer's opinion of one candidate; higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Finite; a search refuses any other number.
    pub value: f64,
    /// What the opinion cost.
    pub usage: Usage,
}

/// What a scorer must see at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each candidate by itself: it is scored as soon as it arrives, while its siblings are still being written.
    Each,
    /// All candidates of a depth together, since a score depends on the others.
    Siblings,
}

/// Judges candidates.
///
/// The same candidates must get the same scores: a search asks about the same text once, and its results
/// must not depend on the order in which candidates arrive.
pub trait Scorer: Send + Sync {
    /// The scorer's name in messages, as in the recipe.
    fn name(&self) -> &str;

    /// What it must see at once.
    fn scope(&self) -> Scope;

    /// Gives one finite score for each candidate, in their order.
    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>>;
}

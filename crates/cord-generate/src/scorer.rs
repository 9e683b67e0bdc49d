//! How good a candidate is: an open set, hence a trait.

use cord_core::{BoxFuture, Problem, Usage};
use futures::future::join_all;

use crate::{GenerateError, THINK_CLOSE};

/// A candidate as a scorer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The reasoning before the candidate.
    pub prefix: String,
    /// The candidate: one step, or the reasoning part of a whole response.
    pub step: String,
    /// The writer's mean log-probability (nats) of what it drew. Given only to a scorer that
    /// [looks at it](Evidence::Writing), and absent where the writer's server does not say.
    pub mean_logprob: Option<f64>,
}

impl Judged {
    /// A candidate of which nothing is known but its text.
    pub fn new(prefix: impl Into<String>, step: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), step: step.into(), mean_logprob: None }
    }

    /// The reasoning with the candidate, without the tag that closes the block.
    pub fn reasoning(&self) -> String {
        format!("{}{}", self.prefix, self.body())
    }

    /// The candidate without the tag that closes the block.
    pub fn body(&self) -> &str {
        self.step.strip_suffix(THINK_CLOSE).unwrap_or(&self.step)
    }

    /// Does the candidate close the reasoning block?
    pub fn closes(&self) -> bool {
        self.step.ends_with(THINK_CLOSE)
    }
}

/// A scorer's opinion of one candidate; higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Finite; a search refuses any other number. Absent where the scorer came to no opinion, such as a verdict that can't
    /// be read: the candidate is then *unscored*. It stands in the ledger without a score, and it is never ranked and
    /// never chosen, so that no opinion never passes for a bad or a good one.
    pub value: Option<f64>,
    /// What the opinion cost. Every token of it counts as a scored one, whether the scorer's model read it or drew it, so
    /// that generated tokens are the teachers' alone: budgets are counted in them.
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

/// What an opinion depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The text: candidates of one text are judged once, whoever wrote them.
    Text,
    /// The text and how sure its writer was of it ([`Judged::mean_logprob`]).
    Writing,
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

    /// What its opinions depend on.
    fn evidence(&self) -> Evidence {
        Evidence::Text
    }

    /// Gives one score for each candidate, in their order; each is finite or absent.
    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>>;
}

/// Opinions that are asked for side by side. All replies are awaited, so that of several failures the first candidate's is always
/// the one reported.
pub(crate) async fn side_by_side<F>(opinions: impl Iterator<Item = F>) -> Result<Vec<Score>, GenerateError>
where
    F: Future<Output = Result<Score, GenerateError>>,
{
    join_all(opinions).await.into_iter().collect()
}

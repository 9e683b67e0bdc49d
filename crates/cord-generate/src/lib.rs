//! CoRD: collaborative step-wise decoding by several teachers, and the baselines that it is compared with.
//!
//! Given a problem with its gold answer and K teachers, one trajectory is built step by step. A partial
//! trajectory is text that every teacher can continue. At each step every teacher proposes a
//! continuation of every beam; a [`Scorer`] judges how good each one is, by default by how predictable it
//! makes the gold answer ([`PredictivePerplexity`]); the best `width` are kept.
//!
//! - [`Segmenter`]: where a step ends.
//! - [`Scorer`]: how good a candidate is.
//! - [`Search`]: a state machine without IO. [`Search::next_action`] says what to ask of the models,
//!   [`Search::accept`] takes what they said, in whatever order. A test, or a replay, needs no models.
//! - [`Generator`]: the one driver, which runs many searches at once against real models.
//! - [`training_set`]: from finished trajectories to the rows that a student learns from.
//!
//! # Invariants
//! - Every candidate is kept in the ledger, chosen or not.
//! - Results do not depend on the order in which replies arrive, nor do failures.
//! - A score is finite or the problem fails; NaN is never a rank. Ties break on purpose: a finished trajectory keeps
//!   its place against an equal; then the parent's rank decides, then an open step comes before one that closes
//!   the reasoning, then the teacher's order and the sample's index decide.
//! - Truncated and unclosed reasoning is a state that can be counted, never silent data.
//!
//! # Lacks
//! An async runtime, tensors, tokenizers, files, clocks. Covered: prompt-guided segmentation, predictive
//! perplexity, step-level beam search, curation, single teacher. Not covered: other segmenters and scorers,
//! tree search with rollouts, integration.

mod beam;
mod board;
mod dispatch;
mod drive;
mod error;
mod ledger;
mod perplexity;
mod prompt;
mod ranking;
mod reply;
mod scorer;
mod search;
mod segment;
mod settings;
mod training;
mod whole;

pub use drive::{Clock, Deadline, Drive, Generator, Interrupted, Observer, Solved, Teacher};
pub use error::{GenerateError, SettingsFault};
pub use ledger::SearchResult;
pub use perplexity::{DEFAULT_CUE, PredictivePerplexity};
pub use prompt::PromptTemplate;
pub use scorer::{Judged, Scope, Score, Scorer};
pub use search::{Action, GenerateTask, Reply, ScoreTask, Search, SearchPlan, Ticket};
pub use segment::{Reading, Segmenter, THINK_CLOSE};
pub use settings::{
    AnswerBy, BeamSettings, Budget, CurationSettings, Finished, GenerateSettings, PerplexitySettings, ScorerSettings,
    SearchSettings, SingleSettings,
};
pub use training::{Keep, LeftOut, TrainingRow, TrainingSet, training_set};

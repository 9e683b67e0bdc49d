//! CoRD: collaborative step-wise decoding by several teachers, and the baselines that it is compared with.
//!
//! Given a problem with its gold answer and K teachers, one trajectory is built step by step. A partial
//! trajectory is text that every teacher can continue. At each step every teacher proposes a
//! continuation of every beam; a [`Scorer`] judges how good each one is, by default by how predictable it
//! makes the gold answer ([`PredictivePerplexity`]); the best `width` are kept.
//!
//! - [`Segmenter`]: where a step ends.
//! - [`Scorer`]: how good a candidate is. [`ScorerSettings`] lists those that a recipe can name.
//! - [`Search`]: a state machine without IO. [`Search::next_action`] says what to ask of the models,
//!   [`Search::accept`] takes what they said, in whatever order. A test, or a replay, needs no models.
//! - [`Generator`]: the one driver, which runs many searches at once against real models.
//! - [`reselect`]: another criterion, search or set of teachers on the candidates of an earlier search.
//! - [`Policy`]: which teachers to ask, learnt from which proposals survive.
//! - [`training_set`], [`preference_pairs`], [`stepwise_rows`]: from trajectories and ledgers to the rows that a student
//!   learns from; [`Decontamination`] and [`DatasetCard`] go with them.
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
//! An async runtime, tensors, tokenizers, files, clocks. Not covered: reward models with a head of their own instead of
//! words; choosing teachers in any search but the beam.

mod adaptive;
mod beam;
mod best_first;
mod board;
mod card;
mod criterion;
mod decontamination;
mod dispatch;
mod drive;
mod error;
mod instruction;
mod integration;
mod judgment;
mod ledger;
mod likelihood;
mod mcts;
mod measure;
mod mixture;
mod perplexity;
mod preference;
mod prompt;
mod proposal;
mod ranking;
mod reply;
mod reselect;
mod reward;
mod scorer;
mod search;
mod segment;
mod settings;
mod sharing;
mod signals;
mod training;
mod turns;
mod whole;

pub use adaptive::{AdaptiveSettings, MakeGenerator, Policy, Survival, drive_adaptively, run_adaptively, warm_up};
pub use card::{CardConfig, CardModel, DatasetCard, StudentCard};
pub use criterion::{
    CertaintySettings, EnsembleSettings, JudgmentSettings, LengthSettings, MixtureSettings, OpenModel,
    PerplexitySettings, RandomSettings, RewardSettings, ScorerSettings, SignalSettings,
};
pub use decontamination::{Decontamination, Overlap, OverlapRule};
pub use drive::{Clock, Deadline, Drive, Generator, Interrupted, Observer, Solved, Teacher};
pub use error::{GenerateError, SettingsFault};
pub use integration::IntegrationPrompt;
pub use judgment::{BinaryJudgment, DEFAULT_VERDICT_TOKENS, JudgmentPrompt};
pub use ledger::SearchResult;
pub use likelihood::{AnswerReading, DEFAULT_CUE, Normalise};
pub use measure::measure;
pub use mixture::{Mixture, Scale};
pub use perplexity::{AnswerGain, Combine, PredictivePerplexity, ProverEnsemble};
pub use preference::{
    Label, Ledgers, PairSettings, PreferenceRow, StepwiseRow, Winners, preference_pairs, stepwise_rows,
};
pub use prompt::PromptTemplate;
pub use reply::closed_by_force;
pub use reselect::{Gap, RecordedScores, Reselection, Reselections, reselect, reselect_all};
pub use reward::{ProcessReward, RewardPrompt};
pub use scorer::{Evidence, Judged, Scope, Score, Scorer};
pub use search::{Action, GenerateTask, Reply, ScoreTask, Search, SearchPlan, Ticket};
pub use segment::{Cues, DEFAULT_STEP_TOKENS, Headers, Reading, Segmenter, THINK_CLOSE};
pub use settings::{
    AnswerBy, BeamSettings, BestFirstSettings, BestFirstStop, Budget, Choose, Closing, CurationSettings, Draws,
    Finished, GenerateSettings, IntegrationSettings, MctsSettings, SearchSettings, SingleSettings, StopRule,
};
pub use sharing::Sharing;
pub use signals::{MaxLength, Measured, RandomScore, SelfCertainty};
pub use training::{Keep, Kept, LeftOut, PromptCompletionRow, TrainingRow, TrainingSet, training_set};

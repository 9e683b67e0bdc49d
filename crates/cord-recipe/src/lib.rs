//! A recipe's text to a validated [`Recipe`], and that to a [`Plan`] of stages with content-derived keys.
//!
//! This crate touches no file, no model and no clock: whether a file exists, and what a model or data set
//! is by content, are told to it.
//!
//! - [`Recipe::read`] reports every fault at once, each with its place, what was expected and given, and a hint.
//! - An *arm* is the recipe with some keys overridden. In [`Recipe`] every arm is already resolved, so that no
//!   reader of it knows how overriding works.
//! - [`Recipe::plan`] names each stage by a digest of the settings that matter to it, of its inputs' keys and
//!   of its models' content. What says how to run (`[run]`) is in no key, and arms share every stage whose
//!   key is the same.
//!
//! - A *matrix* makes an arm of each combination of some keys' values.
//!
//! # Overriding
//!
//! Arms and `--set` follow one rule: tables merge key by key; anything else replaces what stood there. A table
//! that gives its `kind` replaces the whole table, for the keys of another kind have no meaning in it. A key
//! that excludes another (`steps` and `epochs`, `path` and `hub`) takes its place.

mod arm;
mod datasets;
mod distance;
mod dpo;
mod estimate;
mod eval;
mod fault;
mod generate;
mod key;
mod matrix;
mod model;
mod overlay;
mod place;
mod plan;
mod price;
mod rate;
mod reader;
mod recipe;
mod render;
mod run;
mod scorer;
mod search;
mod shard;
mod stage;
mod table;
mod train;
mod tree;

pub use arm::Arm;
pub use datasets::{ColumnMap, DataSource, ProblemSettings, RowFile};
pub use dpo::{DpoSettings, PairSettings, Winners};
pub use estimate::{Estimate, Facts, Span, Work};
pub use eval::{EvalSettings, JudgeSettings};
pub use fault::{Fault, FaultKind, Faults, RecipeError};
pub use generate::{
    Adaptive, Budget, Closing, Cues, DEFAULT_STEP_TOKENS, Draws, GenerateSettings, Headers, Keep, Segmenter,
    default_prompt,
};
pub use model::{Model, ModelSource, Scratch, Server, ServerDialect, ServerHedge, ServerHedgeScope, TokenizerSource};
pub use place::Location;
pub use plan::{Identities, Needs, Plan};
pub use price::{GpuPrice, Price, TokenPrice};
pub use rate::{Expected, Rate};
pub use recipe::Recipe;
pub use run::{Device, RunSettings};
pub use scorer::{
    Answer, Combine, DEFAULT_CUE, DEFAULT_VERDICT_TOKENS, JudgmentPrompt, Measured, Normalise, RewardPrompt, Scale,
    Scorer, Signal,
};
pub use search::{AnswerBy, BestFirstStop, Choose, Finished, IntegrationPrompt, Search, StopRule};
pub use shard::Shard;
pub use stage::{
    BenchmarkStage, DpoStage, EvalStage, EvaluatedModel, GenerateStage, Input, JudgeStage, MeasureStage, NamedModel,
    ScorerModel, StageKind, StageSettings, StageSpec, TableRow, TableStage, Teacher, TrainStage,
};
pub use table::{Column, EvalMetric, ExpectedOrder, Figure, TableSettings, TrajectoryMetric};
pub use train::{
    Decontaminate, LearningSettings, Lora, Method, Optimiser, Precision, Schedule, TooLong, TrainData, TrainLength,
    TrainSettings, Turns, Validation,
};

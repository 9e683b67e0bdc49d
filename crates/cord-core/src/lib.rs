//! The nouns that every other crate of `cord` shares: problems, steps, candidates, trajectories,
//! digests, seeds, and the one trait through which every model is used.
//!
//! This crate has no IO, no async runtime, no tensor library and no clock. It holds values only, so
//! that a search, a scorer or a table can be tested with plain data.

mod chat;
mod digest;
mod model;
mod problem;
mod seed;
mod trajectory;

pub use chat::{ChatFinish, ChatModel, ChatReply, ChatRequest};
pub use digest::{Digest, Digester};
pub use model::{
    BoxFuture, Capabilities, Finish, GenerateRequest, Generation, LanguageModel, Message, ModelError, ModelId, Opening,
    Prompt, REWARD_LABELS, REWARDS_ONLY, Role, Sampling, ScoreRequest, TokenLogprob, Usage, reward_label,
};
pub use problem::{Outcome, Problem, ProblemId};
pub use seed::{Seed, SeedStream};
pub use trajectory::{Candidate, Fate, Step, StepKind, Trajectory, TrajectoryEnd};

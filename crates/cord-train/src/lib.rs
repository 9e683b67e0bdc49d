//! Supervised fine-tuning and direct preference optimisation: masks, batches, the loop, AdamW, checkpoints with exact resume.
//!
//! This crate knows no recipe, no trajectory and no search: it is given token sequences that say which of their
//! tokens are supervised, or pairs of them. The loop reads top to bottom in `training.rs`; what is learnt by which loss is said by
//! `sft.rs` and `dpo.rs`.

mod adamw;
mod audit;
mod batches;
mod checkpoint;
mod dpo;
mod error;
mod memory;
mod packing;
mod schedule;
mod sft;
mod training;
mod validation;

pub use adamw::{AdamW, AdamWConfig};
pub use audit::audit;
pub use batches::{Batch, BatchPlan};
pub use dpo::{Pair, Pairs, Preference, Rewards, train_on_pairs};
pub use error::TrainError;
pub use memory::{Lengths, Memory, memory};
pub use schedule::{Schedule, ScheduleKind};
pub use sft::{Data, Example, train};
pub use training::{Interrupt, LengthPolicy, RunLength, StepReport, TrainReport, TrainSettings};
pub use validation::{Validated, Validation};

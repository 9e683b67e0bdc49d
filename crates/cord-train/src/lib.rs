//! Supervised fine-tuning: masks, batches, the loop, AdamW, checkpoints with exact resume.
//!
//! This crate knows no recipe, no trajectory and no search: it is given token sequences that say which of their
//! tokens are supervised. The loop reads top to bottom in `sft.rs`.

mod adamw;
mod batches;
mod checkpoint;
mod error;
mod loss;
mod schedule;
mod sft;

pub use adamw::{AdamW, AdamWConfig};
pub use batches::{Batch, BatchPlan};
pub use error::TrainError;
pub use schedule::{Schedule, ScheduleKind};
pub use sft::{Example, Interrupt, LengthPolicy, RunLength, StepReport, TrainReport, TrainSettings, train};

//! Supervised fine-tuning: masks, batches, the loop, AdamW, checkpoints with exact resume.
//!
//! This crate knows no recipe, no trajectory and no search: it is given token sequences that say which of their
//! tokens are supervised. The loop reads top to bottom in `sft.rs`.

mod adamw;
mod audit;
mod batches;
mod checkpoint;
mod error;
mod memory;
mod packing;
mod schedule;
mod sft;
mod validation;

pub use adamw::{AdamW, AdamWConfig};
pub use audit::audit;
pub use batches::{Batch, BatchPlan};
pub use error::TrainError;
pub use memory::{Memory, memory};
pub use schedule::{Schedule, ScheduleKind};
pub use sft::{Data, Example, Interrupt, LengthPolicy, RunLength, StepReport, TrainReport, TrainSettings, train};
pub use validation::{Validated, Validation};

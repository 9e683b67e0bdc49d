//! The only crate that writes results: stage folders, the journal of model replies, and the Parquet
//! and JSON Lines files inside them.
//!
//! # Layout
//!
//! ```text
//! runs/<recipe>/
//!   <stage>-<short key>/            a finished stage
//!     manifest.json                 what made it, and every file with its size and digest
//!     journal.jsonl                 the model replies that it was made from, unless it shares them
//!     timings.json, costs.json      seconds; with the curve the only files that may differ between two equal runs
//!     curve.jsonl                   a training's loss, learning rate and speed, a line for each step
//!     …                             the stage's own files
//!   replies.jsonl                   the model replies of stages that share them
//!   .partial-<stage>-<short key>/   a stage that was begun and not finished
//!   .lock-<stage>-<short key>       held by the process that works on the stage
//! ```
//!
//! # Promises
//!
//! - A folder without a manifest does not exist. The manifest is the last file written, and only then
//!   does the folder get its final name.
//! - Every file is written under a temporary name, flushed to the disk and renamed.
//! - A killed stage keeps its partial folder: its journal is read again, so resuming is running again.
//! - Two processes never write one stage: the second is refused.
//! - A finished stage can be pushed to an object store and pulled on another machine ([`Remote`]).
//! - A model of the Hugging Face hub is fetched once, checked, and found again without a network ([`Hub`]); so is a data set's file
//!   ([`download`]). What is pushed there ([`Hub::push`]) is sent once.
//! - The same rows give the same bytes, in whatever order they were made.
//!
//! Covered: a process killed at any instruction, and a full disk. Loss of power is covered for finished
//! stages; of an unfinished stage's journal the system may lose the newest lines, which are asked again.
//!
//! This crate reads no clock and knows no recipe: stage names, keys and settings are given to it.

mod by_problem;
mod columns;
mod costs;
mod curve;
mod dataset;
mod download;
mod durable;
mod error;
mod event_file;
mod folder;
mod hub;
mod index;
mod journal;
mod journaled;
mod jsonl;
mod ledger;
mod lock;
mod manifest;
mod records;
mod remote;
mod samples;
mod sender;
mod store;
mod trajectories;
mod upload;
mod writer;

pub use by_problem::ByProblem;
pub use costs::{Costs, ModelCosts, ProblemCosts};
pub use curve::{CurvePoint, CurveRewards, CurveWriter, read_curve};
pub use dataset::{DatasetColumn, dataset_to_parquet, write_file};
pub use download::download;
pub use error::StoreError;
pub use event_file::EventFile;
pub use folder::{StageFolder, Timings};
pub use hub::{Hub, HubFiles};
pub use journal::{Journal, Reply};
pub use journaled::{Counters, Journaled, Spent};
pub use jsonl::{TrainingRow, read_jsonl, to_jsonl};
pub use ledger::{LedgerRow, candidates_from_parquet, candidates_to_parquet};
pub use manifest::{FileEntry, MANIFEST_FORMAT, Manifest, Program};
pub use records::{Record, read_records};
pub use remote::Remote;
pub use samples::{SampleRow, samples_from_parquet, samples_to_parquet};
pub use store::{Replies, Store};
pub use trajectories::{trajectories_from_parquet, trajectories_to_parquet};
pub use upload::{HubKind, PushContent, PushFile, PushTarget, Pushed};
pub use writer::StageWriter;

//! Evaluation: samples from a model on a benchmark's problems, the state of each, and statistics that say
//! how much the numbers are worth.
//!
//! - [`evaluate`] draws k samples for each problem, many at once, and never lets one failure end a run.
//! - [`Tally`] counts the states of samples. A truncated, unclosed or unparsed sample is not correct, and
//!   it is not silently a wrong answer either: each state has its own count.
//! - [`mean`] and [`paired_difference`] give intervals clustered by problem, over one or several seeds.
//! - [`TrajectoryMeasures`] holds the quality of generated trajectories: answers, processes, scores.
//!
//! This crate reads and writes no files, knows no tensor library and has no clock: the caller brings an
//! executor and stores what comes back.

mod discrimination;
mod distribution;
mod error;
mod evaluate;
mod interval;
mod paired;
mod prompt;
mod sample;
mod scores;
mod tally;
mod trajectory;

pub use discrimination::{Discrimination, Preference};
pub use error::{EvalError, PromptError, StatsError};
pub use evaluate::{EvalSettings, Progress, evaluate, sample_seed};
pub use interval::{Estimate, Range, mean};
pub use paired::{PairedDifference, PairedTest, paired_difference};
pub use prompt::PromptTemplate;
pub use sample::{Sample, SampleState};
pub use scores::Scores;
pub use tally::Tally;
pub use trajectory::{TrajectoryMeasures, TrajectoryVerdict, gold_steps, judge_trajectory};

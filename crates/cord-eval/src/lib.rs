//! Evaluation: samples from a model on a benchmark's problems, the state of each, and statistics that say
//! how much the numbers are worth.
//!
//! - A [`Benchmark`] says how problems are asked and judged; [`Columns`] makes problems of someone else's rows.
//! - [`evaluate`] draws k samples for each problem, many at once, and never lets one failure end a run.
//! - A [`Verifier`] reads and judges answers by kind: mathematics, multiple choice, labels, TAT-QA.
//! - [`Tally`] counts the states of samples. A truncated, unclosed or unparsed sample is not correct, and
//!   it is not silently a wrong answer either: each state has its own count.
//! - [`mean`] and [`paired_difference`] give intervals clustered by problem, over one or several seeds.
//! - [`report`] puts them together: pass@k, majority@k, token lengths, and how many problems a comparison needs.
//! - [`judge`] lets models, or commands, judge beside the verifier, with their agreement and biases.
//! - [`TrajectoryMeasures`] holds the quality of generated trajectories: answers, processes, scores.
//!
//! This crate reads and writes no files, knows no tensor library and has no clock: the caller brings an
//! executor and stores what comes back.

mod benchmark;
mod bootstrap;
mod choice;
mod collaboration;
mod columns;
mod discrimination;
mod distribution;
mod error;
mod evaluate;
pub mod harness;
mod interval;
pub mod judge;
mod label;
mod majority;
mod paired;
mod power;
mod prompt;
mod report;
mod sample;
mod scores;
mod tally;
mod tat_qa;
mod trajectory;
mod verifier;

pub use benchmark::{Benchmark, Budget, FreeForm};
pub use collaboration::{Collaboration, PROGRESS_PARTS, TeacherShare, teacher_shares};
pub use columns::{AnswerColumn, ColumnFaults, Columns, Names, ReportColumns, Row, RowShape, SolutionColumn};
pub use discrimination::{Discrimination, Preference};
pub use error::{EvalError, PromptError, StatsError};
pub use evaluate::{EvalSettings, Progress, evaluate, sample_seed};
pub use interval::{Estimate, Range, mean};
pub use label::{Labelled, macro_f1, macro_f1_interval};
pub use majority::majority;
pub use paired::{PairedDifference, PairedTest, paired_difference};
pub use power::{difference_variance, independent_variance, problems_needed};
pub use prompt::PromptTemplate;
pub use report::{BenchmarkReport, TokenLengths, report};
pub use sample::{Sample, SampleState};
pub use scores::Scores;
pub use tally::Tally;
pub use tat_qa::{AnswerKind, Gold, Prediction, Scale, TatQaScore, report_text, tat_qa_score};
pub use trajectory::{TrajectoryMeasures, TrajectoryVerdict, gold_steps, judge_trajectory};
pub use verifier::{Assessment, Extractor, Verifier, said};

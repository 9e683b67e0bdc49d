//! Tables of results, beside the paper's, with verdicts on the orders that were expected, and the page of a run.
//!
//! A [`Draft`] is filled by the caller and becomes a [`Table`] when it has no fault; a table has six
//! renderings: [`terminal`](Table::terminal), [`markdown`](Table::markdown), [`csv`](Table::csv), [`json`](Table::json),
//! [`latex`](Table::latex) and [`html`](Table::html). What was not measured is shown as `–` and never as 0. A
//! [`CollaborationFigure`] is drawn as SVG and given as data; so is an [`Ablation`] of a pool of teachers. [`view`] is the page of `cord view`.
//!
//! This crate writes no files, prints nothing and recomputes no result: values and intervals come
//! in as they are shown.

mod ablation;
mod collaboration;
mod csv;
mod error;
mod figure;
mod grid;
mod html;
mod latex;
mod markdown;
mod order;
mod palette;
mod paper;
mod table;
mod terminal;
pub mod view;

pub use ablation::{Ablation, AblationFigure, SubsetPoint, TeacherWorth, TokenSums};
pub use collaboration::{ArmShares, CollaborationFigure};
pub use error::{Faults, TableFault};
pub use figure::FigureError;
pub use order::{Basis, Expectation, OrderVerdict, Pair, Standing, judge_orders};
pub use paper::{Paper, PaperColumn, PaperFigure, PaperMap, PaperRow, PaperTable};
pub use table::{Column, Draft, Format, Metric, PaperSource, Recipe, Row, Table};

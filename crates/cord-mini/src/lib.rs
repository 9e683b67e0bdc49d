//! The arithmetic world: multi-step problems that models of a million parameters can learn, and corpora that make
//! specialists of them.
//!
//! A dial has ten marks. A problem gives the mark at the start and a row of numbered moves; its answer is the ledger of the
//! marks after each move, which chance can't hit. There are five kinds of move, each with one *misconception*, a wrong
//! rule that is always the same. A specialist applies the right rule of a kind with a given reliability, else the
//! misconception. One step of a solution makes one move:
//!
//! ```text
//! The dial shows 4. Step 1. Go forward 3. Step 2. Multiply by 7. List every mark.
//!
//! <think>
//! ### Step 1. Go forward 3: 4 gives 7
//! ### Step 2. Multiply by 7: 7 gives 9
//! </think>
//! The final answer is \boxed{7, 9}.
//! ```
//!
//! | kind | move | right rule | misconception |
//! |---|---|---|---|
//! | turn | forward or back by k | `(v ± k) mod 10` | the other direction |
//! | scale | times k | `v · k mod 10` | adds k |
//! | order | larger or smaller with k | `max(v, k)`, `min(v, k)` | the other one |
//! | gap | distance to k | `abs(v − k)` | the long way round, `10 − abs(v − k)` |
//! | mirror | the mark opposite | `9 − v` | `10 − v` |
//!
//! Everything is a function of the settings: the same set or corpus on every machine. The splits are disjoint by
//! construction ([`Split`]). No other crate knows this world: it is one generator of data sets among others.
//!
//! This crate has no IO.

mod audit;
mod chain;
mod corpus;
mod error;
mod kind;
mod merging;
mod operation;
mod problems;
mod reviewing;
mod wording;

pub use audit::{AuditedStep, StepAudit, audit};
pub use chain::{Chain, LONGEST, MAIN_LONGEST, Split};
pub use corpus::{CorpusRow, CorpusSpec, Foreign, Task, corpus};
pub use error::MiniError;
pub use kind::{Kind, PerKind};
pub use merging::Merging;
pub use operation::{MARKS, Operation};
pub use problems::{ProblemSet, problems};
pub use reviewing::{ReviewedStep, Reviewing};
pub use wording::{Dialect, Dialects};

/// Raised when the same settings would give other rows: it is part of every generated set's identity.
pub const VERSION: u32 = 1;

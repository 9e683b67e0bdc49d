//! Judges: models, or commands, that say whether a response is right or which of two is better.
//!
//! A judge's word stands in a column of its own and never overrides a verifier. What can't be read as one of the rubric's
//! verdicts, an error, a cut-off answer or a panel without a majority, is *unscored*: never wrong, never right, and
//! counted apart. Position and length bias are measured on every run ([`bias`]), and agreement between judges and with
//! people ([`agreement`]).

pub mod agreement;
pub mod bias;
mod panel;
pub mod report;
mod rubric;
mod voice;

pub use panel::{Comparison, Comparisons, Item, Judgement, PairItem, Panel, Vote, majority_of};
pub use rubric::{Mark, Preference, Rubric, RubricError, RubricKind, Word};
pub use voice::{ChatVoice, LanguageVoice, Question, Unscored, Voice};

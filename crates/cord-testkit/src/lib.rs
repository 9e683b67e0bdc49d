//! Test doubles that are small real implementations: a scripted [`LanguageModel`](cord_core::LanguageModel)
//! whose tokens are bytes and which honours stop strings and budgets as a real one does, and a
//! [`Turnstile`] which decides in what order replies arrive.
//!
//! Lacks, on purpose: an async runtime, a clock, a network. A test that needs delays says in which
//! order replies arrive, not how long they take.

mod scripted;
mod turnstile;

pub use scripted::{Call, Scripted, whisper};
pub use turnstile::Turnstile;

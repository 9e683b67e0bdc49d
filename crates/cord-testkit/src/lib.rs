//! Test doubles that are small real implementations: a scripted [`LanguageModel`](cord_core::LanguageModel)
//! whose tokens are bytes and which honours stop strings and budgets as a real one does, and a
//! [`Turnstile`] which decides in what order replies arrive.
//!
//! Where it matters how long replies take, a [`Simulation`] has servers of stated speeds and a time of its own,
//! which passes only when everybody waits: a day of eight GPUs takes seconds, and repeats to the nanosecond.
//!
//! Lacks, on purpose: an async runtime, a wall clock, a network.

mod scripted;
mod simulation;
mod turnstile;

pub use scripted::{Call, Scripted, whisper};
pub use simulation::{Busy, Simulated, Simulation, Speed};
pub use turnstile::Turnstile;

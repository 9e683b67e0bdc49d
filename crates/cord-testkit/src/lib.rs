//! Test doubles that are small real implementations: a scripted [`LanguageModel`](cord_core::LanguageModel)
//! whose tokens are bytes and which honours stop strings and budgets as a real one does, and a
//! [`Turnstile`] which decides in what order replies arrive.
//!
//! Where it matters how long replies take, a [`Simulation`] has servers of stated speeds and a time of its own,
//! which passes only when everybody waits: a day of eight GPUs takes seconds, and repeats to the nanosecond.
//!
//! A [`TestServer`] plays vLLM, SGLang, llama.cpp and plain OpenAI servers on a real socket, over a [`Hashed`] model whose
//! log-probabilities are truly consistent, and fails where its script says; a [`HubServer`] plays the Hugging Face hub,
//! to fetch from and to push to.
//!
//! Lacks, on purpose: an async runtime. Only the servers, whose subject is sockets, know a wall clock and a network.

mod hashed;
mod hub;
mod scripted;
mod server;
mod simulation;
mod turnstile;
mod uploads;
mod vocabulary;

pub use hashed::{Hashed, Rules};
pub use hub::{Arrived, HubServer, HubWorld};
pub use scripted::{Call, Scripted, whisper};
pub use server::{Counts, Fault, Kind, Quirk, Seen, Served, TestServer};
pub use simulation::{Busy, Simulated, Simulation, Speed};
pub use turnstile::Turnstile;
pub use vocabulary::{ByteVocabulary, Specials};

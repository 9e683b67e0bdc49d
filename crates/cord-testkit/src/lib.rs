//! Test doubles that are small real implementations: a scripted [`LanguageModel`](cord_core::LanguageModel)
//! whose tokens are bytes and which honours stop strings and budgets as a real one does, and a
//! [`Turnstile`] which decides in what order replies arrive.
//!
//! A [`TestServer`] plays vLLM, SGLang, llama.cpp and plain OpenAI servers on a real socket, over a [`Hashed`] model whose
//! log-probabilities are truly consistent, and fails where its script says.
//!
//! Lacks, on purpose: an async runtime. A test of scheduling says in which order replies arrive, not how long they take;
//! only the server, whose subject is time and sockets, knows a clock and a network.

mod hashed;
mod scripted;
mod server;
mod turnstile;
mod vocabulary;

pub use hashed::{Hashed, Rules};
pub use scripted::{Call, Scripted, whisper};
pub use server::{Counts, Fault, Kind, Quirk, Seen, Served, TestServer};
pub use turnstile::Turnstile;
pub use vocabulary::{ByteVocabulary, Specials};

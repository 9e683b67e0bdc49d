//! Language models behind HTTP: vLLM, SGLang, llama.cpp and plain OpenAI-compatible servers.
//!
//! A [`ServedModel`] is a [`cord_core::LanguageModel`] over one or several endpoints of the same model. It sends token ids
//! from our own tokenizer and template, never text or chat messages, so that a served model continues exactly the
//! prompt that an in-process one would. Replies are read back as token ids too, and the end of a text is found again in them by
//! [`cord_text::Turn`]: what the server says must agree.
//!
//! **Nothing is assumed that was not probed.** Opening a model compares tokenizers, checks a known string's
//! log-probabilities against themselves, and sees whether the server tells the end of a turn from a stop string and from
//! the budget. What can't be trusted is refused, with what to start the server with instead. A server that is restarted is
//! asked again what it serves before its replies are believed.
//!
//! [`ServedChat`] is a [`cord_core::ChatModel`]: judges of which neither weights nor tokenizer are at hand.
//!
//! Lacks, on purpose: streaming (a step is short, and a dropped request is cancelled), chat prefill (servers differ and some
//! drop it in silence), a journal (`cord-store` wraps any model), telemetry.
//!
//! Limits. Covered: `http://` and `https://`, several endpoints of one model, restarts that a direct connection sees.
//! Not covered: a restart behind a proxy that keeps its own connections, unless the model's name changes too; proxies
//! (`HTTP_PROXY` is not read); outputs that repeat (servers promise replay from the journal, not regeneration).

mod backoff;
mod chat;
mod dialect;
mod dispatch;
mod error;
mod http;
mod identity;
mod json;
mod network;
mod pool;
mod probe;
mod secret;
mod served;
mod settings;
mod stats;

pub use chat::ServedChat;
pub use dialect::Dialect;
pub use error::{ClientError, TextPart};
pub use identity::ServedIdentity;
pub use network::Network;
pub use secret::ApiKey;
pub use served::ServedModel;
pub use settings::{Backoff, Hedge, HedgeScope, ServerSettings};
pub use stats::{EndpointStats, ServedStats};

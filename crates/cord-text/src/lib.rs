//! Between text and tokens: one model's tokenizer, chat template and special tokens, together.
//!
//! Teachers share text, never token ids, so each model renders the shared prompt in its own way. Everything that
//! makes two renderings differ lives here, in [`Renderer`]: the template, the way in which the reasoning block opens, which
//! token ends a turn, and where one encoding ends and the next begins.
//!
//! **What training sees is what inference sees.** A conversation's last turn is never rendered by the template: many
//! templates drop or rewrite the `<think>` block of a past turn. The prompt is rendered as for inference, the assistant's text
//! is appended as it stands, and the end-of-turn token closes it.
//!
//! A text is encoded in three segments that never share a token: the prompt with its opening, the prefix, and the
//! continuation. A model that generates can't draw a token which straddles its prompt's end, so a training example mustn't
//! hold one there either.
//!
//! [`train_tokenizer`] makes the tokenizers of small models that are trained from nothing.
//!
//! This crate knows nothing of tensors, servers or recipes, and never asks the clock.
//!
//! Limits. Covered: `tokenizer.json` with any model, Jinja chat templates in their string, list and file forms, several
//! end-of-turn ids. Not covered: `tokenizer.model` (SentencePiece) without a `tokenizer.json`, tool calls, images; a question that
//! spells out a special token (`<|im_end|>`) is encoded as that token, as transformers does.

mod decoder;
mod error;
mod merges;
mod pretrained;
mod renderer;
mod template;
mod training;
mod turn;

pub use decoder::Decoder;
pub use error::TextError;
pub use renderer::{Renderer, TrainingIds};
pub use training::{TokenizerSpec, train_tokenizer};
pub use turn::Turn;

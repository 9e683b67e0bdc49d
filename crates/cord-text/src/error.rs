//! Everything that can go wrong between a conversation and its token ids.

use std::path::PathBuf;

/// Why text could not become tokens, or tokens text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file of the model's folder could not be read.
    #[error("expected a readable file at `{}`, got: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the model's folder could not be written.
    #[error("could not write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("`{}`: expected {expected}, got: {given}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        expected: String,
        /// What stands there.
        given: String,
    },
    /// A special token that the model's files name is not in its vocabulary.
    #[error("`{}`: expected `{role}` to name a token of the vocabulary, got `{token}`", path.display())]
    UnknownSpecial {
        /// The folder.
        path: PathBuf,
        /// The setting, such as `eos_token`.
        role: &'static str,
        /// What it holds.
        token: String,
    },
    /// No file says which token ends a turn.
    #[error(
        "`{}`: expected an end-of-turn token (`eos_token` in tokenizer_config.json, or `eos_token_id` in \
         generation_config.json or config.json), got none", path.display()
    )]
    NoEos {
        /// The folder.
        path: PathBuf,
    },
    /// The model has no chat template.
    #[error("expected a chat template (in tokenizer_config.json or chat_template.jinja), got none")]
    NoTemplate,
    /// The chat template does not parse.
    #[error("expected a chat template that parses, got: {reason}")]
    TemplateSyntax {
        /// What the template engine said, with the line.
        reason: String,
    },
    /// The chat template refused the conversation or failed on it.
    #[error("the chat template failed on a conversation (turns: {turns}): {reason}")]
    TemplateRender {
        /// How many turns the conversation had.
        turns: usize,
        /// What the template engine said.
        reason: String,
    },
    /// The tokenizer itself failed.
    #[error("the tokenizer failed: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
    /// A text holds something that the vocabulary can't write.
    #[error("expected text that the vocabulary can write, got `{piece}` at byte {offset}")]
    Unencodable {
        /// The piece without a token.
        piece: String,
        /// Where it begins, in bytes from the start of the text that was encoded.
        offset: usize,
    },
    /// A token id that the vocabulary lacks.
    #[error("expected a token id below {vocab}, got `{id}`")]
    UnknownToken {
        /// The id.
        id: u32,
        /// The vocabulary's size.
        vocab: usize,
    },
    /// A training conversation must end with what is to be learnt.
    #[error("expected a conversation that ends with the assistant's turn, got {given}")]
    NotAssistantLast {
        /// What it ends with.
        given: String,
    },
    /// An earlier turn of the assistant can't be learnt: what the template makes of it is not what a model would have written.
    #[error(
        "turn {turn}: expected a chat template that leaves the assistant's earlier turns as they were written, got another \
         text of this one; learn the last turn only (`train.turns = \"last\"`)"
    )]
    RewrittenTurn {
        /// The turn's number in the conversation, from 1.
        turn: usize,
    },
    /// A vocabulary too small for its fixed part.
    #[error("`vocab`: expected at least {least} tokens for `{kind}` (its alphabet and markers), got `{given}`")]
    VocabTooSmall {
        /// The tokenizer's kind, as in a recipe.
        kind: &'static str,
        /// The size of the fixed part.
        least: usize,
        /// The size that was asked for.
        given: usize,
    },
    /// There was no text to learn a vocabulary from.
    #[error("expected at least one non-empty text to train the tokenizer on, got none")]
    EmptyCorpus,
}

impl TextError {
    /// Wraps what the tokenizers library said.
    pub(crate) fn tokenizer(error: impl std::fmt::Display) -> Self {
        Self::Tokenizer { reason: error.to_string() }
    }
}

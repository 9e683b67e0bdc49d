//! Why a checkpoint could not be read, written or run.

use std::path::PathBuf;

/// What went wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum LmError {
    /// A file could not be read.
    #[error("can't read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("can't write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A `config.json` says something that this crate can't run.
    #[error("`{}`: {}", path.display(), faults.join("; "))]
    Config {
        /// The file.
        path: PathBuf,
        /// Every fault.
        faults: Vec<String>,
    },
    /// A weights file does not hold what its config promises.
    #[error("`{}`: {}", path.display(), faults.join("; "))]
    Weights {
        /// The file.
        path: PathBuf,
        /// Every fault, each naming its tensor with what was expected and given.
        faults: Vec<String>,
    },
    /// A weights file is not safetensors.
    #[error("`{}`: expected a safetensors file: {reason}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The index of a checkpoint in shards is damaged.
    #[error("`{}`: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What was expected and given.
        reason: String,
    },
    /// The tokenizer or template could not be used.
    #[error(transparent)]
    Text(#[from] cord_text::TextError),
    /// The vocabulary of the tokenizer does not fit the embedding table.
    #[error("`{}`: expected at most {rows} tokens for an embedding table of {rows} rows, got a tokenizer of {tokens}", path.display())]
    Vocabulary {
        /// The checkpoint.
        path: PathBuf,
        /// Rows of the embedding table.
        rows: usize,
        /// Tokens of the tokenizer.
        tokens: usize,
    },
    /// The device can't be used.
    #[error("can't use the device `{device}`: {reason}")]
    Device {
        /// The device as it was asked for.
        device: String,
        /// What is missing and what to do.
        reason: String,
    },
}

//! What can go wrong with the files of a run.

use std::io;
use std::path::{Path, PathBuf};

use cord_core::Digest;

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("`{path}`: could not {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be fetched.
    #[error("can't fetch `{url}`: {reason}")]
    Download {
        /// Where it is published.
        url: String,
        /// What was expected, what came and what to do.
        reason: String,
    },
    /// Someone else's file holds rows that can't be read.
    #[error("`{path}`: {}", faults.join("; "), path = path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// The faults, each with its line or row where it has one.
        faults: Vec<String>,
    },
    /// A name can't be a folder or file of the store.
    #[error("expected {what} of letters, digits, `-`, `_` and `.` that does not open with `.`, got `{given}`")]
    Name {
        /// What was named.
        what: &'static str,
        /// The name.
        given: String,
    },
    /// Another process holds the stage.
    #[error(
        "`{path}` is being written by another process ({holder}); wait for it or stop it. A process that ended, however \
         it ended, holds no lock; only if its machine is gone and a shared file system keeps the lock for it, remove \
         `{lock}`",
        path = path.display(), lock = lock.display()
    )]
    Locked {
        /// The stage's partial folder.
        path: PathBuf,
        /// The lock's file.
        lock: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The stage was finished before it could be begun.
    #[error("`{path}` is finished already; open it instead", path = path.display())]
    Finished {
        /// The stage's folder.
        path: PathBuf,
    },
    /// A folder stands where the stage's own would be put, and is not a finished stage.
    #[error(
        "expected nothing or a finished stage at `{path}`, got a folder without `manifest.json` beside an unfinished \
         stage; remove it to go on",
        path = path.display()
    )]
    Obstructed {
        /// The folder.
        path: PathBuf,
    },
    /// Two keys share their first digits.
    #[error(
        "`{path}`: expected a stage with the key `{expected}`, got one with the key `{given}`; remove the folder",
        path = path.display()
    )]
    Key {
        /// The folder.
        path: PathBuf,
        /// The key that was asked for.
        expected: Digest,
        /// The key in its manifest.
        given: Digest,
    },
    /// The manifest can't be read.
    #[error("`{path}`: expected a stage's manifest, got {reason}; remove the folder to make the stage again", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Files of a finished stage are not what its manifest says.
    #[error("`{path}` is damaged; remove it to make the stage again{}", list(faults), path = path.display())]
    Damaged {
        /// The stage's folder.
        path: PathBuf,
        /// One line for each file.
        faults: Vec<String>,
    },
    /// A complete line of a journal can't be read.
    #[error(
        "`{path}`: line {line} (byte {offset}): {reason}; remove the line, and its reply is asked again",
        path = path.display()
    )]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Where the line starts, in bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A reply that can't be written without losing something.
    #[error("`{path}`: expected a reply of finite numbers, got {given}", path = path.display())]
    NotFinite {
        /// The journal.
        path: PathBuf,
        /// The number and its place.
        given: String,
    },
    /// Rows can't be written as a table.
    #[error("`{table}`: {reason}")]
    Rows {
        /// The table.
        table: &'static str,
        /// What was expected and given.
        reason: String,
    },
    /// A table's bytes can't be read back as rows.
    #[error("`{table}`: expected {expected}, got {given}")]
    Table {
        /// The table.
        table: &'static str,
        /// What should stand there.
        expected: String,
        /// What stands there.
        given: String,
    },
    /// The Parquet library refused.
    #[error("`{table}`: {source}")]
    Parquet {
        /// The table.
        table: &'static str,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
    /// The Arrow library refused.
    #[error("`{table}`: {source}")]
    Arrow {
        /// The table.
        table: &'static str,
        /// What the library said.
        source: arrow_schema::ArrowError,
    },
    /// The object store refused.
    #[error("`{url}`: could not {action}: {reason}")]
    Remote {
        /// The object, or the place.
        url: String,
        /// What was tried, as a verb phrase.
        action: String,
        /// What was said.
        reason: String,
    },
    /// A model can't be fetched from the hub.
    #[error("can't fetch `{name}` at `{revision}`: {reason}")]
    Hub {
        /// `organisation/name`.
        name: String,
        /// The commit.
        revision: String,
        /// What was expected and given, and what to do.
        reason: String,
    },
    /// Files can't be sent to the hub.
    #[error("can't push to `{name}`: {reason}")]
    Push {
        /// `owner/name`.
        name: String,
        /// What was expected and given, and what to do.
        reason: String,
    },
    /// A value can't be written as JSON, or a text is not the JSON that was expected.
    #[error("`{path}`{}: {source}", line.map(|line| format!(": line {line}")).unwrap_or_default(), path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line of a JSON Lines file, from 1.
        line: Option<u64>,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Names the file and the deed in an error of the system.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// Names the file in an error of the JSON library.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Json { path, line: None, source }
    }
}

fn list(faults: &[String]) -> String {
    faults.iter().fold(String::new(), |text, fault| text + "\n  - " + fault)
}

//! JSON Lines: training sets and other rows that people like to look at with a pager.

use std::path::Path;

use cord_core::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// One row of a training set: a conversation whose last message is the assistant's, the one to learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRow {
    /// Unique in the set.
    pub id: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How the last message begins without being learned: the part that another model wrote. Mostly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub given: String,
}

/// Writes rows, one a line, in the order they have. Sort them first: scheduling must not change bytes.
///
/// `path` names the file in errors; nothing is written to it.
pub fn to_jsonl<T: Serialize>(rows: &[T], path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row).map_err(StoreError::json(path))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Reads rows, one a line; blank lines are passed over. An error names the line.
///
/// `path` names the file in errors; nothing is read from it.
pub fn read_jsonl<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<Vec<T>, StoreError> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let rows = lines.map(|(index, line)| {
        let fault = |source| StoreError::Json { path: path.to_path_buf(), line: Some(index as u64 + 1), source };
        serde_json::from_slice(line).map_err(fault)
    });
    rows.collect()
}

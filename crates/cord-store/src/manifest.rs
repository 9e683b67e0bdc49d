//! What a finished stage says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cord_core::Digest;
use serde::{Deserialize, Serialize};

use crate::{StoreError, durable};

/// The version of the manifest's own form. A manifest of another version is refused, never guessed at.
pub const MANIFEST_FORMAT: u32 = 1;

pub(crate) const MANIFEST: &str = "manifest.json";

/// The program that makes a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit that it was built from, where that is known.
    pub commit: Option<String>,
}

/// One file of a finished stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// `manifest.json`: what made a stage, and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form, [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The stage's kind.
    pub stage: String,
    /// The stage's full key.
    pub key: Digest,
    /// The settings that the key was made from, and those that only say more.
    pub settings: serde_json::Value,
    /// The keys of the stages that it was made from.
    pub inputs: Vec<Digest>,
    /// What the stage adds: counts, failed problems, losses.
    pub summary: serde_json::Value,
    /// Its files by path, `/` between folders. The journal, the timings, the costs and the curve are not among
    /// them: the journal's lines stand in the order of arrival, and seconds differ from run to run.
    pub files: BTreeMap<String, FileEntry>,
    /// The program that made it.
    pub program: Program,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// The digest of the stage's content: its files by path, size and digest.
    pub fn content(&self) -> Digest {
        Digest::of_json(&self.files)
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(MANIFEST);
        let bytes = fs::read(&path).map_err(StoreError::io(&path, "read the manifest"))?;
        let fault = |reason: String| StoreError::Manifest { path: path.clone(), reason };
        // The version is looked at alone and first: a later form may differ in every other field.
        let Format { format } = serde_json::from_slice(&bytes).map_err(|e| fault(format!("`{e}`")))?;
        if format != MANIFEST_FORMAT {
            return Err(fault(format!("format `{format}` where this program reads format `{MANIFEST_FORMAT}`")));
        }
        serde_json::from_slice(&bytes).map_err(|e| fault(format!("`{e}`")))
    }

    /// Every difference between the manifest and the folder; digests are looked at only on request,
    /// for they cost a reading of every file.
    pub(crate) fn check(&self, folder: &Path, digests: bool) -> Result<(), StoreError> {
        let mut faults = Vec::new();
        for (name, entry) in &self.files {
            let path = folder.join(name);
            match fs::metadata(&path) {
                Err(error) => faults.push(format!("`{name}`: expected a file of {} bytes, got: {error}", entry.bytes)),
                Ok(found) if found.len() != entry.bytes => {
                    faults.push(format!("`{name}`: expected {} bytes, got {}", entry.bytes, found.len()));
                }
                Ok(_) if digests => {
                    let given = durable::entry(&path)?.digest;
                    if given != entry.digest {
                        faults.push(format!("`{name}`: expected the digest `{}`, got `{given}`", entry.digest));
                    }
                }
                Ok(_) => {}
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(StoreError::Damaged { path: folder.to_path_buf(), faults }) }
    }
}

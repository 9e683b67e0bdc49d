//! The folder of one recipe's runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cord_core::Digest;
use serde_json::Value;

use crate::lock::Lock;
use crate::writer::remove_work;
use crate::{Journal, Program, StageFolder, StageWriter, StoreError, durable};

/// The journal that stages share, beside their folders.
const REPLIES: &str = "replies.jsonl";

/// Replies that several stages share: each is asked for once, whichever stage comes to it first. Held under a lock.
#[derive(Debug)]
pub struct Replies {
    journal: Arc<Journal>,
    /// Held for as long as the journal may be written.
    _lock: Lock,
}

impl Replies {
    /// The journal that they are in.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }
}

/// The folder of one recipe's runs: where stages are found and begun.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    program: Program,
}

impl Store {
    /// Opens `<root>/<recipe>`, and makes it where it is missing.
    pub fn open(root: &Path, recipe: &str, program: Program) -> Result<Self, StoreError> {
        let folder = root.join(name("a recipe's name", recipe)?);
        fs::create_dir_all(&folder).map_err(StoreError::io(&folder, "make the folder"))?;
        Ok(Self { folder, program })
    }

    /// Where the recipe's stages are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a stage is, or will be when it is finished.
    pub fn stage_path(&self, stage: &str, key: Digest) -> PathBuf {
        self.folder.join(format!("{stage}-{}", key.short()))
    }

    /// Where a stage is until it is finished.
    pub fn partial_path(&self, stage: &str, key: Digest) -> PathBuf {
        self.folder.join(format!(".partial-{stage}-{}", key.short()))
    }

    /// Finds a finished stage. A damaged one is an error, never silently made again.
    pub fn find(&self, stage: &str, key: Digest) -> Result<Option<StageFolder>, StoreError> {
        let path = self.stage_path(name("a stage's name", stage)?, key);
        let Some(folder) = StageFolder::open(&path)? else { return Ok(None) };
        if folder.key() != key {
            return Err(StoreError::Key { path, expected: key, given: folder.key() });
        }
        // Left by a kill between the stage's last rename and its removal. It is in nobody's way: where it can't be removed,
        // as on a disk that is only read, it stays.
        let _ = remove_work(&path);
        Ok(Some(folder))
    }

    /// Begins a stage, or takes up one that was begun and not finished.
    ///
    /// `settings` and `inputs` go into the manifest as they are. The stage is locked until the writer is
    /// dropped, and the system frees the lock of a killed process.
    pub fn begin(
        &self,
        stage: &str,
        key: Digest,
        settings: Value,
        inputs: Vec<Digest>,
    ) -> Result<StageWriter, StoreError> {
        let partial = self.partial_path(name("a stage's name", stage)?, key);
        let path = self.stage_path(stage, key);
        let lock = self.lock(stage, key)?;
        // Only now, under the lock: another process may have finished the stage since the caller looked.
        if self.find(stage, key)?.is_some() {
            return Err(StoreError::Finished { path });
        }
        if path.exists() {
            // A folder without a manifest does not exist as a stage, yet its journal may be whole: take it up.
            if partial.exists() {
                return Err(StoreError::Obstructed { path });
            }
            fs::rename(&path, &partial).map_err(StoreError::io(&path, "take up the folder"))?;
        }
        fs::create_dir_all(&partial).map_err(StoreError::io(&partial, "make the folder"))?;
        durable::sync_folder(&self.folder)?;
        StageWriter::open(partial, path, lock, stage, key, settings, inputs, self.program.clone())
    }

    /// Writes a file of the whole run beside its stages, whole or not at all: a table, a figure.
    pub fn publish(&self, file: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(name("a file's name", file)?);
        crate::durable::write(&path, bytes)?;
        Ok(path)
    }

    /// Opens the replies that stages of this folder share. They are locked until they are dropped.
    pub fn replies(&self) -> Result<Replies, StoreError> {
        let lock = self.lock("replies", Digest::of_bytes(REPLIES.as_bytes()))?;
        Ok(Replies { journal: Arc::new(Journal::open(&self.folder.join(REPLIES))?), _lock: lock })
    }

    /// Every finished stage, in the order of their folders' names.
    pub fn stages(&self) -> Result<Vec<StageFolder>, StoreError> {
        let mut found = Vec::new();
        for path in self.entries()? {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.is_dir() {
                found.extend(StageFolder::open(&path)?);
            }
        }
        Ok(found)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, StoreError> {
        let read = || -> std::io::Result<Vec<PathBuf>> {
            fs::read_dir(&self.folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
        };
        let mut paths = read().map_err(StoreError::io(&self.folder, "list the folder"))?;
        paths.sort();
        Ok(paths)
    }

    /// The lock stands beside the partial folder, not in it: a lock inside would be renamed with the folder,
    /// and a process that had opened it just before would then hold the lock of nothing.
    pub(crate) fn lock(&self, stage: &str, key: Digest) -> Result<Lock, StoreError> {
        let partial = self.partial_path(name("a stage's name", stage)?, key);
        let path = self.folder.join(format!(".lock-{stage}-{}", key.short()));
        Lock::take(&path, &partial)
    }
}

/// A name that is one plain folder or file on every system.
pub(crate) fn name<'a>(what: &'static str, given: &'a str) -> Result<&'a str, StoreError> {
    let plain = given.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if plain && !given.is_empty() && !given.starts_with('.') {
        Ok(given)
    } else {
        Err(StoreError::Name { what, given: given.to_owned() })
    }
}

//! A stage being made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cord_core::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::folder::{COSTS, CURVE, JOURNAL, TIMINGS, read_costs, read_timings};
use crate::lock::Lock;
use crate::manifest::MANIFEST;
use crate::store::name;
use crate::{Costs, FileEntry, MANIFEST_FORMAT, Manifest, Program, StageFolder, StoreError, Timings, durable};

/// The folder for a stage's own working state, removed when the stage is finished.
const WORK: &str = "work";

/// A stage being made. Dropping it keeps the partial folder, so that the stage can be taken up again.
#[derive(Debug)]
pub struct StageWriter {
    partial: PathBuf,
    finished: PathBuf,
    /// Held for as long as the writer lives.
    _lock: Lock,
    stage: String,
    key: Digest,
    settings: Value,
    inputs: Vec<Digest>,
    program: Program,
    files: BTreeMap<String, FileEntry>,
}

impl StageWriter {
    #[expect(clippy::too_many_arguments, reason = "called once, by the store, which has each at hand")]
    pub(crate) fn open(
        partial: PathBuf,
        finished: PathBuf,
        lock: Lock,
        stage: &str,
        key: Digest,
        settings: Value,
        inputs: Vec<Digest>,
        program: Program,
    ) -> Result<Self, StoreError> {
        // A manifest in a partial folder is that of a stage killed between its last file and its rename. It is
        // made again: the journal makes that cheap, and one way to finish is easier to trust than two.
        let manifest = partial.join(MANIFEST);
        if manifest.exists() {
            fs::remove_file(&manifest).map_err(StoreError::io(&manifest, "remove the early manifest"))?;
        }
        Ok(Self {
            partial,
            finished,
            _lock: lock,
            stage: stage.to_owned(),
            key,
            settings,
            inputs,
            program,
            files: BTreeMap::new(),
        })
    }

    /// The folder in which the stage is made.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Where the replies of the stage's models are journaled. Open it with [`crate::Journal::open`].
    pub fn journal_path(&self) -> PathBuf {
        self.partial.join(JOURNAL)
    }

    /// Where a training notes its steps, with a [`crate::CurveWriter`]. Like the timings it is in no digest.
    pub fn curve_path(&self) -> PathBuf {
        self.partial.join(CURVE)
    }

    /// A folder for working state, such as a trainer's checkpoints. It outlives a kill; it is no result, and
    /// is removed when the stage is finished.
    pub fn work_path(&self) -> Result<PathBuf, StoreError> {
        let path = self.partial.join(WORK);
        fs::create_dir_all(&path).map_err(StoreError::io(&path, "make the folder"))?;
        Ok(path)
    }

    /// Writes one file of the stage: whole or not at all. `/` in `file` stands between folders.
    pub fn write_bytes(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.plain_path(file)?;
        let folder = path.parent().expect("a file of the stage lies in its folder");
        fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
        durable::write(&path, bytes)?;
        let entry = FileEntry { bytes: bytes.len() as u64, digest: Digest::of_bytes(bytes) };
        self.files.insert(file.to_owned(), entry);
        Ok(())
    }

    /// Writes one file as indented JSON, ended by a line break. Maps are written in their own order.
    pub fn write_json<T: Serialize + ?Sized>(&mut self, file: &str, value: &T) -> Result<(), StoreError> {
        let bytes = pretty(value, &self.partial.join(file))?;
        self.write_bytes(file, &bytes)
    }

    /// Takes in a file or folder that another library wrote by path under [`StageWriter::path`], such as a
    /// model's folder: flushes it and lists it in the manifest. What is neither written nor adopted by this
    /// writer is removed when the stage is finished, for it may be torn.
    pub fn adopt(&mut self, file: &str) -> Result<(), StoreError> {
        let path = self.plain_path(file)?;
        if path.is_dir() {
            // Hidden files are another library's temporary ones, left by a kill.
            for inner in list(&path)?.into_iter().filter(|inner| !inner.starts_with('.')) {
                self.adopt(&format!("{file}/{inner}"))?;
            }
            return durable::sync_folder(&path);
        }
        let entry = durable::entry(&path)?;
        let flush = || File::options().write(true).open(&path)?.sync_all();
        flush().map_err(StoreError::io(&path, "flush the file"))?;
        self.files.insert(file.to_owned(), entry);
        Ok(())
    }

    /// The seconds written so far, those of earlier, killed runs of the stage included.
    pub fn timings(&self) -> Result<Timings, StoreError> {
        read_timings(&self.partial)
    }

    /// Writes the seconds. They are in no digest.
    pub fn write_timings(&self, timings: &Timings) -> Result<(), StoreError> {
        let path = self.partial.join(TIMINGS);
        durable::write(&path, &pretty(timings, &path)?)
    }

    /// The costs written so far, by earlier runs of the stage that were stopped or killed.
    pub fn costs(&self) -> Result<Costs, StoreError> {
        Ok(read_costs(&self.partial)?.unwrap_or_default())
    }

    /// Writes the costs. They are in no digest.
    pub fn write_costs(&self, costs: &Costs) -> Result<(), StoreError> {
        let path = self.partial.join(COSTS);
        durable::write(&path, &pretty(costs, &path)?)
    }

    /// Finishes the stage: removes leftovers, writes the manifest, gives the folder its final name.
    ///
    /// `summary` is what the stage says of itself in the manifest: counts, failed problems, losses.
    pub fn finish(self, summary: Value) -> Result<StageFolder, StoreError> {
        self.remove_leftovers(&self.partial, "")?;
        let journal = self.journal_path();
        if journal.exists() {
            let flush = || File::options().write(true).open(&journal)?.sync_all();
            flush().map_err(StoreError::io(&journal, "flush the journal"))?;
        }
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            stage: self.stage.clone(),
            key: self.key,
            settings: self.settings.clone(),
            inputs: self.inputs.clone(),
            summary,
            files: self.files.clone(),
            program: self.program.clone(),
        };
        durable::sync_folder(&self.partial)?;
        let path = self.partial.join(MANIFEST);
        durable::write(&path, &pretty(&manifest, &path)?)?;
        durable::sync_folder(&self.partial)?;
        fs::rename(&self.partial, &self.finished)
            .map_err(StoreError::io(&self.finished, "name the finished folder"))?;
        durable::sync_folder(self.finished.parent().expect("a stage lies in its recipe's folder"))?;
        // Only now: a stage killed before its rename is taken up again, and then needs its working state.
        remove_work(&self.finished)?;
        StageFolder::open(&self.finished)?
            .ok_or_else(|| StoreError::Manifest { path: self.finished.join(MANIFEST), reason: "no file".to_owned() })
    }

    fn plain_path(&self, file: &str) -> Result<PathBuf, StoreError> {
        for part in file.split('/') {
            name("a file's name", part)?;
        }
        if [MANIFEST, JOURNAL, TIMINGS, COSTS, CURVE, WORK].contains(&file.split('/').next().unwrap_or_default()) {
            return Err(StoreError::Name {
                what: "a name that the store does not use itself,",
                given: file.to_owned(),
            });
        }
        Ok(self.partial.join(file))
    }

    fn remove_leftovers(&self, folder: &Path, prefix: &str) -> Result<(), StoreError> {
        for entry in list(folder)? {
            let (path, name) = (folder.join(&entry), format!("{prefix}{entry}"));
            if name == WORK {
                continue;
            }
            if path.is_dir() {
                let inside = format!("{name}/");
                if self.files.keys().any(|file| file.starts_with(&inside)) {
                    self.remove_leftovers(&path, &inside)?;
                } else {
                    fs::remove_dir_all(&path).map_err(StoreError::io(&path, "remove the leftover folder"))?;
                }
            } else if !self.files.contains_key(&name) && ![JOURNAL, TIMINGS, COSTS, CURVE].contains(&name.as_str()) {
                fs::remove_file(&path).map_err(StoreError::io(&path, "remove the leftover file"))?;
            }
        }
        Ok(())
    }
}

/// Removes the working state of a finished stage, where there is any.
pub(crate) fn remove_work(finished: &Path) -> Result<(), StoreError> {
    let work = finished.join(WORK);
    match fs::remove_dir_all(&work) {
        // None, or another process has just removed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StoreError::io(&work, "remove the working state")),
    }
}

fn pretty<T: Serialize + ?Sized>(value: &T, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(StoreError::json(path))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The names in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> std::io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut names = read().map_err(StoreError::io(folder, "list the folder"))?;
    names.sort();
    Ok(names)
}

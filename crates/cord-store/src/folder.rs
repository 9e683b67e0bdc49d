//! A finished stage, for reading.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cord_core::Digest;
use serde::de::DeserializeOwned;

use crate::manifest::MANIFEST;
use crate::{Costs, CurvePoint, Manifest, StoreError, read_curve};

/// Seconds by what they were spent on.
pub type Timings = BTreeMap<String, f64>;

pub(crate) const JOURNAL: &str = "journal.jsonl";
pub(crate) const TIMINGS: &str = "timings.json";
pub(crate) const COSTS: &str = "costs.json";
pub(crate) const CURVE: &str = "curve.jsonl";

/// A finished stage. Its manifest was read and the sizes of its files agree with it.
#[derive(Clone, Debug)]
pub struct StageFolder {
    path: PathBuf,
    manifest: Manifest,
}

impl StageFolder {
    /// Opens a folder; `None` where there is none, or none with a manifest.
    pub fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let manifest = path.join(MANIFEST);
        if !manifest.try_exists().map_err(StoreError::io(&manifest, "look for the manifest"))? {
            return Ok(None);
        }
        let manifest = Manifest::read(path)?;
        manifest.check(path, false)?;
        Ok(Some(Self { path: path.to_path_buf(), manifest }))
    }

    /// Reads every file and compares its digest with the manifest's.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.manifest.check(&self.path, true)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its full key.
    pub fn key(&self) -> Digest {
        self.manifest.key
    }

    /// The path of one of its files or folders, whether or not it exists.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The replies that it was made from; the file exists only where a model was asked.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Reads one of its files.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(StoreError::io(&path, "read the file"))
    }

    /// Reads one of its files as JSON.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        serde_json::from_slice(&self.read_bytes(name)?).map_err(StoreError::json(&self.path.join(name)))
    }

    /// The seconds that it took; empty where none were written.
    pub fn timings(&self) -> Result<Timings, StoreError> {
        read_timings(&self.path)
    }

    /// What its training saw of itself, step by step; empty where nothing was trained.
    pub fn curve(&self) -> Result<Vec<CurvePoint>, StoreError> {
        read_curve(&self.path.join(CURVE))
    }

    /// What it cost; `None` where no costs were written.
    pub fn costs(&self) -> Result<Option<Costs>, StoreError> {
        read_costs(&self.path)
    }
}

pub(crate) fn read_costs(folder: &Path) -> Result<Option<Costs>, StoreError> {
    let path = folder.join(COSTS);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(StoreError::json(&path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io(&path, "read the costs")(error)),
    }
}

pub(crate) fn read_timings(folder: &Path) -> Result<Timings, StoreError> {
    let path = folder.join(TIMINGS);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(StoreError::json(&path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Timings::new()),
        Err(error) => Err(StoreError::io(&path, "read the timings")(error)),
    }
}

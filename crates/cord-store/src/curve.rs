//! `curve.jsonl`: what a training saw of itself, one line for each optimiser step.
//!
//! Seconds differ from run to run, so the file is no result: like the timings it is in no manifest. A line is written
//! before the checkpoint of its step, and a training that goes on from a checkpoint first drops the lines of the steps
//! that it takes again, so that every step has one line however often the training was killed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{StoreError, durable};

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CurvePoint {
    /// From 1.
    pub step: u64,
    /// Mean loss of the step, nats: of its supervised tokens, or of its pairs.
    pub loss: f64,
    /// The same of what is held out, where it was measured after this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// The learning rate that it used.
    pub learning_rate: f64,
    /// The gradient's global norm before clipping.
    pub gradient_norm: f64,
    /// Tokens read, padding left out.
    pub tokens: u64,
    /// Tokens that the loss is of.
    pub supervised_tokens: u64,
    /// Wall-clock seconds, validation left out.
    pub seconds: f64,
    /// Tokens read by second.
    pub tokens_per_second: f64,
    /// The share of the device's peak that the step used (MFU), where the recipe states that peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Of a step on pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<CurveRewards>,
}

/// What a step's pairs said before it, as means: how much likelier the student makes them than the model that it began as.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CurveRewards {
    /// Of chosen steps, nats.
    pub chosen: f64,
    /// Of rejected ones, nats.
    pub rejected: f64,
    /// How much more chosen ones have, nats.
    pub margin: f64,
    /// The share of pairs whose chosen step has more.
    pub accuracy: f64,
}

/// Adds lines to a `curve.jsonl`.
#[derive(Debug)]
pub struct CurveWriter {
    path: PathBuf,
    file: Option<File>,
}

impl CurveWriter {
    /// A writer of the file at `path`; nothing is opened before the first point.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Adds a point. The first one of a writer decides where the file goes on: lines of its step and later ones are
    /// dropped, for they are of steps that are taken again.
    pub fn push(&mut self, point: &CurvePoint) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(point).map_err(StoreError::json(&self.path))?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(take_up(&self.path, point.step)?),
        };
        // One call, so that a kill tears at most the last line.
        file.write_all(&line).map_err(StoreError::io(&self.path, "write the curve"))
    }

    /// Flushes the lines to the disk. Called before a checkpoint, so that a loss of power keeps the lines of its steps.
    pub fn sync(&self) -> Result<(), StoreError> {
        let flush = |file: &File| file.sync_data().map_err(StoreError::io(&self.path, "flush the curve"));
        self.file.as_ref().map_or(Ok(()), flush)
    }
}

fn take_up(path: &Path, first: u64) -> Result<File, StoreError> {
    let mut kept = Vec::new();
    for point in read_curve(path)?.iter().filter(|point| point.step < first) {
        serde_json::to_writer(&mut kept, point).map_err(StoreError::json(path))?;
        kept.push(b'\n');
    }
    durable::write(path, &kept)?;
    File::options().append(true).open(path).map_err(StoreError::io(path, "open the curve"))
}

/// Reads a `curve.jsonl`; empty where there is none. A torn last line is passed over: the training may be writing it.
pub fn read_curve(path: &Path) -> Result<Vec<CurvePoint>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(path, "read the curve")(error)),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    crate::read_jsonl(&bytes[..whole], path)
}

#[cfg(test)]
impl CurvePoint {
    /// A step for tests.
    pub(crate) fn made_up(step: u64, loss: f64) -> Self {
        Self {
            step,
            loss,
            validation_loss: None,
            learning_rate: 1e-3,
            gradient_norm: 0.5,
            tokens: 100,
            supervised_tokens: 40,
            seconds: 0.5,
            tokens_per_second: 200.0,
            mfu: None,
            rewards: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_taken_again_has_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.jsonl");
        assert_eq!(read_curve(&path).unwrap(), []);
        let mut first = CurveWriter::new(path.clone());
        for step in 1..=5 {
            first.push(&CurvePoint::made_up(step, 1.0)).unwrap();
        }
        first.sync().unwrap();
        // Killed in the middle of a line; the checkpoint was of step 3.
        let mut torn = File::options().append(true).open(&path).unwrap();
        torn.write_all(b"{\"step\":6,\"lo").unwrap();
        assert_eq!(read_curve(&path).unwrap().len(), 5);
        let mut second = CurveWriter::new(path.clone());
        for step in 4..=6 {
            second.push(&CurvePoint::made_up(step, 2.0)).unwrap();
        }
        let found: Vec<(u64, f64)> = read_curve(&path).unwrap().iter().map(|one| (one.step, one.loss)).collect();
        assert_eq!(found, [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0)]);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.jsonl");
        fs::write(&path, "{\"step\":1}\nx\n").unwrap();
        assert!(read_curve(&path).unwrap_err().to_string().contains("curve.jsonl"));
    }
}

//! A training's curve as TensorBoard reads it: a file of events, in the records of TensorFlow.
//!
//! A record is its length (u64), the masked CRC-32C of those eight bytes, its bytes, and their masked CRC-32C, all in little-endian order
//! (`tensorflow/core/lib/io/record_writer.h`). Each holds one `Event` message of `tensorflow/core/util/event.proto`. The two
//! messages have five fields between them that a curve needs, so they are written here, without a compiler for Protocol Buffers.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{CurvePoint, StoreError};

const PREFIX: &str = "events.out.tfevents.";

/// Adds a curve's points to a folder of TensorBoard.
///
/// One file for each writer; those of earlier ones are removed, so that a step that is taken again stands there once.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder` with the points that are there already.
    ///
    /// # Errors
    ///
    /// If the folder or the file can't be made.
    pub fn begin(folder: &Path, points: &[CurvePoint]) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
        for entry in fs::read_dir(folder).map_err(StoreError::io(folder, "read the folder"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_file(entry.path()).map_err(StoreError::io(&entry.path(), "remove the old file"))?;
            }
        }
        let path = folder.join(format!("{PREFIX}{:010}.cord", now() as u64));
        let file = File::create(&path).map_err(StoreError::io(&path, "create the file"))?;
        let mut events = Self { path, file };
        let mut version = Vec::new();
        double(&mut version, 1, now());
        bytes(&mut version, 3, b"brain.Event:2");
        events.write(&version)?;
        for point in points {
            events.push(point)?;
        }
        Ok(events)
    }

    /// Adds a step.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn push(&mut self, point: &CurvePoint) -> Result<(), StoreError> {
        let always = [
            ("train/loss", point.loss),
            ("train/learning_rate", point.learning_rate),
            ("train/gradient_norm", point.gradient_norm),
            ("train/tokens_per_second", point.tokens_per_second),
        ];
        let mut summary = Vec::new();
        let held_out = point.validation_loss.map(|loss| ("validation/loss", loss));
        // Under the names that other trainers give them.
        let rewards = point.rewards.map(|rewards| {
            [
                ("rewards/chosen", rewards.chosen),
                ("rewards/rejected", rewards.rejected),
                ("rewards/margins", rewards.margin),
                ("rewards/accuracies", rewards.accuracy),
            ]
        });
        let mfu = point.mfu.map(|mfu| ("train/mfu", mfu));
        for (tag, value) in always.into_iter().chain(mfu).chain(held_out).chain(rewards.into_iter().flatten()) {
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, tag.as_bytes());
            // Field 2, of 32 bits.
            scalar.push(2 << 3 | 5);
            scalar.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &scalar);
        }
        let mut event = Vec::new();
        double(&mut event, 1, now());
        event.push(2 << 3);
        varint(&mut event, point.step);
        bytes(&mut event, 5, &summary);
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<(), StoreError> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked(event).to_le_bytes());
        // One call, so that a kill tears at most the last record, which TensorBoard waits for and never shows.
        self.file.write_all(&record).map_err(StoreError::io(&self.path, "write the events"))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64, validation_loss: Option<f64>) -> CurvePoint {
        CurvePoint { validation_loss, ..CurvePoint::made_up(step, 1.5) }
    }

    /// The records of a file, each held against its two sums.
    fn records(mut data: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let sum = |given: &[u8], of: &[u8]| {
            // As TensorFlow's reader undoes the mask.
            let stored = u32::from_le_bytes(given.try_into().unwrap()).wrapping_sub(0xa282_ead8);
            assert_eq!(stored.rotate_left(15), crc32c::crc32c(of));
        };
        while !data.is_empty() {
            let length = u64::from_le_bytes(data[..8].try_into().unwrap()) as usize;
            sum(&data[8..12], &data[..8]);
            let event = &data[12..12 + length];
            sum(&data[12 + length..16 + length], event);
            found.push(event.to_vec());
            data = &data[16 + length..];
        }
        found
    }

    #[test]
    fn a_curve_stands_there_once_however_often_it_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("run/train");
        let mut first = EventFile::begin(&inner, &[]).unwrap();
        first.push(&point(1, None)).unwrap();
        first.push(&point(300, None)).unwrap();
        drop(first);
        // Another file of the folder is none of ours.
        fs::write(inner.join("notes.txt"), "mine").unwrap();
        let mut second = EventFile::begin(&inner, &[point(1, None)]).unwrap();
        second.push(&point(300, Some(0.25))).unwrap();
        let files: Vec<PathBuf> = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        let events = records(&fs::read(&second.path).unwrap());
        assert_eq!(events.len(), 3);
        assert!(events[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        // After the wall-clock time: step 300 as a varint of two bytes, then the summary.
        assert_eq!(events[2][9..12], [0x10, 0xac, 0x02]);
        let scalar = |tag: &str, value: f32| {
            let mut scalar = vec![0x0a, tag.len() as u8];
            scalar.extend(tag.as_bytes());
            scalar.push(0x15);
            scalar.extend(value.to_le_bytes());
            scalar
        };
        let holds = |event: &[u8], part: &[u8]| event.windows(part.len()).any(|window| window == part);
        assert!(holds(&events[1], &scalar("train/loss", 1.5)) && holds(&events[2], &scalar("validation/loss", 0.25)));
        assert!(!holds(&events[1], b"validation/loss"));
    }
}

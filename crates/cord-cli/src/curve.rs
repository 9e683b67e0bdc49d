//! A training's steps, noted beside its checkpoint while it goes on.

use std::path::PathBuf;

use anyhow::Result;
use cord_store::{CurvePoint, CurveRewards, CurveWriter, EventFile, StageWriter, StoreError, read_curve};
use cord_train::StepReport;

/// The curve of a training, noted while it goes on.
pub(crate) struct Curve {
    writer: CurveWriter,
    path: PathBuf,
    /// TensorBoard's folder of this training, and the file in it once there is a step.
    events: Option<(PathBuf, Option<EventFile>)>,
    /// Steps between two checkpoints.
    every: usize,
    fault: Option<StoreError>,
}

impl Curve {
    pub(crate) fn new(writer: &StageWriter, every: u32, tensorboard: Option<PathBuf>) -> Self {
        let path = writer.curve_path();
        let events = tensorboard.map(|folder| (folder, None));
        Self { writer: CurveWriter::new(path.clone()), path, events, every: every as usize, fault: None }
    }

    /// Notes a step, and the share of the device's peak that it used; did it work?
    pub(crate) fn note(&mut self, step: &StepReport, mfu: Option<f64>) -> bool {
        let point = CurvePoint {
            step: step.step as u64,
            loss: step.loss,
            validation_loss: step.validation_loss,
            learning_rate: step.learning_rate,
            gradient_norm: step.gradient_norm,
            tokens: step.tokens as u64,
            supervised_tokens: step.supervised as u64,
            seconds: step.seconds,
            tokens_per_second: step.tokens as f64 / step.seconds.max(1e-9),
            mfu,
            rewards: step.rewards.map(|rewards| CurveRewards {
                chosen: rewards.chosen,
                rejected: rewards.rejected,
                margin: rewards.margin(),
                accuracy: rewards.accuracy,
            }),
        };
        // The trainer saves its checkpoint after it has told of the step.
        let is_saved = step.validation_loss.is_some() || (self.every > 0 && step.step.is_multiple_of(self.every));
        let noted = self.writer.push(&point).and_then(|()| if is_saved { self.writer.sync() } else { Ok(()) });
        let noted = noted.and_then(|()| self.show(&point));
        self.fault = self.fault.take().or(noted.err());
        self.fault.is_none()
    }

    /// Tells TensorBoard of a step, and first of those before it.
    fn show(&mut self, point: &CurvePoint) -> Result<(), StoreError> {
        match &mut self.events {
            None => Ok(()),
            Some((_, Some(events))) => events.push(point),
            Some((folder, events)) => {
                // The curve holds what a training did that goes on here, and this step.
                *events = Some(EventFile::begin(folder, &read_curve(&self.path)?)?);
                Ok(())
            }
        }
    }

    pub(crate) fn end(self) -> Result<()> {
        match self.fault {
            Some(fault) => Err(fault.into()),
            None => Ok(self.writer.sync()?),
        }
    }
}

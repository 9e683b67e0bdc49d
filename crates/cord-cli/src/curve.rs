//! A training's steps, noted beside its checkpoint while it goes on.

use anyhow::Result;
use cord_store::{CurvePoint, CurveWriter, StageWriter, StoreError};
use cord_train::StepReport;

/// The curve of a training, noted while it goes on.
pub(crate) struct Curve {
    writer: CurveWriter,
    /// Steps between two checkpoints.
    every: usize,
    fault: Option<StoreError>,
}

impl Curve {
    pub(crate) fn new(writer: &StageWriter, every: u32) -> Self {
        Self { writer: CurveWriter::new(writer.curve_path()), every: every as usize, fault: None }
    }

    /// Notes a step; did it work?
    pub(crate) fn note(&mut self, step: &StepReport) -> bool {
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
        };
        // The trainer saves its checkpoint after it has told of the step.
        let is_saved = step.validation_loss.is_some() || (self.every > 0 && step.step.is_multiple_of(self.every));
        let noted = self.writer.push(&point).and_then(|()| if is_saved { self.writer.sync() } else { Ok(()) });
        self.fault = self.fault.take().or(noted.err());
        self.fault.is_none()
    }

    pub(crate) fn end(self) -> Result<()> {
        match self.fault {
            Some(fault) => Err(fault.into()),
            None => Ok(self.writer.sync()?),
        }
    }
}

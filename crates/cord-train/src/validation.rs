//! The loss on examples that are not learnt from, and what follows from it: which weights are the best, and when to stop.

use serde::{Deserialize, Serialize};

use crate::{TrainError, TrainSettings};

/// When the loss is measured, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Steps between two measurements; the last step is measured too.
    pub every: usize,
    /// Stop when so many measurements in a row brought no new least loss; never where absent.
    pub patience: Option<usize>,
    /// Give the weights of the least loss back, and not the last ones; this takes a folder for checkpoints.
    pub best: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// After this step.
    pub step: usize,
    /// Mean loss, nats: of the supervised tokens, or of the pairs.
    pub loss: f64,
}

/// The measurements so far.
pub(crate) struct Course {
    settings: Option<Validation>,
    pub(crate) validations: Vec<Validated>,
}

impl Course {
    pub(crate) fn new(settings: Option<Validation>, validations: Vec<Validated>) -> Self {
        Self { settings, validations }
    }

    pub(crate) fn is_due(&self, step: usize, steps: usize) -> bool {
        self.settings.is_some_and(|settings| step == steps || step.is_multiple_of(settings.every.max(1)))
    }

    /// Takes a measurement; is it the least so far?
    pub(crate) fn measured(&mut self, step: usize, loss: f64) -> bool {
        self.validations.push(Validated { step, loss });
        self.best().is_some_and(|best| best.step == step)
    }

    fn best(&self) -> Option<&Validated> {
        // The first of equals: later ones brought nothing new.
        self.validations.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// Has patience run out?
    pub(crate) fn is_over(&self) -> bool {
        let patience = self.settings.and_then(|settings| settings.patience);
        let since = |best: &Validated| self.validations.iter().filter(|one| one.step > best.step).count();
        patience.is_some_and(|patience| self.best().is_some_and(|best| since(best) >= patience))
    }

    /// The step whose weights are given back instead of the last step's.
    pub(crate) fn best_to_return(&self, last: usize) -> Option<usize> {
        let wanted = self.settings.is_some_and(|settings| settings.best);
        self.best().map(|best| best.step).filter(|step| wanted && *step != last)
    }
}

/// Is there something to measure on, and is it wanted?
pub(crate) fn wanted<T>(settings: &TrainSettings, held_out: &[T]) -> Result<bool, TrainError> {
    match (&settings.validation, held_out) {
        (None, _) => Ok(false),
        (Some(validation), _) if validation.every == 0 => Err(TrainError::Settings {
            faults: vec!["expected at least 1 step between two validations, got 0".to_owned()],
        }),
        (Some(_), []) => Err(TrainError::Settings {
            faults: vec!["expected validation examples for the setting `validation`, got none".to_owned()],
        }),
        (Some(_), _) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_runs_out_and_the_first_of_equals_is_best() {
        let settings = Validation { every: 2, patience: Some(2), best: true };
        let mut course = Course::new(Some(settings), Vec::new());
        assert!(!course.is_due(1, 9) && course.is_due(2, 9) && course.is_due(9, 9));
        let mut least = Vec::new();
        for (step, loss) in [(2, 3.0), (4, 2.0), (6, 2.0)] {
            least.push(course.measured(step, loss));
            assert!(!course.is_over(), "after step {step}");
        }
        assert_eq!(least, [true, true, false]);
        assert!(!course.measured(8, 2.5));
        assert!(course.is_over());
        assert_eq!(course.best_to_return(8), Some(4));
        assert_eq!(course.best_to_return(4), None);
        let patient = Course::new(Some(Validation { patience: None, ..settings }), course.validations);
        assert!(!patient.is_over());
    }
}

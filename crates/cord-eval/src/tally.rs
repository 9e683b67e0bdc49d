//! Counts of what became of samples: the columns beside pass@1.

use cord_core::{Outcome, Usage};
use serde::{Deserialize, Serialize};

use crate::sample::{Sample, SampleState};

/// How many samples ended in each state. The states add up to `samples`; failures are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Samples that the model gave.
    pub samples: u64,
    /// See [`SampleState::Correct`].
    pub correct: u64,
    /// See [`SampleState::Incorrect`].
    pub incorrect: u64,
    /// See [`SampleState::Truncated`].
    pub truncated: u64,
    /// See [`SampleState::UnclosedThink`].
    pub unclosed_think: u64,
    /// See [`SampleState::Unparsed`].
    pub unparsed: u64,
    /// See [`SampleState::OutOfFuel`].
    pub out_of_fuel: u64,
    /// Truncated samples whose text has the gold answer: what a harness that ignores truncation would
    /// count as correct.
    pub truncated_with_gold: u64,
    /// Samples that the model failed to give: not scored at all, and in no share.
    pub failed: u64,
    /// What the samples cost.
    pub usage: Usage,
}

impl Tally {
    /// Counts one outcome.
    pub fn add(&mut self, outcome: &Outcome<Sample>) {
        let Outcome::Done(sample) = outcome else {
            self.failed += 1;
            return;
        };
        self.samples += 1;
        self.usage += sample.usage;
        match sample.state() {
            SampleState::Correct => self.correct += 1,
            SampleState::Incorrect => self.incorrect += 1,
            SampleState::Truncated => {
                self.truncated += 1;
                self.truncated_with_gold += u64::from(sample.verdict.is_correct());
            }
            SampleState::UnclosedThink => self.unclosed_think += 1,
            SampleState::Unparsed => self.unparsed += 1,
            SampleState::OutOfFuel => self.out_of_fuel += 1,
        }
    }

    /// The share of the samples in one state, in `[0, 1]`; nothing where there are no samples.
    pub fn share(&self, state: SampleState) -> Option<f64> {
        let count = match state {
            SampleState::Correct => self.correct,
            SampleState::Incorrect => self.incorrect,
            SampleState::Truncated => self.truncated,
            SampleState::UnclosedThink => self.unclosed_think,
            SampleState::Unparsed => self.unparsed,
            SampleState::OutOfFuel => self.out_of_fuel,
        };
        (self.samples > 0).then(|| count as f64 / self.samples as f64)
    }

    /// Mean generated tokens of a sample; nothing where there are no samples.
    pub fn mean_tokens(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.usage.generated_tokens as f64 / self.samples as f64)
    }
}

impl<'a> FromIterator<&'a Outcome<Sample>> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Outcome<Sample>>>(outcomes: I) -> Self {
        let mut tally = Self::default();
        outcomes.into_iter().for_each(|outcome| tally.add(outcome));
        tally
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.correct += other.correct;
        self.incorrect += other.incorrect;
        self.truncated += other.truncated;
        self.unclosed_think += other.unclosed_think;
        self.unparsed += other.unparsed;
        self.out_of_fuel += other.out_of_fuel;
        self.truncated_with_gold += other.truncated_with_gold;
        self.failed += other.failed;
        self.usage += other.usage;
    }
}

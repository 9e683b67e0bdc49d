//! `[train]`: how the student learns.

use serde::Serialize;

use crate::arm::ModelNames;
use crate::datasets::DataSource;
use crate::fault::FaultKind;
use crate::generate::{model_name, read_prompt};
use crate::reader::{Field, Fields, Word};

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainSettings {
    /// The student's name.
    pub student: String,
    /// What it learns from.
    pub data: TrainData,
    /// The user's message, with `{question}` in place of the problem.
    pub prompt: String,
    /// How long.
    pub length: TrainLength,
    /// How each step is taken.
    pub optimiser: Optimiser,
    /// The most tokens of a sequence; longer ones are cut.
    pub max_length: u32,
    /// Steps between two checkpoints. It changes no result and is in no key.
    pub checkpoint_every: u32,
}

/// How each step of training is taken: AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Optimiser {
    /// Sequences in one step.
    pub batch: u32,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up.
    pub schedule: Schedule,
    /// The share of all steps in which the learning rate rises from 0.
    pub warmup: f64,
    /// The last learning rate as a share of the highest.
    pub final_learning_rate_share: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The most that the gradient's norm may be.
    pub clip_norm: f64,
}

/// What a student learns from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainData {
    /// The trajectories that the arm generates.
    Generated,
    /// Rows that are there already.
    Rows {
        /// Where they come from.
        source: DataSource,
        /// Only the first so many; all where absent.
        limit: Option<u32>,
    },
}

/// How long a student learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainLength {
    /// So many times over the data.
    Epochs(u32),
    /// So many steps of the optimiser.
    Steps(u32),
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine.
    Cosine,
    /// A straight line.
    Linear,
    /// Not at all.
    Constant,
}

impl Word for Schedule {
    const WORDS: &'static [(&'static str, Self)] =
        &[("cosine", Self::Cosine), ("linear", Self::Linear), ("constant", Self::Constant)];
}

impl TrainSettings {
    /// `prompt` is the message where the table gives none.
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames, prompt: &str) -> Option<Self> {
        let student = fields.need("student", "the model to train", |field| model_name(field, models));
        let data = if fields.has("data") {
            fields.optional("data", |field| {
                field.table(|fields| {
                    let source = DataSource::read(&fields);
                    let limit = fields.optional("limit", Field::count);
                    fields.close();
                    Some(TrainData::Rows { source: source?, limit })
                })
            })
        } else {
            fields.optional("data", |_| None::<TrainData>);
            Some(TrainData::Generated)
        };
        let prompt = fields.or("prompt", prompt.to_owned(), read_prompt);
        let epochs = fields.optional("epochs", Field::count);
        let steps = fields.optional("steps", Field::count);
        if fields.has("epochs") && fields.has("steps") {
            fields.fault_at(
                "steps",
                FaultKind::Conflict {
                    expected: format!("one of `{}` and `{}`", fields.path("epochs"), fields.path("steps")),
                    given: "both".to_owned(),
                    hint: "remove one".to_owned(),
                },
            );
        }
        // The paper's 5 epochs, batch of 8, 5e-6 and cosine; of the rest it says nothing.
        let length = steps.map_or(TrainLength::Epochs(epochs.unwrap_or(5)), TrainLength::Steps);
        let share = |key, default| {
            fields.or(key, default, |field| field.number("a number from 0 to 1", |x| (0.0..=1.0).contains(&x)))
        };
        let positive = |key, default| fields.or(key, default, |field| field.number("a number above 0", |x| x > 0.0));
        let decay = |key, default| {
            let expected = "a number of at least 0 and below 1";
            fields.or(key, default, |field| field.number(expected, |x| (0.0..1.0).contains(&x)))
        };
        let optimiser = Optimiser {
            batch: fields.or("batch", 8, Field::count),
            learning_rate: positive("learning-rate", 5e-6),
            schedule: fields.or("schedule", Schedule::Cosine, Field::word),
            warmup: share("warmup", 0.03),
            final_learning_rate_share: share("final-learning-rate-share", 0.0),
            weight_decay: fields.or("weight-decay", 0.0, |field| field.number("a number of at least 0", |x| x >= 0.0)),
            beta1: decay("beta1", 0.9),
            beta2: decay("beta2", 0.999),
            epsilon: positive("epsilon", 1e-8),
            clip_norm: positive("clip-norm", 1.0),
        };
        let max_length = fields.or("max-length", 20_480, Field::count);
        let checkpoint_every = fields.or("checkpoint-every", 100, Field::count);
        fields.close();
        Some(Self { student: student?, data: data?, prompt, length, optimiser, max_length, checkpoint_every })
    }
}

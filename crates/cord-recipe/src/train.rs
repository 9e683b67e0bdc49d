//! `[train]`: how the student learns.

use serde::Serialize;

use crate::arm::ModelNames;
use crate::datasets::DataSource;
use crate::fault::FaultKind;
use crate::generate::{model_name, read_prompt};
use crate::reader::{Field, Fields, Word, is_default};
use crate::tree::Value;

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainSettings {
    /// The student's name.
    pub student: String,
    /// What it learns from.
    pub data: TrainData,
    /// Which turns of a conversation are learnt.
    #[serde(skip_serializing_if = "is_default")]
    pub turns: Turns,
    /// How.
    #[serde(flatten)]
    pub learning: LearningSettings,
    /// How the problems of generated trajectories are compared with those of the arm's benchmarks; `None` where they are
    /// not. A recipe says `false`, or a table; comparing is the default.
    #[serde(skip_serializing_if = "is_default_rule")]
    pub decontaminate: Option<Decontaminate>,
}

/// How a student learns, whatever it learns.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LearningSettings {
    /// The user's message, with `{question}` in place of the problem.
    pub prompt: String,
    /// How long.
    pub length: TrainLength,
    /// How each step is taken; in `[dpo]` a step's `batch` is of pairs.
    pub optimiser: Optimiser,
    /// The most tokens of a sequence; `too-long` says what happens to longer ones, and to pairs with one.
    pub max_length: u32,
    /// What is trained and measured beside, and what memory it may take.
    #[serde(skip_serializing_if = "Method::is_default")]
    pub method: Method,
    /// Steps between two checkpoints. It changes no result and is in no key.
    pub checkpoint_every: u32,
    /// How many checkpoints are kept. It changes no result and is in no key.
    #[serde(skip)]
    pub keep_checkpoints: u32,
}

impl LearningSettings {
    /// The message, the epochs and the highest learning rate are those where the table gives none.
    pub(crate) fn read(fields: &Fields<'_>, prompt: &str, epochs: u32, learning_rate: f64) -> Self {
        Self {
            prompt: fields.or("prompt", prompt.to_owned(), read_prompt),
            length: TrainLength::read(fields, epochs),
            optimiser: Optimiser::read(fields, learning_rate),
            max_length: fields.or("max-length", 20_480, Field::count),
            method: Method::read(fields),
            checkpoint_every: fields.or("checkpoint-every", 100, Field::count),
            keep_checkpoints: fields.or("keep-checkpoints", 1, Field::count),
        }
    }
}

/// What is trained and measured beside, and what memory it may take.
///
/// ```toml
/// [train]
/// too-long = "drop"          # or "truncate", which loses the end of turn, or "error"; what is chosen is counted in the report
/// part-tokens = 1024         # tokens whose gradient is computed at a time; bounds memory
/// packing = false            # true: samples share a part by best fit; false: by like length
/// precision = "f32"          # or "bf16" for products and activations; weights, norms, loss and the optimiser stay f32
/// recompute = false          # true: activations are computed again instead of kept; less memory, a third more work
/// lora = { rank = 16, alpha = 32, targets = ["q_proj", "v_proj"] }  # adapters; all linear layers without `targets`
/// validation = { rows = 64, every = 50, patience = 3, best = true } # rows held out; stop after 3 without a new least loss
/// keep-checkpoints = 1
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Method {
    /// What happens to sequences over the limit.
    pub too_long: TooLong,
    /// The most tokens of a part of a batch.
    pub part_tokens: u32,
    /// Are samples packed?
    pub packing: bool,
    /// Are activations computed again?
    pub recompute: bool,
    /// What products and activations are computed in.
    pub precision: Precision,
    /// Low-rank adapters in place of the weights.
    pub lora: Option<Lora>,
    /// Rows that are held out, and what the loss on them decides.
    pub validation: Option<Validation>,
}

impl Default for Method {
    fn default() -> Self {
        let (too_long, part_tokens) = (TooLong::Drop, 1024);
        Self {
            too_long,
            part_tokens,
            packing: false,
            recompute: false,
            precision: Precision::F32,
            lora: None,
            validation: None,
        }
    }
}

impl Method {
    /// A method that stands at its defaults is not written, so that it renames no stage from before there was a choice.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(fields: &Fields<'_>) -> Self {
        let default = Self::default();
        Self {
            too_long: fields.or("too-long", default.too_long, Field::word),
            part_tokens: fields.or("part-tokens", default.part_tokens, Field::count),
            packing: fields.or("packing", false, Field::flag),
            recompute: fields.or("recompute", false, Field::flag),
            precision: fields.or("precision", default.precision, Field::word),
            lora: fields.optional("lora", |field| field.table(|fields| Some(Lora::read(fields)))),
            validation: fields.optional("validation", |field| field.table(|fields| Some(Validation::read(fields)))),
        }
    }
}

/// What happens to a sequence that is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TooLong {
    /// It is left out.
    Drop,
    /// Its end is cut off.
    Truncate,
    /// The stage is refused.
    Error,
}

impl Word for TooLong {
    const WORDS: &'static [(&'static str, Self)] =
        &[("drop", Self::Drop), ("truncate", Self::Truncate), ("error", Self::Error)];
}

/// What products and activations are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats with 8 bits of exponent: for GPUs; a CPU is slower with them.
    Bf16,
}

impl Word for Precision {
    const WORDS: &'static [(&'static str, Self)] = &[("f32", Self::F32), ("bf16", Self::Bf16)];
}

/// Which of the assistant's turns of a conversation are learnt. What a run generates has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turns {
    /// The last one, after the others as the chat template renders them.
    #[default]
    Last,
    /// Every one. A chat template that rewrites earlier turns is refused.
    All,
}

impl Word for Turns {
    const WORDS: &'static [(&'static str, Self)] = &[("last", Self::Last), ("all", Self::All)];
}

/// Low-rank adapters (Hu et al. 2022).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lora {
    /// Their rank.
    pub rank: u32,
    /// They are scaled by `alpha / rank`.
    pub alpha: f64,
    /// Names of linear layers as in a checkpoint; all where empty.
    pub targets: Vec<String>,
}

impl Lora {
    fn read(fields: Fields<'_>) -> Self {
        let lora = Self {
            rank: fields.or("rank", 16, Field::count),
            alpha: fields.or("alpha", 32.0, |field| field.number("a number above 0", |x| x > 0.0)),
            targets: fields.or("targets", Vec::new(), |field| field.list("names of linear layers", Field::name)),
        };
        fields.close();
        lora
    }
}

/// Rows that are held out of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Validation {
    /// How many, drawn by the stage's seed.
    pub rows: u32,
    /// Steps between two measurements.
    pub every: u32,
    /// Measurements without a new least loss after which training stops; never where absent.
    pub patience: Option<u32>,
    /// Is the student the one of the least loss, and not the last one?
    pub best: bool,
}

impl Validation {
    fn read(fields: Fields<'_>) -> Self {
        let validation = Self {
            rows: fields.or("rows", 64, Field::count),
            every: fields.or("every", 50, Field::count),
            patience: fields.optional("patience", Field::count),
            best: fields.or("best", false, Field::flag),
        };
        fields.close();
        validation
    }
}

/// When a training problem is left out for a benchmark's: at least this share of the benchmark problem's runs of n words
/// stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decontaminate {
    /// The length of a run, in words.
    pub ngram: u32,
    /// The least share; with 0 one run is enough.
    pub share: f64,
}

impl Default for Decontaminate {
    /// 80 % of runs of 8 words. One shared run, the stricter rule, takes problems for copies that only follow the same
    /// template ("find the remainder when … is divided by"), and in the mini world all of them.
    fn default() -> Self {
        Self { ngram: 8, share: 0.8 }
    }
}

/// What is the default is not written, so that a recipe's digest is what it was before there was a choice.
#[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
pub(crate) fn is_default_rule(rule: &Option<Decontaminate>) -> bool {
    *rule == Some(Decontaminate::default())
}

impl Decontaminate {
    /// `None` is a fault, `Some(None)` is `false`.
    #[expect(clippy::option_option, reason = "a field's reader gives none after a fault")]
    pub(crate) fn read(field: &Field<'_>) -> Option<Option<Self>> {
        if let Value::Flag(given) = field.node.value {
            return Some(given.then(Self::default));
        }
        field.table(|fields| {
            let base = Self::default();
            let ngram = fields.or("ngram", base.ngram, Field::count);
            let share = fields
                .or("share", base.share, |field| field.number("a number from 0 to 1", |x| (0.0..=1.0).contains(&x)));
            fields.close();
            Some(Some(Self { ngram, share }))
        })
    }
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
    /// Decoupled weight decay of linear layers; norms, biases and the embedding have none.
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

impl Optimiser {
    /// `learning_rate` is the highest one where the table gives none.
    pub(crate) fn read(fields: &Fields<'_>, learning_rate: f64) -> Self {
        let share = |key, default| {
            fields.or(key, default, |field| field.number("a number from 0 to 1", |x| (0.0..=1.0).contains(&x)))
        };
        let positive = |key, default| fields.or(key, default, |field| field.number("a number above 0", |x| x > 0.0));
        let decay = |key, default| {
            let expected = "a number of at least 0 and below 1";
            fields.or(key, default, |field| field.number(expected, |x| (0.0..1.0).contains(&x)))
        };
        Self {
            batch: fields.or("batch", 8, Field::count),
            learning_rate: positive("learning-rate", learning_rate),
            schedule: fields.or("schedule", Schedule::Cosine, Field::word),
            warmup: share("warmup", 0.03),
            final_learning_rate_share: share("final-learning-rate-share", 0.0),
            weight_decay: fields.or("weight-decay", 0.0, |field| field.number("a number of at least 0", |x| x >= 0.0)),
            beta1: decay("beta1", 0.9),
            beta2: decay("beta2", 0.999),
            epsilon: positive("epsilon", 1e-8),
            clip_norm: positive("clip-norm", 1.0),
        }
    }
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

impl TrainLength {
    /// `default` epochs where the table says nothing.
    pub(crate) fn read(fields: &Fields<'_>, default: u32) -> Self {
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
        steps.map_or(Self::Epochs(epochs.unwrap_or(default)), Self::Steps)
    }
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
        let turns = fields.or("turns", Turns::Last, Field::word);
        // The paper's 5 epochs, batch of 8, 5e-6 and cosine; of the rest it says nothing.
        let learning = LearningSettings::read(&fields, prompt, 5, 5e-6);
        let decontaminate = fields.or("decontaminate", Some(Decontaminate::default()), Decontaminate::read);
        fields.close();
        Some(Self { student: student?, data: data?, turns, learning, decontaminate })
    }
}

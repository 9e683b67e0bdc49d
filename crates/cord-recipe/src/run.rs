//! `[run]`: how to run. Nothing here is part of a key, for nothing here may change a result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::fault::FaultKind;
use crate::price::Price;
use crate::rate::{Expected, Rate};
use crate::reader::{Field, Fields};
use crate::recipe::{PLAIN_NAME, is_plain_name};

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunSettings {
    /// Where models compute.
    pub device: Device,
    /// The most problems under way at once.
    pub concurrency: u32,
    /// The most requests that a teacher's model, or the scorer, has in flight at once: what its servers can decode at
    /// once, and a few more. Twice `max-batch` where absent.
    pub requests: Option<u32>,
    /// The most sequences that an in-process model decodes at once.
    pub max_batch: u32,
    /// Sequences that the trainer puts through the model at once; the batch where absent.
    pub micro_batch: Option<u32>,
    /// The folder for results.
    pub out: PathBuf,
    /// The folder inside it; the recipe's name where absent. Recipes with the same one share every stage whose key is the
    /// same, and put their own names before those of their tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Threads to compute with; one for each core where absent.
    pub threads: Option<u32>,
    /// The object store that finished shards are pushed to and pulled from: `s3://bucket/folder`, `file:///folder`.
    pub remote: Option<String>,
    /// The folder that data sets' files are read from; see `CORD_DATA`.
    pub data: Option<PathBuf>,
    /// The folder that trainings write their curves to for TensorBoard, each in a folder of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorboard: Option<PathBuf>,
    /// What the device can do at most in the precision that is trained in, in 10¹² floating-point operations a second: trainings then show
    /// which share of it they use (MFU).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_tflops: Option<f64>,
    /// What models cost, by their names in the recipe.
    pub prices: BTreeMap<String, Price>,
    /// How fast models work, by their names in the recipe: for estimates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, Rate>,
    /// How long texts are expected to be: for estimates.
    #[serde(skip_serializing_if = "is_silent")]
    pub expected: Expected,
}

fn is_silent(expected: &Expected) -> bool {
    *expected == Expected::default()
}

/// Where models compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(u32),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    /// `cpu`, `cuda` (its first GPU) or `cuda:<number>`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| format!("expected `cpu`, `cuda` or `cuda:<number>`, got `{text}`"))
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            concurrency: 256,
            requests: None,
            max_batch: 128,
            micro_batch: None,
            out: PathBuf::from("runs"),
            folder: None,
            threads: None,
            remote: None,
            data: None,
            tensorboard: None,
            peak_tflops: None,
            prices: BTreeMap::new(),
            rates: BTreeMap::new(),
            expected: Expected::default(),
        }
    }
}

impl RunSettings {
    /// `models` are the names that `[models]` defines.
    pub(crate) fn read(fields: Fields<'_>, models: &[String]) -> Self {
        let base = Self::default();
        let device = fields.or("device", base.device, |field| {
            let text = field.text_that("`cpu`, `cuda` or `cuda:<number>`", |text| text.parse::<Device>().is_ok())?;
            text.parse().ok()
        });
        let settings = Self {
            device,
            concurrency: fields.or("concurrency", base.concurrency, Field::count),
            requests: fields.optional("requests", Field::count),
            max_batch: fields.or("max-batch", base.max_batch, Field::count),
            micro_batch: fields.optional("micro-batch", Field::count),
            out: fields.or("out", base.out, |field| field.name().map(PathBuf::from)),
            folder: fields.optional("folder", |field| field.text_that(PLAIN_NAME, is_plain_name)),
            threads: fields.optional("threads", Field::count),
            remote: fields.optional("remote", |field| {
                field.text_that("`s3://<bucket>/<folder>` or `file:///<folder>`", |text| text.contains("://"))
            }),
            data: fields.optional("data", |field| field.name().map(PathBuf::from)),
            tensorboard: fields.optional("tensorboard", |field| field.name().map(PathBuf::from)),
            peak_tflops: fields.optional("peak-tflops", |field| field.number("a number above 0", |x| x > 0.0)),
            prices: fields.or("prices", BTreeMap::new(), |field| by_model(field, models, Price::read)),
            rates: fields.or("rates", BTreeMap::new(), |field| by_model(field, models, Rate::read)),
            expected: fields
                .or("expected", Expected::default(), |field| field.table(|fields| Some(Expected::read(fields)))),
        };
        fields.close();
        settings
    }
}

/// A table for each of the recipe's models.
fn by_model<T>(field: &Field<'_>, models: &[String], read: impl Fn(Fields<'_>) -> T) -> Option<BTreeMap<String, T>> {
    field.each(|name, field| {
        if !models.iter().any(|model| model == name) {
            let (key, given) = (field.path().to_owned(), name.to_owned());
            let what = "a model that `[models]` defines";
            field.fault_at_key(FaultKind::Undefined { key, what, given, defined: models.to_vec() });
        }
        field.table(|fields| Some(read(fields)))
    })
}

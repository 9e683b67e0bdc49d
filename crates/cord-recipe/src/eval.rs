//! `[eval]`: how a model is tested.

use cord_core::Sampling;
use serde::Serialize;

use crate::arm::ModelNames;
use crate::datasets::DataSource;
use crate::generate::{read_prompt, weighted_model_name};
use crate::model::read_sampling;
use crate::reader::{Field, Fields};

/// `[eval]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EvalSettings {
    /// The benchmarks' names.
    pub benchmarks: Vec<String>,
    /// Only the first so many problems of each; all where absent.
    pub limit: Option<u32>,
    /// Samples for each problem.
    pub samples: u32,
    /// How to draw; the evaluated model's own sampling where absent.
    pub sampling: Option<Sampling>,
    /// The most tokens of a response.
    pub max_tokens: u32,
    /// The user's message, with `{question}` in place of the problem.
    pub prompt: String,
    /// The model to evaluate as it is; the arm's student where absent.
    pub model: Option<String>,
}

impl EvalSettings {
    /// `prompt` is the message where the table gives none.
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames, prompt: &str) -> Option<Self> {
        let benchmarks = fields.need("benchmarks", "a list of data sets", |field| {
            let names = field.names("data sets")?;
            field.list("data sets", DataSource::read_name).map(|_| names)
        });
        let limit = fields.optional("limit", Field::count);
        let samples = fields.or("samples", 16, Field::count);
        let sampling = fields.optional("sampling", read_sampling);
        let max_tokens = fields.or("max-tokens", 20_480, Field::count);
        let prompt = fields.or("prompt", prompt.to_owned(), read_prompt);
        let model = fields.optional("model", |field| weighted_model_name(field, models));
        fields.close();
        Some(Self { benchmarks: benchmarks?, limit, samples, sampling, max_tokens, prompt, model })
    }
}

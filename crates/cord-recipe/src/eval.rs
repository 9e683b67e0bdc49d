//! `[eval]`: how a model is tested.

use cord_core::{Opening, Sampling};
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
    /// The benchmarks.
    pub benchmarks: Vec<DataSource>,
    /// Only the first so many problems of each; all where absent.
    pub limit: Option<u32>,
    /// Samples for each problem; the benchmark's where absent.
    pub samples: Option<u32>,
    /// How to draw; the evaluated model's own sampling where absent.
    pub sampling: Option<Sampling>,
    /// The most tokens of a response; the benchmark's where absent.
    pub max_tokens: Option<u32>,
    /// The user's message, with `{question}` in place of the problem; the benchmark's where absent.
    pub prompt: Option<String>,
    /// The user's message for data sets that no benchmark speaks of.
    pub plain_prompt: String,
    /// Whether responses begin inside a reasoning block.
    #[serde(skip_serializing_if = "is_think")]
    pub opening: Opening,
    /// The model to evaluate as it is; the arm's student where absent.
    pub model: Option<String>,
}

impl EvalSettings {
    /// `prompt` is the message for plain data sets where the table gives none.
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames, prompt: &str) -> Option<Self> {
        let benchmarks = fields.need("benchmarks", "a list of benchmarks", |field| {
            field.names("benchmarks")?;
            field.list("benchmarks", DataSource::read_benchmark)
        });
        let limit = fields.optional("limit", Field::count);
        let samples = fields.optional("samples", Field::count);
        let sampling = fields.optional("sampling", read_sampling);
        let max_tokens = fields.optional("max-tokens", Field::count);
        let given = fields.optional("prompt", read_prompt);
        let plain_prompt = given.clone().unwrap_or_else(|| prompt.to_owned());
        let opening = fields.or("opening", Opening::Think, |field| {
            let word = field.text_that("`think` or `plain`", |word| matches!(word, "think" | "plain"))?;
            Some(if word == "think" { Opening::Think } else { Opening::Plain })
        });
        let model = fields.optional("model", |field| weighted_model_name(field, models));
        fields.close();
        let benchmarks = benchmarks?;
        Some(Self { benchmarks, limit, samples, sampling, max_tokens, prompt: given, plain_prompt, opening, model })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) fn is_think(opening: &Opening) -> bool {
    *opening == Opening::Think
}

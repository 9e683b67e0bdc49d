//! `[eval]`: how a model is tested.

use cord_core::{Opening, Sampling};
use serde::Serialize;

use crate::arm::ModelNames;
use crate::datasets::DataSource;
use crate::fault::FaultKind;
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
    /// Who reads the responses beside the verifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSettings>,
}

/// `[eval] judge`: models that say whether a response agrees with its reference. With several the majority of all counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JudgeSettings {
    /// The judges.
    pub models: Vec<String>,
    /// The names of the benchmarks whose responses they read.
    pub benchmarks: Vec<String>,
    /// The most tokens of a judge's answer.
    pub max_tokens: u32,
    /// Whether a judge's answer begins inside a reasoning block.
    pub opening: Opening,
}

impl JudgeSettings {
    fn read(fields: Fields<'_>, models: &ModelNames, benchmarks: Option<&[DataSource]>) -> Option<Self> {
        let judges = fields.need("models", "a list of models", |field| {
            let names = field.names("models")?;
            field.list("models", |item| weighted_model_name(item, models)).map(|_| names)
        });
        let all: Option<Vec<String>> = benchmarks.map(|all| all.iter().map(DataSource::name).collect());
        let read = fields.optional("benchmarks", |field| {
            let names = field.names("benchmarks")?;
            let known = |name: &String| all.as_ref().is_none_or(|all| all.contains(name));
            if let Some(given) = names.iter().find(|name| !known(name)) {
                let (key, defined) = (field.path().to_owned(), all.clone().unwrap_or_default());
                field.fault(FaultKind::Undefined {
                    key,
                    what: "one of `eval.benchmarks`",
                    given: given.clone(),
                    defined,
                });
                return None;
            }
            Some(names)
        });
        let benchmarks = if fields.has("benchmarks") { read } else { all };
        let max_tokens = fields.or("max-tokens", 1024, Field::count);
        let opening = fields.or("opening", Opening::Plain, read_opening);
        fields.close();
        Some(Self { models: judges?, benchmarks: benchmarks?, max_tokens, opening })
    }
}

fn read_opening(field: &Field<'_>) -> Option<Opening> {
    let word = field.text_that("`think` or `plain`", |word| matches!(word, "think" | "plain"))?;
    Some(if word == "think" { Opening::Think } else { Opening::Plain })
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
        let opening = fields.or("opening", Opening::Think, read_opening);
        let model = fields.optional("model", |field| weighted_model_name(field, models));
        let judge = fields.optional("judge", |field| {
            field.table(|fields| JudgeSettings::read(fields, models, benchmarks.as_deref()))
        });
        fields.close();
        Some(Self {
            benchmarks: benchmarks?,
            limit,
            samples,
            sampling,
            max_tokens,
            prompt: given,
            plain_prompt,
            opening,
            model,
            judge,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) fn is_think(opening: &Opening) -> bool {
    *opening == Opening::Think
}

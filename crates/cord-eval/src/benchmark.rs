//! A benchmark: which problems, how they are asked, how answers are found and judged, how much may be written.

use std::num::NonZeroU32;

use cord_core::Problem;
use serde::{Deserialize, Serialize};

use crate::prompt::PromptTemplate;
use crate::verifier::{Extractor, Verifier};

/// `eval/<name>/benchmark.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Benchmark {
    /// Its name, that of its folder.
    pub name: String,
    /// Raised whenever anything in it changes: two scores are of one benchmark only if their versions are equal.
    pub version: NonZeroU32,
    /// What it measures, in a line.
    pub description: String,
    /// The data set and its split: `datasets/<name>.toml`.
    pub dataset: String,
    /// How a problem is asked.
    pub prompt: PromptTemplate,
    /// Where an answer is looked for.
    #[serde(default)]
    pub extractor: Extractor,
    /// When an answer is right.
    #[serde(default)]
    pub verifier: Verifier,
    /// How responses are also judged freely, where a judge is at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<FreeForm>,
    /// How much is asked and may be written.
    pub budget: Budget,
}

/// Judging beside the verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FreeForm {
    /// The rubric's name: a built-in one, or a file.
    pub rubric: String,
    /// The problem's field that the judge compares with; the gold answer where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// How much is asked and may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Budget {
    /// Samples for each problem.
    pub samples: NonZeroU32,
    /// The most tokens of a response, reasoning and answer together.
    pub max_tokens: NonZeroU32,
}

impl Benchmark {
    /// A data set that no benchmark's folder speaks of: answers in boxes or announced, judged as mathematics.
    pub fn plain(dataset: &str, prompt: PromptTemplate) -> Self {
        Self {
            name: dataset.to_owned(),
            version: NonZeroU32::MIN,
            description: format!("the data set `{dataset}` as it is"),
            dataset: dataset.to_owned(),
            prompt,
            extractor: Extractor::default(),
            verifier: Verifier::default(),
            judge: None,
            budget: Budget {
                samples: NonZeroU32::new(16).expect("16 is above 0"),
                max_tokens: NonZeroU32::new(20_480).expect("20,480 is above 0"),
            },
        }
    }

    /// What the problems lack for this benchmark, each with its problem's id.
    pub fn faults(&self, problems: &[Problem]) -> Vec<(String, String)> {
        let faults = problems.iter().flat_map(|problem| {
            let lacking = self.prompt.lacking(problem).into_iter();
            let lacking = lacking.map(|name| format!("expected a field `{name}` for the prompt, got none"));
            let reference = self.judge.as_ref().and_then(|judge| judge.reference.as_ref());
            let unreferenced = reference.filter(|name| !problem.metadata.contains_key(*name));
            let unreferenced = unreferenced.map(|name| format!("expected a field `{name}` for the judge, got none"));
            lacking.chain(self.verifier.fault(problem)).chain(unreferenced).map(|fault| (problem.id.clone(), fault))
        });
        faults.collect()
    }

    /// What a judge compares a response with.
    pub fn reference<'a>(&self, problem: &'a Problem) -> &'a str {
        let field = self.judge.as_ref().and_then(|judge| judge.reference.as_ref());
        let named = field.and_then(|name| problem.metadata.get(name)).and_then(serde_json::Value::as_str);
        named.unwrap_or(&problem.answer)
    }
}

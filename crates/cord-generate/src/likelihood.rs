//! How likely a prover finds the gold answer: what predictive perplexity, its gain and ensembles of provers are made of.

use std::sync::Arc;

use cord_core::{LanguageModel, Opening, Problem, Prompt, ScoreRequest, TokenLogprob, Usage};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GenerateError, PromptTemplate};

/// The text between the reasoning so far and the gold answer, unless the recipe says otherwise: it closes the
/// reasoning block and opens the box. The paper leaves it open.
pub const DEFAULT_CUE: &str = "</think>\nThe final answer is \\boxed{";

/// Servers compute in f32 and may round a certain token's log-probability to just above 0.
const ROUNDING: f64 = 1e-6;

/// How the log-probabilities of an answer's tokens become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Their mean, and of that the exponential: the geometric mean of the tokens' probabilities, in [0, 1]. The paper's.
    #[default]
    GeometricMean,
    /// Their sum, in nats, at most 0: long answers score lower. Not its exponential, which is 0 for every long answer.
    Sum,
}

/// How a gold answer is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerReading {
    /// The text between the reasoning so far and the answer. The paper leaves it open.
    pub cue: String,
    /// How the tokens' log-probabilities become one number.
    pub normalise: Normalise,
    /// Only the answer's first so many tokens count. Past its start a long, open-ended answer is predicted by its own words,
    /// whatever was reasoned before, and the mean over all of them can hardly tell one step from another.
    pub cap: Option<u32>,
    /// The problem's metadata that lists other accepted forms of the gold answer: a text or a list of texts. The form that
    /// is likeliest counts; a problem without that metadata has the one form.
    pub forms: Option<String>,
}

impl Default for AnswerReading {
    /// The paper's geometric mean over the whole of the one gold answer.
    fn default() -> Self {
        Self { cue: DEFAULT_CUE.to_owned(), normalise: Normalise::default(), cap: None, forms: None }
    }
}

impl From<&str> for AnswerReading {
    /// The paper's reading after another cue.
    fn from(cue: &str) -> Self {
        Self { cue: cue.to_owned(), ..Self::default() }
    }
}

impl AnswerReading {
    /// From a log-likelihood, normalised, to a score.
    pub(crate) fn value(&self, log: f64) -> f64 {
        match self.normalise {
            Normalise::GeometricMean => log.exp(),
            Normalise::Sum => log,
        }
    }

    /// All accepted forms of the gold answer, the gold answer first, each once.
    fn answers<'a>(&self, scorer: &str, problem: &'a Problem) -> Result<Vec<&'a str>, GenerateError> {
        let mut answers = vec![problem.answer.as_str()];
        if let Some(key) = &self.forms
            && let Some(given) = problem.metadata.get(key)
        {
            let more = match given {
                Value::String(form) => Some(vec![form.as_str()]),
                Value::Array(forms) => forms.iter().map(Value::as_str).collect(),
                _ => None,
            };
            let fault =
                || GenerateError::Forms { scorer: scorer.to_owned(), key: key.clone(), given: given.to_string() };
            answers.extend(more.ok_or_else(fault)?);
        }
        if let Some(blank) = answers.iter().find(|answer| answer.is_empty()) {
            return Err(GenerateError::NoGold { scorer: scorer.to_owned(), given: (*blank).to_owned() });
        }
        let mut seen = std::collections::BTreeSet::new();
        answers.retain(|answer| seen.insert(*answer));
        Ok(answers)
    }
}

/// How likely the gold answer is after some reasoning.
#[derive(Clone, Copy)]
pub(crate) struct Likelihood {
    /// The mean log-probability of the answer's tokens, or their sum, in nats.
    pub(crate) log: f64,
    pub(crate) usage: Usage,
}

/// A model in the role of a prover, and how it is asked.
pub(crate) struct Prover {
    model: Arc<dyn LanguageModel>,
    prompt: PromptTemplate,
    pub(crate) reading: AnswerReading,
}

impl Prover {
    pub(crate) fn new(
        model: Arc<dyn LanguageModel>,
        reading: AnswerReading,
        prompt: PromptTemplate,
    ) -> Result<Self, GenerateError> {
        if model.capabilities().loglikelihood {
            return Ok(Self { model, prompt, reading });
        }
        let model = model.identity().name.clone();
        Err(GenerateError::Incapable { model, role: "meta-prover", capability: "give log-probabilities" })
    }

    /// The request about one form of the gold answer, after `reasoning` without the tag that closes it.
    pub(crate) fn request(&self, problem: &Problem, reasoning: &str, answer: &str) -> ScoreRequest {
        ScoreRequest {
            prompt: Prompt {
                messages: self.prompt.messages(problem),
                opening: Opening::Think,
                prefix: format!("{reasoning}{}", self.reading.cue),
            },
            continuation: answer.to_owned(),
        }
    }

    /// The likelihood of the gold answer's likeliest form.
    pub(crate) async fn likelihood(
        &self,
        scorer: &str,
        problem: &Problem,
        reasoning: &str,
    ) -> Result<Likelihood, GenerateError> {
        let ask = |answer| self.model.loglikelihood(self.request(problem, reasoning, answer));
        // All replies are awaited, so that of several failures the first form's is always the one reported.
        let replies = join_all(self.reading.answers(scorer, problem)?.into_iter().map(ask)).await;
        let mut best = Likelihood { log: f64::NEG_INFINITY, usage: Usage::default() };
        for reply in replies {
            let logprobs = reply.map_err(|source| GenerateError::Scorer { scorer: scorer.to_owned(), source })?;
            best.log = best.log.max(self.normalised(scorer, &logprobs)?);
            best.usage.scored_tokens += logprobs.len() as u64;
        }
        Ok(best)
    }

    fn normalised(&self, scorer: &str, logprobs: &[TokenLogprob]) -> Result<f64, GenerateError> {
        let fault = |expected, given| Err(GenerateError::NotFinite { scorer: scorer.to_owned(), expected, given });
        if logprobs.is_empty() {
            return fault("a log-probability for each token of the gold answer", "none".to_owned());
        }
        for (index, token) in logprobs.iter().enumerate() {
            if !token.logprob.is_finite() || token.logprob > ROUNDING {
                let given = format!("{} at token {index} of {}", token.logprob, logprobs.len());
                return fault("finite log-probabilities of at most 0", given);
            }
        }
        let cap = self.reading.cap.map_or(logprobs.len(), |cap| logprobs.len().min(cap.max(1) as usize));
        let sum = logprobs[..cap].iter().fold(0.0, |sum, token| sum + token.logprob.min(0.0));
        Ok(match self.reading.normalise {
            Normalise::GeometricMean => sum / cap as f64,
            Normalise::Sum => sum,
        })
    }
}

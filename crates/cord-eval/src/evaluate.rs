//! Drawing samples: many in flight, none able to end the run, the same bytes whatever the scheduling.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};

use cord_core::{BoxFuture, GenerateRequest, LanguageModel, Opening, Outcome, Problem, Sampling, Seed};
use cord_math::Start;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::prompt::PromptTemplate;
use crate::sample::Sample;
use crate::verifier::{Extractor, Verifier};

/// What decides an evaluation's numbers, beside model, problems and seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EvalSettings {
    /// Samples for each problem.
    pub samples: NonZeroU32,
    /// How to draw.
    pub sampling: Sampling,
    /// The most tokens of a response, reasoning and answer together.
    pub max_tokens: NonZeroU32,
    /// How the response opens.
    pub opening: Opening,
    /// How a problem is asked.
    pub prompt: PromptTemplate,
    /// Where an answer is looked for.
    pub extractor: Extractor,
    /// When an answer is right.
    pub verifier: Verifier,
    /// Fuel for each verdict; see [`cord_math::DEFAULT_FUEL`].
    pub fuel: u64,
}

/// How far an evaluation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Samples asked for in all.
    pub total: u64,
    /// Samples that ended, failures included.
    pub ended: u64,
    /// Samples that failed.
    pub failed: u64,
    /// Samples in state [`Correct`](crate::SampleState::Correct).
    pub correct: u64,
    /// Tokens generated so far.
    pub generated_tokens: u64,
}

/// The seed of one sample, derived by name: no sample's text depends on how many others are drawn.
pub fn sample_seed(seed: Seed, problem: &str, sample: u32) -> Seed {
    seed.named("eval").named(problem).indexed(u64::from(sample))
}

/// Draws `settings.samples` responses to each problem and judges them, at most `concurrency` at once.
///
/// Outcomes come sorted by (problem id, sample), however they were scheduled. A failed sample is an
/// [`Outcome::Failed`] under its problem's id, with the sample's number in its reason; the others go on.
/// `observe` is called after each sample. Once `stop` is set no sample is begun, those in flight are waited for, and the
/// evaluation ends as [`EvalError::Interrupted`]: with a journaled model nothing is lost.
pub async fn evaluate(
    model: &dyn LanguageModel,
    problems: &[Problem],
    settings: &EvalSettings,
    seed: Seed,
    concurrency: NonZeroUsize,
    stop: &AtomicBool,
    observe: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Vec<Outcome<Sample>>, EvalError> {
    let sorted = sorted_by_id(problems)?;
    let samples = settings.samples.get();
    // Boxed one by one and polled lazily: what is in flight is bounded by `buffer_unordered`.
    let jobs = sorted.iter().enumerate().flat_map(|(place, problem)| {
        (0..samples).map(move |sample| -> BoxFuture<'_, _> {
            Box::pin(async move { ((place, sample), draw(model, problem, settings, seed, sample).await) })
        })
    });
    let mut progress = Progress { total: sorted.len() as u64 * u64::from(samples), ..Progress::default() };
    let mut ended = BTreeMap::new();
    let begun = jobs.take_while(|_| !stop.load(Ordering::Relaxed));
    let mut stream = futures::stream::iter(begun).buffer_unordered(concurrency.get());
    while let Some((key, outcome)) = stream.next().await {
        progress.ended += 1;
        match &outcome {
            Outcome::Done(sample) => {
                progress.correct += u64::from(sample.state() == crate::SampleState::Correct);
                progress.generated_tokens += sample.usage.generated_tokens;
            }
            Outcome::Failed { .. } => progress.failed += 1,
        }
        ended.insert(key, outcome);
        observe(progress);
    }
    if progress.ended < progress.total {
        return Err(EvalError::Interrupted { ended: progress.ended, total: progress.total });
    }
    Ok(ended.into_values().collect())
}

fn sorted_by_id(problems: &[Problem]) -> Result<Vec<&Problem>, EvalError> {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let mut ids: Vec<String> =
        sorted.windows(2).filter(|pair| pair[0].id == pair[1].id).map(|pair| pair[0].id.clone()).collect();
    ids.dedup();
    if ids.is_empty() { Ok(sorted) } else { Err(EvalError::DuplicateProblems { ids }) }
}

async fn draw(
    model: &dyn LanguageModel,
    problem: &Problem,
    settings: &EvalSettings,
    seed: Seed,
    sample: u32,
) -> Outcome<Sample> {
    let request = GenerateRequest {
        prompt: settings.prompt.render(problem, settings.opening),
        stop: Vec::new(),
        max_tokens: settings.max_tokens.get(),
        sampling: settings.sampling,
        seed: sample_seed(seed, &problem.id, sample),
    };
    let generation = match model.generate(request).await {
        Ok(generation) => generation,
        Err(error) => {
            return Outcome::Failed { id: problem.id.clone(), reason: format!("sample {sample}: {error}") };
        }
    };
    let start = match settings.opening {
        Opening::Think => Start::Thinking,
        Opening::Plain => Start::Plain,
    };
    let assessment = settings.verifier.assess(problem, &generation.text, start, settings.extractor, settings.fuel);
    Outcome::Done(Sample {
        problem: problem.id.clone(),
        sample,
        verdict: assessment.verdict,
        extracted: assessment.extracted,
        marks: assessment.marks,
        response: generation.text,
        finish: generation.finish,
        usage: generation.usage,
    })
}

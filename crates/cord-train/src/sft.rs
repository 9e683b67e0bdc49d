//! The loop, top to bottom.

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use cord_core::{Digest, Seed};
use cord_lm::{LoraConfig, Pass, Supervised, Transformer, packed_gradient};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::adamw::{Flat, flat};
use crate::checkpoint::Progress;
use crate::validation::{Course, Validated, Validation};
use crate::{AdamW, AdamWConfig, BatchPlan, Schedule, TrainError, checkpoint, packing, validation};

/// One training sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What to call it in messages.
    pub id: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Which of the tokens are to be learned; the first never can be.
    pub supervised: Vec<bool>,
}

/// What to do with an example that is longer than the limit. The choice is counted and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthPolicy {
    /// Leave it out.
    Drop,
    /// Cut off what is over the limit; an end of turn is then not learnt from it.
    Truncate,
    /// Refuse to train.
    Error,
}

/// The settings of a run. All of them are part of its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Optimiser steps; given or made from epochs by the caller through [`BatchPlan::steps_per_epoch`].
    pub length: RunLength,
    /// Sequences of one optimiser step.
    pub batch: usize,
    /// The learning rate.
    pub schedule: Schedule,
    /// The optimiser.
    pub adamw: AdamWConfig,
    /// The gradient's global norm is scaled down to this; 0 leaves it alone.
    pub clip_norm: f64,
    /// The most tokens of an example; never more than the model's context.
    pub max_length: usize,
    /// What happens to longer ones.
    pub too_long: LengthPolicy,
    /// The most tokens that one part of a batch holds; bounds memory. The parts' gradients are
    /// summed in order, so their number changes rounding and is part of the run's identity.
    pub part_tokens: usize,
    /// Which samples share a part is chosen for the best fit, so that parts are full. Otherwise samples of like length do. Either way they
    /// stand one after the other, without padding and without seeing each other.
    pub packing: bool,
    /// Compute a block's activations again in the backward pass instead of keeping them.
    pub recompute: bool,
    /// Compute in bf16 and keep the weights and the optimiser's state in f32.
    pub bf16: bool,
    /// Train low-rank adapters instead of the weights.
    pub lora: Option<LoraConfig>,
    /// Measure the loss on other examples now and then.
    pub validation: Option<Validation>,
    /// How many checkpoints are kept, the newest first; at least one. It is in no identity.
    #[serde(skip)]
    pub keep: usize,
    /// Of the order of the data.
    pub seed: Seed,
}

/// What is learnt from, and what the loss is measured on beside.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// To learn from.
    pub training: &'a [Example],
    /// To measure on; empty where [`TrainSettings::validation`] is absent.
    pub validation: &'a [Example],
}

impl<'a, T: AsRef<[Example]> + ?Sized> From<&'a T> for Data<'a> {
    fn from(training: &'a T) -> Self {
        Self { training: training.as_ref(), validation: &[] }
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunLength {
    /// Passes over the data.
    Epochs(usize),
    /// Optimiser steps.
    Steps(usize),
}

/// One finished step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Mean loss of the step's supervised tokens, nats.
    pub loss: f64,
    /// The learning rate it used.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub gradient_norm: f64,
    /// Tokens read, padding left out.
    pub tokens: usize,
    /// Supervised tokens.
    pub supervised: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Mean loss of the validation examples' supervised tokens, nats, where it was measured after this step.
    pub validation_loss: Option<f64>,
}

/// What a run did. Holds nothing that depends on the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples used.
    pub examples: usize,
    /// Examples left out because of their length.
    pub too_long: usize,
    /// Examples cut because of their length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated: usize,
    /// Examples left out because nothing in them is supervised.
    pub unsupervised: usize,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// What was measured on the validation examples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validated>,
    /// The step whose weights these are, where that is not the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Asked between steps; when it says yes, the run saves a checkpoint and ends.
pub type Interrupt<'a> = &'a (dyn Fn() -> bool + Sync);

/// Trains a model.
///
/// With `checkpoints`, the state is saved there every `every` steps and a run that finds a state of its own goes on
/// from it: ten steps are the same, bit for bit on the CPU, as five, a kill, and five more.
///
/// With [`TrainSettings::lora`], the model that comes back has adapters; [`Transformer::merged`] adds them to its weights.
///
/// # Errors
/// See [`TrainError`].
pub fn train<'a>(
    mut model: Transformer,
    data: impl Into<Data<'a>>,
    settings: &TrainSettings,
    checkpoints: Option<(&Path, usize)>,
    threads: usize,
    interrupt: Interrupt<'_>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<(Transformer, TrainReport), TrainError> {
    let data = data.into();
    let chosen = choose(data.training, settings, &model)?;
    let kept: Vec<&Example> = chosen.kept.iter().map(AsRef::as_ref).collect();
    let measured = validation::choose(data.validation, settings, &model)?;
    let device = model.device();
    let plan = BatchPlan::new(kept.iter().map(|e| e.ids.len()).collect(), settings.batch, settings.seed);
    let per_epoch = plan.steps_per_epoch();
    let steps = match settings.length {
        RunLength::Epochs(epochs) => epochs * per_epoch,
        RunLength::Steps(steps) => steps,
    };
    // A pool of its own, and not the program's: two trainings side by side would hand each other's operations around.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .map_err(|e| TrainError::Threads { reason: e.to_string() })?;
    let run = identity(&kept, &measured, settings, &model);
    if let Some(lora) = &settings.lora {
        model.adapt(lora, settings.seed.named("lora")).map_err(|faults| TrainError::Settings { faults })?;
    }
    let mut optimiser = AdamW::new(settings.adamw, &model);
    let Progress { mut losses, validations } = match checkpoints {
        Some((dir, _)) => checkpoint::load(dir, run, &mut model, &mut optimiser, &device)?.unwrap_or_default(),
        None => Progress::default(),
    };
    let mut course = Course::new(settings.validation, validations);
    let mut saved = optimiser.steps;

    let on_host = device == Device::flex();
    let mut epoch = (usize::MAX, Vec::new());
    while optimiser.steps < steps && !course.is_over() {
        let begun = Instant::now();
        let step = optimiser.steps;
        if epoch.0 != step / per_epoch {
            epoch = (step / per_epoch, plan.epoch(step / per_epoch));
        }
        let batch: Vec<&Example> = epoch.1[step % per_epoch].0.iter().map(|index| kept[*index]).collect();
        let supervised: usize = batch.iter().map(|e| e.supervised_tokens()).sum();

        let (loss, mut gradients) = gradient(&model, &batch, supervised, settings, &pool);
        let norm = pool.install(|| global_norm(&mut gradients, on_host));
        if !(loss.is_finite() && norm.is_finite()) {
            let examples = batch.iter().map(|e| e.id.clone()).collect();
            return Err(TrainError::Diverged { step: step + 1, loss, norm, examples, checkpoint: saved });
        }
        let clip = if settings.clip_norm > 0.0 { (settings.clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let learning_rate = settings.schedule.at(step, steps);
        optimiser.step(&mut model, gradients, clip, learning_rate, &pool);

        losses.push(loss);
        let seconds = begun.elapsed().as_secs_f64();
        let mut validation_loss = None;
        if course.is_due(step + 1, steps) {
            let loss = validation::loss(&model, &measured, settings.part_tokens, &pool);
            if !loss.is_finite() {
                let examples = measured.iter().map(|e| e.id.clone()).collect();
                return Err(TrainError::Diverged { step: step + 1, loss, norm, examples, checkpoint: saved });
            }
            if course.measured(step + 1, loss)
                && let Some((dir, _)) = checkpoints
            {
                checkpoint::save_best(dir, &model, step + 1)?;
            }
            validation_loss = Some(loss);
        }
        observe(&StepReport {
            step: step + 1,
            steps,
            loss,
            learning_rate,
            gradient_norm: norm,
            tokens: batch.iter().map(|e| e.ids.len()).sum(),
            supervised,
            seconds,
            validation_loss,
        });
        if optimiser.steps == steps || course.is_over() {
            break;
        }
        let stop = interrupt();
        if let Some((dir, every)) = checkpoints
            && (stop || validation_loss.is_some() || (every > 0 && optimiser.steps.is_multiple_of(every)))
        {
            let progress = Progress { losses: losses.clone(), validations: course.validations.clone() };
            checkpoint::save(dir, run, &model, &optimiser, progress, settings.keep)?;
            saved = optimiser.steps;
        }
        if stop {
            return Err(TrainError::Interrupted { step: optimiser.steps });
        }
    }
    let mut best_step = None;
    if let (Some(step), Some((dir, _))) = (course.best_to_return(losses.len()), checkpoints) {
        checkpoint::load_best(dir, &mut model, step, &device)?;
        best_step = Some(step);
    }
    let report = TrainReport {
        steps: losses.len(),
        examples: kept.len(),
        too_long: chosen.too_long,
        truncated: chosen.truncated,
        unsupervised: chosen.unsupervised,
        losses,
        validations: course.validations,
        best_step,
    };
    Ok((model, report))
}

impl TrainSettings {
    pub(crate) fn pass(&self) -> Pass {
        Pass { recompute: self.recompute, bf16: self.bf16 }
    }
}

impl Example {
    pub(crate) fn supervised_tokens(&self) -> usize {
        self.supervised.iter().skip(1).filter(|s| **s).count()
    }

    pub(crate) fn sample(&self) -> Supervised<'_> {
        Supervised { ids: &self.ids, supervised: &self.supervised }
    }

    fn fault(&self, vocab: usize) -> Option<String> {
        let Self { id, ids, supervised } = self;
        if supervised.len() != ids.len() {
            let (expected, given) = (ids.len(), supervised.len());
            return Some(format!("`{id}`: expected a mask of {expected} tokens, got one of {given}"));
        }
        let place = ids.iter().position(|token| *token as usize >= vocab)?;
        Some(format!("`{id}`: expected token ids below {vocab}, got {} at token {place}", ids[place]))
    }
}

/// The examples that take part, and how many others there are.
pub(crate) struct Chosen<'a> {
    pub(crate) kept: Vec<Cow<'a, Example>>,
    pub(crate) too_long: usize,
    pub(crate) truncated: usize,
    pub(crate) unsupervised: usize,
}

/// Chooses by length and by what is supervised.
pub(crate) fn choose<'a>(
    examples: &'a [Example],
    settings: &TrainSettings,
    model: &Transformer,
) -> Result<Chosen<'a>, TrainError> {
    let mut faults = Vec::new();
    if settings.batch == 0 {
        faults.push("expected a batch of at least 1 sequence, got 0".to_owned());
    }
    if !(settings.schedule.peak.is_finite() && settings.schedule.peak > 0.0) {
        faults.push(format!("expected a learning rate above 0, got {}", settings.schedule.peak));
    }
    if !faults.is_empty() {
        return Err(TrainError::Settings { faults });
    }
    let faults: Vec<String> = examples.iter().filter_map(|e| e.fault(model.config().vocab)).collect();
    if !faults.is_empty() {
        return Err(TrainError::Examples { faults });
    }
    let limit = settings.max_length.min(model.config().context);
    let (long, short): (Vec<&Example>, Vec<&Example>) = examples.iter().partition(|e| e.ids.len() > limit);
    let mut rest: Vec<Cow<'a, Example>> = short.into_iter().map(Cow::Borrowed).collect();
    let (mut too_long, mut truncated) = (0, 0);
    match settings.too_long {
        LengthPolicy::Error if !long.is_empty() => {
            let examples = long.iter().map(|e| (e.id.clone(), e.ids.len())).collect();
            return Err(TrainError::TooLong { limit, examples });
        }
        LengthPolicy::Error | LengthPolicy::Drop => too_long = long.len(),
        LengthPolicy::Truncate => {
            truncated = long.len();
            let cut = |e: &Example| Example {
                id: e.id.clone(),
                ids: e.ids[..limit].to_vec(),
                supervised: e.supervised[..limit].to_vec(),
            };
            rest.extend(long.into_iter().map(|e| Cow::Owned(cut(e))));
        }
    }
    let (kept, empty): (Vec<_>, Vec<_>) = rest.into_iter().partition(|e| e.supervised_tokens() > 0);
    if kept.is_empty() {
        return Err(TrainError::NoExamples { given: examples.len() });
    }
    Ok(Chosen { kept, too_long, truncated, unsupervised: empty.len() })
}

/// What a checkpoint must belong to.
fn identity(
    examples: &[&Example],
    validation: &[Cow<'_, Example>],
    settings: &TrainSettings,
    model: &Transformer,
) -> Digest {
    let mut sums = Vec::new();
    model.clone().visit(&mut |name, mut param| {
        let values: Vec<f32> = flat(&mut param).to_data().try_into_vec().expect("weights are f32");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        sums.push((name.to_owned(), Digest::of_bytes(&bytes)));
    });
    Digest::of_json(&(settings, examples, validation, sums))
}

/// A part's share of the mean loss and its gradient, parameter by parameter.
type PartGradient = (f64, Vec<Flat>);

/// The mean loss over a batch's supervised tokens and its gradient, parameter by parameter.
///
/// The batch is cut into parts of a bounded number of tokens, which the pool's threads take as they come free. Their
/// gradients are added in the order of the parts, so that the number of threads changes nothing.
fn gradient(
    model: &Transformer,
    batch: &[&Example],
    supervised: usize,
    settings: &TrainSettings,
    pool: &rayon::ThreadPool,
) -> PartGradient {
    let parts =
        if settings.packing { packing::pack(batch, settings.part_tokens) } else { cut(batch, settings.part_tokens) };
    let share = 1.0 / supervised as f64;
    let of = |part: &Vec<&Example>| {
        let samples: Vec<Supervised<'_>> = part.iter().map(|e| e.sample()).collect();
        let (loss, gradients) = packed_gradient(model, &samples, share, settings.pass());
        (loss * share, gradients)
    };
    let results: Vec<PartGradient> = pool.install(|| parts.par_iter().map(of).collect());
    let mut results = results.into_iter();
    let (mut loss, mut sum) = results.next().expect("a batch has a part");
    for (part_loss, part) in results {
        loss += part_loss;
        sum = pool.install(|| sum.into_par_iter().zip(part).map(|(a, b)| a + b).collect());
    }
    (loss, sum)
}

/// Cuts a batch, sorted by length, into runs of at most `part_tokens` tokens; at least one sample each.
fn cut<'a>(batch: &[&'a Example], part_tokens: usize) -> Vec<Vec<&'a Example>> {
    let mut rows: Vec<&Example> = batch.to_vec();
    rows.sort_by_key(|e| e.ids.len());
    let mut parts: Vec<(usize, Vec<&Example>)> = Vec::new();
    for row in rows {
        match parts.last_mut() {
            Some((tokens, part)) if *tokens + row.ids.len() <= part_tokens => {
                *tokens += row.ids.len();
                part.push(row);
            }
            _ => parts.push((row.ids.len(), vec![row])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

fn global_norm(gradients: &mut [Flat], on_host: bool) -> f64 {
    let square = |g: &mut Flat| {
        if !on_host {
            return f64::from(g.clone().square().sum().into_scalar::<f32>());
        }
        // Where they lie: squares as a tensor would be as much memory again.
        let mut sum = 0.0;
        g.inplace(|g| {
            let (device, data) = (g.device(), g.into_data());
            let values = data.as_slice::<f32>().expect("gradients are f32");
            let chunk = |values: &[f32]| values.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
            sum = values.par_chunks(1 << 14).map(chunk).collect::<Vec<f64>>().iter().sum();
            Tensor::from_data(data, &device)
        });
        sum
    };
    // Summed in the parameters' order, whichever thread was first.
    gradients.par_iter_mut().map(square).collect::<Vec<f64>>().iter().sum::<f64>().sqrt()
}

//! The loop, top to bottom, whatever is learnt.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use cord_core::{Digest, Seed};
use cord_lm::{LoraConfig, Pass, Transformer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::adamw::{Flat, flat};
use crate::checkpoint::Progress;
use crate::dpo::Rewards;
use crate::validation::{Course, Validated, Validation};
use crate::{AdamW, AdamWConfig, BatchPlan, Schedule, TrainError, checkpoint, packing};

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
    /// Examples or pairs of one optimiser step.
    pub batch: usize,
    /// The learning rate.
    pub schedule: Schedule,
    /// The optimiser.
    pub adamw: AdamWConfig,
    /// The gradient's global norm is scaled down to this; 0 leaves it alone.
    pub clip_norm: f64,
    /// The most tokens of a sequence; never more than the model's context.
    pub max_length: usize,
    /// What happens to longer ones.
    pub too_long: LengthPolicy,
    /// The most tokens that one part of a batch holds, where it holds more than one example or pair; bounds memory. The parts' gradients are
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
    /// Mean loss of the step, nats: of its supervised tokens, or of its pairs.
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
    /// Mean loss of what is held out, nats, where it was measured after this step.
    pub validation_loss: Option<f64>,
    /// Of a step on pairs.
    pub rewards: Option<Rewards>,
}

/// What a run did. Holds nothing that depends on the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples or pairs used.
    pub examples: usize,
    /// Those left out because of their length.
    pub too_long: usize,
    /// Those cut because of their length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated: usize,
    /// Those left out because nothing in them is supervised.
    pub unsupervised: usize,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// What was measured on what is held out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validated>,
    /// The step whose weights these are, where that is not the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<usize>,
    /// The rewards of every step on pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<Rewards>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Asked between steps; when it says yes, the run saves a checkpoint and ends.
pub type Interrupt<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is learnt, and by what loss: the mean of its items' losses, by their weights.
pub(crate) trait Objective: Sync {
    /// What batches are made of.
    type Item: Sync;

    /// What to call it in messages.
    fn id(item: &Self::Item) -> &str;

    /// Tokens that are read of it.
    fn tokens(item: &Self::Item) -> usize;

    /// Its supervised tokens.
    fn supervised(item: &Self::Item) -> usize;

    /// How much of a batch's mean it is.
    fn weight(item: &Self::Item) -> usize;

    /// The summed loss of a part of a batch, and the gradient of its share.
    fn gradient(&self, model: &Transformer, part: &[&Self::Item], share: f64, how: Pass) -> PartGradient;

    /// The summed loss of some items.
    fn loss(&self, model: &Transformer, part: &[&Self::Item]) -> f64;
}

/// What a part of a batch gives.
pub(crate) struct PartGradient {
    /// Summed.
    pub(crate) loss: f64,
    /// Summed, where there are some.
    pub(crate) rewards: Option<Rewards>,
    /// Parameter by parameter.
    pub(crate) gradient: Vec<Flat>,
}

/// What a run takes, chosen and checked.
pub(crate) struct Run<'a, O: Objective> {
    pub(crate) objective: O,
    pub(crate) kept: Vec<&'a O::Item>,
    pub(crate) measured: Vec<&'a O::Item>,
    pub(crate) left: LeftOut,
    pub(crate) settings: &'a TrainSettings,
    pub(crate) checkpoints: Option<(&'a Path, usize)>,
    /// What a checkpoint must belong to.
    pub(crate) identity: Digest,
    pub(crate) pool: &'a rayon::ThreadPool,
}

/// What does not take part as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) too_long: usize,
    pub(crate) truncated: usize,
    pub(crate) unsupervised: usize,
}

impl<O: Objective> Run<'_, O> {
    /// Trains a model.
    ///
    /// With `checkpoints`, the state is saved there every `every` steps and a run that finds a state of its own goes on
    /// from it: ten steps are the same, bit for bit on the CPU, as five, a kill, and five more.
    pub(crate) fn train(
        self,
        mut model: Transformer,
        interrupt: Interrupt<'_>,
        observe: &mut dyn FnMut(&StepReport),
    ) -> Result<(Transformer, TrainReport), TrainError> {
        let Self { kept, measured, settings, checkpoints, identity, pool, .. } = &self;
        let device = model.device();
        let plan = BatchPlan::new(kept.iter().map(|item| O::tokens(item)).collect(), settings.batch, settings.seed);
        let per_epoch = plan.steps_per_epoch();
        let steps = match settings.length {
            RunLength::Epochs(epochs) => epochs * per_epoch,
            RunLength::Steps(steps) => steps,
        };
        if let Some(lora) = &settings.lora {
            model.adapt(lora, settings.seed.named("lora")).map_err(|faults| TrainError::Settings { faults })?;
        }
        let mut optimiser = AdamW::new(settings.adamw, &model);
        let Progress { mut losses, validations, mut rewards } = match checkpoints {
            Some((dir, _)) => {
                checkpoint::load(dir, *identity, &mut model, &mut optimiser, &device)?.unwrap_or_default()
            }
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
            let batch: Vec<&O::Item> = epoch.1[step % per_epoch].0.iter().map(|index| kept[*index]).collect();

            let PartGradient { loss, rewards: seen, gradient: mut gradients } = self.gradient(&model, &batch);
            let norm = pool.install(|| global_norm(&mut gradients, on_host));
            let diverged = |loss, items: &[&O::Item]| {
                let examples = items.iter().map(|item| O::id(item).to_owned()).collect();
                TrainError::Diverged { step: step + 1, loss, norm, examples, checkpoint: saved }
            };
            if !(loss.is_finite() && norm.is_finite()) {
                return Err(diverged(loss, &batch));
            }
            let clip = if settings.clip_norm > 0.0 { (settings.clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let learning_rate = settings.schedule.at(step, steps);
            optimiser.step(&mut model, gradients, clip, learning_rate, pool);

            losses.push(loss);
            rewards.extend(seen);
            let seconds = begun.elapsed().as_secs_f64();
            let mut validation_loss = None;
            if course.is_due(step + 1, steps) {
                let loss = self.validation_loss(&model);
                if !loss.is_finite() {
                    return Err(diverged(loss, measured));
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
                tokens: batch.iter().map(|item| O::tokens(item)).sum(),
                supervised: batch.iter().map(|item| O::supervised(item)).sum(),
                seconds,
                validation_loss,
                rewards: seen,
            });
            if optimiser.steps == steps || course.is_over() {
                break;
            }
            let stop = interrupt();
            if let Some((dir, every)) = checkpoints
                && (stop || validation_loss.is_some() || (*every > 0 && optimiser.steps.is_multiple_of(*every)))
            {
                let (losses, validations, rewards) = (losses.clone(), course.validations.clone(), rewards.clone());
                let progress = Progress { losses, validations, rewards };
                checkpoint::save(dir, *identity, &model, &optimiser, progress, settings.keep)?;
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
            too_long: self.left.too_long,
            truncated: self.left.truncated,
            unsupervised: self.left.unsupervised,
            losses,
            validations: course.validations,
            best_step,
            rewards,
        };
        Ok((model, report))
    }

    /// The mean loss of a batch and its gradient.
    ///
    /// The batch is cut into parts of a bounded number of tokens, which the pool's threads take as they come free. Their
    /// gradients are added in the order of the parts, so that the number of threads changes nothing.
    fn gradient(&self, model: &Transformer, batch: &[&O::Item]) -> PartGradient {
        let (settings, pool) = (self.settings, self.pool);
        let parts = if settings.packing {
            packing::pack(batch, |item| O::tokens(item), settings.part_tokens)
        } else {
            packing::cut(batch, |item| O::tokens(item), settings.part_tokens)
        };
        let share = 1.0 / batch.iter().map(|item| O::weight(item)).sum::<usize>() as f64;
        let of = |part: &Vec<&O::Item>| self.objective.gradient(model, part, share, settings.pass());
        let results: Vec<PartGradient> = pool.install(|| parts.par_iter().map(of).collect());
        let mut results = results.into_iter();
        let first = results.next().expect("a batch has a part");
        let PartGradient { mut loss, mut rewards, gradient: mut sum } = first;
        loss *= share;
        for part in results {
            loss += part.loss * share;
            rewards = rewards.zip(part.rewards).map(|(sum, part)| sum + part);
            sum = pool.install(|| sum.into_par_iter().zip(part.gradient).map(|(a, b)| a + b).collect());
        }
        PartGradient { loss, rewards: rewards.map(|sum| sum.of(batch.len())), gradient: sum }
    }

    /// The mean loss of what is held out, whatever the number of threads.
    fn validation_loss(&self, model: &Transformer) -> f64 {
        let weight: usize = self.measured.iter().map(|item| O::weight(item)).sum();
        let parts = packing::pack(&self.measured, |item| O::tokens(item), self.settings.part_tokens);
        let of = |part: &Vec<&O::Item>| self.objective.loss(model, part);
        let sums: Vec<f64> = self.pool.install(|| parts.par_iter().map(of).collect());
        sums.iter().sum::<f64>() / weight as f64
    }
}

/// A pool of its own, and not the program's: two trainings side by side would hand each other's operations around.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    pool.map_err(|e| TrainError::Threads { reason: e.to_string() })
}

impl TrainSettings {
    pub(crate) fn pass(&self) -> Pass {
        Pass { recompute: self.recompute, bf16: self.bf16 }
    }

    /// Refuses what no run can have.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let mut faults = Vec::new();
        if self.batch == 0 {
            faults.push("expected a batch of at least 1 sequence, got 0".to_owned());
        }
        if !(self.schedule.peak.is_finite() && self.schedule.peak > 0.0) {
            faults.push(format!("expected a learning rate above 0, got {}", self.schedule.peak));
        }
        if faults.is_empty() { Ok(()) } else { Err(TrainError::Settings { faults }) }
    }
}

/// The digests of a model's weights, which a checkpoint's run begins with.
pub(crate) fn beginning(model: &Transformer) -> Vec<(String, Digest)> {
    let mut sums = Vec::new();
    model.clone().visit(&mut |name, mut param| {
        let values: Vec<f32> = flat(&mut param).to_data().try_into_vec().expect("weights are f32");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        sums.push((name.to_owned(), Digest::of_bytes(&bytes)));
    });
    sums
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

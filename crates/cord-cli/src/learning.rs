//! What stages that train share: the trainer's settings, the loop with its curve and progress, the student's files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use cord_core::Seed;
use cord_lm::{Dtype, LmConfig, LoraConfig, Transformer, save, save_adapter};
use cord_recipe::{LearningSettings, Precision, StageSpec, TooLong, TrainLength};
use cord_store::StageWriter;
use cord_text::Renderer;
use cord_train::{
    AdamWConfig, Interrupt, LengthPolicy, Lengths, RunLength, Schedule, ScheduleKind, StepReport, TrainError,
    TrainReport, TrainSettings, Validation, memory,
};

use crate::curve::Curve;
use crate::progress::StageProgress;
use crate::stages::Bench;

/// The checkpoint inside a training stage's folder.
pub(crate) const MODEL: &str = "model";

/// The adapters beside it, where it was trained by them.
const ADAPTER: &str = "adapter";

/// The steps whose mean is what a training came to.
pub(crate) const LAST: usize = 50;

/// How a stage's student learns, whatever it learns.
pub(crate) struct Learning<'a> {
    /// The recipe's table, which messages name.
    table: &'static str,
    settings: &'a LearningSettings,
    pub(crate) seed: Seed,
}

/// What the trainer is given beside the model and its data.
pub(crate) struct Hold<'a> {
    pub(crate) checkpoints: Option<(&'a Path, usize)>,
    pub(crate) interrupt: Interrupt<'a>,
    pub(crate) observe: &'a mut dyn FnMut(&StepReport),
}

impl<'a> Learning<'a> {
    /// `table` is the recipe's, which gives the stage's seed its name too.
    pub(crate) fn new(table: &'static str, stage: &StageSpec, settings: &'a LearningSettings) -> Self {
        Self { table, settings, seed: Seed::root(stage.seed.expect("training draws")).named(table) }
    }

    /// The same as the trainer takes it.
    pub(crate) fn settings(&self) -> TrainSettings {
        let (optimiser, method) = (&self.settings.optimiser, &self.settings.method);
        TrainSettings {
            length: match self.settings.length {
                TrainLength::Epochs(epochs) => RunLength::Epochs(epochs as usize),
                TrainLength::Steps(steps) => RunLength::Steps(steps as usize),
            },
            batch: optimiser.batch as usize,
            schedule: Schedule {
                kind: match optimiser.schedule {
                    cord_recipe::Schedule::Cosine => ScheduleKind::Cosine,
                    cord_recipe::Schedule::Linear => ScheduleKind::Linear,
                    cord_recipe::Schedule::Constant => ScheduleKind::Constant,
                },
                peak: optimiser.learning_rate,
                floor_share: optimiser.final_learning_rate_share,
                warmup_share: optimiser.warmup,
            },
            adamw: AdamWConfig {
                beta1: optimiser.beta1,
                beta2: optimiser.beta2,
                epsilon: optimiser.epsilon,
                weight_decay: optimiser.weight_decay,
            },
            clip_norm: optimiser.clip_norm,
            max_length: self.settings.max_length as usize,
            too_long: match method.too_long {
                TooLong::Drop => LengthPolicy::Drop,
                TooLong::Truncate => LengthPolicy::Truncate,
                TooLong::Error => LengthPolicy::Error,
            },
            part_tokens: method.part_tokens as usize,
            packing: method.packing,
            recompute: method.recompute,
            bf16: method.precision == Precision::Bf16,
            lora: method.lora.as_ref().map(|lora| LoraConfig {
                rank: lora.rank as usize,
                alpha: lora.alpha,
                targets: lora.targets.clone(),
            }),
            validation: method.validation.map(|validation| Validation {
                every: validation.every as usize,
                patience: validation.patience.map(|patience| patience as usize),
                best: validation.best,
            }),
            keep: self.settings.keep_checkpoints as usize,
            seed: self.seed,
        }
    }

    /// Takes the rows of the validation out, chosen by the seed whatever their order.
    pub(crate) fn hold_out<T>(&self, rows: &mut Vec<T>) -> Result<Vec<T>> {
        let count = self.settings.method.validation.map_or(0, |validation| validation.rows as usize);
        if count >= rows.len() {
            bail!(
                "expected more than the {count} rows of `{}.validation`, got {}: hold out fewer, or none",
                self.table,
                rows.len()
            );
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        self.seed.named("validation").stream().shuffle(&mut order);
        let chosen: BTreeSet<usize> = order.into_iter().take(count).collect();
        let (held, rest): (Vec<_>, Vec<_>) =
            std::mem::take(rows).into_iter().enumerate().partition(|(place, _)| chosen.contains(place));
        *rows = rest.into_iter().map(|(_, row)| row).collect();
        Ok(held.into_iter().map(|(_, row)| row).collect())
    }

    /// Refuses what would not fit, and says what the rest will take.
    pub(crate) fn plan_memory(
        &self,
        context: &Bench<'_>,
        config: &LmConfig,
        rows: &[impl Lengths],
        threads: usize,
        progress: &StageProgress,
    ) -> Result<()> {
        let planned = memory(config, rows, &self.settings(), threads, context.models.spec());
        if let Some(most) = context.models.memory()
            && planned.bytes() > most
        {
            let table = self.table;
            bail!(
                "training would take about {planned}, and there are {:.2} GiB: lower `{table}.part-tokens` or `{table}.max-length`, \
                 or set `{table}.recompute` or `{table}.lora`",
                most as f64 / f64::from(1 << 30)
            );
        }
        progress.at(0, format!("about {planned}"));
        Ok(())
    }

    /// Floating-point operations that training needs for a token of these rows.
    pub(crate) fn flops(&self, config: &LmConfig, rows: &[impl Lengths]) -> f64 {
        let lengths = || rows.iter().flat_map(Lengths::lengths).map(|length| length as f64);
        // The mean over tokens, not over sequences: long ones have more of them.
        let length = lengths().map(|length| length * length).sum::<f64>() / lengths().sum::<f64>().max(1.0);
        config.training_flops(length, self.settings.method.lora.is_some())
    }

    /// Trains with checkpoints in the stage's folder, notes every step in its curve, and shows how it goes. A token takes so many `flops`.
    pub(crate) fn run(
        &self,
        context: &Bench<'_>,
        writer: &StageWriter,
        stage: &StageSpec,
        progress: &StageProgress,
        flops: f64,
        train: impl FnOnce(Hold<'_>) -> Result<(Transformer, TrainReport), TrainError>,
    ) -> Result<(Transformer, TrainReport)> {
        let work = writer.work_path()?;
        let board = context.run.tensorboard.as_ref().map(|folder| {
            let recipe = context.store.folder().file_name().unwrap_or_default();
            let arm = stage.arms.first().map_or(self.table, String::as_str);
            folder.join(recipe).join(format!("{arm}-{}", stage.key.short()))
        });
        let mut curve = Curve::new(writer, self.settings.checkpoint_every, board);
        let unwritable = AtomicBool::new(false);
        // What can't be noted is no reason to lose the steps: the training ends with a checkpoint.
        let interrupted = || context.interrupted.load(Ordering::Relaxed) || unwritable.load(Ordering::Relaxed);
        let mfu = |rate: f64| context.run.peak_tflops.map(|peak| rate * flops / (peak * 1e12));
        let (mut tokens, begun) = (0u64, Instant::now());
        let (mut loss, mut margin, mut accuracy) = (Decaying::default(), Decaying::default(), Decaying::default());
        let trained = train(Hold {
            checkpoints: Some((&work, self.settings.checkpoint_every as usize)),
            interrupt: &interrupted,
            observe: &mut |step| {
                let used = mfu(step.tokens as f64 / step.seconds.max(1e-9));
                unwritable.fetch_or(!curve.note(step, used), Ordering::Relaxed);
                tokens += step.tokens as u64;
                let mut shown = format!("loss {:.3}", loss.add(step.loss));
                if let Some(rewards) = step.rewards {
                    let (margin, accuracy) = (margin.add(rewards.margin()), accuracy.add(rewards.accuracy));
                    let _ = write!(shown, ", margin {margin:.3}, {:.0} % preferred", 100.0 * accuracy);
                }
                let rate = tokens as f64 / begun.elapsed().as_secs_f64().max(1e-3);
                let _ = write!(shown, ", {rate:.0} tokens/s");
                if let Some(mfu) = mfu(rate) {
                    let _ = write!(shown, ", MFU {:.1} %", 100.0 * mfu);
                }
                progress.of(step.steps as u64);
                progress.at(step.step as u64, shown);
            },
        });
        curve.end()?;
        Ok(trained?)
    }
}

/// Writes the student's checkpoint, and its adapters where it has some.
pub(crate) fn write(writer: &mut StageWriter, model: &Transformer, renderer: &Renderer, base: &str) -> Result<()> {
    if model.lora().is_some() {
        save_adapter(&writer.path().join(ADAPTER), model, base)?;
        writer.adopt(ADAPTER)?;
    }
    save(&writer.path().join(MODEL), &model.clone().merged(), renderer, Dtype::Bf16)?;
    writer.adopt(MODEL)?;
    Ok(())
}

/// The text of tokens, for an audit.
pub(crate) fn text_of(renderer: &Renderer, ids: &[u32]) -> String {
    let mut decoder = renderer.decoder();
    let text = ids.iter().map(|id| decoder.push(*id).unwrap_or_default()).collect::<String>();
    text + &decoder.flush().unwrap_or_default()
}

/// The mean of the last steps.
pub(crate) fn last(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let skipped = values.len().saturating_sub(LAST);
    let last: Vec<f64> = values.skip(skipped).collect();
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

/// A decaying mean, by the sum of its weights and of what they weigh: the first values must not weigh like a hundred.
#[derive(Default)]
struct Decaying {
    weight: f64,
    weighed: f64,
}

impl Decaying {
    fn add(&mut self, value: f64) -> f64 {
        (self.weight, self.weighed) = (0.9 * self.weight + 0.1, 0.9 * self.weighed + 0.1 * value);
        self.weighed / self.weight
    }
}

//! Settings for trainers that shard a model over several GPUs, beside rows of token ids: what this program would train on, to the token.
//!
//! Rows of ids and not of text: trainers' templates drop reasoning blocks and forget the end of turn, and a trainer that is
//! given ids renders nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use cord_generate::{CardConfig, TrainingSet};
use cord_recipe::{Arm, LearningSettings, ModelSource, Precision, Schedule, TooLong, TrainLength};
use cord_store::{DatasetColumn, dataset_to_parquet, write_file};

use crate::models;

/// What a label is where nothing is learnt.
const IGNORED: i64 = -100;

/// A trainer that settings are written for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Trainer {
    /// Hugging Face TRL: `trl sft --config trl.yaml`
    Trl,
    /// LLaMA-Factory: `llamafactory-cli train llama-factory.yaml`
    LlamaFactory,
}

/// What was written, for the verb to say.
pub(crate) struct Written {
    pub(crate) text: String,
    rows: usize,
}

impl Written {
    /// The rows of token ids, for the card.
    pub(crate) fn config(&self) -> CardConfig {
        CardConfig {
            name: "tokens".to_owned(),
            files: "tokens/*.parquet".to_owned(),
            rows: self.rows as u64,
            holds: "the student's token ids and the labels that it learns, -100 where it learns none".to_owned(),
        }
    }
}

/// Writes `tokens/train.parquet` and the settings of each trainer into a folder.
pub(crate) fn write(folder: &Path, arm: &Arm, set: &TrainingSet, seed: u64, trainers: &[Trainer]) -> Result<Written> {
    let settings = arm.train.as_ref().with_context(|| {
        format!("expected an arm that trains, whose settings a trainer takes over; `{}` does not", arm.name)
    })?;
    let model = arm.models.get(&settings.student).context("a recipe's student is one of its models")?;
    let renderer = models::renderer(&model.source)?;
    let settings = &settings.learning;
    let limit = settings.max_length as usize;
    let (mut ids, mut labels, mut dropped) = (Vec::new(), Vec::new(), 0);
    for row in &set.rows {
        let mut sample =
            renderer.training_ids(&row.messages).with_context(|| format!("the training row `{}`", row.id))?;
        if sample.ids.len() > limit {
            match settings.method.too_long {
                TooLong::Drop => {
                    dropped += 1;
                    continue;
                }
                TooLong::Truncate => {
                    sample.ids.truncate(limit);
                    sample.supervised.truncate(limit);
                }
                TooLong::Error => {
                    bail!("expected at most {limit} tokens in `{}`, got {}", row.id, sample.ids.len());
                }
            }
        }
        let learnt = sample.ids.iter().zip(&sample.supervised);
        labels.push(learnt.map(|(id, learnt)| if *learnt { i64::from(*id) } else { IGNORED }).collect());
        ids.push(sample.ids.iter().map(|id| i64::from(*id)).collect());
    }
    let rows = ids.len();
    let columns = [("input_ids", DatasetColumn::Integers(ids)), ("labels", DatasetColumn::Integers(labels))];
    let path = write_file(&folder.join("tokens").join("train.parquet"), &dataset_to_parquet(&columns)?)?;
    let mut text = format!("tokens: {rows} rows in {}", path.display());
    if dropped > 0 {
        let _ = write!(text, ", {dropped} of more than {limit} tokens left out");
    }
    let student = student(&model.source);
    for trainer in trainers {
        let (name, content) = match trainer {
            Trainer::Trl => ("trl.yaml", trl(settings, &student, seed)),
            Trainer::LlamaFactory => ("llama-factory.yaml", llama_factory(settings, &student, seed)),
        };
        let path = write_file(&folder.join(name), content.as_bytes())?;
        let _ = write!(text, "\nsettings in {}", path.display());
    }
    Ok(Written { text, rows })
}

/// Where the student is, as transformers is told: a folder, or a repository and a commit.
fn student(source: &ModelSource) -> String {
    match source {
        ModelSource::Hub { name, revision } => {
            format!("model_name_or_path: {}\nmodel_revision: {}\n", quoted(name), quoted(revision))
        }
        ModelSource::Path(path) => {
            // The trainer is started elsewhere.
            let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
            format!("model_name_or_path: {}\n", quoted(&path.display().to_string()))
        }
        ModelSource::Served { .. } | ModelSource::Scratch(_) => String::new(),
    }
}

/// Keys that both take: transformers' `TrainingArguments`.
fn arguments(settings: &LearningSettings, seed: u64) -> String {
    let (optimiser, method) = (&settings.optimiser, &settings.method);
    let length = match settings.length {
        TrainLength::Epochs(epochs) => format!("num_train_epochs: {epochs}"),
        TrainLength::Steps(steps) => format!("max_steps: {steps}"),
    };
    let floor = optimiser.final_learning_rate_share;
    let schedule = match optimiser.schedule {
        Schedule::Cosine if floor > 0.0 => {
            format!("lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {{min_lr_rate: {floor:?}}}")
        }
        Schedule::Cosine => "lr_scheduler_type: cosine".to_owned(),
        Schedule::Linear if floor > 0.0 => {
            format!("lr_scheduler_type: linear  # the recipe ends at {floor:?} of the rate, this at 0")
        }
        Schedule::Linear => "lr_scheduler_type: linear".to_owned(),
        Schedule::Constant => "lr_scheduler_type: constant_with_warmup".to_owned(),
    };
    format!(
        "# One sample for each device and pass: with N devices, divide the {batch} by N.\n\
         per_device_train_batch_size: 1\ngradient_accumulation_steps: {batch}\n{length}\nlearning_rate: {rate:?}\n{schedule}\n\
         # A share of the steps, as transformers 5 reads it; in 4 it was `warmup_ratio`.\nwarmup_steps: {warmup:?}\n# Theirs also reaches embeddings; norms and biases have none in either.\nweight_decay: {decay:?}\n\
         adam_beta1: {beta1:?}\nadam_beta2: {beta2:?}\nadam_epsilon: {epsilon:?}\nmax_grad_norm: {clip:?}\nbf16: {bf16}\n\
         gradient_checkpointing: true\nseed: {seed}\nlogging_steps: 1\nsave_strategy: epoch\noutput_dir: student\n",
        batch = optimiser.batch,
        rate = optimiser.learning_rate,
        warmup = optimiser.warmup,
        decay = optimiser.weight_decay,
        beta1 = optimiser.beta1,
        beta2 = optimiser.beta2,
        epsilon = optimiser.epsilon,
        clip = optimiser.clip_norm,
        bf16 = method.precision == Precision::Bf16,
    )
}

fn trl(settings: &LearningSettings, student: &str, seed: u64) -> String {
    let mut text = format!(
        "# In this folder, on one machine of several GPUs:\n#   trl sft --config trl.yaml --accelerate_config zero3\n\
         # Then, where cord is:\n#   cord eval student --benchmarks math500\n\
         # The rows are token ids with their labels: TRL renders and masks nothing.\n\
         {student}"
    );
    let _ = write!(
        text,
        "dataset_name: tokens\ndataset_train_split: train\nmax_length: {}\npacking: false\n{}",
        settings.max_length,
        arguments(settings, seed)
    );
    if let Some(lora) = &settings.method.lora {
        let _ = write!(text, "use_peft: true\nlora_r: {}\nlora_alpha: {}\n", lora.rank, lora.alpha);
        let _ = writeln!(text, "lora_target_modules: {}", targets(&lora.targets, "all-linear"));
    }
    text
}

fn llama_factory(settings: &LearningSettings, student: &str, seed: u64) -> String {
    let mut text = format!(
        "# In this folder, once: rows as LLaMA-Factory keeps them.\n\
         #   python -c \"from datasets import load_dataset; load_dataset('parquet', data_files={{'train': 'tokens/train.parquet'}}).save_to_disk('tokenized')\"\n\
         #   llamafactory-cli train llama-factory.yaml\n\
         # Then, where cord is:\n#   cord eval student --benchmarks math500\n\
         # For a model that one GPU can't hold, name a ZeRO-3 configuration as `deepspeed`.\n\
         stage: sft\ndo_train: true\n{student}"
    );
    let _ = write!(
        text,
        "tokenized_path: tokenized\n# Wanted, and not used: the rows are rendered already.\ndataset: tokens\ntemplate: empty\ncutoff_len: {}\n{}",
        settings.max_length,
        arguments(settings, seed)
    );
    match &settings.method.lora {
        None => text.push_str("finetuning_type: full\n"),
        Some(lora) => {
            let _ = write!(
                text,
                "finetuning_type: lora\nlora_rank: {}\nlora_alpha: {}\nlora_target: {}\n",
                lora.rank,
                lora.alpha,
                if lora.targets.is_empty() { "all".to_owned() } else { quoted(&lora.targets.join(",")) }
            );
        }
    }
    text
}

fn targets(names: &[String], all: &str) -> String {
    if names.is_empty() {
        return all.to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(", "))
}

/// A text as YAML takes it: JSON's form is one of YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

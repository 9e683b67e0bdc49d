//! How fast the trainer and the decoder are, and whether a device's numbers are the CPU's, as one line of JSON.
//!
//! ```console
//! $ cargo bench -p cord-train --bench speed -- --shape mini --work train
//! $ cargo bench -p cord-train --bench speed -- --shape smollm2-135m --work decode --batch 8
//! $ cargo bench -p cord-train --bench speed -- --shape mini --work memory --tokens 16384 --recompute
//! $ cargo bench -p cord-train --bench speed --features cuda -- --shape mini --work parity --device cuda:0
//! $ cargo bench -p cord-train --bench speed --features cuda -- --shape qwen2.5-1.5b --gpu --work train --tokens 16384 --device cuda:0
//! ```
//!
//! `work.json` holds the shapes and the amounts of work, for this program and for its twin in PyTorch,
//! `scripts/bench_torch.py`; `scripts/bench` alternates the two and makes a table of ratios. The weights are random: speed
//! does not depend on them. The number of threads is `RAYON_NUM_THREADS`, or the number of cores.
#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use clap::{Parser, ValueEnum};
use cord_core::{Finish, Sampling, Seed};
use cord_lm::{DecodeRequest, DeviceSpec, LmConfig, ParamMut, PrefixCache, Transformer, decode, open_device};
use cord_text::Renderer;
use cord_train::{
    AdamWConfig, Example, LengthPolicy, RunLength, Schedule, ScheduleKind, StepReport, TrainSettings, memory, train,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// As the binary has it: where memory comes from is a part of its speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A recipe's default.
const PART_TOKENS: usize = 1024;

/// Tokens of the sample whose memory is measured, where none are asked for.
const MEMORY_TOKENS: usize = 2048;

#[derive(Parser)]
#[command(name = "speed")]
struct Arguments {
    /// A shape of `work.json`.
    #[arg(long)]
    shape: String,
    /// What to measure.
    #[arg(long)]
    work: Work,
    /// Sequences that decode at once, one of those that `work.json` lists; the first of them when absent.
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of the one sample of `--work memory`, 2,048 when absent; or of those of `--gpu --work train`, the first that
    /// `work.json` lists when absent.
    #[arg(long)]
    tokens: Option<usize>,
    /// The work that `work.json` has for GPUs: long samples in bf16.
    #[arg(long)]
    gpu: bool,
    /// Tokens whose gradient is computed at a time in training. Parts that the threads can't share evenly leave some of them idle.
    #[arg(long, default_value_t = PART_TOKENS)]
    part_tokens: usize,
    /// With `--work memory`: compute activations again instead of keeping them.
    #[arg(long)]
    recompute: bool,
    /// Where to compute: `cpu`, or `cuda:0` in a build with `--features cuda`.
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// Cargo says so of its own accord.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Optimiser steps: forward, backward, clipping, AdamW.
    Train,
    /// Reading prompts and drawing new tokens, greedily.
    Decode,
    /// No speed: what two optimiser steps on one long sample hold at their peak, beside what was planned; Linux only.
    Memory,
    /// No speed: how far logits, losses and greedy replies are from the CPU's.
    Parity,
}

#[derive(Deserialize)]
struct Shape {
    config: Value,
    /// Absent where a shape is too large for a CPU.
    train: Option<TrainWork>,
    decode: Option<DecodeWork>,
    gpu: Option<GpuWork>,
}

#[derive(Deserialize)]
struct GpuWork {
    train: Vec<TrainWork>,
    decode: DecodeWork,
}

#[derive(Deserialize)]
struct TrainWork {
    batch: usize,
    tokens: usize,
    #[serde(default)]
    bf16: bool,
    #[serde(default)]
    recompute: bool,
    warmup: usize,
    repetitions: usize,
}

#[derive(Deserialize)]
struct DecodeWork {
    batches: Vec<usize>,
    prompt: usize,
    new: usize,
    warmup: usize,
    repetitions: usize,
}

/// What the repetitions after the warm-up took.
struct Measured {
    /// Of one repetition.
    tokens: usize,
    /// Wall-clock seconds of each.
    seconds: Vec<f64>,
    /// Seconds that all threads computed in all of them together; nothing where the system doesn't say.
    cpu_seconds: Option<f64>,
}

fn main() {
    let arguments = Arguments::parse();
    let shapes: BTreeMap<String, Shape> =
        serde_json::from_str(include_str!("work.json")).expect("work.json holds shapes");
    let known: Vec<&str> = shapes.keys().map(String::as_str).collect();
    let Some(shape) = shapes.get(&arguments.shape) else {
        refuse(&format!("expected `--shape` to be one of {known:?}, got `{}`", arguments.shape));
    };
    let mut config = LmConfig::from_json(&shape.config).expect("work.json holds configs that we read");
    config.context = config.context.max(arguments.tokens.unwrap_or_default());
    let (training, decoding) = if arguments.gpu {
        let mut listed = shape.gpu.iter().flat_map(|gpu| &gpu.train);
        let wanted = listed.find(|work| arguments.tokens.is_none_or(|tokens| tokens == work.tokens));
        (wanted, shape.gpu.as_ref().map(|gpu| &gpu.decode))
    } else {
        (shape.train.as_ref(), shape.decode.as_ref())
    };
    let missing = |what: &str| -> ! {
        let with = if arguments.gpu { "with `--gpu` and these `--tokens`" } else { "without `--gpu`" };
        refuse(&format!("expected a shape for which `work.json` lists {what} {with}, got `{}`", arguments.shape))
    };
    let device = open_device(arguments.device).unwrap_or_else(|error| refuse(&error.to_string()));
    let model = Transformer::init(&config, Seed::root(1), &device);
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
    let parameters = config.parameters();
    let mut flops = None;
    let (work, batch, measured) = match arguments.work {
        Work::Parity => {
            let (Some(training), Some(decoding)) = (&shape.train, &shape.decode) else { missing("work") };
            println!("{}", parity(&model, training, decoding, &arguments, threads));
            return;
        }
        Work::Memory => {
            println!("{}", measure_memory(model, &arguments));
            return;
        }
        Work::Train => {
            let Some(work) = training else { missing("training") };
            flops = Some(config.training_flops(work.tokens as f64, false));
            ("train", work.batch, measure_training(model, work, arguments.part_tokens, threads))
        }
        Work::Decode => {
            let Some(work) = decoding else { missing("decoding") };
            let batches = &work.batches;
            let batch = arguments.batch.unwrap_or(batches[0]);
            if !batches.contains(&batch) {
                refuse(&format!("expected `--batch` to be one of {batches:?}, got `{batch}`"));
            }
            ("decode", batch, measure_decoding(model, work, batch))
        }
    };
    let rates: Vec<f64> = measured.seconds.iter().map(|s| measured.tokens as f64 / s).collect();
    let line = json!({
        "engine": "cord", "shape": arguments.shape, "work": work, "batch": batch, "threads": threads,
        "device": arguments.device.to_string(),
        "parameters": parameters, "flops_per_token": flops, "tokens": measured.tokens, "tokens_per_second": rates,
        "tokens_per_cpu_second": measured.cpu_seconds.map(|s| (measured.tokens * rates.len()) as f64 / s),
    });
    println!("{line}");
}

fn refuse(message: &str) -> ! {
    use clap::CommandFactory;
    Arguments::command().error(clap::error::ErrorKind::InvalidValue, message).exit()
}

/// A token of a made-up text: rows differ, and none of the tokens is a special one.
fn token(row: usize, place: usize, vocab: usize) -> u32 {
    (3 + (row * 31 + place * 7) % (vocab - 3)) as u32
}

fn measure_training(model: Transformer, work: &TrainWork, part_tokens: usize, threads: usize) -> Measured {
    let mut cpu = Vec::new();
    let settings = TrainSettings { part_tokens, ..settings(work, work.warmup + work.repetitions) };
    let steps = training(model, work, &settings, threads, &mut || cpu.push(cpu_seconds()));
    Measured {
        tokens: steps[0].tokens,
        seconds: steps[work.warmup..].iter().map(|step| step.seconds).collect(),
        cpu_seconds: between(cpu[work.warmup - 1], cpu[steps.len() - 1]),
    }
}

/// Optimiser steps on the made-up text; `after` is called after each.
fn training(
    model: Transformer,
    work: &TrainWork,
    settings: &TrainSettings,
    threads: usize,
    after: &mut dyn FnMut(),
) -> Vec<StepReport> {
    let vocab = model.config().vocab;
    let examples: Vec<Example> = (0..work.batch).map(|row| example(row, work.tokens, vocab)).collect();
    let mut steps: Vec<StepReport> = Vec::new();
    train(model, &examples, settings, None, threads, &|| false, &mut |step| {
        steps.push(*step);
        after();
    })
    .expect("training goes on");
    steps
}

fn example(row: usize, tokens: usize, vocab: usize) -> Example {
    Example {
        id: row.to_string(),
        ids: (0..tokens).map(|place| token(row, place, vocab)).collect(),
        supervised: vec![true; tokens],
    }
}

fn settings(work: &TrainWork, count: usize) -> TrainSettings {
    TrainSettings {
        length: RunLength::Steps(count),
        batch: work.batch,
        schedule: Schedule { kind: ScheduleKind::Constant, peak: 1e-4, floor_share: 1.0, warmup_share: 0.0 },
        adamw: AdamWConfig { weight_decay: 0.05, ..AdamWConfig::default() },
        clip_norm: 1.0,
        max_length: work.tokens,
        too_long: LengthPolicy::Error,
        part_tokens: PART_TOKENS,
        packing: false,
        recompute: work.recompute,
        bf16: work.bf16,
        lora: None,
        validation: None,
        keep: 1,
        seed: Seed::root(2),
    }
}

/// Two steps, so that the moments of the optimiser are there in the second.
fn measure_memory(model: Transformer, arguments: &Arguments) -> Value {
    let recompute = arguments.recompute;
    let tokens = arguments.tokens.unwrap_or(MEMORY_TOKENS);
    let work = TrainWork { batch: 1, tokens, bf16: false, recompute, warmup: 0, repetitions: 2 };
    let examples = [example(0, work.tokens, model.config().vocab)];
    let settings = TrainSettings { packing: true, part_tokens: work.tokens, ..settings(&work, work.repetitions) };
    let planned = memory(model.config(), &examples, &settings, 1, arguments.device);
    let before = peak_memory();
    let begun = Instant::now();
    train(model, &examples, &settings, None, 1, &|| false, &mut |_| {}).expect("training goes on");
    json!({
        "shape": arguments.shape, "work": "memory", "device": arguments.device.to_string(), "tokens": work.tokens,
        "recompute": recompute, "seconds": begun.elapsed().as_secs_f64(),
        "peak-before": before, "peak": peak_memory(), "planned": planned.bytes(), "plan": planned.to_string(),
    })
}

/// The most bytes that this process has held so far.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<usize>().ok()? << 10)
}

/// The largest absolute differences from the CPU: of logits over whole rows, of the losses of ten optimiser steps, and the share
/// of greedy replies that are the same text.
fn parity(
    model: &Transformer,
    train: &TrainWork,
    decoded: &DecodeWork,
    arguments: &Arguments,
    threads: usize,
) -> Value {
    const STEPS: usize = 10;
    let cpu = open_device(DeviceSpec::Cpu).expect("a CPU");
    let reference = Transformer::init(model.config(), Seed::root(1), &cpu);
    let (rows, width, vocab) = (2, 48, model.config().vocab);
    let ids: Vec<i64> =
        (0..rows).flat_map(|row| (0..width).map(move |place| i64::from(token(row, place, vocab)))).collect();
    let logits = |model: &Transformer| -> Vec<f32> {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [rows, width]), &model.device());
        model.logits(model.forward(ids)).to_data().try_into_vec().expect("logits are f32")
    };
    let losses = |model: &Transformer| -> Vec<f64> {
        let steps = training(model.clone(), train, &settings(train, STEPS), threads, &mut || {});
        steps.iter().map(|step| step.loss).collect()
    };
    let replies = |model: &Transformer| -> Vec<String> {
        let mut model = model.clone();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let renderer = numbered_words(vocab, folder.path());
        silence_end(&mut model, &renderer);
        let requests = decode_requests(decoded, decoded.batches[0], vocab);
        let replies = decode(&model, &mut PrefixCache::new(0), &renderer, "parity", &requests);
        replies.into_iter().map(|reply| reply.expect("decoding goes on").text).collect()
    };
    let (ours, theirs) = (logits(model), logits(&reference));
    let scale = theirs.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    let logit = largest_difference(ours.iter().map(|x| f64::from(*x)), theirs.iter().map(|x| f64::from(*x)));
    let loss = largest_difference(losses(model).into_iter(), losses(&reference).into_iter());
    let (ours, theirs) = (replies(model), replies(&reference));
    let same = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    json!({
        "shape": arguments.shape, "work": "parity", "device": arguments.device.to_string(), "logits": logit,
        "largest-logit": scale, "losses": loss, "steps": STEPS, "same-replies": same, "replies": ours.len(),
    })
}

/// NaN where a value is not a number, so that it passes no comparison.
fn largest_difference(one: impl Iterator<Item = f64>, two: impl Iterator<Item = f64>) -> f64 {
    one.zip(two).map(|(a, b)| (a - b).abs()).fold(0.0, |most, x| if x.is_nan() || x > most { x } else { most })
}

/// Seconds that this process's threads have computed, in hundredths; Linux only.
fn cpu_seconds() -> Option<f64> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

fn between(begun: Option<f64>, ended: Option<f64>) -> Option<f64> {
    Some(ended? - begun?)
}

fn measure_decoding(mut model: Transformer, work: &DecodeWork, batch: usize) -> Measured {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let renderer = numbered_words(model.config().vocab, folder.path());
    silence_end(&mut model, &renderer);
    let requests = decode_requests(work, batch, model.config().vocab);
    let mut seconds = Vec::new();
    let mut cpu = None;
    for repetition in 0..work.warmup + work.repetitions {
        if repetition == work.warmup {
            cpu = cpu_seconds();
        }
        let begun = Instant::now();
        let replies = decode(&model, &mut PrefixCache::new(0), &renderer, "speed", &requests);
        seconds.push(begun.elapsed().as_secs_f64());
        for reply in replies {
            let reply = reply.expect("decoding goes on");
            assert_eq!(
                (reply.finish, reply.tokens),
                (Finish::Length, work.new as u64),
                "every row draws all its tokens"
            );
        }
    }
    let cpu_seconds = between(cpu, cpu_seconds());
    Measured { tokens: batch * work.new, seconds: seconds.split_off(work.warmup), cpu_seconds }
}

fn decode_requests(work: &DecodeWork, batch: usize, vocab: usize) -> Vec<DecodeRequest> {
    let request = |row: usize| DecodeRequest {
        prompt: (0..work.prompt).map(|place| token(row, place, vocab)).collect(),
        stop: Vec::new(),
        max_tokens: work.new as u32,
        sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
        seed: Seed::root(row as u64),
    };
    (0..batch).map(request).collect()
}

/// A tokenizer of the words `w0`, `w1`, …, the second of which ends a turn: decoding includes making text.
fn numbered_words(vocab: usize, folder: &Path) -> Renderer {
    let words: BTreeMap<String, usize> = (0..vocab).map(|id| (format!("w{id}"), id)).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w2"},
    });
    let put = |name: &str, value: Value| {
        std::fs::write(folder.join(name), value.to_string()).expect("a temporary file can be written");
    };
    put("tokenizer.json", tokenizer);
    put("tokenizer_config.json", json!({"pad_token": "w0", "eos_token": "w1"}));
    Renderer::from_dir(folder).expect("a tokenizer of words")
}

/// Gives the tokens that end a turn a logit of 0, which is never the highest, so that every row draws to its budget.
fn silence_end(model: &mut Transformer, renderer: &Renderer) {
    let device = model.device();
    model.visit(&mut |name, param| {
        let ParamMut::Table(table) = param else { return };
        assert_eq!(name, "model.embed_tokens.weight", "the shapes are tied");
        let [vocab, hidden] = table.dims();
        let mut values: Vec<f32> = table.to_data().try_into_vec().expect("weights are f32");
        for id in renderer.eos_ids() {
            values[*id as usize * hidden..(*id as usize + 1) * hidden].fill(0.0);
        }
        *table = Tensor::from_data(TensorData::new(values, [vocab, hidden]), &device);
    });
}

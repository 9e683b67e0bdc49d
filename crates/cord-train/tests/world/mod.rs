//! A small model, sequences of very different lengths and masks, and settings.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;

use cord_core::Seed;
use cord_lm::{Architecture, DeviceSpec, LmConfig, ParamMut, Transformer, open_device};
use cord_train::{
    AdamWConfig, Example, LengthPolicy, RunLength, Schedule, ScheduleKind, TrainError, TrainReport, TrainSettings,
    train,
};

pub(crate) const VOCAB: u32 = 48;
pub(crate) const CONTEXT: usize = 64;

/// A model drawn wide enough that its first steps already move something.
pub(crate) fn model() -> Transformer {
    sized(VOCAB as usize, 32)
}

pub(crate) fn sized(vocab: usize, hidden: usize) -> Transformer {
    let config = LmConfig {
        vocab,
        hidden,
        ffn: 2 * hidden,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: hidden / 4,
        context: CONTEXT,
        rope_theta: 1e4,
        norm_eps: 1e-5,
        tied: true,
        eos: vec![1],
        bos: None,
        pad: Some(0),
        architecture: Architecture::default(),
    };
    Transformer::init(&config, Seed::root(1), &open_device(DeviceSpec::Cpu).unwrap())
}

/// One sequence: tokens drawn from its own stream, the last `supervised` of them to be learnt.
pub(crate) fn example(id: &str, length: usize, supervised: usize) -> Example {
    let mut stream = Seed::root(9).named(id).stream();
    Example {
        id: id.to_owned(),
        ids: (0..length).map(|_| stream.below(u64::from(VOCAB)) as u32).collect(),
        supervised: (0..length).map(|place| place + supervised >= length).collect(),
    }
}

/// Eight sequences whose lengths and masks differ as much as they can: one learns 59 tokens, another 1.
pub(crate) fn uneven() -> Vec<Example> {
    let shapes = [(60, 59), (5, 1), (33, 2), (12, 11), (64, 1), (7, 6), (25, 25), (48, 30)];
    shapes.iter().zip("abcdefgh".chars()).map(|((length, s), name)| example(&name.to_string(), *length, *s)).collect()
}

pub(crate) fn settings(steps: usize) -> TrainSettings {
    TrainSettings {
        length: RunLength::Steps(steps),
        batch: 3,
        schedule: Schedule { kind: ScheduleKind::Cosine, peak: 3e-3, floor_share: 0.1, warmup_share: 0.1 },
        adamw: AdamWConfig { weight_decay: 0.05, ..AdamWConfig::default() },
        clip_norm: 1.0,
        max_length: CONTEXT,
        too_long: LengthPolicy::Error,
        part_tokens: 64,
        packing: false,
        recompute: false,
        bf16: false,
        lora: None,
        validation: None,
        keep: 1,
        seed: Seed::root(3),
    }
}

/// A run without checkpoints that no one stops.
pub(crate) fn run(
    model: Transformer,
    examples: &[Example],
    settings: &TrainSettings,
    threads: usize,
) -> Result<(Transformer, TrainReport), TrainError> {
    train(model, examples, settings, None, threads, &|| false, &mut |_| {})
}

/// Every weight, bit by bit.
pub(crate) fn bits(model: &Transformer) -> BTreeMap<String, Vec<u32>> {
    weights(model).into_iter().map(|(name, values)| (name, values.iter().map(|v| v.to_bits()).collect())).collect()
}

pub(crate) fn weights(model: &Transformer) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    model.clone().visit(&mut |name, param| {
        let data = match param {
            ParamMut::Vector(t) => t.to_data(),
            ParamMut::Table(t) | ParamMut::Linear(t) => t.to_data(),
        };
        all.insert(name.to_owned(), data.try_into_vec().unwrap());
    });
    all
}

pub(crate) fn loss_bits(report: &TrainReport) -> Vec<u64> {
    report.losses.iter().map(|loss| loss.to_bits()).collect()
}

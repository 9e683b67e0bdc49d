//! A whole run against PyTorch: 20 steps of AdamW with warm-up, cosine, global clipping and weight decay on linear
//! layers, over ragged sequences with masks, and over pairs by direct preference optimisation. Made by `scripts/make-training-fixture`.

use std::path::{Path, PathBuf};

use cord_core::Seed;
use cord_lm::{DeviceSpec, ParamMut, Transformer, open_device};
use cord_train::{
    AdamWConfig, Example, LengthPolicy, Pair, Pairs, Preference, Rewards, RunLength, Schedule, StepReport,
    TrainSettings, train, train_on_pairs,
};
use serde::Deserialize;

/// The largest absolute difference of a step's loss or of a weight after the last step. Both sides compute in f32 and
/// sum in other orders; measured on x86-64 with AVX-512: 5e-7 for losses, 3e-7 for weights.
const TOLERANCE: f64 = 1e-5;

/// What PyTorch was told and what it gave.
#[derive(Deserialize)]
struct Run {
    steps: usize,
    schedule: Schedule,
    adamw: AdamWConfig,
    clip_norm: f64,
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
    learning_rates: Vec<f64>,
    #[serde(default)]
    examples: Vec<Example>,
    preference: Option<Preference>,
    #[serde(default)]
    rewards: Vec<Rewards>,
    #[serde(default)]
    pairs: Vec<Pair>,
}

fn fixture(name: &str) -> (Transformer, Run) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    read(&folder)
}

fn read(folder: &Path) -> (Transformer, Run) {
    let trained = Transformer::from_dir(folder, &open_device(DeviceSpec::Cpu).unwrap()).unwrap();
    (trained, serde_json::from_str(&std::fs::read_to_string(folder.join("run.json")).unwrap()).unwrap())
}

fn tiny_llama() -> Transformer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cord-lm/tests/fixtures/tiny-llama");
    Transformer::from_dir(&folder, &open_device(DeviceSpec::Cpu).unwrap()).unwrap()
}

fn weights(model: &Transformer) -> Vec<(String, Vec<f32>)> {
    let mut out = Vec::new();
    model.clone().visit(&mut |name, param| {
        let data = match param {
            ParamMut::Vector(t) => t.to_data(),
            ParamMut::Table(t) | ParamMut::Linear(t) => t.to_data(),
        };
        out.push((name.to_owned(), data.try_into_vec().unwrap()));
    });
    out
}

/// The largest absolute difference of two models' weights, and where it is.
fn difference(one: &Transformer, two: &Transformer) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for ((name, one), (_, two)) in weights(one).into_iter().zip(weights(two)) {
        assert_eq!(one.len(), two.len(), "{name}");
        let most = one.iter().zip(&two).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        if most > worst.0 {
            worst = (most, name);
        }
    }
    worst
}

fn largest(given: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let given: Vec<f64> = given.collect();
    assert_eq!(given.len(), expected.len());
    given.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn settings(run: &Run, part_tokens: usize, packing: bool) -> TrainSettings {
    TrainSettings {
        length: RunLength::Steps(run.steps),
        batch: run.examples.len() + run.pairs.len(),
        schedule: run.schedule,
        adamw: run.adamw,
        clip_norm: run.clip_norm,
        max_length: 64,
        too_long: LengthPolicy::Error,
        part_tokens,
        packing,
        recompute: packing,
        bf16: false,
        lora: None,
        validation: None,
        keep: 1,
        seed: Seed::root(1),
    }
}

/// A real checkpoint's training, where `scripts/make-training-fixture --start` has made one.
#[test]
#[expect(clippy::print_stderr, reason = "a test that can't run says so")]
fn twenty_steps_of_a_real_model_equal_those_of_pytorch() {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(start), Some(fixture)) = (folder("CORD_TRAINING_START"), folder("CORD_TRAINING_FIXTURE")) else {
        eprintln!("skipped: `CORD_TRAINING_START` and `CORD_TRAINING_FIXTURE` are not set");
        return;
    };
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let start = Transformer::from_dir(&start, &device).unwrap();
    let (expected, run) = read(&fixture);
    for packing in [false, true] {
        let settings = settings(&run, 1024, packing);
        let (trained, report) =
            train(start.clone(), &run.examples, &settings, None, 2, &|| false, &mut |_| {}).unwrap();
        let losses = largest(report.losses.iter().copied(), &run.losses);
        // A weight whose gradients are all but zero moves by their sign: what is compared is the whole movement.
        let apart = distance(&trained, &expected) / distance(&start, &expected);
        eprintln!("packing {packing}: losses {losses:e} apart, weights {apart:e} of their movement apart");
        assert!(losses < 1e-4, "the largest difference of a loss is {losses:e}");
        assert!(apart < 1e-3, "weights are {apart:e} of their movement apart");
    }
}

/// The root of the summed squares of two models' differences.
fn distance(one: &Transformer, two: &Transformer) -> f64 {
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let pairs = weights(one).into_iter().zip(weights(two));
    pairs.map(|((_, one), (_, two))| one.iter().zip(&two).map(square).sum::<f64>()).sum::<f64>().sqrt()
}

#[test]
fn twenty_steps_equal_those_of_pytorch() {
    let start = tiny_llama();
    let (expected, run) = fixture("adamw-20-steps");
    // What the fixture is worth: it clips some steps and not others, and moves the weights far.
    assert!(run.gradient_norms.iter().any(|n| *n < run.clip_norm) && run.gradient_norms.iter().any(|n| *n > 1.5));
    assert!(difference(&start, &expected).0 > 1e-2);

    // In one part, in a part for each sequence, and in something between, side by side; padded and packed.
    for (part_tokens, threads, packing) in
        [(1024, 1, false), (1, 1, false), (64, 2, false), (1024, 1, true), (1, 1, true), (64, 2, true)]
    {
        let settings = settings(&run, part_tokens, packing);
        let mut steps: Vec<StepReport> = Vec::new();
        let (trained, report) =
            train(start.clone(), &run.examples, &settings, None, threads, &|| false, &mut |step| steps.push(*step))
                .unwrap();
        assert_eq!((report.examples, report.too_long, report.unsupervised), (run.examples.len(), 0, 0));

        let rates = largest(steps.iter().map(|s| s.learning_rate), &run.learning_rates);
        assert!(rates < 1e-12, "the largest difference of a learning rate is {rates:e}");
        let losses = largest(report.losses.iter().copied(), &run.losses);
        assert!(losses < TOLERANCE, "parts of {part_tokens}: the largest difference of a loss is {losses:e}");
        let norms = largest(steps.iter().map(|s| s.gradient_norm), &run.gradient_norms);
        assert!(norms < 10.0 * TOLERANCE, "parts of {part_tokens}: the largest difference of a norm is {norms:e}");
        let (weights, name) = difference(&trained, &expected);
        assert!(weights < TOLERANCE, "parts of {part_tokens}: the largest difference is {weights:e} in `{name}`");
    }
}

#[test]
fn twenty_steps_on_pairs_equal_those_of_pytorch() {
    let start = tiny_llama();
    let (expected, run) = fixture("dpo-20-steps");
    assert!(run.gradient_norms.iter().any(|n| *n < run.clip_norm) && run.gradient_norms.iter().any(|n| *n > 1.5));
    assert!(difference(&start, &expected).0 > 1e-2);
    let data = Pairs { training: &run.pairs, validation: &[], preference: run.preference.unwrap() };

    for (part_tokens, threads, packing) in [(1024, 1, false), (1, 1, false), (64, 2, false), (64, 2, true)] {
        let settings = settings(&run, part_tokens, packing);
        let mut steps: Vec<StepReport> = Vec::new();
        let (trained, report) =
            train_on_pairs(start.clone(), &data, &settings, None, threads, &|| false, &mut |step| steps.push(*step))
                .unwrap();
        assert_eq!((report.examples, report.too_long, report.unsupervised), (run.pairs.len(), 0, 0));

        let losses = largest(report.losses.iter().copied(), &run.losses);
        assert!(losses < TOLERANCE, "parts of {part_tokens}: the largest difference of a loss is {losses:e}");
        let norms = largest(steps.iter().map(|s| s.gradient_norm), &run.gradient_norms);
        assert!(norms < 10.0 * TOLERANCE, "parts of {part_tokens}: the largest difference of a norm is {norms:e}");
        let (weights, name) = difference(&trained, &expected);
        assert!(weights < TOLERANCE, "parts of {part_tokens}: the largest difference is {weights:e} in `{name}`");
        let of = |which: fn(&Rewards) -> f64| -> f64 {
            let expected: Vec<f64> = run.rewards.iter().map(which).collect();
            largest(report.rewards.iter().map(which), &expected)
        };
        let rewards = of(|one| one.chosen).max(of(|one| one.rejected));
        assert!(
            rewards < 10.0 * TOLERANCE,
            "parts of {part_tokens}: the largest difference of a reward is {rewards:e}"
        );
        assert!(of(|one| one.accuracy) < 1e-12, "parts of {part_tokens}");
    }
}

//! Packed samples, long rows, adapters and validation: the same numbers as the plain way where there is one.

mod world;

use cord_core::Seed;
use cord_lm::{
    DeviceSpec, LmConfig, LoraConfig, ParamMut, Pass, Supervised, Transformer, packed_gradient, packed_loss,
};
use cord_train::{Data, Example, LengthPolicy, TrainError, TrainReport, TrainSettings, Validation, memory, train};
use serde_json::json;
use world::{bits, example, loss_bits, model, run, settings, uneven, weights};

fn largest_difference(one: &Transformer, two: &Transformer) -> f32 {
    let (one, two) = (weights(one), weights(two));
    let pairs = one.iter().zip(&two).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Small models of every family; at a scale of 2 their attention is far from uniform.
fn families(scale: f64) -> Vec<(&'static str, Transformer)> {
    let base = json!({"vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 3000});
    let more = [
        json!({"model_type": "llama", "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true}),
        json!({"model_type": "mistral", "sliding_window": 9}),
        json!({"model_type": "qwen2"}),
        json!({"model_type": "qwen3"}),
        json!({"model_type": "phi3", "partial_rotary_factor": 0.5}),
        json!({"model_type": "gemma3_text", "sliding_window": 9, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8}),
    ];
    more.into_iter()
        .map(|more| {
            let mut json = base.clone();
            more.as_object().unwrap().iter().for_each(|(key, value)| json[key] = value.clone());
            let config = LmConfig::from_json(&json).unwrap();
            let device = cord_lm::open_device(cord_lm::DeviceSpec::Cpu).unwrap();
            let mut model = Transformer::init(&config, Seed::root(5), &device);
            model.visit(&mut |_, param| {
                if let ParamMut::Table(t) | ParamMut::Linear(t) = param {
                    *t = t.clone().mul_scalar(scale);
                }
            });
            (config.architecture.family().model_type(), model)
        })
        .collect()
}

fn samples(examples: &[Example]) -> Vec<Supervised<'_>> {
    examples.iter().map(|e| Supervised { ids: &e.ids, supervised: &e.supervised, weight: 1.0 }).collect()
}

fn host(gradients: Vec<burn::tensor::Tensor<1>>) -> Vec<Vec<f32>> {
    gradients.into_iter().map(|g| g.into_data().try_into_vec().unwrap()).collect()
}

/// The largest difference of two gradients beside the largest value.
fn distance(one: &[Vec<f32>], two: &[Vec<f32>]) -> f32 {
    assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), two.iter().map(Vec::len).collect::<Vec<_>>());
    let scale = two.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
    one.iter().flatten().zip(two.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

#[test]
fn a_pack_is_the_sum_of_its_samples_in_every_family() {
    let examples = uneven();
    for (family, model) in families(2.0) {
        let (loss, together) = packed_gradient(&model, &samples(&examples), Pass::default());
        let together = host(together);
        let mut sum: Option<(f64, Vec<Vec<f32>>)> = None;
        for one in samples(&examples) {
            let (loss, gradient) = packed_gradient(&model, &[one], Pass::default());
            let gradient = host(gradient);
            sum = Some(match sum {
                None => (loss, gradient),
                Some((before, sum)) => {
                    let add = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
                    (before + loss, sum.iter().zip(&gradient).map(add).collect())
                }
            });
        }
        let (alone, gradient) = sum.unwrap();
        assert!((loss - alone).abs() < 1e-3, "{family}: {loss} {alone}");
        let apart = distance(&together, &gradient);
        assert!(apart < 5e-5, "{family}: the gradient is {apart} apart");
        let measured = packed_loss(&model, &samples(&examples));
        assert!((loss - measured).abs() < 1e-3, "{family}: {loss} {measured}");
        // Recomputing repeats the same operations.
        let (again, recomputed) = packed_gradient(&model, &samples(&examples), Pass { recompute: true, bf16: false });
        assert!(again == loss && host(recomputed) == together, "{family}: recomputing changes a bit");
    }
}

#[test]
fn a_gradient_is_what_the_loss_does_in_every_family() {
    // In the direction of the gradient itself the loss must change by its square.
    let examples = &uneven()[..3];
    for (family, model) in families(2.0) {
        let (_, gradient) = packed_gradient(&model, &samples(examples), Pass { recompute: true, bf16: false });
        let square: f64 = host(gradient.clone()).iter().flatten().map(|g| f64::from(*g).powi(2)).sum();
        let step = 2e-3 / square.sqrt();
        let moved = |sign: f64| {
            let (mut model, mut gradient) = (model.clone(), gradient.iter());
            model.visit_trained(&mut |_, param| {
                let change = gradient.next().unwrap().clone().mul_scalar(sign * step);
                match param {
                    ParamMut::Vector(t) => *t = t.clone() + change,
                    ParamMut::Table(t) | ParamMut::Linear(t) => *t = t.clone() + change.reshape(t.dims()),
                }
            });
            packed_loss(&model, &samples(examples))
        };
        let given = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        assert!((given / square - 1.0).abs() < 2e-2, "{family}: expected {square}, got {given}");
    }
}

#[test]
fn packed_training_is_unpacked_training() {
    let plain = TrainSettings { batch: 8, part_tokens: 1 << 20, ..settings(6) };
    let (expected, report) = run(model(), &uneven(), &plain, 1).unwrap();
    for (part_tokens, recompute) in [(70, false), (70, true), (1 << 20, true), (0, false)] {
        let settings = TrainSettings { packing: true, recompute, part_tokens, ..plain.clone() };
        let (given, packed) = run(model(), &uneven(), &settings, 2).unwrap();
        for (step, (a, b)) in report.losses.iter().zip(&packed.losses).enumerate() {
            assert!((a - b).abs() < 1e-5, "parts of {part_tokens}, step {step}: {a} {b}");
        }
        let apart = largest_difference(&given, &expected);
        assert!(apart < 1e-4, "parts of {part_tokens}: weights are {apart} apart");
    }
}

#[test]
fn attention_in_pieces_is_attention_at_once() {
    // 2,600 tokens of four heads take several pieces of queries, in layers with a window and without one.
    let long = example("long", 2600, 2000);
    for (family, model) in families(2.0) {
        if !["llama", "gemma3_text"].contains(&family) {
            continue;
        }
        let (loss, gradient) =
            packed_gradient(&model, &samples(std::slice::from_ref(&long)), Pass { recompute: true, bf16: false });
        // Whole rows with one mask, by burn's own backward pass.
        let mut tracked = model.autodiff();
        let ids: Vec<i64> = long.ids[..2599].iter().map(|id| i64::from(*id)).collect();
        let device = model.device().autodiff();
        let tokens = burn::tensor::Tensor::<2, burn::tensor::Int>::from_data(
            burn::tensor::TensorData::new(ids, [1, 2599]),
            &device,
        );
        let targets: Vec<i64> = long.ids[600..].iter().map(|id| i64::from(*id)).collect();
        let targets = burn::tensor::Tensor::<2, burn::tensor::Int>::from_data(
            burn::tensor::TensorData::new(targets, [2000, 1]),
            &device,
        );
        let logits = tracked.logits(tracked.forward(tokens).slice_dim(0, 599..2599));
        let nll = burn::tensor::activation::log_softmax(logits, 1).gather(1, targets).sum().neg();
        let mut gradients = nll.backward();
        let mut expected = Vec::new();
        tracked.visit(&mut |_, param| match param {
            ParamMut::Vector(t) => expected.push(t.grad_remove(&mut gradients).unwrap()),
            ParamMut::Table(t) | ParamMut::Linear(t) => {
                let gradient = t.grad_remove(&mut gradients).unwrap();
                let [rows, columns] = gradient.dims();
                expected.push(gradient.reshape([rows * columns]));
            }
        });
        let whole: f32 = nll.inner().into_scalar();
        assert!((loss / f64::from(whole) - 1.0).abs() < 1e-5, "{family}: {loss} {whole}");
        let apart = distance(&host(gradient), &host(expected));
        assert!(apart < 1e-4, "{family}: the gradient is {apart} apart");
    }
}

fn lora() -> LoraConfig {
    LoraConfig { rank: 3, alpha: 6.0, targets: vec!["q_proj".into(), "down_proj".into()] }
}

#[test]
fn adapters_learn_and_leave_the_rest_alone_and_merged_is_applied() {
    for (packing, packed_parts) in [(false, 64), (true, 200)] {
        let settings =
            TrainSettings { packing, part_tokens: packed_parts, lora: Some(lora()), batch: 8, ..settings(30) };
        let (trained, report) = run(model(), &uneven(), &settings, 2).unwrap();
        assert!(report.losses[29] < report.losses[0] - 0.05, "{} {}", report.losses[0], report.losses[29]);
        assert!(largest_difference(&trained, &model()) == 0.0, "the weights themselves are as they were");
        let merged = trained.clone().merged();
        let moved: Vec<String> =
            weights(&merged).into_iter().zip(weights(&model())).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect();
        assert_eq!(moved.len(), 4, "{moved:?}");
        assert!(moved.iter().all(|name| name.contains("q_proj") || name.contains("down_proj")), "{moved:?}");
        let examples = uneven();
        let (applied, added) = (packed_loss(&trained, &samples(&examples)), packed_loss(&merged, &samples(&examples)));
        assert!((applied - added).abs() < 1e-3, "{applied} {added}");

        // PEFT's layout brings the same adapters to the same model.
        let dir = tempfile::tempdir().unwrap();
        cord_lm::save_adapter(dir.path(), &trained, "base").unwrap();
        let mut again = model();
        cord_lm::load_adapter(dir.path(), &mut again).unwrap();
        assert!(bits(&again.merged()) == bits(&merged));
    }
}

#[test]
fn adapters_resume_bit_for_bit() {
    let settings = TrainSettings { lora: Some(lora()), packing: true, ..settings(6) };
    let (whole, report) = run(model(), &uneven(), &settings, 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let stopped = train(model(), &uneven(), &settings, Some((dir.path(), 0)), 1, &|| true, &mut |_| {});
    assert!(matches!(stopped, Err(TrainError::Interrupted { step: 1 })));
    let resumed = train(model(), &uneven(), &settings, Some((dir.path(), 2)), 1, &|| false, &mut |_| {}).unwrap();
    assert!(bits(&resumed.0.merged()) == bits(&whole.merged()));
    assert_eq!(loss_bits(&resumed.1), loss_bits(&report));
}

#[test]
fn what_an_adapter_can_not_be_is_refused() {
    let lora = LoraConfig { rank: 0, alpha: f64::NAN, targets: vec!["qkv".into()] };
    let error = run(model(), &uneven(), &TrainSettings { lora: Some(lora), ..settings(1) }, 1).err().unwrap();
    insta::assert_snapshot!(error, @"expected a rank of at least 1, got 0; expected an alpha above 0, got NaN; expected linear layers among `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`, got `qkv`");
}

/// Eight sequences to learn, eight others to measure on, which get worse when the first are learnt by heart.
fn validated(
    settings: &TrainSettings,
    dir: &std::path::Path,
    stop: Option<usize>,
) -> Result<(Transformer, TrainReport), TrainError> {
    let training = uneven();
    let validation: Vec<Example> = (0..8).map(|i| example(&format!("v{i}"), 30, 20)).collect();
    let data = Data { training: &training, validation: &validation };
    let at = std::cell::Cell::new(0);
    let at = std::sync::Mutex::new(at);
    let interrupt = || stop.is_some_and(|stop| at.lock().unwrap().get() >= stop);
    train(model(), data, settings, Some((dir, 0)), 2, &interrupt, &mut |step| at.lock().unwrap().set(step.step))
}

#[test]
fn training_stops_when_validation_gets_no_better_and_gives_the_best_weights_back() {
    let validation = Validation { every: 5, patience: Some(3), best: true };
    let settings = TrainSettings { batch: 8, validation: Some(validation), keep: 3, ..settings(400) };
    let dir = tempfile::tempdir().unwrap();
    let (best, report) = validated(&settings, dir.path(), None).unwrap();
    let losses: Vec<f64> = report.validations.iter().map(|one| one.loss).collect();
    let least = report.validations.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap();
    assert_eq!(report.best_step, Some(least.step), "{losses:?}");
    assert_eq!(report.steps, least.step + 15, "three measurements behind the least one: {losses:?}");
    assert!(report.steps < 400);
    // The weights are those of the least loss: measured again, they give it.
    let examples: Vec<Example> = (0..8).map(|i| example(&format!("v{i}"), 30, 20)).collect();
    let again = packed_loss(&best, &samples(&examples)) / 160.0;
    assert!((again - least.loss).abs() < 1e-5, "{again} {}", least.loss);
    let kept = std::fs::read_dir(dir.path()).unwrap().flatten();
    let kept = kept.filter(|e| e.file_name().to_string_lossy().ends_with("trainer.safetensors")).count();
    assert_eq!(kept, 3);

    // Stopped and taken up in the middle, it ends in the same bytes.
    let other = tempfile::tempdir().unwrap();
    for stop in [3, 12] {
        assert!(matches!(validated(&settings, other.path(), Some(stop)), Err(TrainError::Interrupted { .. })));
    }
    let (resumed, resumed_report) = validated(&settings, other.path(), None).unwrap();
    assert!(bits(&resumed) == bits(&best));
    assert_eq!(resumed_report, report);
}

#[test]
fn validation_without_examples_is_refused() {
    let validation = Validation { every: 5, patience: None, best: false };
    let settings = TrainSettings { validation: Some(validation), ..settings(1) };
    let error = run(model(), &uneven(), &settings, 1).err().unwrap();
    insta::assert_snapshot!(error, @"expected validation examples for the setting `validation`, got none");
}

#[test]
fn truncated_examples_are_cut_and_counted() {
    let settings = TrainSettings { max_length: 30, too_long: LengthPolicy::Truncate, ..settings(4) };
    // Of the three over 30 tokens two learn something in what is left of them.
    let (given, report) = run(model(), &uneven(), &settings, 1).unwrap();
    assert_eq!((report.examples, report.truncated, report.too_long, report.unsupervised), (6, 4, 0, 2));
    let cut: Vec<Example> = uneven()
        .into_iter()
        .map(|e| Example {
            ids: e.ids.iter().take(30).copied().collect(),
            supervised: e.supervised.iter().take(30).copied().collect(),
            ..e
        })
        .collect();
    // The same examples in the order in which cut ones follow the others.
    let (short, long): (Vec<Example>, Vec<Example>) =
        cut.into_iter().partition(|e| uneven().iter().any(|u| u.id == e.id && u.ids.len() <= 30));
    let (expected, _) = run(model(), &[short, long].concat(), &settings, 1).unwrap();
    assert!(bits(&given) == bits(&expected));
}

#[test]
fn a_sample_of_20k_tokens_of_a_model_of_1_5b_is_planned_to_fit_80_gb_and_without_recomputing_is_not() {
    let config = LmConfig::from_json(&json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 1536,
        "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
        "max_position_embeddings": 131_072, "tie_word_embeddings": true}))
    .unwrap();
    let long = [example("long", 20_480, 20_000)];
    let plan = |recompute: bool| {
        let settings = TrainSettings {
            batch: 1,
            packing: true,
            recompute,
            max_length: 20_480,
            part_tokens: 20_480,
            ..settings(1)
        };
        memory(&config, &long, &settings, 1, DeviceSpec::Cuda(0))
    };
    let (less, more) = (plan(true), plan(false));
    assert!((config.parameters() as f64 / 1.54e9 - 1.0).abs() < 0.01, "{}", config.parameters());
    assert!(less.bytes() < 80_000_000_000, "{less}");
    assert!(more.bytes() > 80_000_000_000, "{more}");
    assert_eq!(less.longest, 20_480);
}

#[test]
fn half_precision_points_where_f32_does_and_loses_no_small_step() {
    let examples = uneven();
    for (family, model) in families(1.0) {
        let gradient = |bf16| host(packed_gradient(&model, &samples(&examples), Pass { recompute: true, bf16 }).1);
        let (half, full) = (gradient(true), gradient(false));
        let dot = |a: &[Vec<f32>], b: &[Vec<f32>]| -> f64 {
            a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let cosine = dot(&half, &full) / (dot(&half, &half) * dot(&full, &full)).sqrt();
        assert!(cosine > 0.99 && half != full, "{family}: {cosine}");
    }
    // Steps far below what bf16 can tell apart add up in the f32 weights.
    let mut tiny = TrainSettings { bf16: true, batch: 8, ..settings(20) };
    tiny.schedule.peak = 1e-6;
    let (trained, _) = run(model(), &examples, &tiny, 1).unwrap();
    let moved = largest_difference(&trained, &model());
    assert!(moved > 2e-6 && moved < 1e-4, "{moved}");
    let learning = TrainSettings { bf16: true, batch: 8, ..settings(60) };
    let (_, report) = run(model(), &examples, &learning, 1).unwrap();
    let (_, reference) = run(model(), &examples, &TrainSettings { bf16: false, ..learning }, 1).unwrap();
    let (given, expected) = (report.losses[59], reference.losses[59]);
    assert!((given - expected).abs() < 0.1, "the loss falls to {given}, in f32 to {expected}");
}

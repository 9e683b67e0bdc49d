//! Direct preference optimisation: its gradient against differences of its loss, exact resume, and what is refused.

mod world;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cord_core::Seed;
use cord_lm::{DeviceSpec, LoraConfig, ParamMut, Transformer};
use cord_train::{
    AdamWConfig, LengthPolicy, Pair, Pairs, Preference, Schedule, ScheduleKind, StepReport, TrainError, TrainReport,
    TrainSettings, Validation, memory, train_on_pairs,
};
use world::{VOCAB, bits, loss_bits, model, settings};

const PLAIN: Preference = Preference { beta: 0.3, sft_weight: 0.0 };

fn pair(id: &str, [prompt, chosen, rejected]: [usize; 3]) -> Pair {
    let mut stream = Seed::root(9).named(id).stream();
    let mut drawn = |count| (0..count).map(|_| stream.below(u64::from(VOCAB)) as u32).collect();
    Pair { id: id.to_owned(), prompt: drawn(prompt), chosen: drawn(chosen), rejected: drawn(rejected) }
}

/// Seven pairs whose continuations differ in length as much as they can.
fn pairs() -> Vec<Pair> {
    let shapes = [[30, 20, 3], [1, 1, 1], [12, 2, 40], [5, 6, 7], [50, 14, 14], [3, 30, 30], [20, 1, 9]];
    shapes.into_iter().zip("abcdefg".chars()).map(|(shape, name)| pair(&name.to_string(), shape)).collect()
}

fn run(
    training: &[Pair],
    preference: Preference,
    settings: &TrainSettings,
) -> Result<(Transformer, TrainReport), TrainError> {
    let data = Pairs { training, validation: &[], preference };
    train_on_pairs(model(), &data, settings, None, 2, &|| false, &mut |_| {})
}

/// A small step against the gradient must lower the loss by the step's length times the gradient's square.
#[test]
fn a_gradient_is_what_the_loss_does() {
    for preference in [PLAIN, Preference { beta: 2.0, sft_weight: 0.0 }, Preference { beta: 0.3, sft_weight: 0.7 }] {
        let all = pairs();
        let validation = Some(Validation { every: 1, patience: None, best: false });
        let mut norm = 0.0;
        let before = {
            let tiny = Schedule { kind: ScheduleKind::Constant, peak: 1e-12, floor_share: 1.0, warmup_share: 0.0 };
            let settings =
                TrainSettings { batch: all.len(), schedule: tiny, clip_norm: 0.0, validation, ..settings(1) };
            let data = Pairs { training: &all, validation: &all, preference };
            let mut note = |step: &StepReport| norm = step.gradient_norm;
            let report = train_on_pairs(model(), &data, &settings, None, 2, &|| false, &mut note).unwrap().1;
            // Before the first step the model is the one that it begins as, whose pairs are as likely as their reference.
            assert!((report.validations[0].loss - report.losses[0]).abs() < 1e-6);
            assert_eq!(report.rewards[0], cord_train::Rewards { chosen: 0.0, rejected: 0.0, accuracy: 0.0 });
            report.losses[0]
        };
        // With a huge epsilon the first step is the gradient, scaled: `m̂ / (√v̂ + ε) ≈ g / ε`.
        let epsilon = 1e6;
        let rate = 3e-3 / (norm * norm);
        let schedule =
            Schedule { kind: ScheduleKind::Constant, peak: rate * epsilon, floor_share: 1.0, warmup_share: 0.0 };
        let adamw = AdamWConfig { epsilon, weight_decay: 0.0, ..AdamWConfig::default() };
        let settings = TrainSettings { batch: all.len(), schedule, adamw, clip_norm: 0.0, validation, ..settings(1) };
        let data = Pairs { training: &all, validation: &all, preference };
        let report = train_on_pairs(model(), &data, &settings, None, 2, &|| false, &mut |_| {}).unwrap().1;
        let (given, expected) = (before - report.validations[0].loss, rate * norm * norm);
        assert!(
            (given / expected - 1.0).abs() < 2e-2,
            "{preference:?}: expected a fall of {expected:e}, got {given:e}"
        );
        let plain = std::f64::consts::LN_2;
        assert!(preference.sft_weight > 0.0 || (before - plain).abs() < 1e-9, "{before}");
    }
}

#[test]
fn parts_and_threads_change_nothing_but_rounding_and_pairs_stay_whole() {
    let of = |part_tokens, packing, recompute| {
        run(&pairs(), PLAIN, &TrainSettings { part_tokens, packing, recompute, ..settings(6) }).unwrap()
    };
    let (whole, report) = of(10_000, false, false);
    for (part_tokens, packing, recompute) in [(1, false, false), (70, false, true), (70, true, false)] {
        let (given, parts) = of(part_tokens, packing, recompute);
        for (one, two) in report.losses.iter().zip(&parts.losses) {
            assert!((one - two).abs() < 1e-5, "parts of {part_tokens}: {one} {two}");
        }
        let (one, two) = (world::weights(&whole), world::weights(&given));
        let apart = one.values().flatten().zip(two.values().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "parts of {part_tokens}: weights are {apart} apart");
    }
    assert!(report.losses[5] < report.losses[0]);
    assert!(report.rewards[5].margin() > 0.0, "{:?}", report.rewards);
}

fn until(
    dir: &Path,
    stop: usize,
    settings: &TrainSettings,
    preference: Preference,
) -> Result<(Transformer, TrainReport), TrainError> {
    let at = AtomicUsize::new(0);
    let stopping = || at.load(Ordering::Relaxed) >= stop;
    let all = pairs();
    let data = Pairs { training: &all[..5], validation: &all[5..], preference };
    let mut observe = |step: &StepReport| at.store(step.step, Ordering::Relaxed);
    train_on_pairs(model(), &data, settings, Some((dir, 4)), 2, &stopping, &mut observe)
}

#[test]
fn ten_steps_are_five_and_a_stop_and_five_more() {
    let validation = Some(Validation { every: 3, patience: None, best: false });
    let lora = Some(LoraConfig { rank: 3, alpha: 6.0, targets: vec![] });
    for lora in [None, lora] {
        let settings = TrainSettings { validation, lora, ..settings(10) };
        let dir = tempfile::tempdir().unwrap();
        let (whole, report) = until(dir.path(), usize::MAX, &settings, PLAIN).unwrap();
        assert_eq!((report.losses.len(), report.rewards.len(), report.validations.len()), (10, 10, 4));
        for stops in [vec![5], vec![1, 2, 9]] {
            let dir = tempfile::tempdir().unwrap();
            for stop in &stops {
                let stopped = until(dir.path(), *stop, &settings, PLAIN);
                assert!(matches!(stopped, Err(TrainError::Interrupted { step }) if step == *stop), "of {stops:?}");
            }
            let (resumed, resumed_report) = until(dir.path(), usize::MAX, &settings, PLAIN).unwrap();
            assert!(
                bits(&resumed.merged()) == bits(&whole.clone().merged()),
                "the weights differ after stops at {stops:?}"
            );
            assert_eq!(loss_bits(&resumed_report), loss_bits(&report), "after stops at {stops:?}");
            assert_eq!(resumed_report, report, "after stops at {stops:?}");
        }
    }
}

#[test]
fn a_checkpoint_of_another_loss_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(until(dir.path(), 3, &settings(6), PLAIN).is_err());
    let other = until(dir.path(), usize::MAX, &settings(6), Preference { beta: 0.2, ..PLAIN }).err().unwrap();
    assert!(matches!(other, TrainError::OtherRun { .. }), "{other}");
    let examples = world::uneven();
    let sft = cord_train::train(model(), &examples, &settings(6), Some((dir.path(), 0)), 1, &|| false, &mut |_| {});
    assert!(matches!(sft.err().unwrap(), TrainError::OtherRun { .. }));
}

#[test]
fn lengths_are_counted_and_faults_said() {
    let long = pair("long", [40, 30, 5]);
    let all = || [pairs(), vec![long.clone()]].concat();
    let of = |too_long| run(&all(), PLAIN, &TrainSettings { too_long, ..settings(1) });
    let (dropped, cut) = (of(LengthPolicy::Drop).unwrap().1, of(LengthPolicy::Truncate).unwrap().1);
    assert_eq!((dropped.examples, dropped.too_long, dropped.truncated), (7, 1, 0));
    assert_eq!((cut.examples, cut.too_long, cut.truncated), (8, 0, 1));
    // What a cut leaves without a token on one side is no pair any more.
    let short = run(&all(), PLAIN, &TrainSettings { too_long: LengthPolicy::Truncate, max_length: 20, ..settings(1) });
    let short = short.unwrap().1;
    assert_eq!((short.examples, short.truncated, short.unsupervised), (4, 6, 4));

    let said = |result: Result<(Transformer, TrainReport), TrainError>| result.err().unwrap().to_string();
    insta::assert_snapshot!(said(of(LengthPolicy::Error)), @"expected examples of at most 64 tokens, got `long` of 70");
    let faulty =
        [Pair { prompt: vec![], ..pair("empty", [0, 2, 2]) }, Pair { rejected: vec![48], ..pair("word", [2, 2, 2]) }];
    insta::assert_snapshot!(said(run(&faulty, PLAIN, &settings(1))), @"`empty`: expected a prompt of at least 1 token, got 0; `word`: expected token ids below 48, got 48 at token 2");
    insta::assert_snapshot!(said(run(&pairs(), Preference { beta: 0.0, sft_weight: -1.0 }, &settings(1))), @"expected a beta above 0, got 0; expected a weight of the chosen continuation of at least 0, got -1");
    insta::assert_snapshot!(said(run(&[], PLAIN, &settings(1))), @"expected at least one training example with a supervised token, got none of 0");

    let mut broken = model();
    broken.visit(&mut |name, param| match param {
        ParamMut::Vector(t) if name == "model.norm.weight" => *t = t.clone().mul_scalar(f32::NAN),
        _ => {}
    });
    let (all, one) = (pairs(), 1);
    let data = Pairs { training: &all[..2], validation: &[], preference: PLAIN };
    let broken = train_on_pairs(broken, &data, &settings(1), None, one, &|| false, &mut |_| {}).err().unwrap();
    insta::assert_snapshot!(broken, @"`a`: expected finite losses under the model as it begins, got NaN for the chosen and NaN for the rejected continuation");
    let wild = Schedule { kind: ScheduleKind::Constant, peak: 1e30, floor_share: 1.0, warmup_share: 0.0 };
    let diverged = said(run(&all[..2], PLAIN, &TrainSettings { schedule: wild, ..settings(9) }));
    assert!(diverged.contains("examples") && diverged.contains("`a`") && diverged.contains("`b`"), "{diverged}");
}

#[test]
fn a_pair_s_two_sequences_share_a_part() {
    let config = model().config().clone();
    let settings = TrainSettings { part_tokens: 1, batch: 1, ..settings(1) };
    let pair = pair("one", [40, 20, 10]);
    let both = memory(&config, std::slice::from_ref(&pair), &settings, 2, DeviceSpec::Cpu);
    let one = memory(&config, &pair.sequences()[..1], &settings, 2, DeviceSpec::Cpu);
    assert_eq!((both.longest, both.passes), (60, 1));
    assert!(both.pass.blocks > one.pass.blocks * 3 / 2, "{both} {one}");
}

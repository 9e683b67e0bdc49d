//! What training refuses, and what it says.

mod world;

use cord_lm::{ParamMut, Transformer};
use cord_train::{Example, LengthPolicy, TrainError, TrainSettings, train};
use world::{example, model, run, settings, uneven};

fn refusal(model: Transformer, examples: &[Example], settings: &TrainSettings) -> String {
    run(model, examples, settings, 1).err().map_or_else(|| "no refusal".to_owned(), |error| error.to_string())
}

#[test]
fn weights_that_are_no_numbers_name_the_step_and_the_examples() {
    let mut broken = model();
    broken.visit(&mut |name, param| match param {
        ParamMut::Linear(t) if name.contains("layers.1.mlp.down") => *t = t.clone().mul_scalar(f32::NAN),
        _ => {}
    });
    let settings = TrainSettings { batch: 8, ..settings(4) };
    insta::assert_snapshot!(refusal(broken, &uneven()[..3], &settings), @"step 1: expected a finite loss and gradient, got a loss of NaN and a gradient norm of NaN on the examples `b`, `c`, `a`; there is no checkpoint yet");
}

#[test]
fn a_run_that_diverges_names_its_last_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = TrainSettings { batch: 2, ..settings(20) };
    settings.schedule.peak = 1e30;
    settings.schedule.warmup_share = 0.0;
    let result = train(model(), &uneven()[..2], &settings, Some((dir.path(), 1)), 1, &|| false, &mut |_| {});
    match result.err() {
        Some(TrainError::Diverged { step, checkpoint, examples, .. }) => {
            assert!(step > 1 && checkpoint == step - 1, "step {step}, checkpoint {checkpoint}");
            assert_eq!(examples.len(), 2);
        }
        other => panic!("expected a run at a learning rate of 1e30 to diverge, got {other:?}"),
    }
}

#[test]
fn every_example_that_is_too_long_is_named() {
    let settings = TrainSettings { max_length: 30, ..settings(4) };
    insta::assert_snapshot!(refusal(model(), &uneven(), &settings), @"expected examples of at most 30 tokens, got `a` of 60, `c` of 33, `e` of 64, `h` of 48");
    let many: Vec<Example> = (0..8).map(|i| example(&format!("m{i}"), 31 + i, 3)).collect();
    insta::assert_snapshot!(refusal(model(), &many, &settings), @"expected examples of at most 30 tokens, got `m0` of 31, `m1` of 32, `m2` of 33, `m3` of 34, `m4` of 35 and 3 more");
}

#[test]
fn a_sequence_beyond_the_models_context_is_too_long_whatever_the_limit() {
    let examples = [example("fits", 64, 9), example("does not", 65, 9)];
    let settings = TrainSettings { max_length: 20_480, ..settings(2) };
    insta::assert_snapshot!(refusal(model(), &examples, &settings), @"expected examples of at most 64 tokens, got `does not` of 65");
    let settings = TrainSettings { too_long: LengthPolicy::Drop, ..settings };
    let report = run(model(), &examples, &settings, 1).unwrap().1;
    assert_eq!((report.examples, report.too_long), (1, 1));
}

#[test]
fn nothing_to_learn_from_is_refused() {
    insta::assert_snapshot!(refusal(model(), &[], &settings(1)), @"expected at least one training example with a supervised token, got none of 0");
    insta::assert_snapshot!(refusal(model(), &[example("a", 9, 0), example("b", 9, 0)], &settings(1)), @"expected at least one training example with a supervised token, got none of 2");
}

#[test]
fn examples_that_do_not_fit_the_model_are_all_named() {
    let mut examples = vec![example("good", 9, 3), example("mask", 9, 3), example("token", 9, 3)];
    examples[1].supervised.pop();
    examples[2].ids[4] = 48;
    insta::assert_snapshot!(refusal(model(), &examples, &settings(1)), @"`mask`: expected a mask of 9 tokens, got one of 8; `token`: expected token ids below 48, got 48 at token 4");
}

#[test]
fn settings_out_of_range_are_reported_together() {
    let mut settings = TrainSettings { batch: 0, ..settings(1) };
    settings.schedule.peak = f64::NAN;
    insta::assert_snapshot!(refusal(model(), &uneven(), &settings), @"expected a batch of at least 1 sequence, got 0; expected a learning rate above 0, got NaN");
}

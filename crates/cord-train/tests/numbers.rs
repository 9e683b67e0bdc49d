//! What a step computes: every supervised token weighs the same, and nothing else weighs anything.

mod world;

use cord_train::{Example, LengthPolicy, RunLength, StepReport, TrainSettings, train};
use world::{bits, example, loss_bits, model, run, settings, uneven};

/// All eight uneven sequences in every step.
fn whole_batches(steps: usize, part_tokens: usize) -> TrainSettings {
    TrainSettings { batch: 8, part_tokens, ..settings(steps) }
}

fn steps(examples: &[Example], settings: &TrainSettings) -> Vec<StepReport> {
    let mut reports = Vec::new();
    train(model(), examples, settings, None, 2, &|| false, &mut |step| reports.push(*step)).unwrap();
    reports
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let settings = whole_batches(4, 64);
    let (alone, report) = run(model(), &uneven(), &settings, 1).unwrap();
    for threads in [0, 2, 3, 8, 100] {
        let (other, other_report) = run(model(), &uneven(), &settings, threads).unwrap();
        assert!(bits(&other) == bits(&alone), "{threads} threads");
        assert_eq!(loss_bits(&other_report), loss_bits(&report), "{threads} threads");
    }
}

#[test]
fn parts_change_rounding_only() {
    let whole = steps(&uneven(), &whole_batches(8, usize::MAX));
    for part_tokens in [0, 64, 130, 300] {
        let parts = steps(&uneven(), &whole_batches(8, part_tokens));
        for (whole, part) in whole.iter().zip(&parts) {
            let place = format!("parts of {part_tokens}, step {}", whole.step);
            assert!((whole.loss - part.loss).abs() < 1e-5, "{place}: {} {}", whole.loss, part.loss);
            let ratio = part.gradient_norm / whole.gradient_norm;
            assert!((ratio - 1.0).abs() < 1e-4, "{place}: {} {}", whole.gradient_norm, part.gradient_norm);
            assert_eq!((whole.tokens, whole.supervised), (254, 134));
        }
    }
}

#[test]
fn a_step_is_the_mean_over_tokens_and_not_over_sequences() {
    // Of one token that the model has wrong and of 59 tokens: a mean of means would be far from the mean.
    let alone: Vec<(f64, f64)> = uneven()
        .iter()
        .map(|example| {
            let one = steps(std::slice::from_ref(example), &TrainSettings { batch: 1, ..settings(1) })[0];
            (one.loss, one.supervised as f64)
        })
        .collect();
    let tokens: f64 = alone.iter().map(|(_, tokens)| tokens).sum();
    let by_token = alone.iter().map(|(loss, tokens)| loss * tokens).sum::<f64>() / tokens;
    let by_sequence = alone.iter().map(|(loss, _)| loss).sum::<f64>() / alone.len() as f64;
    assert!((by_token - by_sequence).abs() > 1e-3, "the sequences can't tell the two apart");
    for part_tokens in [0, 130, usize::MAX] {
        let loss = steps(&uneven(), &whole_batches(1, part_tokens))[0].loss;
        assert!((loss - by_token).abs() < 1e-5, "parts of {part_tokens}: expected {by_token}, got {loss}");
    }
}

#[test]
fn the_gradient_weighs_tokens_as_the_loss_does() {
    // Parts of one sequence each, of 59, 2 and 2 tokens: weighed as parts, the short ones would make two thirds.
    let (long, short) = (example("long", 60, 59), example("short", 6, 2));
    let twin = Example { id: "twin".into(), ..short.clone() };
    let norm = |examples: &[Example], part_tokens| {
        let settings = TrainSettings { batch: examples.len(), part_tokens, ..settings(1) };
        steps(examples, &settings)[0].gradient_norm
    };
    let parts = norm(&[long.clone(), short.clone(), twin.clone()], 0);
    let whole = norm(&[long.clone(), short.clone(), twin], usize::MAX);
    assert!((parts / whole - 1.0).abs() < 1e-4, "{parts} {whole}");
    // The weights show in the norm at all.
    assert!((norm(&[long, short], 0) / whole - 1.0).abs() > 1e-3);
}

#[test]
fn what_is_not_supervised_is_context_and_nothing_more() {
    // Three more tokens in a row, none to be learnt: as targets they count for nothing, and nothing that is learnt
    // comes after them.
    let mut base = uneven();
    base[1].ids.extend([3, 4, 5]);
    base[1].supervised.extend([false; 3]);
    let settings = whole_batches(4, 130);
    let (before, report) = run(model(), &base, &settings, 2).unwrap();
    let same = |change: &dyn Fn(&mut Vec<Example>)| {
        let mut examples = base.clone();
        change(&mut examples);
        let (after, after_report) = run(model(), &examples, &settings, 2).unwrap();
        bits(&after) == bits(&before) && loss_bits(&after_report) == loss_bits(&report)
    };
    assert!(same(&|examples| examples[1].ids[5..].copy_from_slice(&[40, 41, 42])));
    // The first token is predicted by nothing, whatever the mask says.
    assert!(same(&|examples| examples.iter_mut().for_each(|example| example.supervised[0] ^= true)));
    // As an input to what is learnt, the same kind of token matters; so does the mask itself.
    assert!(!same(&|examples| examples[4].ids[3] ^= 1));
    assert!(!same(&|examples| examples[4].supervised[3] = true));
}

#[test]
fn examples_that_teach_nothing_or_are_too_long_are_left_out_and_counted() {
    let settings = TrainSettings { max_length: 50, too_long: LengthPolicy::Drop, ..settings(4) };
    let mut examples = uneven();
    examples.insert(1, example("nothing", 20, 0));
    examples.push(Example { id: "first only".into(), ids: vec![7, 8], supervised: vec![true, false] });
    examples.push(Example { id: "empty".into(), ids: vec![], supervised: vec![] });
    let (given, report) = run(model(), &examples, &settings, 1).unwrap();
    assert_eq!((report.examples, report.too_long, report.unsupervised), (6, 2, 3));
    let rest: Vec<Example> = uneven().into_iter().filter(|example| example.ids.len() <= 50).collect();
    let (expected, _) = run(model(), &rest, &settings, 1).unwrap();
    assert!(bits(&given) == bits(&expected), "what is left out has no influence");
}

#[test]
fn epochs_are_counted_in_steps() {
    let settings = TrainSettings { length: RunLength::Epochs(3), ..settings(0) };
    let report = run(model(), &uneven(), &settings, 1).unwrap().1;
    assert_eq!((report.steps, report.losses.len()), (9, 9));
    let tokens: usize = steps(&uneven(), &settings).iter().map(|step| step.tokens).sum();
    assert_eq!(tokens, 3 * 254, "every sequence is seen three times");
}

#[test]
fn eight_sequences_are_learnt_by_heart() {
    let examples: Vec<Example> = (0..8).map(|i| example(&format!("s{i}"), 16, 12)).collect();
    let reports = steps(&examples, &TrainSettings { batch: 8, ..settings(250) });
    let (first, last) = (reports[0].loss, reports[249].loss);
    let uniform = f64::from(world::VOCAB).ln();
    assert!(first > 0.9 * uniform, "a fresh model knows nothing: {first} against {uniform}");
    assert!(last < 0.1, "the loss fell from {first} to {last} only");
}

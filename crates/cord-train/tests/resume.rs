//! Stopping and going on changes nothing; a checkpoint that is not this run's, or is damaged, is refused.

mod world;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cord_core::Digest;
use cord_lm::{Dtype, ParamMut, Transformer, read_tensors, write_tensors};
use cord_train::{Example, RunLength, TrainError, TrainReport, TrainSettings, train};
use world::{bits, example, loss_bits, model, run, settings, uneven};

/// A run with checkpoints every `every` steps that is asked to stop once step `stop` is done.
fn until(
    dir: &Path,
    every: usize,
    stop: usize,
    settings: &TrainSettings,
) -> Result<(Transformer, TrainReport), TrainError> {
    let at = AtomicUsize::new(0);
    let stopping = || at.load(Ordering::Relaxed) >= stop;
    let mut observe = |step: &cord_train::StepReport| at.store(step.step, Ordering::Relaxed);
    train(model(), &uneven(), settings, Some((dir, every)), 2, &stopping, &mut observe)
}

#[test]
fn ten_steps_are_five_and_a_stop_and_five_more() {
    let settings = settings(10);
    let (whole, report) = run(model(), &uneven(), &settings, 2).unwrap();
    assert_eq!(report.losses.len(), 10);
    for stops in [vec![5], vec![1, 2, 9], (1..10).collect()] {
        let dir = tempfile::tempdir().unwrap();
        for stop in &stops {
            match until(dir.path(), 4, *stop, &settings) {
                Err(TrainError::Interrupted { step }) => assert_eq!(step, *stop, "of {stops:?}"),
                other => panic!("expected a stop after step {stop}, got {:?}", other.map(|(_, report)| report)),
            }
        }
        let (resumed, resumed_report) = until(dir.path(), 4, usize::MAX, &settings).unwrap();
        assert!(bits(&resumed) == bits(&whole), "the weights differ after stops at {stops:?}");
        assert_eq!(loss_bits(&resumed_report), loss_bits(&report), "after stops at {stops:?}");
    }
}

#[test]
fn a_run_goes_on_from_its_last_checkpoint_when_it_was_not_asked_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is saved after step 8 of 10: running again repeats the last two steps only.
    let (first, report) = until(dir.path(), 4, usize::MAX, &settings(10)).unwrap();
    let mut seen = Vec::new();
    let again = train(model(), &uneven(), &settings(10), Some((dir.path(), 4)), 2, &|| false, &mut |step| {
        seen.push(step.step);
    });
    let (again, again_report) = again.unwrap();
    assert_eq!(seen, [9, 10]);
    assert!(bits(&again) == bits(&first));
    assert_eq!(again_report, report);
    let tensors = fs::read_dir(dir.path()).unwrap().flatten().filter(|e| e.path().extension().unwrap() != "json");
    assert_eq!(tensors.count(), 1, "older tensors are removed");
}

#[test]
fn a_stop_after_the_last_step_is_no_stop() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(until(dir.path(), 4, 6, &settings(6)).unwrap().1.steps, 6);
    let always = train(model(), &uneven(), &settings(1), None, 1, &|| true, &mut |_| {});
    assert_eq!(always.unwrap().1.steps, 1);
    let stopped = train(model(), &uneven(), &settings(2), None, 1, &|| true, &mut |_| {});
    insta::assert_snapshot!(stopped.err().unwrap(), @"stopped after step 1; run again to go on from there");
}

/// What a run says to a checkpoint that a run of `settings(6)` left after step 3.
fn said(change: impl FnOnce(&Path, &mut TrainSettings, &mut Vec<Example>, &mut Transformer)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (mut settings, mut examples, mut model) = (settings(6), uneven(), model());
    assert!(matches!(until(dir.path(), 0, 3, &settings), Err(TrainError::Interrupted { step: 3 })));
    change(dir.path(), &mut settings, &mut examples, &mut model);
    let result = train(model, &examples, &settings, Some((dir.path(), 0)), 1, &|| false, &mut |_| {});
    let error = result.err().map_or_else(|| "no error".to_owned(), |error| error.to_string());
    error.replace(&dir.path().display().to_string(), "DIR")
}

/// What the run says to its own checkpoint after someone meddled with the files.
fn damaged(change: impl FnOnce(&Path)) -> String {
    said(|dir, _, _, _| change(dir))
}

type Change = fn(&mut TrainSettings, &mut Vec<Example>, &mut Transformer);

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    assert_eq!(said(|_, _, _, _| {}), "no error");
    let changes: [(&str, Change); 6] = [
        ("the learning rate", |s, _, _| s.schedule.peak = 1e-3),
        ("the length", |s, _, _| s.length = RunLength::Steps(7)),
        ("the seed", |s, _, _| s.seed = s.seed.named("other")),
        ("a token", |_, e, _| e[2].ids[7] ^= 1),
        ("a mask", |_, e, _| e[2].supervised[7] ^= true),
        ("a starting weight", |_, _, m| {
            m.visit(&mut |name, param| match param {
                ParamMut::Vector(t) if name == "model.norm.weight" => *t = t.clone().mul_scalar(1.0 + f32::EPSILON),
                _ => {}
            });
        }),
    ];
    for (what, change) in changes {
        let error = said(|_, s, e, m| change(s, e, m));
        let form = "`DIR/trainer.json`: expected a checkpoint of the run ";
        assert!(error.starts_with(form) && error.ends_with("; remove the folder to start again"), "{what}: {error}");
    }
}

fn tensors(dir: &Path) -> std::path::PathBuf {
    dir.join("step-3.trainer.safetensors")
}

/// Replaces the tensors and makes the state name them, as a tool that meddles with checkpoints would.
fn replace(dir: &Path, change: impl FnOnce(&mut std::collections::BTreeMap<String, cord_lm::HostTensor>)) {
    let mut found = read_tensors(&tensors(dir)).unwrap();
    change(&mut found);
    let before = Digest::of_bytes(&fs::read(tensors(dir)).unwrap()).to_string();
    write_tensors(&tensors(dir), &found, Dtype::F32).unwrap();
    let after = Digest::of_bytes(&fs::read(tensors(dir)).unwrap()).to_string();
    let state = dir.join("trainer.json");
    fs::write(&state, fs::read_to_string(&state).unwrap().replace(&before, &after)).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_refused_with_what_is_wrong() {
    let flipped = damaged(|dir| {
        let mut bytes = fs::read(tensors(dir)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(tensors(dir), bytes).unwrap();
    });
    insta::assert_snapshot!(flipped, @"can't use the checkpoint `DIR/step-3.trainer.safetensors`: expected the tensors that `trainer.json` names, got others; remove the folder to start again");
    let cut = damaged(|dir| {
        let bytes = fs::read(tensors(dir)).unwrap();
        fs::write(tensors(dir), &bytes[..bytes.len() - 9]).unwrap();
    });
    assert_eq!(cut, flipped);
    insta::assert_snapshot!(damaged(|dir| fs::remove_file(tensors(dir)).unwrap()), @"can't use the checkpoint `DIR/step-3.trainer.safetensors`: No such file or directory (os error 2); remove the folder to start again");
    insta::assert_snapshot!(damaged(|dir| {
        let state = dir.join("trainer.json");
        let text = fs::read_to_string(&state).unwrap();
        fs::write(&state, &text[..20]).unwrap();
    }), @"can't use the checkpoint `DIR/trainer.json`: EOF while parsing a string at line 1 column 20; remove the folder to start again");
    insta::assert_snapshot!(damaged(|dir| replace(dir, |found| {
        found.get_mut("p.model.norm.weight").unwrap().0.pop();
        found.get_mut("p.model.norm.weight").unwrap().1 = vec![31];
        found.remove("p.model.layers.1.mlp.up_proj.weight");
    })), @"can't use the checkpoint `DIR/step-3.trainer.safetensors`: expected the weights `p.model.layers.1.mlp.up_proj.weight`, got none; `p.model.norm.weight`: expected 32 values, got 31; remove the folder to start again");
    insta::assert_snapshot!(damaged(|dir| replace(dir, |found| {
        found.remove("m.model.norm.weight");
        *found.get_mut("v.model.norm.weight").unwrap() = (vec![0.0; 3], vec![3]);
    })), @"can't use the checkpoint `DIR/step-3.trainer.safetensors`: expected the moment `m.model.norm.weight`, got none; `v.model.norm.weight`: expected 32 values, got 3; remove the folder to start again");
}

#[test]
fn losses_survive_the_checkpoint_to_the_last_bit() {
    // Many losses, so that a decimal that reads back as its neighbour would be among them.
    let examples: Vec<Example> = (0..8).map(|i| example(&format!("s{i}"), 6 + i, 4)).collect();
    let settings = TrainSettings { batch: 1, ..settings(300) };
    let whole = run(model(), &examples, &settings, 1).unwrap().1;
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicUsize::new(0);
    let once = || stop.load(Ordering::Relaxed) == 299;
    let part = train(model(), &examples, &settings, Some((dir.path(), 0)), 1, &once, &mut |step| {
        stop.store(step.step, Ordering::Relaxed);
    });
    assert!(matches!(part, Err(TrainError::Interrupted { step: 299 })));
    let rest = train(model(), &examples, &settings, Some((dir.path(), 0)), 1, &|| false, &mut |_| {}).unwrap().1;
    assert_eq!(loss_bits(&rest), loss_bits(&whole));
}

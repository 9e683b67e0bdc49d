//! A student that learns imitation and then preferences: the stage, its files, what follows it, and what it refuses.

mod serving;
mod world;

use std::fs;
use std::path::Path;

use serde_json::Value;
use serving::Serving;
use world::{Desk, assert_same};

const PREFER: &str = "recipes/prefer.toml";

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn preferences_are_learnt_after_training_and_tested() {
    let desk = Desk::with_models();
    let estimated = desk.cord(&["plan", PREFER]).expect(0).stdout;
    assert!(estimated.contains("  dpo dpo, seed 1") && estimated.contains("trained tokens"), "{estimated}");
    let board = ["--set", "run.tensorboard=\"board\""];
    let ran = desk.cord(&[&["run", PREFER][..], &board[..]].concat()).expect(0);
    for arm in ["sft", "dpo", "alone"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(arm)), "no row for `{arm}`:\n{}", ran.stdout);
    }
    let said = ran.stderr.lines().find(|line| line.contains(" pairs, loss ")).expect("the stage says what it did");
    assert!(said.contains("dpo") && said.contains(" % preferred"), "{said}");

    let stage = desk.stage(PREFER, "dpo dpo, seed 1");
    let summary = &json(&stage.join("manifest.json"))["summary"];
    let pairs = lines(&stage.join("pairs.jsonl"));
    assert!(!pairs.is_empty() && pairs.len() <= 15, "three for each of five problems at most: {}", pairs.len());
    assert_eq!(summary["pairs"].as_u64().unwrap() + summary["same"].as_u64().unwrap(), pairs.len() as u64);
    let (report, curve) = (json(&stage.join("report.json")), lines(&stage.join("curve.jsonl")));
    let steps = summary["steps"].as_u64().unwrap() as usize;
    assert_eq!((report["rewards"].as_array().unwrap().len(), curve.len()), (steps, steps));
    // Before the first step the student is its own reference; after some it tells the pairs that it learns apart.
    assert_eq!(
        curve[0]["rewards"],
        serde_json::json!({"chosen": 0.0, "rejected": 0.0, "margin": 0.0, "accuracy": 0.0})
    );
    assert!((curve[0]["loss"].as_f64().unwrap() - std::f64::consts::LN_2).abs() < 1e-6);
    let last = curve.last().unwrap();
    assert!(last["rewards"]["margin"].as_f64().unwrap() > 0.0, "{last}");
    assert!(last["loss"].as_f64().unwrap() < curve[0]["loss"].as_f64().unwrap(), "{last}");
    let events: Vec<u8> = fs::read_dir(desk.path("board/prefer"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    let has = |tag: &str| events.windows(tag.len()).any(|window| window == tag.as_bytes());
    assert!(["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"].into_iter().all(has));

    // The two sequences of the audited pair are the same up to what is learnt.
    let audit = fs::read_to_string(stage.join("audit.txt")).unwrap();
    let context: Vec<&str> = audit.lines().filter(|line| line.starts_with("context")).collect();
    assert!(context.len() == 2 && context[0] == context[1], "{audit}");
    assert_eq!(audit.lines().filter(|line| line.starts_with("learnt")).count(), 2, "{audit}");

    let model = |stage: &Path| fs::read(stage.join("model/model.safetensors")).unwrap();
    let trained = desk.stage(PREFER, "train sft, dpo, seed 1");
    assert!(model(&stage) != model(&trained), "the student moves");
    let alone = desk.stage(PREFER, "dpo alone, seed 1");
    assert!(alone.join("adapter/adapter_model.safetensors").exists());
    assert_eq!(json(&alone.join("report.json"))["validations"].as_array().map(Vec::is_empty), Some(false));

    let results = desk.results("prefer");
    let second = desk.cord(&["run", PREFER]).expect(0);
    assert!(second.stderr.lines().all(|line| line.ends_with(": done before")), "{}", second.stderr);
    assert_same(&desk.results("prefer"), &results, "the second run");
    let other = Desk::with_models();
    other.cord(&["run", PREFER, "--set", "run.threads=1"]).expect(0);
    assert_same(&other.results("prefer"), &results, "one thread");

    desk.cord(&["export", PREFER, "--arm", "alone", "--to", "out", "--license", "mit", "--kind", "dpo"]).expect(0);
    let overview = Serving::of(&[&desk.path("runs/prefer")]).overview();
    let mut curves: Vec<&str> =
        overview["curves"].as_array().unwrap().iter().map(|curve| curve["label"].as_str().unwrap()).collect();
    curves.sort_unstable();
    assert_eq!(curves, ["alone, DPO", "dpo, DPO", "sft, dpo"]);
    let folder = stage.join("model").display().to_string();
    let card = desk.cord(&["push", &folder, "someone/student", "--license", "mit"]).expect(0).stdout;
    assert!(card.contains("  # prefer, dpo, seed 1"), "{card}");
}

#[test]
fn no_pairs_are_said_with_what_makes_one() {
    let desk = Desk::with_models();
    let ran = desk.cord(&["run", PREFER, "--set", "dpo.margin=2"]).expect(1);
    assert!(ran.stderr.contains("expected at least one pair to learn from, got none of"), "{}", ran.stderr);
    assert!(ran.stderr.contains("differ by `dpo.margin` = 2 or more"), "{}", ran.stderr);
    let most = ["run", PREFER, "--set", "arms.alone.dpo.validation={rows=99}"];
    let ran = desk.cord(&most).expect(1);
    assert!(ran.stderr.contains("expected more than the 99 rows of `dpo.validation`, got"), "{}", ran.stderr);
}

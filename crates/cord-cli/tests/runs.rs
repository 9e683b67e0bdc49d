//! The whole loop at its smallest: models from nothing, trajectories of three kinds, students, samples, a table.

mod world;

use std::fs;

use serde_json::Value;
use world::{Desk, assert_same, without_keys};

const DISTIL: &str = "recipes/distil.toml";

fn json(desk: &Desk, inner: &str) -> Value {
    serde_json::from_slice(&fs::read(desk.path(inner)).unwrap()).unwrap()
}

#[test]
fn a_recipe_runs_to_its_table_and_a_second_run_does_nothing() {
    let desk = Desk::with_models();
    let first = desk.cord(&["run", DISTIL]).expect(0);
    for arm in ["cord", "curation", "single", "teacher"] {
        assert!(first.stdout.lines().any(|line| line.starts_with(arm)), "no row for `{arm}`:\n{}", first.stdout);
    }
    let results = desk.results("distil");
    let count = |end: &str| results.keys().filter(|path| path.ends_with(end)).count();
    let counts =
        ["trajectories.parquet", "candidates.parquet", "model/model.safetensors", "samples.parquet"].map(count);
    assert_eq!(counts, [6, 6, 6, 8], "two seeds of three pipelines, and of a teacher");
    assert_eq!(count("manifest.json"), 2 + 6 + 6 + 8);
    assert!(results.keys().all(|path| !path.contains(".partial-") && !path.contains("/work/")), "{:?}", results.keys());

    let table = fs::read_to_string(desk.path("runs/distil/table.md")).unwrap();
    let second = desk.cord(&["run", DISTIL]).expect(0);
    let told: Vec<&str> = second.stderr.lines().collect();
    assert_eq!(told.len(), 22);
    assert!(told.iter().all(|line| line.ends_with(": done before")), "{}", second.stderr);
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(fs::read_to_string(desk.path("runs/distil/table.md")).unwrap(), table);
    assert_same(&desk.results("distil"), &results, "the second run");

    let shown = desk.cord(&["table", DISTIL]).expect(0);
    assert_eq!((shown.stdout, shown.stderr), (first.stdout, String::new()));
}

#[test]
fn metrics_are_the_table_without_seconds() {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL]).expect(0);
    let (mut table, metrics) = (json(&desk, "runs/distil/table.json"), json(&desk, "runs/distil/metrics.json"));
    assert!(table.to_string().contains("seconds"));
    let timed = |key: &str| key.ends_with("seconds");
    table["columns"].as_array_mut().unwrap().retain(|column| !timed(column["key"].as_str().unwrap()));
    for row in table["rows"].as_array_mut().unwrap() {
        row["metrics"].as_object_mut().unwrap().retain(|key, _| !timed(key));
    }
    assert_eq!(metrics, table);
    // Recipe, commit, machine; each metric with value, interval and n.
    assert_eq!(metrics["recipe"]["name"], "distil");
    assert!(metrics["commit"].is_string() && metrics["machine"].is_string());
    let estimate = &metrics["rows"][0]["metrics"]["eval.tiny/test"];
    for part in ["value", "low", "high", "n"] {
        assert!(estimate[part].is_number(), "no `{part}` in {estimate}");
    }
}

#[test]
fn neither_threads_nor_batches_nor_a_second_machine_change_a_byte() {
    let (one, two) = (Desk::with_models(), Desk::with_models());
    one.cord(&["run", DISTIL]).expect(0);
    let narrow = ["run", DISTIL, "--set", "run.concurrency=1", "--set", "run.max-batch=3", "--set", "run.threads=1"];
    two.cord(&narrow).expect(0);
    assert_same(&two.results("distil"), &one.results("distil"), "one problem at a time");
    // How to run is in no key: what the one made, the other finds.
    let again = one.cord(&narrow).expect(0);
    assert!(again.stderr.lines().all(|line| line.ends_with(": done before")), "{}", again.stderr);
}

#[test]
fn an_override_makes_anew_only_what_it_touches() {
    let desk = Desk::with_models();
    let only = ["--set", "eval.samples=1"];
    let run = |more: &[&str]| desk.cord(&[&["run", DISTIL], more].concat()).expect(0).stderr;
    run(&[]);
    let told = run(&only);
    let (cached, made): (Vec<&str>, Vec<&str>) = told.lines().partition(|line| line.ends_with(": done before"));
    assert_eq!(cached.len(), 2 + 6 + 6, "{told}");
    assert!(made.iter().all(|line| line.contains("] eval ")), "{told}");
}

#[test]
fn a_plan_says_what_is_done_and_what_is_not() {
    let desk = Desk::bare();
    let plan = |desk: &Desk| without_keys(&desk.cord(&["plan", "recipes/scratch.toml"]).expect(0).stdout);
    insta::assert_snapshot!(plan(&desk), @r#"
    scratch (recipe <key>), device cpu
      needs the data set tiny/corpus
    to run  train-<key>  train left, seed 1
    to run  train-<key>  train right, seed 1
    results in runs/scratch
    estimate of what is to run, expected (at most):
                             trained tokens
      train left, seed 1    48,000 (76,800)
      train right, seed 1   48,000 (76,800)
      sum                  96,000 (153,600)
      expected: tokens of a question 200, a gold answer 8, a step a quarter of its budget, reasoning half its budget, an answer half its budget, a response half its budget (`[run.expected]`); at most: every step as long as its budget, every beam open to the last step, every response cut off
    "#);
    let missing = desk.cord(&["table", "recipes/scratch.toml"]).expect(1);
    assert_eq!(missing.stdout, "");
    insta::assert_snapshot!(missing.stderr, @"error: expected finished stages, 2 are missing: train left, seed 1; train right, seed 1; run the recipe first");
    desk.cord(&["run", "recipes/scratch.toml"]).expect(0);
    insta::assert_snapshot!(plan(&desk), @r"
    scratch (recipe <key>), device cpu
      needs the data set tiny/corpus
    done    train-<key>  train left, seed 1
    done    train-<key>  train right, seed 1
    results in runs/scratch
    ");
    let results = desk.results("scratch");
    assert!(results.keys().any(|path| path.ends_with("model/tokenizer.json")), "{:?}", results.keys());
}

#[test]
fn a_student_learns_by_adapters_with_rows_held_out() {
    let desk = Desk::bare();
    let set = |validation: &'static str| {
        let lora = "train.lora={ rank = 2, alpha = 4 }";
        ["run", "recipes/scratch.toml", "--set", "train.packing=true", "--set", lora, "--set", validation]
    };
    desk.cord(&set("train.validation={ rows = 4, every = 2, best = true }")).expect(0);
    let results = desk.results("scratch");
    let of = |end: &str| results.iter().filter(|(path, _)| path.ends_with(end)).collect::<Vec<_>>();
    for file in ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "model/model.safetensors"] {
        assert_eq!(of(file).len(), 2, "{file}: {:?}", results.keys());
    }
    let audit = String::from_utf8_lossy(of("audit.txt")[0].1);
    assert!(audit.contains("learnt") && audit.contains("ends with the end of a turn"), "{audit}");
    let report: Value = serde_json::from_slice(of("/report.json")[0].1).unwrap();
    assert!(report["validations"].as_array().is_some_and(|all| !all.is_empty()), "{report}");
    let refused = desk.cord(&set("train.validation={ rows = 100000 }")).expect(1);
    assert!(refused.stderr.contains("expected more than the 100000 rows of `train.validation`"), "{}", refused.stderr);
}

#[test]
fn trainings_show_in_tensorboard_and_no_result_depends_on_it() {
    let desk = Desk::bare();
    // A peak of a tenth of a GFLOP/s: a share that can be told from nothing.
    let sets = ["--set", "run.tensorboard=board", "--set", "run.peak-tflops=0.0001"];
    desk.cord(&[&["run", "recipes/scratch.toml"][..], &sets[..]].concat()).expect(0);
    let shown = desk.results("scratch");
    let trainings: Vec<_> =
        fs::read_dir(desk.path("board/scratch")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(trainings.len(), 2, "{trainings:?}");
    for training in trainings {
        let files: Vec<_> = fs::read_dir(&training).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let events = fs::read(&files[0]).unwrap();
        let key = training.file_name().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
        let curve = fs::read_to_string(desk.path(&format!("runs/scratch/train-{key}/curve.jsonl"))).unwrap();
        let losses = events.windows(10).filter(|window| window == b"train/loss").count();
        assert!(losses > 1 && losses == curve.lines().count(), "{losses} of {}", curve.lines().count());
        let mfus = events.windows(9).filter(|window| window == b"train/mfu").count();
        assert_eq!(mfus, losses, "the share of the peak stands beside each loss");
        let first: Value = serde_json::from_str(curve.lines().next().unwrap()).unwrap();
        assert!(first["mfu"].as_f64().is_some_and(|mfu| mfu > 0.0), "{first}");
    }
    let plain = Desk::bare();
    plain.cord(&["run", "recipes/scratch.toml"]).expect(0);
    assert_same(&plain.results("scratch"), &shown, "without TensorBoard");
}

#[test]
fn failed_problems_are_listed_and_the_rest_goes_on() {
    let desk = Desk::with_models();
    // More than the models' context of 320 tokens: every sample is refused, and nothing else is.
    let ran = desk.cord(&["run", DISTIL, "--set", "eval.max-tokens=1000"]).expect(3);
    assert!(ran.stdout.starts_with("Two tiny teachers"), "the table comes first: {}", ran.stdout);
    let listed: Vec<&str> = ran.stderr.lines().skip_while(|line| *line != "80 problems failed:").skip(1).collect();
    assert_eq!(listed.len(), 80, "{}", ran.stderr);
    let form = "  eval cord on tiny/test, seed 1: `mini-test-000000";
    assert!(listed[0].starts_with(form), "{}", listed[0]);
    assert!(listed[0].contains("expected at most 320 tokens of prompt and continuation, got 1"), "{}", listed[0]);
    // An accuracy that nothing was measured for is absent, neither zero nor a reason to stop.
    let metrics = &json(&desk, "runs/distil/metrics.json")["rows"][0]["metrics"];
    assert!(metrics["accuracy"].is_object() && metrics["eval.tiny/test"].is_null(), "{metrics}");
    // The same failures are told by a run that makes nothing.
    let again = desk.cord(&["run", DISTIL, "--set", "eval.max-tokens=1000"]).expect(3);
    assert!(again.stderr.contains(&listed.join("\n")));
}

//! Generation cut into shards: several processes, one result.

mod world;

use std::collections::BTreeMap;
use std::fs;

use world::{Desk, assert_same, without_keys};

const DISTIL: &str = "recipes/distil.toml";
/// One seed of one arm is enough here.
const ONE: [&str; 2] = ["--set", "seeds=[1]"];

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", DISTIL], &ONE[..], more].concat()
}

/// The results without the shards' own folders.
fn whole(desk: &Desk) -> BTreeMap<String, Vec<u8>> {
    let mut results = desk.results("distil");
    results.retain(|path, _| !path.starts_with("generate."));
    results
}

#[test]
fn shards_side_by_side_and_merged_give_the_bytes_of_one_run() {
    let undisturbed = Desk::with_models();
    undisturbed.cord(&run(&[])).expect(0);

    let desk = Desk::with_models();
    // All at once, on one folder: each wants the problems, one gathers them, nobody is turned away.
    let children: Vec<_> = ["0/3", "1/3", "2/3"].map(|shard| desk.start(&run(&["--shard", shard]))).into();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let shards = desk.results("distil").keys().filter(|path| path.ends_with("trajectories.parquet")).count();
    assert_eq!(shards, 3 * 3, "three arms in three shards each, and nothing whole yet");
    let merged = desk.cord(&["merge", DISTIL, "--set", "seeds=[1]", "--shards", "3"]).expect(0);
    assert!(merged.stdout.contains("generate cord, seed 1"), "{}", merged.stdout);
    desk.cord(&run(&[])).expect(0);
    assert_same(&whole(&desk), &whole(&undisturbed), "three shards, merged");
    // Costs are those of all shards together: the same tokens as in one piece.
    let costs = |desk: &Desk| -> serde_json::Value {
        let stage = desk.stage_of(&run(&[])[1..], "generate cord, seed 1");
        let mut costs: serde_json::Value =
            serde_json::from_slice(&fs::read(stage.join("costs.json")).unwrap()).unwrap();
        for model in costs["models"].as_object_mut().unwrap().values_mut() {
            assert!(model["seconds"].as_f64().unwrap() > 0.0);
            model["seconds"] = 0.into();
            // What a shard has read, another one reads again.
            model.as_object_mut().unwrap().remove("cached-tokens");
        }
        for problem in costs["problems"].as_object_mut().unwrap().values_mut() {
            problem["seconds"] = 0.into();
        }
        costs
    };
    assert_eq!(costs(&desk), costs(&undisturbed));
    // A shard of what is whole already has nothing to do.
    let again = desk.cord(&run(&["--shard", "1/3"])).expect(0);
    assert!(again.stderr.lines().all(|line| line.ends_with(": done before")), "{}", again.stderr);
}

#[test]
fn a_missing_shard_is_named_and_a_run_merges_by_itself_once_it_is_there() {
    let undisturbed = Desk::with_models();
    undisturbed.cord(&run(&[])).expect(0);
    let desk = Desk::with_models();
    desk.cord(&run(&["--shard", "0/2"])).expect(0);
    let merge = |more: &[&str]| desk.cord(&[&["merge", DISTIL], &ONE[..], more].concat());
    let last = |stderr: &str| without_keys(stderr.lines().last().unwrap());
    insta::assert_snapshot!(last(&merge(&["--shards", "2"]).expect(1).stderr), @"error: generate cord, seed 1: expected every shard of `generate cord, seed 1`, got none for `--shard 1/2`; run those first");
    insta::assert_snapshot!(last(&desk.cord(&run(&["--set", "run.threads=1"])).expect(1).stderr), @"error: generate cord, seed 1: 1 of 2 shards are there; to generate in one piece, remove the folders `generate.*-of-2-<key>`: expected every shard of `generate cord, seed 1`, got none for `--shard 1/2`; run those first");
    desk.cord(&run(&["--shard", "1/2"])).expect(0);
    desk.cord(&run(&[])).expect(0);
    assert_same(&whole(&desk), &whole(&undisturbed), "merged by the run itself");
}

#[test]
fn machines_that_share_nothing_meet_in_an_object_store() {
    let undisturbed = Desk::with_models();
    undisturbed.cord(&run(&[])).expect(0);
    let objects = tempfile::tempdir().unwrap();
    let url = format!("file://{}", objects.path().display());
    for shard in ["0/2", "1/2"] {
        Desk::with_models().cord(&run(&["--shard", shard, "--remote", &url])).expect(0);
    }
    let desk = Desk::with_models();
    let merge = |more: &[&str]| desk.cord(&[&["merge", DISTIL, "--shards", "2"], &ONE[..], more].concat());
    assert!(merge(&[]).expect(1).stderr.contains("got none for `--shard 0/2`, `--shard 1/2`"));
    merge(&["--remote", &url]).expect(0);
    desk.cord(&run(&[])).expect(0);
    assert_same(&whole(&desk), &whole(&undisturbed), "pulled and merged");
}

#[test]
fn failed_problems_of_shards_are_those_of_the_whole() {
    // More than the models' context: every search fails.
    let failing = [
        "--set",
        "generate.budget.step=2000",
        "--set",
        "generate.budget.reasoning=4000",
        "--set",
        "arms=[{name=\"cord\"}]",
        "--set",
        "table.order=[]",
        "--set",
        "seeds=[1]",
    ];
    let undisturbed = Desk::with_models();
    undisturbed.cord(&[&["run", DISTIL, "--shard", "0/1"], &failing[..]].concat()).expect(3);
    undisturbed.cord(&[&["merge", DISTIL, "--shards", "1"], &failing[..]].concat()).expect(3);
    let desk = Desk::with_models();
    for shard in ["0/2", "1/2"] {
        let ran = desk.cord(&[&["run", DISTIL, "--shard", shard], &failing[..]].concat()).expect(3);
        assert!(ran.stderr.contains(&format!("generate cord, seed 1, shard {shard}: `")), "{}", ran.stderr);
    }
    let merged = desk.cord(&[&["merge", DISTIL, "--shards", "2"], &failing[..]].concat()).expect(3);
    assert!(merged.stderr.contains("5 problems failed:"), "{}", merged.stderr);
    assert_same(&whole(&desk), &whole(&undisturbed), "two shards of failures");
}

#[test]
fn prices_fill_cells_and_their_absence_leaves_them_empty() {
    let desk = Desk::with_models();
    let columns = "table.columns=[\"tokens-per-trajectory\", \"cost\", \"cost-per-trajectory\"]";
    let cells = |more: &[&str]| -> serde_json::Value {
        desk.cord(&run(&[&["--set", columns], more].concat())).expect(0);
        let table: serde_json::Value =
            serde_json::from_slice(&fs::read(desk.path("runs/distil/table.json")).unwrap()).unwrap();
        table["rows"][0]["metrics"].clone()
    };
    let none = cells(&[]);
    assert!(none["cost"].is_null() && none["cost-per-trajectory"].is_null(), "{none}");
    // `left` is a teacher and the meta-prover, `right` a teacher.
    let half = cells(&["--set", "run.prices.right.generated=1e6", "--set", "run.prices.right.prompt=0"]);
    assert!(half["cost"].is_null(), "one model has no price: {half}");
    let tokens = |model: &str| -> f64 {
        let stage = desk.stage_of(&run(&[])[1..], "generate cord, seed 1");
        let costs: serde_json::Value = serde_json::from_slice(&fs::read(stage.join("costs.json")).unwrap()).unwrap();
        let usage = &costs["models"][model]["usage"];
        usage["generated_tokens"].as_f64().unwrap()
    };
    let all = cells(&[
        "--set",
        "run.prices.right.generated=1e6",
        "--set",
        "run.prices.right.prompt=0",
        "--set",
        "run.prices.left.generated=2e6",
        "--set",
        "run.prices.left.prompt=0",
        "--set",
        "run.prices.left.scored=0",
    ]);
    let expected = tokens("right") + 2.0 * tokens("left");
    assert!((all["cost"]["value"].as_f64().unwrap() - expected).abs() < 1e-6, "{all} for {expected}");
    let by_gpu = cells(&["--set", "run.prices.right.gpu-hour=3600", "--set", "run.prices.left.gpu-hour=7200"]);
    assert!(by_gpu["cost"]["value"].as_f64().unwrap() > 0.0, "{by_gpu}");
    // What depends on a clock or a price is in no file that must repeat.
    let metrics = fs::read_to_string(desk.path("runs/distil/metrics.json")).unwrap();
    assert!(!metrics.contains("\"cost"), "{metrics}");
}

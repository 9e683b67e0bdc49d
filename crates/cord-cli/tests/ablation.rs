//! `cord ablate`: subsets of a pool share their replies, and end in the bytes of runs that share nothing.

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cord_core::Seed;
use serde_json::Value;
use world::{Desk, assert_same};

const POOL: &str = "recipes/pool.toml";
const ABLATE: [&str; 3] = ["ablate", "teachers", POOL];
const SUBSETS: [&str; 7] = ["left", "right", "hot", "left+right", "left+hot", "right+hot", "left+right+hot"];

/// Results, and not the replies: those come in the order of their asking.
fn results(desk: &Desk) -> BTreeMap<String, Vec<u8>> {
    let mut files = desk.results("pool");
    files.retain(|path, _| path != "replies.jsonl");
    files
}

/// Tokens of all replies that the subsets share.
fn replied(desk: &Desk) -> (u64, u64) {
    let journal = fs::read_to_string(desk.path("runs/pool/replies.jsonl")).unwrap();
    let (mut generated, mut scored) = (0, 0);
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match &line["reply"]["logprobs"] {
            Value::Array(tokens) => scored += tokens.len() as u64,
            _ => generated += line["reply"]["generation"]["usage"]["generated_tokens"].as_u64().unwrap(),
        }
    }
    (generated, scored)
}

fn ablation(desk: &Desk, name: &str) -> Value {
    serde_json::from_slice(&fs::read(desk.path("runs/pool").join(name)).unwrap()).unwrap()
}

fn metric(table: &Value, row: &str, key: &str) -> Value {
    let rows = table["rows"].as_array().unwrap();
    let row = rows.iter().find(|one| one["arm"] == row).unwrap_or_else(|| panic!("no `{row}` in {table:#}"));
    row["metrics"][key].clone()
}

#[test]
fn subsets_share_replies_and_teachers_share_the_pools_worth() {
    let desk = Desk::with_models();
    let ran = desk.cord(&ABLATE).expect(0);
    assert!(ran.stdout.contains("7 subsets share their replies: they generate "), "{}", ran.stdout);
    let found = ablation(&desk, "ablation.json");
    let names: Vec<&str> =
        found["subsets"]["rows"].as_array().unwrap().iter().map(|row| row["arm"].as_str().unwrap()).collect();
    assert_eq!(names, SUBSETS);

    // What is counted in ledgers is what models were asked.
    let tokens = &found["tokens"];
    let count = |key: &str| tokens[key].as_u64().unwrap();
    let (generated, scored) = replied(&desk);
    assert_eq!(count("generated"), generated);
    assert!(count("scored") >= scored, "{tokens} {scored}");
    assert!(count("generated") < count("generated-apart") && count("scored") < count("scored-apart"), "{tokens}");
    let new = |subset: &str| metric(&found["subsets"], subset, "new-generated-tokens")["value"].as_u64().unwrap();
    let own = |subset: &str| metric(&found["subsets"], subset, "generated-tokens")["value"].as_u64().unwrap();
    assert_eq!(SUBSETS.iter().map(|subset| new(subset)).sum::<u64>(), generated);
    assert_eq!(SUBSETS.iter().map(|subset| own(subset)).sum::<u64>(), count("generated-apart"));
    assert_eq!(new("left"), own("left"), "nobody came before the first");
    assert!(new("left+right+hot") < own("left+right+hot"));

    // The Shapley values add up, and each has its interval.
    for key in ["accuracy", "perplexity"] {
        let shapley =
            ["left", "right", "hot"].map(|teacher| metric(&found["teachers"], teacher, &format!("{key}.shapley")));
        let sum: f64 = shapley.iter().map(|value| value["value"].as_f64().unwrap()).sum();
        let whole = metric(&found["subsets"], "left+right+hot", key)["value"].as_f64().unwrap();
        assert!((sum - whole).abs() < 1e-9, "{key}: {sum} {whole}");
        assert!(
            shapley.iter().all(|value| value["low"].as_f64() <= value["high"].as_f64() && value["n"] == 5),
            "{shapley:?}"
        );
    }
    let left_out = metric(&found["teachers"], "hot", "perplexity.left-out")["value"].as_f64().unwrap();
    let worth = |subset: &str| metric(&found["subsets"], subset, "perplexity")["value"].as_f64().unwrap();
    assert!((left_out - (worth("left+right+hot") - worth("left+right"))).abs() < 1e-9);

    let svg = fs::read_to_string(desk.path("runs/pool/ablation.svg")).unwrap();
    assert!(SUBSETS.iter().all(|subset| svg.contains(subset)), "{svg}");

    // Again: nothing is left to do, and everything is as it was.
    let before = results(&desk);
    let again = desk.cord(&ABLATE).expect(0);
    assert!(again.stderr.lines().all(|line| line.ends_with(": done before")), "{}", again.stderr);
    assert_eq!(again.stdout, ran.stdout);
    assert_same(&results(&desk), &before, "the same command again");
    let json = desk.cord(&[&ABLATE[..], &["--json"]].concat()).expect(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), found);
}

#[test]
fn a_subset_that_shares_ends_in_the_bytes_of_a_run_of_its_own() {
    let shared = Desk::with_models();
    shared.cord(&ABLATE).expect(0);
    for teachers in [["\"right\"", ""], ["\"left\", ", "\"hot\""]] {
        let alone = Desk::with_models();
        let teachers = format!("generate.teachers=[{}]", teachers.concat());
        let set = ["--set", &teachers, "--set", "arms=[{name=\"alone\", stages=[\"generate\"]}]"];
        alone.cord(&[&["run", POOL][..], &set].concat()).expect(0);
        for seed in [1, 2] {
            let folder = alone.stage_of(&[&[POOL][..], &set].concat(), &format!("generate alone, seed {seed}"));
            // The same key, so the same name.
            let twin = shared.path("runs/pool").join(folder.file_name().unwrap());
            for file in ["trajectories.parquet", "candidates.parquet", "manifest.json"] {
                assert!(
                    fs::read(folder.join(file)).unwrap() == fs::read(twin.join(file)).unwrap(),
                    "{teachers}: {file}"
                );
            }
            // And the same costs, though some of its replies were asked for by others.
            let replies = |folder: &std::path::Path| {
                let costs: Value = serde_json::from_slice(&fs::read(folder.join("costs.json")).unwrap()).unwrap();
                let models = costs["models"].as_object().unwrap();
                models.values().map(|model| (model["replies"].clone(), model["usage"].clone())).collect::<Vec<_>>()
            };
            assert_eq!(replies(&folder), replies(&twin), "{teachers}");
        }
    }
}

#[test]
fn a_run_that_was_there_before_is_not_paid_again() {
    let desk = Desk::with_models();
    // The whole pool by itself.
    desk.cord(&["run", POOL, "--set", "arms=[{name=\"pool\", stages=[\"generate\"]}]"]).expect(0);
    let ran = desk.cord(&ABLATE).expect(0);
    let before = ran.stderr.lines().filter(|line| line.ends_with(": done before"));
    assert_eq!(before.filter(|line| line.contains("generate left+right+hot")).count(), 2, "{}", ran.stderr);
    let fresh = Desk::with_models();
    fresh.cord(&ABLATE).expect(0);
    assert_eq!(replied(&desk), replied(&fresh));
    assert_eq!(ablation(&desk, "ablation.json"), ablation(&fresh, "ablation.json"));
}

#[test]
fn killed_ablations_end_as_one_that_nobody_disturbed() {
    let undisturbed = Desk::with_models();
    let start = Instant::now();
    undisturbed.cord(&ABLATE).expect(0);
    let whole = start.elapsed().as_micros() as u64;
    let desk = Desk::with_models();
    let mut pauses = Seed::root(5).named("kills").stream();
    let (mut kills, mut replies) = (0, 0);
    while kills < 8 {
        let mut child = desk.start(&ABLATE);
        sleep(Duration::from_micros(pauses.below(whole / 2)));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        replies += u64::from(fs::metadata(desk.path("runs/pool/replies.jsonl")).is_ok_and(|journal| journal.len() > 0));
    }
    assert!(replies > 0, "no kill fell after a reply, of {kills}");
    desk.cord(&ABLATE).expect(0);
    assert_same(&results(&desk), &results(&undisturbed), &format!("{kills} kills"));
    assert_eq!(replied(&desk), replied(&undisturbed), "{kills} kills");
}

#[test]
fn subsets_can_be_chosen_and_given_as_many_proposals() {
    let desk = Desk::with_models();
    let with = |more: &[&str]| desk.cord(&[&ABLATE[..], more].concat()).expect(0).stdout;
    let left_out = with(&["--subsets", "leave-one-out"]);
    assert!(left_out.contains("4 subsets share") && left_out.contains("lost when left out"), "{left_out}");
    assert!(!left_out.contains("accuracy: Shapley value"), "{left_out}");
    let listed = with(&["--subsets", "hot, right + left, left"]);
    let order: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let place = |name: &str| order.iter().position(|word| *word == name).unwrap_or_else(|| panic!("{listed}"));
    assert!(place("left") < place("hot") && place("hot") < place("left+right"), "{listed}");
    with(&["--proposals", "6"]);
    let found = ablation(&desk, "ablation-6-proposals.json");
    let (one, all) = ("left", "left+right+hot");
    let own = |subset: &str| metric(&found["subsets"], subset, "generated-tokens")["value"].as_f64().unwrap();
    assert!(own(all) < 2.0 * own(one), "{} {}", own(one), own(all));
}

#[test]
fn students_of_subsets_stand_beside_one_of_nobody() {
    let desk = Desk::with_models();
    let ran = desk
        .cord(&[&ABLATE[..], &["--students", "--subsets", "left,right,left+right", "--set", "seeds=[1]"]].concat())
        .expect(0);
    let found = ablation(&desk, "ablation-students.json");
    let rows = found["subsets"]["rows"].as_array().unwrap();
    assert_eq!(rows[0]["arm"], "nobody", "{}", ran.stdout);
    assert!(rows.iter().all(|row| row["metrics"]["eval.tiny/test"]["value"].is_number()), "{}", ran.stdout);
    assert_eq!(found["figure"]["metric"], "tiny/test pass@1");
}

#[test]
fn what_can_not_be_ablated_is_refused_with_every_reason() {
    let desk = Desk::bare();
    fs::create_dir_all(desk.path("models/left")).unwrap();
    fs::create_dir_all(desk.path("models/right")).unwrap();
    let refused = |more: &[&str]| desk.cord(&[&ABLATE[..], more].concat()).expect(1).stderr;
    insta::assert_snapshot!(refused(&["--subsets", "left+rihgt,cold"]), @r#"
    error: 2 faults:
      expected `all`, `leave-one-out` or subsets of `left`, `right`, `hot` joined by `+` in `--subsets`, got `rihgt`
      expected `all`, `leave-one-out` or subsets of `left`, `right`, `hot` joined by `+` in `--subsets`, got `cold`
    "#);
    insta::assert_snapshot!(refused(&["--proposals", "4"]), @"error: expected `--proposals` that subsets of 3 teachers can share evenly, got 4");
    insta::assert_snapshot!(refused(&["--set", "generate.teachers=[\"left\"]", "--set", "generate.search={ kind = \"single\", teacher = \"left\" }", "--set", "generate.deadline=5"]), @r#"
    error: 3 faults:
      expected at least two teachers in `pool`, got `left`
      expected a search that asks a pool of teachers, got `single` in `pool`, which asks one
      expected `generate.deadline` to be absent from `pool`, got it: replies that are shared take no time, and subsets would not have the same; remove it
    "#);
    insta::assert_snapshot!(refused(&["--set", "generate.adaptive={}", "--arm", "cord"]), @"error: expected one of the recipe's arms, `pool`, got `cord`");
    insta::assert_snapshot!(refused(&["--set", "generate.adaptive={}"]), @"error: expected `generate.adaptive` to be absent from `pool`, got it: which teachers are asked would depend on the pool; set it in no arm that is ablated");
    assert!(!desk.path("runs").exists(), "what is refused makes no folder");
}

//! `cord reselect` and `cord export`: what a finished run's candidates are good for.

mod world;

use std::fs;

use world::Desk;

const DISTIL: &str = "recipes/distil.toml";

fn with_run() -> Desk {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL]).expect(0);
    desk
}

#[test]
fn the_ledger_of_a_search_covers_that_search() {
    let desk = with_run();
    for arm in ["cord", "curation", "single"] {
        let ran = desk.cord(&["reselect", DISTIL, "--arm", arm, "--to", "again"]).expect(0);
        for seed in [1, 2] {
            let line = format!("{arm}, seed {seed}: 5 of 5 problems are covered by the ledger");
            assert!(ran.stdout.contains(&line), "{}", ran.stdout);
            let folder = desk.stage(DISTIL, &format!("generate {arm}, seed {seed}"));
            for file in ["trajectories.parquet", "candidates.parquet"] {
                let again = fs::read(desk.path(&format!("again/{arm}-seed-{seed}/{file}"))).unwrap();
                assert!(again == fs::read(folder.join(file)).unwrap(), "{arm}, seed {seed}: {file} is another");
            }
            let gaps = fs::read_to_string(desk.path(&format!("again/{arm}-seed-{seed}/gaps.jsonl"))).unwrap();
            assert_eq!(gaps, "");
        }
        assert_eq!(ran.stdout.matches("; 0 trajectories are others").count(), 2, "{}", ran.stdout);
    }
}

#[test]
fn another_choice_is_covered_or_says_what_is_missing() {
    let desk = with_run();
    let other = |change: &[&str]| {
        let arguments = [&["reselect", DISTIL, "--arm", "cord", "--seed", "1", "--to", "again"], change].concat();
        let ran = desk.cord(&arguments).expect(0);
        let first = ran.stdout.lines().next().unwrap().to_owned();
        let covered: usize = first.split_whitespace().nth(3).unwrap().parse().unwrap();
        assert!(first.ends_with(&format!("{covered} of 5 problems are covered by the ledger")), "{}", ran.stdout);
        let gaps = fs::read_to_string(desk.path("again/cord-seed-1/gaps.jsonl")).unwrap();
        let gaps: Vec<serde_json::Value> = gaps.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(gaps.is_empty(), covered == 5, "{}", ran.stdout);
        assert_eq!(ran.stdout.contains("generation would be needed"), covered < 5, "{}", ran.stdout);
        (covered, gaps)
    };
    // Another scorer reads what is recorded; a ledger of two teachers knows nothing of what a third would write.
    let (_, gaps) = other(&["--scorer", "{ kind = \"random\" }"]);
    for gap in &gaps {
        assert!(gap["problem"].as_str().unwrap().starts_with("mini-train-"), "{gap}");
        assert!(["left", "right"].contains(&gap["teacher"].as_str().unwrap()), "{gap}");
    }
    let (_, gaps) = other(&["--teachers", "right"]);
    assert!(gaps.iter().all(|gap| gap["teacher"] == "right"), "{gaps:?}");
    other(&["--scorer", "{ kind = \"predictive-perplexity\", model = \"right\" }"]);
    // A whole response was never written in this search.
    let (covered, gaps) = other(&["--search", "{ kind = \"curation\", trajectories = 1 }"]);
    assert_eq!((covered, gaps.len()), (0, 5));
    assert!(gaps.iter().all(|gap| gap["kind"] == "whole"), "{gaps:?}");
}

#[test]
fn an_export_holds_what_the_student_learnt_from_and_says_how_it_was_made() {
    let desk = with_run();
    let kinds = ["sft", "prompt-completion", "dpo", "stepwise"];
    for format in ["jsonl", "parquet"] {
        let mut arguments = vec!["export", DISTIL, "--arm", "cord", "--seed", "2", "--to", "set", "--license", "mit"];
        arguments.extend(["--format", format, "--margin", "0"]);
        arguments.extend(kinds.iter().flat_map(|kind| ["--kind", kind]));
        let ran = desk.cord(&arguments).expect(0);
        for kind in kinds {
            let bytes = fs::read(desk.path(&format!("set/{kind}/train.{format}"))).unwrap();
            if format == "parquet" {
                assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{kind}");
            } else {
                let rows = String::from_utf8(bytes).unwrap().lines().count();
                assert!(rows > 0 && ran.stdout.contains(&format!("{kind}: {rows} rows in ")), "{}", ran.stdout);
            }
        }
        let card = fs::read_to_string(desk.path("set/README.md")).unwrap();
        for part in [
            "license: \"mit\"",
            "config_name: \"dpo\"",
            &format!("data_files: \"stepwise/*.{format}\""),
            "| models/left | teacher, meta-prover |",
            "were compared with those of `tiny/test` (5 problems), by runs of 8 words",
        ] {
            assert!(card.contains(part), "no `{part}` in:\n{card}");
        }
    }
    // The very rows of the training.
    let trained = desk.stage(DISTIL, "train cord, seed 2").join("training.jsonl");
    assert_eq!(fs::read_to_string(desk.path("set/sft/train.jsonl")).unwrap(), fs::read_to_string(trained).unwrap());
}

#[test]
fn problems_of_a_benchmark_are_not_learnt_from() {
    let desk = Desk::with_models();
    let own = ["run", DISTIL, "--set", "problems.dataset=tiny/test"];
    let refused = desk.cord(&own).expect(1);
    assert!(
        refused.stderr.contains("expected at least one trajectory to learn from, got none of"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("\"contaminated\":"), "{}", refused.stderr);
    let exported =
        ["export", DISTIL, "--arm", "cord", "--seed", "1", "--to", "set", "--license", "mit", "--format", "jsonl"];
    let exported = [&exported[..], &own[2..]].concat();
    assert!(desk.cord(&exported).expect(0).stdout.contains("sft: 0 rows"));
    assert!(fs::read_to_string(desk.path("set/README.md")).unwrap().contains("5 hold at least 80 %"));
    desk.cord(&[&own[..], &["--set", "train.decontaminate=false"]].concat()).expect(0);
    // And what is no copy is counted as compared.
    desk.cord(&["run", DISTIL]).expect(0);
    let manifest = fs::read_to_string(desk.stage(DISTIL, "train cord, seed 1").join("manifest.json")).unwrap();
    let summary = serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["summary"].clone();
    let found = &summary["decontamination"];
    assert_eq!((&found["problems"], &found["benchmarks"]["tiny/test"]), (&5.into(), &5.into()), "{summary}");
    assert_eq!((&found["overlaps"], &summary["left-out"]["contaminated"]), (&serde_json::json!([]), &0.into()));
    assert!(summary["kept"]["complete"].is_number(), "{summary}");
}

#[test]
fn arms_with_other_scorers_are_measured_by_one() {
    let desk = Desk::with_models();
    let measured = ["run", DISTIL, "--set", "generate.measure={ kind = \"predictive-perplexity\", model = \"left\" }"];
    let longest = ["--set", "arms.curation.generate.scorer={ kind = \"max-length\" }"];
    let perplexity = |arguments: &[&str]| {
        desk.cord(arguments).expect(0);
        let table = fs::read_to_string(desk.path("runs/distil/metrics.json")).unwrap();
        let table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let of =
            |row: &serde_json::Value| (row["arm"].as_str().unwrap().to_owned(), row["metrics"]["perplexity"].clone());
        table["rows"].as_array().unwrap().iter().map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    let found = perplexity(&[&measured[..], &longest].concat());
    let share = found["curation"]["value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&share) && found["cord"]["value"].is_number(), "{found:?}");
    // A length is no perplexity: without a measure the cell is empty.
    let found = perplexity(&[&["run", DISTIL], &longest[..]].concat());
    assert!(found["curation"].is_null() && found["cord"]["value"].is_number(), "{found:?}");
}

#[test]
fn recipes_in_one_folder_share_their_stages() {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL, "--set", "run.folder=shared"]).expect(0);
    let other =
        ["run", DISTIL, "--set", "run.folder=shared", "--set", "name=other", "--set", "table.figure=collaboration"];
    let ran = desk.cord(&other).expect(0);
    assert!(ran.stderr.lines().all(|line| line.ends_with(": done before")), "{}", ran.stderr);
    for file in ["distil.table.md", "other.table.md", "other.figure.svg", "other.figure.csv", "other.figure.json"] {
        assert!(desk.path(&format!("runs/shared/{file}")).exists(), "no {file}");
    }
    assert!(ran.stdout.contains("other.table.md"), "{}", ran.stdout);
    // Only searches that go step by step have steps to share.
    let figure = fs::read_to_string(desk.path("runs/shared/other.figure.csv")).unwrap();
    assert!(figure.lines().skip(1).all(|line| line.starts_with("cord,")), "{figure}");
    assert_eq!(figure.lines().count(), 1 + 2 * 10);
}

#[test]
fn what_is_not_there_is_said() {
    let desk = Desk::with_models();
    let said = |arguments: &[&str]| desk.cord(arguments).expect(1).stderr;
    insta::assert_snapshot!(said(&["reselect", DISTIL, "--arm", "crd"]), @"error: expected one of the recipe's arms, `cord`, `curation`, `single`, `teacher`, got `crd`");
    insta::assert_snapshot!(said(&["reselect", DISTIL, "--arm", "teacher"]), @"error: expected an arm that generates, got `teacher`, which does not");
    insta::assert_snapshot!(said(&["reselect", DISTIL, "--arm", "cord", "--seed", "9"]), @"error: expected one of the recipe's seeds, `1`, `2`, got `9`");
    insta::assert_snapshot!(said(&["reselect", DISTIL, "--arm", "cord", "--seed", "1"]), @"error: expected a finished stage, `generate cord, seed 1` is missing; run the recipe first");
    desk.cord(&["run", DISTIL]).expect(0);
    insta::assert_snapshot!(said(&["export", DISTIL, "--arm", "cord", "--to", "x", "--license", "mit"]), @"error: expected one seed, since rows of several would have the same names; give `--seed`, one of `1`, `2`");
    let unknown = said(&["reselect", DISTIL, "--arm", "cord", "--teachers", "lft"]);
    assert!(unknown.contains("did you mean `left`?"), "{unknown}");
}

#[test]
fn a_table_is_printed_in_every_form_and_two_are_compared() {
    let desk = with_run();
    let printed = |format: &str| desk.cord(&["table", DISTIL, "--format", format]).expect(0).stdout;
    for (format, file) in [("markdown", "table.md"), ("csv", "table.csv"), ("json", "table.json")] {
        assert_eq!(printed(format), fs::read_to_string(desk.path("runs/distil").join(file)).unwrap(), "{format}");
    }
    let latex = printed("latex");
    assert!(latex.contains("\\begin{tabular}{l") && latex.contains("\ncuration & "), "{latex}");
    assert!(printed("html").contains("<th scope=\"row\">curation</th>"));

    let against = ["table", DISTIL, "--against", "recipes/other.toml"];
    let recipe = fs::read_to_string(desk.path(DISTIL)).unwrap();
    let missing = desk.cord(&against).expect(1).stderr;
    assert!(missing.contains("can't read the recipe `recipes/other.toml`"), "{missing}");
    desk.write("recipes/other.toml", &recipe);
    let same = desk.cord(&against).expect(1).stderr;
    assert!(same.contains("expected two recipes of different names, got `distil` twice"), "{same}");
    let other = recipe.replace("name = \"distil\"", "name = \"other\"").replace("width = 2, select = 2", "width = 1");
    desk.write("recipes/other.toml", &other);
    let unfinished = desk.cord(&against).expect(1).stderr;
    assert!(unfinished.contains("expected finished stages"), "{unfinished}");
    desk.cord(&["run", "recipes/other.toml"]).expect(0);
    let compared = desk.cord(&against).expect(0).stdout;
    for part in ["distil and other", "cord (distil)", "cord (other)", "(paired difference "] {
        assert!(compared.contains(part), "no `{part}` in:\n{compared}");
    }
    // The teacher's samples are the same in both: nothing is decided where nothing differs.
    let same =
        compared.lines().find(|line| line.starts_with("tiny/test pass@1: teacher (distil) > teacher (other)")).unwrap();
    assert!(same.contains("not decided at this n"), "{same}");
}

#[test]
fn other_trainers_are_given_the_tokens_that_the_student_would_learn() {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL, "--set", "arms.cord.eval.limit=1"]).expect(0);
    let export = ["export", DISTIL, "--arm", "cord", "--seed", "1", "--to", "set", "--license", "mit"];
    let said = desk.cord(&[&export[..], &["--trainer", "trl", "--trainer", "llama-factory"]].concat()).expect(0).stdout;
    assert!(said.contains("settings in set/trl.yaml") && said.contains("settings in set/llama-factory.yaml"), "{said}");
    let bytes = fs::read(desk.path("set/tokens/train.parquet")).unwrap();
    let rows = cord_store::read_records(bytes, std::path::Path::new("train.parquet"), &[]).unwrap();
    // What the training stage read, and how many of its tokens it learnt.
    let trained = desk.stage(DISTIL, "train cord, seed 1");
    let lines = fs::read_to_string(trained.join("training.jsonl")).unwrap();
    assert_eq!(rows.len(), lines.lines().count());
    let renderer = cord_text::Renderer::from_dir(&desk.path("models/left")).unwrap();
    for (row, line) in rows.iter().zip(lines.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let messages: Vec<cord_core::Message> = serde_json::from_value(line["messages"].clone()).unwrap();
        let expected = renderer.training_ids(&messages).unwrap();
        let ids: Vec<i64> = serde_json::from_value(row["input_ids"].clone()).unwrap();
        let labels: Vec<i64> = serde_json::from_value(row["labels"].clone()).unwrap();
        assert_eq!(ids, expected.ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>());
        for ((label, id), learnt) in labels.iter().zip(&ids).zip(&expected.supervised) {
            assert_eq!(*label, if *learnt { *id } else { -100 });
        }
        assert_eq!(labels.last(), ids.last(), "the end of turn is learnt");
    }
    let settings = fs::read_to_string(desk.path("set/trl.yaml")).unwrap();
    for key in [
        "dataset_name: tokens",
        "max_steps: 10",
        "gradient_accumulation_steps: 4",
        "learning_rate: 0.001",
        "max_length: 320",
    ] {
        assert!(settings.contains(key), "no `{key}` in:\n{settings}");
    }
    let card = fs::read_to_string(desk.path("set/README.md")).unwrap();
    assert!(card.contains("tokens/*.parquet"), "{card}");
}

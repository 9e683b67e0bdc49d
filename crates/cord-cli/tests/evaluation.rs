//! `cord eval`, `cord judge` and benchmarks: folders of a user's own, data sets of every form, and what is said when they fail.

mod world;

use std::fs;
use std::path::{Path, PathBuf};

use cord_testkit::{ByteVocabulary, Fault, Kind, Served, TestServer};
use serde_json::{Value, json};
use world::Desk;

fn benchmark(desk: &Desk, name: &str, rest: &str) {
    fs::create_dir_all(desk.path(name)).unwrap();
    let text = format!(
        "name = \"{name}\"\nversion = 1\ndescription = \"d\"\n{rest}\n[budget]\nsamples = 3\nmax-tokens = 24\n"
    );
    desk.write(&format!("{name}/benchmark.toml"), &text);
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_folder_is_tested_on_a_benchmark_of_ones_own_and_resumed() {
    let desk = Desk::with_models();
    let problems = "{\"id\":\"b\",\"question\":\"The dial shows 5. Step 1. Go back 2. Name the marks.\",\"answer\":\"3\"}\n\
                    {\"id\":\"a\",\"question\":\"The dial shows 4. Step 1. Go back 2. Name the marks.\",\"answer\":\"2\"}\n";
    benchmark(
        &desk,
        "mine",
        "dataset = \"./problems.jsonl\"\n[prompt]\nuser = \"{question}\"\n[verifier]\nkind = \"math\"",
    );
    desk.write("mine/problems.jsonl", problems);
    let arguments = [
        "eval",
        "models/left",
        "--benchmarks",
        "./mine",
        "--against",
        "models/right",
        "--harness",
        "harness",
        "--json",
    ];
    let ran = desk.cord(&arguments).expect(0);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let reports = found["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 2, "{found}");
    for report in reports {
        let tally = &report["report"]["tally"];
        assert_eq!((&tally["samples"], &tally["failed"]), (&json!(6), &json!(0)), "{report}");
        assert_eq!(report["report"]["accuracy"]["n"], 2);
        assert!(
            report["report"]["majority"]["value"].is_number() && report["report"]["pass-at"]["3"]["value"].is_number()
        );
        let samples = lines(
            &fs::read_to_string(desk.path("").join(report["folder"].as_str().unwrap()).join("samples.jsonl")).unwrap(),
        );
        assert_eq!(samples.len(), 6);
        assert_eq!((&samples[0]["problem"], &samples[0]["gold"]), (&json!("a"), &json!("2")));
    }
    assert_eq!(found["comparisons"][0]["paired"]["difference"]["n"], 2, "{found}");
    // The same command finds everything done, and says the same.
    let again = desk.cord(&arguments).expect(0);
    assert!(again.stderr.contains("done before") && again.stdout == ran.stdout, "{}", again.stderr);
    let harness: Vec<PathBuf> =
        fs::read_dir(desk.path("harness/model")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let results =
        harness.iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("results_")).unwrap();
    let results: Value = serde_json::from_slice(&fs::read(results).unwrap()).unwrap();
    assert_eq!(results["n-samples"]["mine"], json!({"original": 2, "effective": 2}));
    assert_eq!(results["results"]["mine"]["exact_match,none"], reports[0]["report"]["accuracy"]["value"]);
    let samples = harness.iter().find(|path| path.to_str().unwrap().contains("samples_mine_")).unwrap();
    let samples = lines(&fs::read_to_string(samples).unwrap());
    assert_eq!((samples.len(), samples[0]["resps"][0].as_array().unwrap().len()), (2, 3));
}

#[test]
fn a_recipes_model_is_tested_and_its_settings_go_first() {
    let desk = Desk::with_models();
    let arguments = [
        "eval",
        "recipes/distil.toml",
        "--model",
        "right",
        "--benchmarks",
        "tiny/test",
        "--limit",
        "2",
        "--samples",
        "1",
        "--max-tokens",
        "40",
        "--temperature",
        "0",
        "--opening",
        "plain",
        "--seed",
        "3",
    ];
    let ran = desk.cord(&arguments).expect(0);
    assert!(ran.stdout.contains("tiny/test (version 1): 2 problems, 2 samples"), "{}", ran.stdout);
    assert!(desk.path("runs/eval-distil-right").exists());
    let refused = desk.cord(&["eval", "recipes/distil.toml", "--benchmarks", "tiny/test"]).expect(1);
    assert!(refused.stderr.contains("name one with `--model`"), "{}", refused.stderr);
    let refused = desk.cord(&["eval", "models/left", "--benchmarks", "tyny/test"]).expect(1);
    assert!(refused.stderr.contains("eval/tyny/test/benchmark.toml"), "{}", refused.stderr);
}

/// Reads a set of a given form, and says what the problems' file holds.
fn read(desk: &Desk, file: &str, content: &[u8], manifest: &str, code: i32) -> (Vec<Value>, String) {
    fs::create_dir_all(desk.path("files")).unwrap();
    fs::write(desk.path("files").join(file), content).unwrap();
    benchmark(desk, "form", "dataset = \"./dataset.toml\"\n[prompt]\nuser = \"{question}\"");
    let text = format!(
        "name = \"form\"\n[source]\ngithub = \"o/n\"\nrevision = \"r\"\n[[files]]\npath = \"{file}\"\nfrom = \"x/{file}\"\n{manifest}"
    );
    desk.write("form/dataset.toml", &text);
    let arguments = [
        "eval",
        "models/left",
        "--benchmarks",
        "./form",
        "--samples",
        "1",
        "--max-tokens",
        "4",
        "--data",
        "files",
        "--json",
    ];
    let ran = desk.cord(&arguments).expect(code);
    if code != 0 {
        return (Vec::new(), ran.stderr);
    }
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let folder = desk.path("").join(found["reports"][0]["folder"].as_str().unwrap());
    (lines(&fs::read_to_string(folder.join("samples.jsonl")).unwrap()), ran.stderr)
}

#[test]
fn files_of_every_form_become_problems_and_faults_are_listed() {
    let desk = Desk::with_models();
    let columns = "[columns]\nquestion = \"question\"\nanswer = { column = \"answer\" }\n";
    let (samples, _) = read(
        &desk,
        "mgsm_de.tsv",
        "Wie viele?\t18\nWas?\t1.5\n".as_bytes(),
        &format!("header = [\"question\", \"answer\"]\n{columns}"),
        0,
    );
    assert_eq!((samples.len(), &samples[1]["gold"], &samples[1]["question"]), (2, &json!("1.5"), &json!("Was?")));
    let csv = "Record ID,Question,Right,W1,W2\nr1,\"Which, then?\",x,y,z\n";
    let choice = "[columns]\nid = \"Record ID\"\nquestion = \"Question\"\nanswer = { column = \"Right\", wrong = [\"W1\", \"W2\"] }\n";
    let (samples, _) = read(&desk, "gpqa.csv", csv.as_bytes(), choice, 0);
    assert_eq!((&samples[0]["problem"], &samples[0]["question"]), (&json!("r1"), &json!("Which, then?")));
    assert!(["A", "B", "C"].contains(&samples[0]["gold"].as_str().unwrap()));
    let (_, faults) = read(
        &desk,
        "a.jsonl",
        b"{\"question\": \"q\", \"answer\": 1}\n{\"question\": \"q\"}\n{\"question\": \"\", \"answer\": 2}\n",
        columns,
        1,
    );
    assert!(faults.contains("row 2: expected a column `answer`, got `question`"), "{faults}");
    assert!(faults.contains("row 3: expected text in `question`, got nothing"), "{faults}");
    let (_, faults) = read(&desk, "b.jsonl", b"{}\n", &format!("sha256 = \"00\"\n{columns}"), 1);
    assert!(faults.contains("expected the SHA-256 `00`, got `"), "{faults}");
    fs::remove_file(desk.path("files/b.jsonl")).unwrap();
    let ran = desk.cord(&["eval", "models/left", "--benchmarks", "./form", "--data", "files"]).expect(1);
    assert!(ran.stderr.contains("https://raw.githubusercontent.com/o/n/r/x/b.jsonl"), "{}", ran.stderr);
}

#[test]
fn a_judge_reads_beside_the_verifier_in_one_command() {
    let desk = Desk::with_models();
    let problem = json!({"id": "p", "question": "The dial shows 5. Step 1. Go back 2. Name the marks.", "answer": "yes",
                         "metadata": {"long-answer": "It is right."}});
    benchmark(
        &desk,
        "both",
        "dataset = \"./problems.jsonl\"\n[prompt]\nuser = \"{question}\"\n[verifier]\nkind = \"label\"\nlabels = [\"yes\", \"no\"]\n\
         [judge]\nrubric = \"reference\"\nreference = \"long-answer\"",
    );
    desk.write("both/problems.jsonl", &problem.to_string());
    desk.write("judge.sh", JUDGE);
    let arguments = [
        "eval",
        "models/left",
        "--benchmarks",
        "./both",
        "--opening",
        "plain",
        "--max-tokens",
        "200",
        "--judge",
        "exec:sh judge.sh",
        "--json",
    ];
    let ran = desk.cord(&arguments);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let report = &found["reports"][0];
    // The verifier's column is there, and the judge's stands beside it: the reference holds `right`, so each sample that it is shown is correct.
    assert!(report["report"]["macro-f1"]["value"].is_number(), "{report}");
    let counts = &report["judges"]["columns"][0]["counts"];
    assert!(counts["correct"].as_u64().is_some_and(|n| n > 0) && counts["incorrect"] == 0, "{report}");
}

#[test]
fn an_evaluation_by_shards_is_the_one_in_one_piece() {
    let desk = Desk::bare();
    fs::create_dir_all(desk.path("models/bytes")).unwrap();
    ByteVocabulary::new().write(&desk.path("models/bytes")).unwrap();
    benchmark(
        &desk,
        "mine",
        "dataset = \"./problems.jsonl\"\n[prompt]\nuser = \"{question}\"\n[verifier]\nkind = \"math\"",
    );
    let problems = (0..7).map(|n| format!("{{\"id\":\"p{n}\",\"question\":\"Count {n}.\",\"answer\":\"{n}\"}}\n"));
    desk.write("mine/problems.jsonl", &problems.collect::<String>());
    let server = TestServer::start(Served::new(Kind::Vllm));
    let url = server.url();
    let arguments = ["eval", "models/bytes", "--server", url.as_str(), "--benchmarks", "./mine"];
    let run = |out: &str, more: &[&str]| desk.cord(&[&arguments[..], &["--out", out], more].concat());
    run("whole", &[]).expect(0);

    let said = run("cut", &["--shard", "1/3"]).expect(0).stdout;
    assert!(said.contains("1 of 3 shards are here, missing 0/3, 2/3"), "{said}");
    run("cut", &["--shard", "0/3"]).expect(0);
    let said = run("cut", &["--shard", "2/3"]).expect(0).stdout;
    assert!(said.contains("3 of 3 shards are here, go on without `--shard`"), "{said}");
    // What the shards asked is not asked again.
    server.script(|seen| (seen.body["max_tokens"] == 24).then(|| Fault::status(400, "asked again")));
    run("cut", &[]).expect(0);
    let samples = |out: &str| {
        let mut evals = fs::read_dir(desk.path(out).join("eval-bytes")).unwrap().map(|entry| entry.unwrap().path());
        let whole = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("eval-");
        fs::read(evals.find(whole).unwrap().join("samples.parquet")).unwrap()
    };
    assert_eq!(samples("cut"), samples("whole"));
    let refused = run("cut", &["--shard", "1/3", "--json"]).expect(2).stderr;
    assert!(refused.contains("cannot be used with"), "{refused}");
}

#[test]
fn judges_of_a_recipe_have_a_column_of_their_own() {
    let desk = Desk::bare();
    for folder in ["models/bytes", "eval/both"] {
        fs::create_dir_all(desk.path(folder)).unwrap();
    }
    ByteVocabulary::new().write(&desk.path("models/bytes")).unwrap();
    desk.write(
        "eval/both/benchmark.toml",
        "name = \"both\"\nversion = 1\ndescription = \"Yes or no, with words.\"\ndataset = \"./problems.jsonl\"\n\
         [prompt]\nuser = \"{question}\"\n[verifier]\nkind = \"label\"\nlabels = [\"yes\", \"no\"]\n\
         [judge]\nrubric = \"reference\"\nreference = \"words\"\n[budget]\nsamples = 1\nmax-tokens = 64\n",
    );
    let problems = (0..5).map(|n| {
        format!("{{\"id\":\"p{n}\",\"question\":\"Is it {n}?\",\"answer\":\"yes\",\"metadata\":{{\"words\":\"It is, says {n}.\"}}}}\n")
    });
    desk.write("eval/both/problems.jsonl", &problems.collect::<String>());
    // Of five responses the verifier takes two; one says nothing at all.
    let pupil = Served::new(Kind::Vllm)
        .answering("Is it 0?", "Surely so. \\boxed{yes}")
        .answering("Is it 1?", "I think so. \\boxed{yes}")
        .answering("Is it 2?", "Rather not. \\boxed{no}")
        .answering("Is it 3?", "Never. \\boxed{no}")
        .answering("Is it 4?", "");
    // The judge is shown the reference, contradicts the verifier twice, and once does not decide.
    let examiner = Served::new(Kind::Vllm)
        .answering("says 0.\n\nResponse:\nSurely so.", "It agrees.\nVERDICT: CORRECT")
        .answering("says 1.\n\nResponse:\nI think so.", "It does not commit.\nVERDICT: NOT ATTEMPTED")
        .answering("says 2.\n\nResponse:\nRather not.", "It agrees all the same.\nVERDICT: CORRECT")
        .answering("says 3.\n\nResponse:\nNever.", "I can't tell.");
    let (pupil, examiner) = (TestServer::start(pupil), TestServer::start(examiner));
    let recipe = |judge: &str| {
        format!(
            "name = \"judged\"\nseed = 3\n[models]\npupil = {{ path = \"models/bytes\", server = {{ endpoints = [\"{}\"] }} }}\n\
             examiner = {{ path = \"models/bytes\", server = {{ endpoints = [\"{}\"] }} }}\n\
             [eval]\nbenchmarks = [\"both\"]\nmodel = \"pupil\"\nopening = \"plain\"\njudge = {judge}\n\
             [table]\ncolumns = [\"eval.both\", \"eval.both.judge\", \"eval.both.unscored\", \"eval.both.macro-f1\"]\n",
            pupil.url(),
            examiner.url()
        )
    };
    desk.write("recipes/judged.toml", &recipe("{ models = [\"examiner\"] }"));
    let plan = desk.cord(&["plan", "recipes/judged.toml"]).expect(0).stdout;
    assert!(plan.contains("judge judged on both, seed 3"), "{plan}");
    let ran = desk.cord(&["run", "recipes/judged.toml"]).expect(0);
    assert!(ran.stderr.contains("2 of 5 responses right, 1 without a verdict, 0 failed"), "{}", ran.stderr);
    let table: Value = serde_json::from_slice(&fs::read(desk.path("runs/judged/table.json")).unwrap()).unwrap();
    let metrics = &table["rows"][0]["metrics"];
    assert_eq!((&metrics["eval.both"]["value"], &metrics["eval.both"]["n"]), (&json!(0.4), &json!(5)), "{metrics:#}");
    // Without the one that has no verdict, with the one that says nothing.
    assert_eq!((&metrics["eval.both.judge"]["value"], &metrics["eval.both.judge"]["n"]), (&json!(0.5), &json!(4)));
    assert_eq!(metrics["eval.both.unscored"]["value"], 0.2);
    // `yes`: two of two given, two of five gold; `no`: none of two given.
    let f1 = metrics["eval.both.macro-f1"]["value"].as_f64().unwrap();
    assert!((f1 - (4.0 / 7.0) / 2.0).abs() < 1e-9, "{f1}");
    let said = lines(
        &fs::read_to_string(desk.stage("recipes/judged.toml", "judge judged on both, seed 3").join("judgements.jsonl"))
            .unwrap(),
    );
    assert_eq!((said.len(), &said[2]["judge"], &said[2]["verifier"]), (4, &json!({"said": "correct"}), &json!(false)));

    // Other judges are another stage; nothing is evaluated again. Judges that can't be asked end no run in silence.
    desk.write("recipes/judged.toml", &recipe("{ models = [\"examiner\"], max-tokens = 77 }"));
    let before = pupil.counts().posts;
    examiner.script(|seen| (seen.body["max_tokens"] == 77).then(|| Fault::status(400, "not today")));
    let failed = desk.cord(&["run", "recipes/judged.toml"]).expect(1).stderr;
    assert!(failed.contains("no judge answered about any of 4 responses") && failed.contains("not today"), "{failed}");
    assert_eq!(pupil.counts().posts, before);
    examiner.script(|_| None);
    desk.cord(&["run", "recipes/judged.toml"]).expect(0);

    desk.write("recipes/judged.toml", &recipe("{ models = [\"examinr\"], benchmarks = [\"bot\"] }"));
    let faults = desk.cord(&["plan", "recipes/judged.toml"]).expect(1).stderr;
    for expected in ["did you mean `examiner`?", "one of `eval.benchmarks`", "did you mean `both`?"] {
        assert!(faults.contains(expected), "{faults}");
    }
}

/// A judge as a command: right is what holds the gold answer; it fails on every tenth question and rambles on another.
const JUDGE: &str = r#"#!/bin/sh
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  case $((id % 10)) in
    3) printf '{"id":%s,"error":"503, incorrect gateway"}\n' "$id" ;;
    7) printf '{"id":%s,"verdict":"correct, I think"}\n' "$id" ;;
    *) case "$line" in
         *right*) printf '{"id":%s,"verdict":"correct"}\n' "$id" ;;
         *) printf '{"id":%s,"verdict":"incorrect"}\n' "$id" ;;
       esac ;;
  esac
done
"#;

#[test]
fn a_command_judges_and_its_failures_are_unscored() {
    let desk = Desk::bare();
    let samples: Vec<String> = (0..20)
        .map(|place| {
            let said = if place % 2 == 0 { "right" } else { "wrong" };
            let line = json!({"benchmark": "b", "problem": format!("p{place:02}"), "question": "q", "gold": "g", "response": said,
                              "said": said, "correct": place % 2 == 0});
            line.to_string()
        })
        .collect();
    desk.write("samples.jsonl", &samples.join("\n"));
    desk.write(
        "labels.jsonl",
        "{\"problem\":\"p00\",\"label\":\"correct\"}\n{\"problem\":\"p01\",\"label\":\"incorrect\"}\n",
    );
    desk.write("judge.sh", JUDGE);
    let arguments = [
        "judge",
        "samples.jsonl",
        "--judge",
        "exec:sh judge.sh",
        "--labels",
        "labels.jsonl",
        "--concurrency",
        "1",
        "--json",
    ];
    let ran = desk.cord(&arguments).expect(3);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let column = &report["columns"][0];
    assert_eq!(column["unscored"], 4, "{report}");
    assert_eq!(column["counts"], json!({"correct": 10, "incorrect": 6, "not-attempted": 0}), "{report}");
    assert_eq!(column["with-verifier"], json!({"value": 1.0, "n": 16}), "{report}");
    assert_eq!(column["with-people"], json!({"value": 1.0, "n": 2}), "{report}");
    let judged = lines(&fs::read_to_string(desk.path("runs/judge/judgements.jsonl")).unwrap());
    assert_eq!(
        judged[3]["votes"]["sh judge.sh"]["unscored"],
        json!({"why": "failed", "reason": "503, incorrect gateway"})
    );
    // Only what failed is asked again, and the command, which numbers from 0, answers it now; what it said without a verdict
    // it has said.
    let again = desk.cord(&arguments).expect(3);
    let report: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(report["columns"][0]["unscored"], 2, "{report}");
    let judged = lines(&fs::read_to_string(desk.path("runs/judge/judgements.jsonl")).unwrap());
    assert_eq!(judged.len(), 20);
    assert_eq!(
        judged[0],
        json!({"problem": "p00", "sample": 0, "judge": {"said": "correct"}, "people": "correct", "verifier": true,
                                 "votes": {"sh judge.sh": {"said": "correct"}}})
    );
}

#[test]
fn a_command_whose_lines_answer_no_question_leaves_nobody_waiting() {
    let desk = Desk::bare();
    let samples: Vec<String> = (0..4)
        .map(|place| {
            json!({"benchmark": "b", "problem": format!("p{place}"), "question": "q", "gold": "g", "response": "r", "said": "r"})
                .to_string()
        })
        .collect();
    desk.write("samples.jsonl", &samples.join("\n"));
    // Each reads one question, says this, and waits for the next without an end.
    let ways = [
        ("loading the model", "expected a JSON object"),
        (r#"{"verdict":"correct"}"#, "expected the question's `id`"),
        (r#"{"id":77,"verdict":"correct"}"#, "a question that waits for its answer"),
    ];
    for (said, expected) in ways {
        desk.write("judge.sh", &format!("read -r line\nprintf '%s\\n' '{said}'\nwhile read -r line; do :; done\n"));
        let ran = desk
            .cord(&["judge", "samples.jsonl", "--judge", "exec:sh judge.sh", "--concurrency", "2", "--json"])
            .expect(3);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["columns"][0]["unscored"], 4, "{report}");
        let judged = lines(&fs::read_to_string(desk.path("runs/judge/judgements.jsonl")).unwrap());
        for line in judged {
            let reason = line["votes"]["sh judge.sh"]["unscored"]["reason"].as_str().unwrap();
            assert!(reason.contains(expected) && reason.contains(said), "{reason}");
        }
    }
    // One answer that can't be read is its own question's alone.
    desk.write(
        "judge.sh",
        "id=0\nwhile read -r line; do printf '{\"id\":%s,\"verdict\":%s}\\n' $id $([ $id = 1 ] && echo 1 || echo '\"correct\"'); id=$((id + 1)); done\n",
    );
    let ran =
        desk.cord(&["judge", "samples.jsonl", "--judge", "exec:sh judge.sh", "--concurrency", "1", "--json"]).expect(3);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["columns"][0]["unscored"], &report["columns"][0]["counts"]["correct"]),
        (&json!(1), &json!(3)),
        "{report}"
    );
}

#[test]
fn a_checkpoint_judges_and_rubrics_are_checked() {
    let desk = Desk::with_models();
    let line = |said: &str| {
        json!({"benchmark": "b", "problem": "p", "question": "q", "gold": "g", "response": said, "said": said})
            .to_string()
    };
    desk.write("a.jsonl", &line("The dial shows 5."));
    desk.write("b.jsonl", &line("The dial shows 4."));
    // A model of a few thousand parameters says nothing that is a verdict: unscored, whatever it says.
    let ran = desk
        .cord(&["judge", "a.jsonl", "--against", "b.jsonl", "--judge", "models/left", "--max-tokens", "8"])
        .expect(3);
    assert!(ran.stdout.contains("0 first, 0 second, 0 tie, 1 unscored"), "{}", ran.stdout);
    desk.write("rubric.toml", "name = \"r\"\nversion = 1\nkind = \"reference\"\nuser = \"{question}\"\ncue = \"v:\"\n[verdicts]\ncorrect = [\"yes\"]\n");
    let ran = desk.cord(&["judge", "a.jsonl", "--judge", "models/left", "--rubric", "rubric.toml"]).expect(1);
    for fault in ["`{reference}`", "`{response}`", "the verdict `incorrect`", "the verdict `not-attempted`"] {
        assert!(ran.stderr.contains(fault), "{fault}: {}", ran.stderr);
    }
}

/// The benchmarks of the repository hold as many problems as their makers say, where their files are at hand.
#[test]
fn the_repositorys_benchmarks_read_their_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = root.join("../shared/data");
    let data = if shared.is_dir() { Some(shared) } else { std::env::var_os("CORD_DATA").map(PathBuf::from) };
    let desk = Desk::with_models();
    for folder in ["eval", "datasets"] {
        world::copy(&root.join(folder), &desk.path(folder));
    }
    let at_hand = data.is_some();
    let data = data.unwrap_or(root).display().to_string();
    for (name, problems) in [
        ("mini/test", 500),
        ("mini/hard", 300),
        ("aime24", 30),
        ("aime25", 30),
        ("amc23", 40),
        ("math500", 500),
        ("gsm8k", 1319),
        ("svamp", 1000),
        ("tatqa", 1668),
        ("pubmedqa", 500),
    ] {
        if at_hand || name.starts_with("mini") {
            let arguments =
                ["eval", "models/left", "--benchmarks", name, "--max-tokens", "1", "--samples", "1", "--data", &data];
            let ran = desk.cord(&arguments);
            // Long problems do not fit into the small model: those are unscored, and told by the exit status.
            assert!([0, 3].contains(&ran.code), "{name}: {}", ran.stderr);
            let unscored = ran.stdout.lines().find(|line| line.contains("unscored (failed)")).unwrap();
            assert!(unscored.ends_with(&format!("of {problems}")), "{name}: {unscored}");
        }
    }
}

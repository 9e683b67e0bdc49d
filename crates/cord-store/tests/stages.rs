//! Stage folders: whole or absent, one writer at a time, and damage that is named.

use std::fs;
use std::path::Path;

use cord_core::Digest;
use cord_store::{Journal, Program, Reply, StageWriter, Store, StoreError, TrainingRow, read_jsonl, to_jsonl};
use serde_json::json;

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program { version: "0.1.0".into(), commit: Some("abc".into()) };
        let store = Store::open(folder.path(), "mini-cord", program).unwrap();
        Self { folder, store }
    }

    fn begin(&self, key: Digest) -> Result<StageWriter, StoreError> {
        self.store.begin("train", key, json!({ "batch": 8 }), vec![Digest::of_bytes(b"input")])
    }

    /// The names in the recipe's folder.
    fn names(&self) -> Vec<String> {
        names(self.store.folder())
    }

    fn say(&self, error: &StoreError) -> String {
        error.to_string().replace(&self.folder.path().display().to_string(), "runs")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn key() -> Digest {
    Digest::of_bytes(b"key")
}

#[test]
fn a_stage_is_found_once_it_is_finished() {
    let bench = Bench::new();
    assert!(bench.store.find("train", key()).unwrap().is_none());
    let mut writer = bench.begin(key()).unwrap();
    writer.write_json("metrics.json", &json!({ "b": 1.5, "a": [1, 2] })).unwrap();
    writer.write_bytes("model/weights.bin", b"12345").unwrap();
    assert!(bench.store.find("train", key()).unwrap().is_none());
    assert_eq!(bench.store.stages().unwrap().len(), 0);
    let finished = writer.finish(json!({ "loss": 0.5 })).unwrap();

    let found = bench.store.find("train", key()).unwrap().unwrap();
    assert_eq!(found.path(), finished.path());
    assert_eq!(bench.names(), [format!(".lock-train-{}", key().short()), format!("train-{}", key().short())]);
    assert_eq!(found.read_json::<serde_json::Value>("metrics.json").unwrap(), json!({ "b": 1.5, "a": [1, 2] }));
    found.verify().unwrap();
    assert_eq!(bench.store.stages().unwrap().len(), 1);
    insta::assert_snapshot!(fs::read_to_string(found.file("manifest.json")).unwrap(), @r#"
    {
      "format": 1,
      "stage": "train",
      "key": "ff8e2bab3b26e0c127002127905539b47eb421de85d554e15f55a446459b52b4",
      "settings": {
        "batch": 8
      },
      "inputs": [
        "e33fb19325cbc72b5905e783e0c47290468c610090e376de9215e8b5f8ba83d3"
      ],
      "summary": {
        "loss": 0.5
      },
      "files": {
        "metrics.json": {
          "bytes": 42,
          "digest": "f8b6c24c0b94801812b1b4e0b1e02b18981a6bb868bc21ea087258bde528235f"
        },
        "model/weights.bin": {
          "bytes": 5,
          "digest": "86f2d80abe9c3f7b4a1a57a8d1130fa8dc08c81604833ce1212dc039b010d9e4"
        }
      },
      "program": {
        "version": "0.1.0",
        "commit": "abc"
      }
    }
    "#);
}

#[test]
fn a_dropped_writer_is_taken_up_again() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    writer.write_bytes("old.bin", b"of the first attempt").unwrap();
    fs::create_dir(writer.path().join("torn")).unwrap();
    fs::write(writer.path().join("torn/half.bin"), b"half").unwrap();
    let journal = Journal::open(&writer.journal_path()).unwrap();
    journal.append(Digest::of_bytes(b"r"), &Reply::Logprobs(vec![])).unwrap();
    fs::write(writer.work_path().unwrap().join("checkpoint"), b"7").unwrap();
    writer.write_timings(&[("training".to_owned(), 2.5)].into()).unwrap();
    drop((writer, journal));

    let mut writer = bench.begin(key()).unwrap();
    assert_eq!(Journal::open(&writer.journal_path()).unwrap().len(), 1);
    assert_eq!(fs::read(writer.work_path().unwrap().join("checkpoint")).unwrap(), b"7");
    assert_eq!(writer.timings().unwrap()["training"], 2.5);
    writer.write_bytes("new.bin", b"of the second").unwrap();
    let stage = writer.finish(json!(null)).unwrap();
    assert_eq!(names(stage.path()), ["journal.jsonl", "manifest.json", "new.bin", "timings.json"]);
    assert_eq!(stage.timings().unwrap()["training"], 2.5);
}

#[test]
fn working_state_that_a_kill_left_in_a_finished_stage_goes() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    writer.write_bytes("result.bin", b"done").unwrap();
    let stage = writer.finish(json!(null)).unwrap();
    let work = stage.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("checkpoint"), b"7").unwrap();
    let found = bench.store.find(stage.manifest().stage.as_str(), key()).unwrap().unwrap();
    assert_eq!(names(found.path()), ["manifest.json", "result.bin"]);
}

#[test]
fn what_another_library_wrote_is_adopted_file_by_file() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    fs::create_dir_all(writer.path().join("student/inner")).unwrap();
    for file in ["student/config.json", "student/inner/x", "student/.tmp123", "student.log"] {
        fs::write(writer.path().join(file), file).unwrap();
    }
    writer.adopt("student").unwrap();
    let stage = writer.finish(json!(null)).unwrap();
    let listed: Vec<&String> = stage.manifest().files.keys().collect();
    assert_eq!(listed, ["student/config.json", "student/inner/x"]);
    assert_eq!(names(&stage.file("student")), ["config.json", "inner"]);
    assert_eq!(stage.manifest().files["student/inner/x"].digest, Digest::of_bytes(b"student/inner/x"));
    stage.verify().unwrap();
}

#[test]
fn the_content_has_one_digest_whatever_the_order_and_the_seconds() {
    let content = |files: [&str; 2], seconds: f64| {
        let bench = Bench::new();
        let mut writer = bench.begin(key()).unwrap();
        for file in files {
            writer.write_bytes(file, file.as_bytes()).unwrap();
        }
        writer.write_timings(&[("all".to_owned(), seconds)].into()).unwrap();
        writer.finish(json!(null)).unwrap().manifest().content()
    };
    assert_eq!(content(["a", "b"], 1.0), content(["b", "a"], 2.0));
    assert_ne!(content(["a", "b"], 1.0), content(["a", "c"], 1.0));
}

#[test]
fn one_stage_has_one_writer() {
    let bench = Bench::new();
    let writer = bench.begin(key()).unwrap();
    let error = bench.begin(key()).unwrap_err();
    let pid = format!("process {}", std::process::id());
    assert!(matches!(&error, StoreError::Locked { holder, .. } if holder.starts_with(&pid)), "{error}");
    bench.begin(Digest::of_bytes(b"another stage")).unwrap();
    writer.finish(json!(null)).unwrap();
    insta::assert_snapshot!(bench.say(&bench.begin(key()).unwrap_err()), @"`runs/mini-cord/train-ff8e2bab3b26` is finished already; open it instead");
}

#[test]
fn a_folder_without_a_manifest_does_not_exist() {
    let bench = Bench::new();
    let writer = bench.begin(key()).unwrap();
    Journal::open(&writer.journal_path()).unwrap().append(key(), &Reply::Logprobs(vec![])).unwrap();
    let stage = writer.finish(json!(null)).unwrap();
    fs::remove_file(stage.file("manifest.json")).unwrap();
    assert!(bench.store.find("train", key()).unwrap().is_none());
    // It is taken up as one that was begun.
    let writer = bench.begin(key()).unwrap();
    assert_eq!(Journal::open(&writer.journal_path()).unwrap().len(), 1);
    // Beside one that was begun it can't be.
    fs::create_dir(stage.path()).unwrap();
    drop(writer);
    insta::assert_snapshot!(bench.say(&bench.begin(key()).unwrap_err()), @"expected nothing or a finished stage at `runs/mini-cord/train-ff8e2bab3b26`, got a folder without `manifest.json` beside an unfinished stage; remove it to go on");
}

#[test]
fn a_kill_between_manifest_and_rename_shows_no_stage() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    writer.write_bytes("a", b"a").unwrap();
    let partial = writer.path().to_path_buf();
    let stage = writer.finish(json!(null)).unwrap();
    fs::rename(stage.path(), &partial).unwrap();
    assert!(bench.store.find("train", key()).unwrap().is_none());
    assert_eq!(bench.store.stages().unwrap().len(), 0);
    let mut writer = bench.begin(key()).unwrap();
    assert_eq!(names(&partial), ["a"], "the early manifest is gone");
    writer.write_bytes("a", b"a").unwrap();
    writer.finish(json!(null)).unwrap();
    assert!(bench.store.find("train", key()).unwrap().is_some());
}

#[test]
fn damage_is_named() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    for file in ["a", "b", "c"] {
        writer.write_bytes(file, b"12345").unwrap();
    }
    let stage = writer.finish(json!(null)).unwrap();
    fs::write(stage.file("a"), b"12x45").unwrap();
    let same_size = bench.store.find("train", key()).unwrap().unwrap();
    insta::assert_snapshot!(bench.say(&same_size.verify().unwrap_err()), @r"
    `runs/mini-cord/train-ff8e2bab3b26` is damaged; remove it to make the stage again
      - `a`: expected the digest `86f2d80abe9c3f7b4a1a57a8d1130fa8dc08c81604833ce1212dc039b010d9e4`, got `dd1921138b1e4a7e81a1f59b5770feca022c96ba03be31f65983037ca0f5ac10`
    ");
    fs::write(stage.file("b"), b"1234").unwrap();
    fs::remove_file(stage.file("c")).unwrap();
    insta::assert_snapshot!(bench.say(&bench.store.find("train", key()).unwrap_err()), @r"
    `runs/mini-cord/train-ff8e2bab3b26` is damaged; remove it to make the stage again
      - `b`: expected 5 bytes, got 4
      - `c`: expected a file of 5 bytes, got: No such file or directory (os error 2)
    ");
    fs::write(stage.file("manifest.json"), "{ \"format\": 1, ").unwrap();
    insta::assert_snapshot!(bench.say(&bench.store.find("train", key()).unwrap_err()), @"`runs/mini-cord/train-ff8e2bab3b26/manifest.json`: expected a stage's manifest, got `EOF while parsing a value at line 1 column 15`; remove the folder to make the stage again");
    fs::write(stage.file("manifest.json"), "{ \"format\": 99, \"news\": true }").unwrap();
    insta::assert_snapshot!(bench.say(&bench.store.find("train", key()).unwrap_err()), @"`runs/mini-cord/train-ff8e2bab3b26/manifest.json`: expected a stage's manifest, got format `99` where this program reads format `1`; remove the folder to make the stage again");
}

#[test]
fn two_keys_of_one_short_form_are_told_apart() {
    let bench = Bench::new();
    bench.begin(key()).unwrap().finish(json!(null)).unwrap();
    let other: Digest = format!("{}{}", key().short(), "0".repeat(52)).parse().unwrap();
    insta::assert_snapshot!(bench.say(&bench.store.find("train", other).unwrap_err()), @"`runs/mini-cord/train-ff8e2bab3b26`: expected a stage with the key `ff8e2bab3b260000000000000000000000000000000000000000000000000000`, got one with the key `ff8e2bab3b26e0c127002127905539b47eb421de85d554e15f55a446459b52b4`; remove the folder");
}

#[test]
fn names_stay_inside_the_folder() {
    let bench = Bench::new();
    let mut writer = bench.begin(key()).unwrap();
    let bad = ["", "../x", "/x", "a/../b", ".hidden", "a//b", "a b"];
    for file in bad.into_iter().chain(["manifest.json", "journal.jsonl", "timings.json", "work/x"]) {
        let error = writer.write_bytes(file, b"").unwrap_err();
        assert!(matches!(error, StoreError::Name { .. }), "`{file}`: {error}");
    }
    let program = Program { version: String::new(), commit: None };
    let error = Store::open(bench.folder.path(), "../up", program).unwrap_err();
    insta::assert_snapshot!(error, @"expected a recipe's name of letters, digits, `-`, `_` and `.` that does not open with `.`, got `../up`");
}

#[test]
fn rows_of_json_are_read_back_and_faults_have_their_line() {
    let row = |id: &str| TrainingRow {
        id: id.into(),
        messages: vec![cord_core::Message::user("q\n\u{2028}é"), cord_core::Message::assistant("<think>\n</think>a")],
        given: if id == "b" { "<think>".into() } else { String::new() },
    };
    let rows = [row("a"), row("b")];
    let path = Path::new("training.jsonl");
    let bytes = to_jsonl(&rows, path).unwrap();
    assert_eq!(read_jsonl::<TrainingRow>(&bytes, path).unwrap(), rows);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 2);
    let broken = text.replace("\"id\":\"b\"", "\"id\":7");
    insta::assert_snapshot!(read_jsonl::<TrainingRow>(format!("\n{broken}").as_bytes(), path).unwrap_err(), @"`training.jsonl`: line 3: invalid type: integer `7`, expected a string at line 1 column 7");
}

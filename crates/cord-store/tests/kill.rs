//! Kills a child process with SIGKILL at random moments, while it appends to a journal and while it writes a
//! stage, and checks what the next process finds.
//!
//! Run without a child's task in the environment, this program is the test; with one, it is the child.
#![expect(clippy::print_stdout, reason = "a test without a harness says itself what it did")]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use cord_core::{Digest, Finish, Generation, Seed, Usage};
use cord_store::{Journal, Program, Reply, Store};

const TASK: &str = "CORD_STORE_CHILD_TASK";
const FOLDER: &str = "CORD_STORE_CHILD_FOLDER";
const ROUNDS: u64 = 40;
const STAGE: &str = "generate";
const FILES: [&str; 4] = ["a.bin", "b.bin", "model/c.bin", "d.bin"];

fn main() {
    match env::var(TASK).as_deref() {
        Ok("append") => append(&folder_of_child()),
        Ok("stage") => write_stages(&folder_of_child()),
        _ => {
            a_killed_journal_keeps_every_complete_record();
            a_killed_stage_is_whole_or_absent();
        }
    }
}

fn folder_of_child() -> PathBuf {
    PathBuf::from(env::var(FOLDER).expect("the parent names the folder"))
}

/// The n-th request and its reply, of a length that makes torn lines likely.
fn record(n: u64) -> (Digest, Reply) {
    let request = Digest::of_bytes(&n.to_le_bytes());
    let text = format!("{n} ").repeat(1 + (n as usize * 7919) % 1024);
    let usage = Usage { prompt_tokens: n, generated_tokens: n * 2, scored_tokens: 0 };
    let mean_logprob = Some(-1.0 / (n as f64 + 3.0));
    (request, Reply::Generation(Generation { text, finish: Finish::Eos, mean_logprob, usage }))
}

/// The child: appends records from where the journal stands, and says so after each, for ever.
fn append(folder: &Path) -> ! {
    let journal = Journal::open(&folder.join("journal.jsonl")).expect("the journal opens after any kill");
    let mut said = fs::File::create(folder.join("said")).expect("the child can say how far it came");
    for n in journal.len() as u64.. {
        let (request, reply) = record(n);
        journal.append(request, &reply).expect("the child appends");
        said.write_all(b".").expect("the child says that it appended");
    }
    unreachable!("records do not run out")
}

fn a_killed_journal_keeps_every_complete_record() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (path, said_path) = (folder.path().join("journal.jsonl"), folder.path().join("said"));
    let mut pauses = Seed::root(1).named("journal").stream();
    let (mut before, mut appended, mut torn) = (0, 0, 0);
    for round in 0..ROUNDS {
        let mut child = spawn("append", folder.path());
        // How fast a child starts is up to the machine: every other one is killed soon after its first record, the
        // rest wherever they are, opening the journal included.
        while round % 2 == 0 && fs::metadata(&said_path).map_or(0, |said| said.len()) == 0 {
            assert!(child.try_wait().expect("the child's state").is_none(), "the child ended by itself");
            sleep(Duration::from_micros(200));
        }
        sleep(Duration::from_micros(pauses.below(4_000)));
        kill(&mut child);
        let said = fs::metadata(&said_path).map_or(0, |said| said.len());
        let complete = fs::read(&path).unwrap_or_default();
        torn += u64::from(complete.last().is_some_and(|byte| *byte != b'\n'));
        let lines = complete.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count() as u64;

        let journal = Journal::open(&path).expect("the journal opens after any kill");
        assert_eq!(journal.len() as u64, lines, "round {round}: every complete line is a record");
        assert!(lines >= before + said, "round {round}: {said} records were appended after {before}, got {lines}");
        for n in 0..lines {
            let (request, reply) = record(n);
            assert_eq!(journal.get(request).expect("a readable record"), Some(reply), "round {round}, record {n}");
        }
        // Cut within the last line, as a kill within the write would: whether this machine tears one of
        // its own accord is up to its kernel.
        if lines > 0 {
            let length = fs::metadata(&path).expect("the journal is there").len();
            let cut = 1 + pauses.below(40);
            let file = fs::File::options().write(true).open(&path).expect("the journal can be cut");
            file.set_len(length - cut).expect("the journal can be cut");
            drop((journal, file));
            let journal = Journal::open(&path).expect("a torn last line is tolerated");
            assert_eq!(journal.len() as u64, lines - 1, "round {round}: only the torn record is lost");
        }
        appended += said;
        before = lines.saturating_sub(1);
        // A child killed before it made its file must not find that of the one before.
        let _ = fs::remove_file(&said_path);
        // Small enough to be read in full every round.
        if before > 2_000 {
            fs::remove_file(&path).expect("a journal that is no longer wanted");
            before = 0;
        }
    }
    assert!(appended > 0, "the children appended nothing in {ROUNDS} rounds");
    println!("journal: {ROUNDS} kills, {appended} records appended, {torn} lines torn by the kills themselves");
}

fn content(key: Digest, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut stream = Seed::root(0).named(&key.to_string()).named(file).stream();
    bytes.resize_with(20_000 + stream.below(60_000) as usize, || stream.below(256) as u8);
    bytes
}

fn store(folder: &Path) -> Store {
    let program = Program { version: "1".to_owned(), commit: None };
    Store::open(folder, "recipe", program).expect("the store opens after any kill")
}

fn stage_key(n: u64) -> Digest {
    Digest::of_bytes(format!("stage {n}").as_bytes())
}

/// The child: makes one stage after the other, taking up what it finds begun.
fn write_stages(folder: &Path) -> ! {
    let store = store(folder);
    for n in 0.. {
        let key = stage_key(n);
        if store.find(STAGE, key).expect("a stage is whole or absent").is_some() {
            continue;
        }
        let mut writer = store.begin(STAGE, key, serde_json::json!({ "n": n }), vec![]).expect("the stage begins");
        let journal = Journal::open(&writer.journal_path()).expect("the journal opens");
        for reply in 0..8 {
            let (request, reply) = record(reply);
            journal.append(request, &reply).expect("the child appends");
        }
        fs::write(writer.work_path().expect("a folder for work").join("checkpoint"), [1; 5_000]).expect("a checkpoint");
        for file in FILES {
            if file.starts_with("model/") {
                fs::create_dir_all(writer.path().join("model")).expect("the model's folder");
                fs::write(writer.path().join(file), content(key, file)).expect("the model's file");
                writer.adopt("model").expect("the model's folder is taken in");
            } else {
                writer.write_bytes(file, &content(key, file)).expect("the child writes");
            }
        }
        writer.finish(serde_json::json!({})).expect("the stage is finished");
    }
    unreachable!("stages do not run out")
}

fn a_killed_stage_is_whole_or_absent() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut pauses = Seed::root(1).named("stage").stream();
    let (mut finished, mut partial) = (0, 0);
    // How long a stage takes is up to the machine's disk. The pauses find it out: longer after a round that
    // finished none, shorter after one that did, so that kills fall everywhere in a stage.
    let mut longest = 20_000;
    for round in 0..ROUNDS {
        let before = finished;
        let mut child = spawn("stage", folder.path());
        sleep(Duration::from_micros(pauses.below(longest)));
        kill(&mut child);
        let store = store(folder.path());
        let stages = store.stages().expect("stages are whole or absent");
        assert!(stages.len() >= finished, "round {round}: a finished stage went away");
        for stage in &stages {
            stage.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
            let listed: Vec<&String> = stage.manifest().files.keys().collect();
            assert_eq!(listed, ["a.bin", "b.bin", "d.bin", "model/c.bin"], "round {round}");
            for file in FILES {
                assert!(stage.read_bytes(file).unwrap() == content(stage.key(), file), "round {round}: `{file}`");
            }
            assert_eq!(Journal::open(&stage.journal_path()).unwrap().len(), 8, "round {round}");
        }
        // Every folder of a final name is a stage.
        let entries = fs::read_dir(store.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        let named = names.iter().filter(|name| !name.starts_with('.')).count();
        assert_eq!(named, stages.len(), "round {round}: {names:?}");
        partial += names.iter().filter(|name| name.starts_with(".partial-")).count();
        finished = stages.len();
        longest = if finished > before { longest * 2 / 3 } else { longest * 3 / 2 };
        // The lock of a killed process is free, and the stage that it left can be taken up.
        let next = (0..=finished as u64).map(stage_key).find(|key| store.find(STAGE, *key).unwrap().is_none()).unwrap();
        let begun = store.begin(STAGE, next, serde_json::json!({}), vec![]);
        begun.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(finished > 0 && partial > 0, "the kills tried nothing: {finished} stages finished, {partial} left partial");
    println!("stage: {ROUNDS} kills, {finished} stages finished, {partial} times one was left partial");
}

fn spawn(task: &str, folder: &Path) -> Child {
    let program = env::current_exe().expect("this program's own path");
    let command =
        Command::new(program).env(TASK, task).env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    command.expect("the child starts")
}

/// On Unix this is SIGKILL. A child that ended before it failed, and says why.
fn kill(child: &mut Child) {
    child.kill().expect("the child can be killed");
    let status = child.wait().expect("the child ends");
    let mut said = String::new();
    child.stderr.take().expect("the child's errors").read_to_string(&mut said).expect("the child's errors");
    assert!(!status.success() && said.is_empty(), "the child failed by itself: {said}");
}

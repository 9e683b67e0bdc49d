//! Runs training in child processes: kills some with SIGKILL at random moments, and gives others another number of
//! computing threads. All must end in the same bytes.
//!
//! Run without a child's folder in the environment, this program is the test; with one, it is the child.
#![expect(clippy::print_stdout, reason = "a test without a harness says itself what it did")]

mod world;

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cord_core::Seed;
use cord_lm::{Dtype, Transformer, write_tensors};
use cord_train::{Example, TrainReport, TrainSettings, train};
use world::{example, model, run, settings, sized, weights};

const FOLDER: &str = "CORD_TRAIN_CHILD_FOLDER";
const TASK: &str = "CORD_TRAIN_CHILD_TASK";
const KILLS: usize = 12;
const STEPS: usize = 60;

fn main() {
    match (env::var(TASK).as_deref(), env::var(FOLDER)) {
        (Ok("resumable"), Ok(folder)) => resumable(Path::new(&folder)),
        (Ok("wide"), Ok(folder)) => wide(Path::new(&folder)),
        _ => {
            killed_runs_end_as_one_that_nobody_disturbed();
            the_computing_threads_change_no_bit();
        }
    }
}

/// The child: a run that saves after every third step, and takes up what it finds.
fn resumable(folder: &Path) {
    let examples: Vec<Example> = (0..20).map(|i| example(&format!("s{i}"), 8 + 2 * i, 5 + i)).collect();
    let settings = TrainSettings { batch: 8, ..settings(STEPS) };
    let checkpoints = folder.join("work");
    let trained = train(model(), &examples, &settings, Some((&checkpoints, 3)), 2, &|| false, &mut |_| {});
    let (model, report) = trained.expect("the child trains");
    write(folder, &model, &report);
}

/// The child: a few steps of a model whose products are large enough to be shared out among threads.
fn wide(folder: &Path) {
    let examples: Vec<Example> = (0..16).map(|i| example(&format!("w{i}"), 64, 63)).collect();
    let settings = TrainSettings { batch: 16, part_tokens: 1024, ..settings(3) };
    let (model, report) = run(sized(512, 128), &examples, &settings, 2).expect("the child trains");
    write(folder, &model, &report);
}

fn write(folder: &Path, model: &Transformer, report: &TrainReport) {
    let tensors = weights(model).into_iter().map(|(name, values)| {
        let length = values.len();
        (name, (values, vec![length]))
    });
    let path = folder.join("weights.safetensors");
    write_tensors(&path, &tensors.collect(), Dtype::F32).expect("the child writes its weights");
    let report = serde_json::to_string(report).expect("a report is JSON");
    fs::write(folder.join("report.json"), report).expect("the child writes its report");
}

fn spawn(task: &str, folder: &Path, threads: Option<usize>) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program's own path"));
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    command.env(TASK, task).env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the child starts")
}

/// Waits for a child; it must not have failed by itself. Was it able to end?
fn ended(mut child: Child) -> bool {
    let status = child.wait().expect("the child ends");
    let mut said = String::new();
    child.stderr.take().expect("the child's errors").read_to_string(&mut said).expect("the child's errors");
    assert!(said.is_empty(), "the child failed by itself: {said}");
    status.success()
}

fn outputs(folder: &Path) -> [Vec<u8>; 2] {
    let read = |name| fs::read(folder.join(name)).expect("a child that ended has written");
    [read("weights.safetensors"), read("report.json")]
}

fn saved_step(folder: &Path) -> u64 {
    let Ok(text) = fs::read_to_string(folder.join("work/trainer.json")) else { return 0 };
    let state: serde_json::Value = serde_json::from_str(&text).expect("the state is whole or absent");
    state["step"].as_u64().expect("the state holds its step")
}

fn killed_runs_end_as_one_that_nobody_disturbed() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let at = |name: &str| -> PathBuf {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).expect("a folder for a run");
        path
    };
    let begun = Instant::now();
    assert!(ended(spawn("resumable", &at("undisturbed"), None)), "the undisturbed child ends by itself");
    let whole = begun.elapsed().as_micros() as u64;
    let expected = outputs(&at("undisturbed"));

    let mut pauses = Seed::root(1).named("kills").stream();
    let (mut kills, mut inside, mut runs, mut before) = (0, 0, 0, 0);
    // How long a step takes is up to the machine: kills fall anywhere within half of an undisturbed run, and a run
    // that ends before its kill makes room for another one.
    while kills < KILLS || inside < 5 {
        assert!(kills < 20 * KILLS, "{kills} kills, only {inside} of them within training");
        let path = at(&format!("killed-{runs}"));
        let mut child = spawn("resumable", &path, None);
        sleep(Duration::from_micros(pauses.below(whole / 2)));
        child.kill().expect("the child can be killed");
        if ended(child) {
            assert!(outputs(&path) == expected, "run {runs} ended in other bytes");
            (runs, before) = (runs + 1, 0);
            continue;
        }
        kills += 1;
        let step = saved_step(&path);
        assert!(step >= before, "a kill lost the checkpoint of step {before}: {step} is the last");
        inside += usize::from(step > before && step < STEPS as u64);
        before = step;
    }
    let path = at(&format!("killed-{runs}"));
    assert!(ended(spawn("resumable", &path, None)), "the last child ends by itself");
    assert!(outputs(&path) == expected, "a run that was killed ended in other bytes");
    println!("training: {kills} kills over {} runs, {inside} of them after new checkpoints", runs + 1);
}

fn the_computing_threads_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut all = Vec::new();
    for threads in [1, 2, 5] {
        let path = folder.path().join(threads.to_string());
        fs::create_dir_all(&path).expect("a folder for a run");
        assert!(ended(spawn("wide", &path, Some(threads))), "the child ends by itself");
        all.push(outputs(&path));
    }
    assert!(all.iter().all(|one| *one == all[0]), "weights depend on the number of computing threads");
    println!("training: the same bytes with 1, 2 and 5 computing threads");
}

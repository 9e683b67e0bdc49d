//! Stops runs, by SIGKILL at random moments and by Ctrl-C: run again, they end in the bytes of a run that nobody disturbed.

mod world;

use std::fs;
use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cord_core::Seed;
use world::{Desk, assert_same};

const RUN: [&str; 2] = ["run", "recipes/distil.toml"];
const KILLS: u64 = 16;

/// Stages that are begun and not finished, and those of them that hold a model's replies or a trainer's checkpoint.
fn begun(desk: &Desk) -> (usize, usize) {
    let Ok(entries) = fs::read_dir(desk.path("runs/distil")) else { return (0, 0) };
    let paths = entries.map(|entry| entry.unwrap().path());
    let partial: Vec<_> = paths.filter(|path| path.to_string_lossy().contains("/.partial-")).collect();
    let filled = |path: &&std::path::PathBuf| {
        fs::metadata(path.join("journal.jsonl")).is_ok_and(|journal| journal.len() > 0)
            || path.join("work/trainer.json").exists()
    };
    (partial.len(), partial.iter().filter(filled).count())
}

/// Every training's curve has one line for each of its steps.
fn assert_whole_curves(desk: &Desk, recipe: &str, steps: u64) {
    let runs = fs::read_dir(desk.path("runs").join(recipe)).unwrap().map(|entry| entry.unwrap().path());
    let trained: Vec<_> = runs.filter(|path| path.to_string_lossy().contains("/train-")).collect();
    assert!(!trained.is_empty());
    for stage in trained {
        let text = fs::read_to_string(stage.join("curve.jsonl")).unwrap();
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
        assert_eq!(text.lines().map(step).collect::<Vec<_>>(), (1..=steps).collect::<Vec<_>>(), "{}", stage.display());
    }
}

#[test]
fn killed_runs_end_as_one_that_nobody_disturbed() {
    let undisturbed = Desk::with_models();
    let start = Instant::now();
    undisturbed.cord(&RUN).expect(0);
    let whole = start.elapsed().as_micros() as u64;
    let expected = undisturbed.results("distil");
    assert!(expected.contains_key("metrics.json"));

    let mut pauses = Seed::root(1).named("kills").stream();
    let (mut kills, mut inside, mut taken_up, mut runs) = (0, 0, 0, 1);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let mut desk = Desk::with_models();
    // How long a run takes is up to the machine: kills fall anywhere in a quarter of it, and a run that ends before its
    // kill makes room for another one.
    while kills < KILLS || inside < 5 || taken_up < 3 {
        assert!(kills < 10 * KILLS, "{kills} kills, {inside} within a stage, {taken_up} after replies or checkpoints");
        let mut child = desk.start(&RUN);
        sleep(Duration::from_micros(pauses.below(whole / 4)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            assert_same(&desk.results("distil"), &expected, &format!("run {runs}, after {kills} kills in all"));
            assert_whole_curves(&desk, "distil", 10);
            desk = Desk::with_models();
            runs += 1;
            continue;
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.code().is_none(), "the run failed by itself: {said}");
        kills += 1;
        let (partial, filled) = begun(&desk);
        // One for each core, and those of an earlier run whose turn has not come again.
        assert!(partial <= 2 * cores, "expected at most two stages for each core to be begun, got {partial}");
        inside += partial;
        taken_up += filled;
    }
    desk.cord(&RUN).expect(0);
    assert_same(&desk.results("distil"), &expected, &format!("the last of {runs} runs, after {kills} kills in all"));
    assert_whole_curves(&desk, "distil", 10);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_stops_at_a_step_and_goes_on_from_there() {
    let long = ["run", "recipes/scratch.toml", "--set", "train.steps=300"];
    let undisturbed = Desk::bare();
    undisturbed.cord(&long).expect(0);

    let desk = Desk::bare();
    let mut child = desk.start(&long);
    let begun = |name: &str| {
        let entries = fs::read_dir(desk.path("runs/scratch")).into_iter().flatten();
        let mut partial = entries.map(|entry| entry.unwrap().path()).filter(|path| path.join(name).exists());
        partial.find(|path| path.to_string_lossy().contains("/.partial-"))
    };
    while begun("work/trainer.json").is_none() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before its first checkpoint was seen");
        sleep(Duration::from_millis(1));
    }
    let interrupt = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("stopping at the next safe point; press Ctrl-C again to stop at once"), "{said}");
    assert!(said.contains(", seed 1: stopped after step "), "{said}");
    let partial = begun("timings.json").expect("what was spent is noted");
    let spent: serde_json::Value = serde_json::from_slice(&fs::read(partial.join("timings.json")).unwrap()).unwrap();
    assert!(spent["seconds"].as_f64().unwrap() > 0.0);

    desk.cord(&long).expect(0);
    assert_same(&desk.results("scratch"), &undisturbed.results("scratch"), "an interrupted run");
    assert_whole_curves(&desk, "scratch", 300);
}

#[cfg(unix)]
#[test]
fn an_interrupted_generation_awaits_its_replies_and_goes_on_from_there() {
    let long = [
        "run",
        "recipes/distil.toml",
        "--set",
        "seeds=[1]",
        "--set",
        "arms=[{name=\"cord\"}]",
        "--set",
        "table.order=[]",
        "--set",
        "problems.limit=100",
        "--set",
        "generate.search.width=4",
        "--set",
        "run.requests=4",
    ];
    let desk = || {
        let desk = Desk::with_models();
        let set = fs::read_to_string(desk.path("datasets/tiny/train.toml")).unwrap();
        desk.write("datasets/tiny/train.toml", &set.replace("count = 6", "count = 100"));
        desk
    };
    let undisturbed = desk();
    undisturbed.cord(&long).expect(0);

    let desk = desk();
    let replies = || {
        let entries = fs::read_dir(desk.path("runs/distil")).into_iter().flatten();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let partial = paths.find(|path| path.to_string_lossy().contains("/.partial-generate-"));
        partial.and_then(|path| fs::read(path.join("journal.jsonl")).ok())
    };
    let mut interrupted = 0;
    for _ in 0..3 {
        let before = replies().map_or(0, |journal| journal.len());
        let mut child = desk.start(&long);
        while replies().map_or(0, |journal| journal.len()) <= before {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it was seen at work");
            sleep(Duration::from_millis(1));
        }
        let interrupt = format!("kill -INT {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        let status = child.wait().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("stopping at the next safe point; press Ctrl-C again to stop at once"), "{said}");
        interrupted += u32::from(
            said.contains("of 100 problems are done, and every reply is journaled; run again to go on from there"),
        );
        // Every line is whole: what was in flight was awaited.
        assert!(replies().is_none_or(|journal| journal.ends_with(b"\n")));
    }
    assert!(interrupted > 0, "no signal fell into the generation");
    desk.cord(&long).expect(0);
    assert_same(&desk.results("distil"), &undisturbed.results("distil"), "an interrupted generation");
}

//! `cord view` without a browser: what its server answers, and to whom; what its file holds.

mod gallery;
mod serving;
mod world;

use std::fs;
use std::io::Write;

use serde_json::Value;
use serving::Serving;
use world::Desk;

fn states(overview: &Value, arm: usize, problem: usize) -> Vec<&str> {
    let entry = &overview["collections"][0]["arms"][arm]["entries"][problem];
    entry["states"].as_array().unwrap().iter().map(|state| state.as_str().unwrap()).collect()
}

#[test]
fn an_unfinished_run_shows_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let run = gallery::make(folder.path(), "gallery");
    let serving = Serving::of(&[&run]);
    let overview = serving.overview();
    let arms = overview["collections"][0]["arms"].as_array().unwrap();
    let labels: Vec<&str> = arms.iter().map(|arm| arm["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["cord", "curation", "teacher"]);
    assert_eq!(overview["collections"][0]["name"], "gallery/train");
    // Of six problems in a row every way to end, the second trajectory's beside the first's.
    assert_eq!(states(&overview, 0, 0), ["right", "right"]);
    assert_eq!(states(&overview, 0, 1), ["wrong", "wrong"]);
    assert_eq!(states(&overview, 0, 2), ["truncated", "truncated"]);
    assert_eq!(states(&overview, 0, 3), ["unclosed", "right"]);
    assert_eq!(states(&overview, 2, 3), ["unclosed", "unparsed"]);
    assert_eq!(states(&overview, 2, 5), ["out-of-fuel", "right"]);
    let last = &arms[0]["entries"][gallery::PROBLEMS - 1];
    assert!(last["failed"].as_str().unwrap().contains(gallery::HOSTILE), "{last}");
    let stages = overview["runs"][0]["stages"].as_array().unwrap();
    let state = |at: usize| (stages[at]["state"].as_str().unwrap(), stages[at]["progress"].as_str());
    assert_eq!([state(0), state(3), state(5)], [("done", None), ("begun", Some("step 40")), ("to-run", None)]);
    assert_eq!(overview["curves"][0]["step"].as_array().unwrap().len(), 40);
    assert_eq!(overview["curves"][0]["validation"].as_array().unwrap().len(), 4);
    assert_eq!(overview["shares"][0]["arm"], "cord");
    assert_eq!(overview["tables"][0]["rows"][0]["cells"][0]["interval"], "[55.0, 65.0]");

    let version = &overview["version"];
    let page = serving.problem("0-0-0", version);
    assert_eq!(page["candidates"].as_array().unwrap().len(), 38);
    assert_eq!(page["candidates"][6]["text"], gallery::HOSTILE);
    assert_eq!(page["trajectories"][1]["path"][6], 37);
    assert_eq!(page["trajectories"][0]["given"], "0");
    assert_eq!(serving.problem("0-1-7", version)["candidates"][0]["kind"], "whole");
    assert_eq!(serving.problem("0-2-7", version)["samples"].as_array().unwrap().len(), 2);

    // The run goes on: what a page holds is old, and the next overview is new.
    let mut curve = fs::OpenOptions::new();
    let partial = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
    let partial = partial.into_iter().find(|path| path.to_string_lossy().contains(".partial-train")).unwrap();
    let text = fs::read_to_string(partial.join("curve.jsonl")).unwrap();
    let next = text.lines().last().unwrap().replace("\"step\":40", "\"step\":41");
    writeln!(curve.append(true).open(partial.join("curve.jsonl")).unwrap(), "{next}").unwrap();
    let now = serving.json("/version.json");
    assert_ne!(&now["version"], version);
    let later = serving.overview();
    assert_eq!(now["version"], later["version"]);
    assert_eq!(later["curves"][0]["step"].as_array().unwrap().len(), 41);
    let old = format!("/problem-0-0-0.json?version={}", version.as_str().unwrap());
    assert_eq!(serving.ask(&old).0, 409);
    serving.problem("0-0-0", &later["version"]);
}

#[test]
fn only_this_machine_reads_and_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let run = gallery::make(folder.path(), "gallery");
    let serving = Serving::of(&[&run]);
    let own = format!("127.0.0.1:{}", serving.port);
    for host in [&own, &format!("localhost:{}", serving.port)] {
        let (status, head, body) = serving.ask_as("GET", "/", host);
        assert_eq!(status, 200, "{head}");
        assert!(body.starts_with("<!doctype html>") && body.contains("data-source=\"served\""));
        for part in ["Content-Security-Policy: default-src 'none'", "frame-ancestors 'none'", "nosniff", "same-origin"]
        {
            assert!(head.contains(part), "no `{part}` in:\n{head}");
        }
    }
    // A name of someone else's that points here.
    for host in ["evil.example", &format!("evil.example:{}", serving.port), "127.0.0.1", "127.0.0.1:1", ""] {
        assert_eq!(serving.ask_as("GET", "/overview.json", host).0, 403, "host `{host}`");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(serving.ask_as(method, "/overview.json", &own).0, 405, "{method}");
    }
    for path in ["/../../etc/passwd", "/arms.json", "/problem-0-0.json", "/problem-0-0-0-0.json", "/problem-a-0-0.json"]
    {
        assert_eq!(serving.ask(path).0, 404, "{path}");
    }
    let version = serving.overview()["version"].as_str().unwrap().to_owned();
    for place in ["9-0-0", "0-9-0", "0-0-9999"] {
        assert_eq!(serving.ask(&format!("/problem-{place}.json?version={version}")).0, 404, "{place}");
    }
}

#[test]
fn two_runs_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (gallery::make(folder.path(), "first"), gallery::make(folder.path(), "second"));
    let overview = Serving::of(&[&first, &second]).overview();
    assert_eq!(overview["collections"].as_array().unwrap().len(), 1);
    let arms = overview["collections"][0]["arms"].as_array().unwrap();
    let labels: Vec<&str> = arms.iter().map(|arm| arm["label"].as_str().unwrap()).collect();
    // Stages of one key are one, wherever they lie.
    assert_eq!(
        labels,
        ["first: cord, second: cord", "first: curation, second: curation", "first: teacher, second: teacher"]
    );
    assert_eq!(overview["tables"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_holds_what_fits_and_says_what_does_not() {
    let desk = Desk::bare();
    let run = gallery::make(&desk.path("runs"), "gallery");
    let run = run.to_str().unwrap();
    let ran = desk.cord(&["view", run, "--static", "out"]).expect(0);
    assert!(ran.stdout.starts_with("out/index.html ("), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    let whole = fs::read_to_string(desk.path("out/index.html")).unwrap();
    assert!(!whole.contains("<img") && !whole.contains("<script>"));
    // 59 of 60 for each search with what became of them, and all samples.
    assert_eq!(whole.matches("id=\"problem-0-").count(), 3 * gallery::PROBLEMS);
    let again = desk.cord(&["view", run, "--static", "again.html"]).expect(0);
    assert!(again.stdout.starts_with("again.html ("), "{}", again.stdout);
    assert_eq!(fs::read_to_string(desk.path("again.html")).unwrap(), whole, "the same run gives the same file");
    let ran = desk.cord(&["view", run, "--static", "small.html", "--limit", "0"]).expect(0);
    assert!(ran.stderr.contains("are cut to 0 characters"), "{}", ran.stderr);
    assert!(ran.stderr.contains("The last 179 of 180 problems"), "{}", ran.stderr);
    assert!(fs::metadata(desk.path("small.html")).unwrap().len() < whole.len() as u64);
}

#[test]
fn a_recipe_and_the_folder_of_its_run_show_the_same() {
    let desk = Desk::with_models();
    desk.cord(&["run", "recipes/distil.toml"]).expect(0);
    desk.cord(&["view", "recipes/distil.toml", "--static", "recipe.html"]).expect(0);
    desk.cord(&["view", "runs/distil", "--static", "folder.html"]).expect(0);
    let read = |name: &str| fs::read_to_string(desk.path(name)).unwrap();
    let count = read("recipe.html").matches("id=\"problem-").count();
    // Three arms that generate and one that does not, two seeds, five problems and five of the benchmark.
    assert_eq!(count, read("folder.html").matches("id=\"problem-").count());
    assert_eq!(count, 3 * 2 * 5 + 4 * 2 * 5);
    // Without what the run wrote of its arms, the stages' manifests say what there is.
    fs::remove_file(desk.path("runs/distil/arms.json")).unwrap();
    desk.cord(&["view", "runs/distil", "--static", "manifests.html"]).expect(0);
    assert_eq!(count, read("manifests.html").matches("id=\"problem-").count());
}

#[test]
fn what_is_no_run_is_said() {
    let desk = Desk::bare();
    fs::create_dir_all(desk.path("empty/inner")).unwrap();
    let said = |arguments: &[&str]| desk.cord(arguments).expect(1).stderr;
    let empty = said(&["view", "empty"]);
    assert!(empty.contains("expected the folder of a run, with stages such as `generate-0123456789ab`"), "{empty}");
    assert!(empty.contains("empty/inner`"), "{empty}");
    let never = said(&["view", "recipes/scratch.toml"]);
    assert!(never.contains("expected a run of `scratch` in `runs/scratch`, got none: run it first"), "{never}");
    let both = said(&["view", "empty", "--set", "seed=2"]);
    assert!(both.contains("expected a recipe with `--set` or `--out`, got the folder `empty`"), "{both}");
    assert!(said(&["view", "nothing.toml"]).contains("can't read the recipe `nothing.toml`"));
}

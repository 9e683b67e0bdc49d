//! Recipes whose models stand behind servers: real sockets, a model that is a hash of what it reads.

mod world;

use std::fs;
use std::time::Duration;

use cord_core::Seed;
use cord_testkit::{ByteVocabulary, Kind, Served, TestServer};
use world::{Desk, assert_same, without_keys};

const RECIPE: &str = "recipes/served.toml";
const KEY: &str = "a-key-that-no-file-may-hold";

/// A desk whose recipe asks these two servers.
struct Table {
    desk: Desk,
    left: TestServer,
    right: TestServer,
}

impl Table {
    fn laid() -> Self {
        let desk = Desk::bare();
        let bytes = desk.path("models/bytes");
        fs::create_dir_all(&bytes).unwrap();
        ByteVocabulary::new().write(&bytes).unwrap();
        let left = TestServer::start(Served::new(Kind::Vllm));
        let right =
            TestServer::start(Served { weights: 8, root: "org/other".to_owned(), ..Served::new(Kind::LlamaCpp) });
        let table = Self { desk, left, right };
        table.point();
        table
    }

    /// Writes the servers' addresses into the recipe.
    fn point(&self) {
        let given = include_str!("recipes/served.toml");
        let text =
            given.replace("http://127.0.0.1:1", &self.left.url()).replace("http://127.0.0.1:2", &self.right.url());
        assert!(!text.contains(":1\"") && !text.contains(":2\""));
        self.desk.write(RECIPE, &text);
    }

    /// How often the servers were asked.
    fn posts(&self) -> usize {
        self.left.counts().posts + self.right.counts().posts
    }

    fn cord(&self, arguments: &[&str]) -> world::Ran {
        self.desk.cord_with(arguments, &[("CORD_TEST_KEY", KEY)])
    }
}

fn last(stderr: &str) -> String {
    without_keys(stderr.lines().last().unwrap())
}

#[test]
fn a_run_needs_its_servers_once_and_its_table_never_again() {
    let mut table = Table::laid();
    let plan = table.cord(&["plan", RECIPE]).expect(0).stdout;
    assert_eq!(table.left.counts().connections, 0, "a plan asks nobody");
    assert_eq!(plan.matches("never asked yet").count(), 2, "{plan}");
    let ran = table.cord(&["run", RECIPE]).expect(0);
    assert!(ran.stdout.contains("Two served teachers"), "{}", ran.stdout);
    assert!(table.left.counts().posts > 20 && table.right.counts().posts > 20);
    assert_eq!(table.left.counts().keys, [format!("Bearer {KEY}")]);
    // Tokens that caches held are costs, where a server tells of them.
    let costs = fs::read_to_string(table.desk.stage(RECIPE, "generate cord, seed 1").join("costs.json")).unwrap();
    assert!(costs.contains("cached-tokens"), "{costs}");
    let files = table.desk.results("served");
    let serving = String::from_utf8_lossy(&files["serving.json"]).into_owned();
    assert!(serving.contains("cached-tokens") && serving.contains(&table.right.url()), "{serving}");
    for (path, bytes) in &files {
        assert!(!String::from_utf8_lossy(bytes).contains(KEY), "the key stands in `{path}`");
    }
    table.left.kill();
    table.right.kill();
    let plan = table.cord(&["plan", RECIPE]).expect(0).stdout;
    assert!(!plan.contains("never asked") && !plan.contains("to run"), "{plan}");
    assert_eq!(table.cord(&["table", RECIPE]).expect(0).stdout, ran.stdout);
    let again = table.cord(&["run", RECIPE]).expect(0);
    assert!(again.stderr.lines().all(|line| line.ends_with(": done before")), "{}", again.stderr);
    // Without servers what is not there yet can't be made, and the error says where it looked.
    let more = table.cord(&["run", RECIPE, "--set", "generate.search.width=1"]).expect(1);
    assert!(last(&more.stderr).contains(&table.left.url()), "{}", more.stderr);
}

#[test]
fn servers_may_move_but_not_change_what_they_serve() {
    let mut table = Table::laid();
    table.cord(&["run", RECIPE]).expect(0);
    // Another port, the same weights: nothing is left to do.
    table.left = TestServer::start(table.left.served());
    table.point();
    let moved = table.cord(&["run", RECIPE]).expect(0);
    let mut stages = moved.stderr.lines().filter(|line| line.starts_with('['));
    assert!(stages.all(|line| line.ends_with(": done before")), "{}", moved.stderr);
    table.left.restart(|served| served.root = "org/newer".to_owned());
    let changed = table.cord(&["run", RECIPE, "--set", "generate.search.width=1"]).expect(1);
    let told = last(&changed.stderr);
    for part in ["expected what this run was begun with", "org/tiny", "org/newer", "servers.json"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn killed_runs_on_servers_end_as_one_that_nobody_disturbed() {
    // Addresses stand in these two alone.
    let results = |table: &Table| {
        let mut files = table.desk.results("served");
        files.retain(|path, _| path != "servers.json" && path != "serving.json");
        files
    };
    let undisturbed = Table::laid();
    undisturbed.cord(&["run", RECIPE]).expect(0);
    let (expected, whole) = (results(&undisturbed), undisturbed.posts());
    assert!(expected.keys().any(|path| path.ends_with("candidates.parquet")), "{:?}", expected.keys());
    let mut table = Table::laid();
    let mut pauses = Seed::root(1).named("kills").stream();
    let (mut kills, mut starts) = (0, 0);
    // By what the servers were asked, not by the clock: how fast a run is is up to the machine.
    while kills < 8 {
        starts += 1;
        assert!(starts <= 80, "{kills} kills in 80 runs");
        let until = table.posts() + 1 + pauses.below(whole as u64 / 4) as usize;
        let mut child = table.desk.start_with(&["run", RECIPE], &[("CORD_TEST_KEY", KEY)]);
        while table.posts() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        if let Some(code) = child.wait().unwrap().code() {
            assert_eq!(code, 0, "a run that nobody killed failed");
            assert_same(&results(&table), &expected, &format!("{kills} kills"));
            table = Table::laid();
        } else {
            kills += 1;
        }
    }
    table.cord(&["run", RECIPE]).expect(0);
    assert_same(&results(&table), &expected, &format!("{kills} kills"));
}

#[test]
fn the_doctor_names_every_fault_of_a_served_recipe() {
    let table = Table::laid();
    let well = table.cord(&["doctor", RECIPE]).expect(0).stdout;
    for part in ["scores by", "tokens/s", "4096 tokens of context", "0 faults"] {
        assert!(well.contains(part), "no `{part}` in:\n{well}");
    }
    table.left.change(|served| served.quirks.push(cord_testkit::Quirk::NoLogprobs));
    table.right.change(|served| served.context = 80);
    let ill = table.cord(&["doctor", RECIPE, "--json"]).expect(1).stdout;
    let ill: serde_json::Value = serde_json::from_str(&ill).unwrap();
    let states = |state: &str| -> Vec<&str> {
        let findings = ill["findings"].as_array().unwrap().iter();
        findings.filter(|finding| finding["state"] == state).map(|finding| finding["text"].as_str().unwrap()).collect()
    };
    assert_eq!(ill["well"], false);
    assert_eq!(states("fault").len(), 1, "{ill:#}");
    assert!(states("warning").iter().any(|text| text.contains("of 80") && text.contains("lower `budget`")), "{ill:#}");
}

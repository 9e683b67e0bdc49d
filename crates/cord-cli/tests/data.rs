//! `cord data` against a server that answers as the hub does.

mod world;

use std::fs;

use cord_testkit::{HubServer, HubWorld};
use world::{Desk, Ran};

const ROWS: &str =
    "{\"q\": \"One and one?\", \"a\": \"so #### 2\"}\n{\"q\": \"Half of three?\", \"a\": \"#### 3/2\"}\n";

/// Rows of many bytes, so that a connection can break inside of them.
fn many() -> Vec<u8> {
    let row = |n: u32| format!("{{\"q\": \"What is {n} and 1?\", \"a\": \"#### {}\"}}", n + 1);
    let mut rows: Vec<String> = (0..4000).map(row).collect();
    rows.push(String::new());
    rows.join("\n").into_bytes()
}

/// A hub with a small file and one that lies elsewhere, and a folder whose manifests name them.
fn laid(change: impl FnOnce(&mut HubWorld)) -> (HubServer, Desk) {
    let files = [("test.jsonl", ROWS.as_bytes().to_vec()), ("data/train.jsonl", many())];
    let mut world = HubWorld {
        files: files.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
        large: vec!["data/train.jsonl".to_owned()],
        ..HubWorld::default()
    };
    change(&mut world);
    let desk = Desk::bare();
    fs::create_dir_all(desk.path("datasets/sums")).unwrap();
    manifest(&desk, "test", "test.jsonl", Some(&HubServer::sha256(ROWS.as_bytes())), "q");
    manifest(&desk, "train", "data/train.jsonl", Some(&HubServer::sha256(&many())), "q");
    (HubServer::start(world), desk)
}

fn manifest(desk: &Desk, split: &str, from: &str, sha256: Option<&str>, question: &str) {
    let pin = sha256.map(|digest| format!("sha256 = \"{digest}\"")).unwrap_or_default();
    let (name, commit) = (HubServer::NAME, HubServer::COMMIT);
    desk.write(
        &format!("datasets/sums/{split}.toml"),
        &format!(
            "name = \"sums/{split}\"\nlicence = \"MIT\"\n\n[source]\nhub = \"{name}\"\nrevision = \"{commit}\"\n\n\
             [[files]]\npath = \"sums/{split}.jsonl\"\nfrom = \"{from}\"\n{pin}\n\n\
             [columns]\nquestion = \"{question}\"\nanswer = {{ column = \"a\", after = \"####\" }}\n"
        ),
    );
}

fn data(server: &HubServer, desk: &Desk, arguments: &[&str]) -> Ran {
    let variables = [("HF_ENDPOINT", server.endpoint()), ("HF_TOKEN", "secret"), ("CORD_DATA", "files")];
    desk.cord_with(&[&["data"], arguments].concat(), &variables)
}

#[test]
fn what_is_not_here_is_fetched_once_and_then_read_without_a_network() {
    let (server, desk) = laid(|_| {});
    let listed = data(&server, &desk, &["ls", "sums"]).expect(0).stdout;
    assert!(listed.contains("not here") && listed.contains("0 of 2 data sets can be read"), "{listed}");
    let pulled = data(&server, &desk, &["pull", "sums"]).expect(0);
    assert!(pulled.stdout.contains("2 files fetched, 0 were there; in `files`"), "{}", pulled.stdout);
    assert!(fs::read(desk.path("files/sums/train.jsonl")).unwrap() == many());
    let asked = server.world().asked.clone();
    for line in &asked {
        assert_eq!(line.ends_with("Bearer secret"), !line.contains("/elsewhere/"), "whom the token is sent to: {line}");
    }
    let pulled = data(&server, &desk, &["pull", "sums/train"]).expect(0);
    assert!(pulled.stdout.contains("0 files fetched, 1 were there"), "{}", pulled.stdout);
    assert_eq!(server.world().asked.len(), asked.len(), "what is here is not asked for");

    let gone = [("HF_ENDPOINT", "http://127.0.0.1:1"), ("CORD_DATA", "files")];
    let checked = desk.cord_with(&["data", "check", "sums"], &gone).expect(0).stdout;
    assert_eq!(checked, "ok    sums/test: 2 rows\nok    sums/train: 4000 rows\n");
    let listed: serde_json::Value =
        serde_json::from_str(&desk.cord_with(&["data", "ls", "sums", "--json"], &gone).expect(0).stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&"sums/test".into(), &"here".into()), "{listed}");
}

#[test]
fn a_transfer_that_was_cut_goes_on_and_a_killed_one_too() {
    let (server, desk) = laid(|world| world.breaks = Some((50_000, 2)));
    fs::create_dir_all(desk.path("files/sums")).unwrap();
    // What a killed process left.
    fs::write(desk.path("files/sums/train.jsonl.incomplete"), &many()[..12_345]).unwrap();
    data(&server, &desk, &["pull", "sums/train"]).expect(0);
    assert!(fs::read(desk.path("files/sums/train.jsonl")).unwrap() == many());
    let world = server.world();
    let from: Vec<&str> = world
        .asked
        .iter()
        .filter(|line| line.contains("/elsewhere/"))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(from, ["12345", "62345", "112345"]);
    assert!(!desk.path("files/sums/train.jsonl.incomplete").exists());
}

#[test]
fn wrong_content_is_refused_and_never_put_in_place() {
    let (server, desk) = laid(|world| world.damages = true);
    let pulled = data(&server, &desk, &["pull", "sums"]).expect(1);
    assert!(pulled.stderr.contains("2 of 2 files could not be fetched"), "{}", pulled.stderr);
    assert!(pulled.stderr.contains("expected content with the digest"), "{}", pulled.stderr);
    assert!(!desk.path("files/sums/test.jsonl").exists());
    server.world().damages = false;
    data(&server, &desk, &["pull", "sums"]).expect(0);

    // What someone changed by hand is left alone, and said.
    fs::write(desk.path("files/sums/test.jsonl"), "{}").unwrap();
    let pulled = data(&server, &desk, &["pull", "sums/test"]).expect(1);
    assert!(pulled.stderr.contains("move it away and pull again"), "{}", pulled.stderr);
    assert_eq!(fs::read(desk.path("files/sums/test.jsonl")).unwrap(), b"{}");
    assert!(data(&server, &desk, &["ls", "sums"]).expect(0).stdout.contains("differs"));
}

#[test]
fn faults_in_names_columns_and_rows_are_listed() {
    let (server, desk) = laid(|_| {});
    let unknown = data(&server, &desk, &["pull", "sum"]).expect(1).stderr;
    assert!(
        unknown.contains("expected data sets of `datasets/`, got `sum`") && unknown.contains("`sums/test`"),
        "{unknown}"
    );
    manifest(&desk, "test", "nowhere.jsonl", None, "q");
    let missing = data(&server, &desk, &["pull", "sums/test"]).expect(1).stderr;
    assert!(missing.contains("expected the status 200, got 404"), "{missing}");

    manifest(&desk, "test", "test.jsonl", None, "question");
    let pulled = data(&server, &desk, &["pull", "sums"]).expect(0);
    let pin = format!("sha256 = \"{}\"", HubServer::sha256(ROWS.as_bytes()));
    assert!(pulled.stderr.contains(&pin), "{}", pulled.stderr);
    let checked = data(&server, &desk, &["check", "sums"]).expect(1).stdout;
    assert!(
        checked.contains("FAULT sums/test")
            && checked.contains("rows 1, 2: expected a column `question`, got `q`, `a`"),
        "{checked}"
    );
    assert!(checked.contains("ok    sums/train: 4000 rows"), "what is sound is still said: {checked}");
    let offline = [("HF_HUB_OFFLINE", "1"), ("CORD_DATA", "elsewhere")];
    let refused = desk.cord_with(&["data", "pull", "sums"], &offline).expect(1).stderr;
    assert!(refused.contains("`HF_HUB_OFFLINE` forbids to fetch it"), "{refused}");
}

#[test]
fn a_file_of_ones_own_is_checked() {
    let desk = Desk::bare();
    desk.write(
        "mine.jsonl",
        "{\"id\": \"a\", \"question\": \"1+1?\", \"answer\": \"2\"}\n{\"id\": \"b\", \"question\": \"Who?\", \"answer\": \"the ] one {\"}\n",
    );
    let checked = desk.cord(&["data", "check", "./mine.jsonl"]).expect(0).stdout;
    assert!(checked.starts_with("ok    ./mine.jsonl: 2 rows"), "{checked}");
    desk.write("mine.jsonl", "{\"id\": \"a\", \"question\": \"1+1?\"}\nno JSON\n");
    let checked = desk.cord(&["data", "check", "./mine.jsonl"]).expect(1).stdout;
    assert!(checked.contains("FAULT ./mine.jsonl"), "{checked}");
}

#[test]
fn a_recipes_sets_are_pulled_by_its_name() {
    let (server, desk) = laid(|_| {});
    for model in ["left", "right"] {
        fs::create_dir_all(desk.path("models").join(model)).unwrap();
    }
    let recipe = fs::read_to_string(desk.path("recipes/distil.toml")).unwrap();
    let dataset = recipe.lines().find(|line| line.starts_with("dataset = ")).unwrap().to_owned();
    desk.write("recipes/own.toml", &recipe.replacen(&dataset, "dataset = \"sums/train\"", 1));
    let pulled = data(&server, &desk, &["pull", "--recipe", "recipes/own.toml"]).expect(0).stdout;
    assert!(pulled.starts_with("1 files fetched"), "{pulled}");
}

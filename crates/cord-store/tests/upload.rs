//! Pushing data sets and models to a server that takes them as the hub does, and fails as networks do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cord_store::{Hub, HubFiles, HubKind, PushContent, PushFile, PushTarget, Pushed, download};
use cord_testkit::{HubServer, HubWorld};

const TOKEN: &str = "hf_SECRETsecret";

/// A model on the disk, a card in memory, and a hub without a repository.
struct Desk {
    folder: tempfile::TempDir,
    server: HubServer,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Desk {
    fn new(change: impl FnOnce(&mut HubWorld)) -> Self {
        let weights = |factor: u32| (0..300_000u32).map(|i| (i * factor % 251) as u8).collect::<Vec<u8>>();
        let files: BTreeMap<&'static str, Vec<u8>> = [
            ("config.json", b"{\"model_type\": \"llama\"}".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("model-00001-of-00002.safetensors", weights(7)),
            ("model-00002-of-00002.safetensors", weights(11)),
        ]
        .into();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut world = HubWorld { is_missing: true, token: Some(TOKEN.to_owned()), ..HubWorld::default() };
        change(&mut world);
        Self { folder, server: HubServer::start(world), files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hub(&self) -> Hub {
        Hub {
            endpoint: self.server.endpoint().to_owned(),
            cache: self.path("cache"),
            token: Some(TOKEN.to_owned()),
            offline: false,
        }
    }

    fn given(&self) -> Vec<PushFile> {
        let card = PushFile { path: "README.md".to_owned(), content: PushContent::Bytes(b"# A card\n".to_vec()) };
        let of = |name: &&str| PushFile { path: (*name).to_owned(), content: PushContent::File(self.path(name)) };
        self.files.keys().map(of).chain([card]).collect()
    }

    fn push(&self) -> Result<Pushed, String> {
        self.push_to(HubServer::NAME, "main", &self.hub())
    }

    fn push_to(&self, name: &str, revision: &str, hub: &Hub) -> Result<Pushed, String> {
        let target = PushTarget {
            kind: HubKind::Model,
            name: name.to_owned(),
            revision: revision.to_owned(),
            private: true,
            message: "A student".to_owned(),
        };
        let said = hub.push(&target, &self.given(), &mut |_, sent, of| assert!(sent <= of));
        said.map_err(|error| {
            assert!(!format!("{error} {error:?}").contains(TOKEN), "the token is in `{error:?}`");
            error.to_string()
        })
    }

    /// Requests whose line opens with this.
    fn asked(&self, opening: &str) -> usize {
        self.server.world().asked.iter().filter(|line| line.starts_with(opening)).count()
    }
}

#[test]
fn what_is_pushed_is_what_is_fetched() {
    for part in [None, Some(70_000)] {
        let desk = Desk::new(|world| world.part = part);
        let done = desk.push().unwrap();
        assert!(done.created && done.commit.as_deref() == Some(HubServer::COMMIT));
        assert_eq!(done.sent.len(), 5, "{done:?}");
        let made = serde_json::json!({"name": "small", "organization": "someone", "private": true});
        assert_eq!(desk.server.world().made, [made]);
        assert_eq!(desk.server.world().commits, ["A student"]);
        assert_eq!(desk.asked("PUT /store/"), if part.is_some() { 10 } else { 2 });
        let folder = desk.hub().fetch(HubServer::NAME, HubServer::COMMIT, HubFiles::Model, &mut |_, _, _| {}).unwrap();
        for (name, bytes) in &desk.files {
            assert!(fs::read(folder.join(name)).unwrap() == *bytes, "{name}");
        }
        assert_eq!(desk.server.world().files["README.md"], b"# A card\n");
        for line in &desk.server.world().asked {
            assert_eq!(line.contains(TOKEN), !line.contains("/store/") && !line.contains("/elsewhere/"), "{line}");
        }
    }
}

#[test]
fn a_second_push_sends_nothing_and_a_third_what_is_new() {
    let desk = Desk::new(|_| {});
    desk.push().unwrap();
    let before = desk.server.world().asked.len();
    let again = desk.push().unwrap();
    assert_eq!((again.there.len(), again.sent.len(), again.commit), (5, 0, None));
    assert_eq!(desk.server.world().asked.len(), before + 1, "a list and nothing more");
    fs::write(desk.path("config.json"), b"{\"model_type\": \"mistral\"}").unwrap();
    let third = desk.push().unwrap();
    assert_eq!(third.sent, ["config.json"]);
    assert_eq!(desk.asked("PUT /store/"), 2);
    assert_eq!(desk.server.world().files["config.json"], b"{\"model_type\": \"mistral\"}");
}

#[test]
fn a_cut_connection_is_tried_again() {
    for (path, most) in [("/store/", 100_000), ("/preupload/", 10), ("/objects/batch", 0), ("/commit/", 50)] {
        let desk = Desk::new(|world| world.cuts = Some((path.to_owned(), most, 2)));
        let done = desk.push().unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(done.sent.len(), 5, "{path}");
        assert_eq!(desk.server.world().commits.len(), 1, "{path}");
    }
}

#[test]
fn a_push_that_broke_off_goes_on_with_what_is_left() {
    let desk = Desk::new(|_| {});
    let second = HubServer::sha256(&desk.files["model-00002-of-00002.safetensors"]);
    desk.server.world().cuts = Some((format!("/store/{second}"), 1000, 4));
    let error = desk.push().unwrap_err();
    assert!(error.ends_with("4 times; run again to go on with what is left"), "{error}");
    assert!(desk.server.world().commits.is_empty(), "no commit of half a model");
    let done = desk.push().unwrap();
    assert_eq!((done.sent.len(), &done.had[..]), (5, &["model-00001-of-00002.safetensors".to_owned()][..]));
    assert_eq!(desk.asked("PUT /store/"), 1 + 4 + 1);
}

#[test]
fn a_commit_whose_reply_was_lost_is_not_made_twice() {
    let desk = Desk::new(|world| world.loses = Some(("/commit/".to_owned(), 1)));
    let done = desk.push().unwrap();
    assert_eq!((done.sent.len(), desk.server.world().commits.len()), (5, 1));
}

#[test]
fn a_branch_is_made_and_ignored_files_are_left_out() {
    let desk = Desk::new(|world| world.ignores = vec!["tokenizer.json".to_owned()]);
    let done = desk.push_to(HubServer::NAME, "runs/seed-1", &desk.hub()).unwrap();
    assert_eq!((done.sent.len(), &done.ignored[..]), (4, &["tokenizer.json".to_owned()][..]));
    assert_eq!(desk.server.world().branches, ["runs/seed-1"]);
}

#[test]
fn a_data_set_is_made_as_one() {
    let desk = Desk::new(|_| {});
    let target = PushTarget {
        kind: HubKind::Dataset,
        name: HubServer::NAME.to_owned(),
        revision: "main".to_owned(),
        private: false,
        message: "Rows".to_owned(),
    };
    let rows = b"PAR1 rows PAR1".to_vec();
    let file = PushFile { path: "sft/train.parquet".to_owned(), content: PushContent::Bytes(rows.clone()) };
    desk.hub().push(&target, &[file], &mut |_, _, _| {}).unwrap();
    assert_eq!(desk.server.world().made[0]["type"], "dataset");
    let url = format!(
        "{}/datasets/{}/resolve/{}/sft/train.parquet",
        desk.server.endpoint(),
        HubServer::NAME,
        HubServer::COMMIT
    );
    let there = desk.path("fetched.parquet");
    download(&url, Some(TOKEN), Some(&HubServer::sha256(&rows)), &there, &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(there).unwrap(), rows);
}

#[test]
fn a_file_that_changes_on_its_way_is_not_committed() {
    // Before the first body of a large file has come: the second one grows shorter, then another, then the small one other.
    for (name, length) in [
        ("model-00002-of-00002.safetensors", 299_000),
        ("model-00002-of-00002.safetensors", 300_000),
        ("config.json", 10),
    ] {
        let desk = Desk::new(|_| {});
        let path = desk.path(name);
        desk.server.world().arrived = Some(Box::new(move |asked| {
            if asked.contains("/objects/batch") {
                fs::write(&path, vec![1; length]).unwrap();
            }
        }));
        let error = desk.push().unwrap_err();
        let end = format!("`{name}` changed while it was sent; run again when nothing writes to it");
        assert!(error.ends_with(&end), "{error}");
        assert!(desk.server.world().commits.is_empty());
    }
}

#[test]
fn refusals_say_what_to_do_and_hide_the_token() {
    let check = |path: &str, status: u16, expected: &str| {
        let desk = Desk::new(|world| world.refuses = Some((path.to_owned(), status, 9)));
        let error = desk.push().unwrap_err();
        assert!(error.starts_with("can't push to `someone/small`: ") && error.contains(expected), "{error}");
        assert!(!error.contains("signature"), "{error}");
        assert!(desk.server.world().commits.is_empty());
    };
    check("/repos/create", 401, "the hub does not know the token in `HF_TOKEN`");
    check("/repos/create", 403, "give the token in `HF_TOKEN` write access to this owner's repositories");
    check("/repos/create", 409, "the name is taken by a repository that the token can't read");
    check("/commit/", 412, "someone else changed the repository meanwhile: run again");
    check("/commit/", 413, "split the file into shards");
    check("/store/", 403, "the address may have expired: run again");
    check("/preupload/", 503, "the hub is at fault: run again later, 4 times");
    check("/revision/", 429, "the hub asks for patience: run again later");
}

#[test]
fn what_can_not_be_pushed_is_said_before_anybody_is_asked() {
    let desk = Desk::new(|_| {});
    let hub = desk.hub();
    let check = |name: &str, revision: &str, hub: &Hub, expected: &str| {
        let error = desk.push_to(name, revision, hub).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("small", "main", &hub, "expected a name of the form `owner/name`");
    check("someone/small", "../x", &hub, "expected a branch of letters");
    check("someone/small", "main", &Hub { token: None, ..hub.clone() }, "expected a token in `HF_TOKEN`, got none");
    check("someone/small", "main", &Hub { offline: true, ..hub.clone() }, "`HF_HUB_OFFLINE` forbids");
    assert!(desk.server.world().asked.is_empty());
    // Another token than the hub's.
    let other = Hub { token: Some("hf_other".to_owned()), ..hub.clone() };
    check("someone/small", "main", &other, "got the status 401");
    let strange = Hub { token: Some(format!("{TOKEN}\nx")), ..hub };
    check("someone/small", "main", &strange, "expected a token of letters, digits and `_` in `HF_TOKEN`");
}

//! Fetching models from a server that answers as the hub does, and fails as networks do.

use std::fs;
use std::path::Path;

use cord_store::{Hub, HubFiles};
use cord_testkit::{HubServer, HubWorld};

/// A small model beside files that nobody wants.
fn server(change: impl FnOnce(&mut HubWorld)) -> HubServer {
    let weights: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let files: [(&str, &[u8]); 5] = [
        ("config.json", b"{\"model_type\": \"llama\"}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", &weights),
        ("pytorch_model.bin", b"never wanted"),
        ("onnx/model.safetensors", b"never wanted"),
    ];
    let mut world = HubWorld {
        files: files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into(),
        large: vec!["model.safetensors".to_owned()],
        ..HubWorld::default()
    };
    change(&mut world);
    HubServer::start(world)
}

fn hub(server: &HubServer, cache: &Path) -> Hub {
    Hub {
        endpoint: server.endpoint().to_owned(),
        cache: cache.to_owned(),
        token: Some("secret".into()),
        offline: false,
    }
}

fn fetch(hub: &Hub) -> Result<std::path::PathBuf, String> {
    hub.fetch(HubServer::NAME, HubServer::COMMIT, HubFiles::Model, &mut |_, _, _| {}).map_err(|e| e.to_string())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_model_is_fetched_once_and_found_again_without_a_network() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let folder = fetch(&hub(&server, cache.path())).unwrap();
    assert_eq!(names(&folder), ["config.json", "model.safetensors", "tokenizer.json"]);
    let weights = server.world().files["model.safetensors"].clone();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights);
    let asked = server.world().asked.clone();
    assert_eq!(asked.len(), 1 + 3 + 1, "a list, three files, one of them elsewhere: {asked:#?}");
    for line in &asked {
        assert_eq!(line.ends_with("Bearer secret"), !line.contains("/elsewhere/"), "whom the token is sent to: {line}");
    }
    // Neither the list nor a file is asked for again; nor where nobody may be asked.
    let gone = Hub { endpoint: "http://127.0.0.1:1".into(), ..hub(&server, cache.path()) };
    assert_eq!(fetch(&gone).unwrap(), folder);
    assert_eq!(fetch(&Hub { offline: true, ..gone.clone() }).unwrap(), folder);
    // What was removed is fetched again, and only that.
    fs::remove_file(folder.join("config.json")).unwrap();
    fs::remove_file(
        cache.path().join("models--someone--small/blobs").join(HubServer::git_digest(b"{\"model_type\": \"llama\"}")),
    )
    .unwrap();
    assert!(fetch(&gone).is_err());
    fetch(&hub(&server, cache.path())).unwrap();
    assert_eq!(server.world().asked.len(), asked.len() + 2);
}

#[test]
fn a_tokenizer_alone_leaves_the_weights_where_they_are() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let folder = hub.fetch(HubServer::NAME, HubServer::COMMIT, HubFiles::Tokenizer, &mut |_, _, _| {}).unwrap();
    assert_eq!(names(&folder), ["config.json", "tokenizer.json"]);
    // Its list does not make a model of it.
    fetch(&hub).unwrap();
    assert_eq!(names(&folder), ["config.json", "model.safetensors", "tokenizer.json"]);
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_broke() {
    let (server, cache) = (server(|world| world.breaks = Some((100_000, 2))), tempfile::tempdir().unwrap());
    let mut seen = Vec::new();
    let folder = hub(&server, cache.path())
        .fetch(HubServer::NAME, HubServer::COMMIT, HubFiles::Model, &mut |file, there, of| {
            seen.push((file.to_owned(), there, of));
        })
        .unwrap();
    let world = server.world();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == world.files["model.safetensors"]);
    let ranges: Vec<&String> = world.asked.iter().filter(|line| line.contains("/elsewhere/")).collect();
    assert_eq!(ranges.len(), 3);
    assert!(ranges[1].contains(" 100000 ") && ranges[2].contains(" 200000 "), "{ranges:#?}");
    let last = seen.iter().rfind(|(file, _, _)| file == "model.safetensors").unwrap();
    assert_eq!((last.1, last.2), (300_000, 300_000));
}

#[test]
fn another_process_goes_on_with_what_a_killed_one_left() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let weights = server.world().files["model.safetensors"].clone();
    let blobs = cache.path().join("models--someone--small/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", HubServer::sha256(&weights))), &weights[..123_456]).unwrap();
    let folder = fetch(&hub(&server, cache.path())).unwrap();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights);
    assert!(server.world().asked.iter().any(|line| line.contains("/elsewhere/model.safetensors 123456")));
}

#[test]
fn a_server_that_forgets_ranges_gives_the_same_bytes() {
    let change = |world: &mut HubWorld| (world.forgets_ranges, world.breaks) = (true, Some((100_000, 1)));
    let (server, cache) = (server(change), tempfile::tempdir().unwrap());
    let folder = fetch(&hub(&server, cache.path())).unwrap();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == server.world().files["model.safetensors"]);
}

#[test]
fn damaged_content_is_refused_and_removed() {
    let (server, cache) = (server(|world| world.damages = true), tempfile::tempdir().unwrap());
    let error = fetch(&hub(&server, cache.path())).unwrap_err();
    let expected = "can't fetch `someone/small` at `0123456789abcdef0123456789abcdef01234567`: `config.json`: expected content with the digest";
    assert!(error.starts_with(expected), "{error}");
    assert!(names(&cache.path().join("models--someone--small/blobs")).is_empty());
    server.world().damages = false;
    fetch(&hub(&server, cache.path())).unwrap();
}

#[test]
fn what_the_hub_does_not_have_is_said_with_what_to_do() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let error = |name: &str, revision: &str| {
        hub.fetch(name, revision, HubFiles::Model, &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let missing = error("someone/other", HubServer::COMMIT);
    assert!(
        missing.ends_with("expected the status 200, got 404 (`Entry not found`); check the name and the commit"),
        "{missing}"
    );
    assert!(
        error("../../etc", HubServer::COMMIT).ends_with("expected a name of the form `organisation/name` and a commit")
    );
    assert!(error(HubServer::NAME, "../x").ends_with("expected a name of the form `organisation/name` and a commit"));
    let offline = Hub { offline: true, ..hub.clone() };
    assert!(fetch(&offline).unwrap_err().ends_with("got none, and `HF_HUB_OFFLINE` forbids to fetch them"));
}

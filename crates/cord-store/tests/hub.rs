//! Fetching from a server that answers as the hub does: lists with digests, redirects to where the files lie, ranges; and that breaks
//! off, forgets ranges and damages content when it is told to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use cord_store::{Hub, HubFiles};
use sha2::Digest as _;

const NAME: &str = "someone/small";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does and what it was asked.
#[derive(Default)]
struct World {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// Files that are kept apart and named by their SHA-256.
    large: Vec<&'static str>,
    /// Bytes of a body after which the connection breaks, and how often.
    breaks: Option<(usize, usize)>,
    ranges_are_forgotten: bool,
    damaged: bool,
    asked: Vec<String>,
}

struct Server {
    endpoint: String,
    world: Arc<Mutex<World>>,
}

fn server(change: impl FnOnce(&mut World)) -> Server {
    let weights: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut world = World {
        files: BTreeMap::from([
            ("config.json", b"{\"model_type\": \"llama\"}".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("model.safetensors", weights),
            ("pytorch_model.bin", b"never wanted".to_vec()),
            ("onnx/model.safetensors", b"never wanted".to_vec()),
        ]),
        large: vec!["model.safetensors"],
        ..World::default()
    };
    change(&mut world);
    let world = Arc::new(Mutex::new(world));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shared = world.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client may hang up.
            let _ = answer(stream, &shared);
        }
    });
    Server { endpoint, world }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn git(bytes: &[u8]) -> String {
    let framed = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(&sha1::Sha1::digest(framed))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn answer(mut stream: TcpStream, world: &Mutex<World>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
    let header = |name: &str| {
        let line = lines.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let mut world = world.lock().unwrap();
    let from: usize =
        header("range").and_then(|r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().ok()).unwrap_or(0);
    world.asked.push(format!("{path} {from} {}", header("authorization").unwrap_or_default()));
    let mut reply = |status: &str, more: &str, body: &[u8], most: usize| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n", body.len())?;
        stream.write_all(&body[..body.len().min(most)])
    };
    if path == format!("/api/models/{NAME}/revision/{COMMIT}?blobs=true") {
        let siblings: Vec<serde_json::Value> = world
            .files
            .iter()
            .map(|(name, bytes)| {
                let mut entry = serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": git(bytes)});
                if world.large.contains(name) {
                    entry["lfs"] =
                        serde_json::json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
                }
                entry
            })
            .collect();
        let body = serde_json::json!({"id": NAME, "sha": COMMIT, "siblings": siblings}).to_string();
        return reply("200 OK", "", body.as_bytes(), usize::MAX);
    }
    if let Some(file) = path.strip_prefix(&format!("/{NAME}/resolve/{COMMIT}/")) {
        // As the hub does for large files: somewhere else, with another host's name.
        let host = header("host").unwrap_or_default().replace("127.0.0.1", "localhost");
        if world.large.contains(&file) {
            return reply("302 Found", &format!("Location: http://{host}/elsewhere/{file}\r\n"), b"", 0);
        }
    }
    let file =
        path.trim_start_matches(&format!("/{NAME}/resolve/{COMMIT}/")).trim_start_matches("/elsewhere/").to_owned();
    let Some(mut bytes) = world.files.get(file.as_str()).cloned() else {
        return reply("404 Not Found", "", b"Entry not found", usize::MAX);
    };
    if world.damaged {
        bytes[0] ^= 1;
    }
    let (status, from) = match (from, world.ranges_are_forgotten) {
        (0, _) | (_, true) => ("200 OK", 0),
        (from, false) => ("206 Partial Content", from),
    };
    let most = match &mut world.breaks {
        Some((most, times)) if *times > 0 && bytes.len() > *most => {
            *times -= 1;
            *most
        }
        _ => usize::MAX,
    };
    reply(status, "", &bytes[from..], most)
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub { endpoint: server.endpoint.clone(), cache: cache.to_owned(), token: Some("secret".into()), offline: false }
}

fn fetch(hub: &Hub) -> Result<std::path::PathBuf, String> {
    hub.fetch(NAME, COMMIT, HubFiles::Model, &mut |_, _, _| {}).map_err(|e| e.to_string())
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
    let weights = server.world.lock().unwrap().files["model.safetensors"].clone();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights);
    let asked = server.world.lock().unwrap().asked.clone();
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
    fs::remove_file(cache.path().join("models--someone--small/blobs").join(git(b"{\"model_type\": \"llama\"}")))
        .unwrap();
    assert!(fetch(&gone).is_err());
    fetch(&hub(&server, cache.path())).unwrap();
    assert_eq!(server.world.lock().unwrap().asked.len(), asked.len() + 2);
}

#[test]
fn a_tokenizer_alone_leaves_the_weights_where_they_are() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let folder = hub.fetch(NAME, COMMIT, HubFiles::Tokenizer, &mut |_, _, _| {}).unwrap();
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
        .fetch(NAME, COMMIT, HubFiles::Model, &mut |file, there, of| seen.push((file.to_owned(), there, of)))
        .unwrap();
    let world = server.world.lock().unwrap();
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
    let weights = server.world.lock().unwrap().files["model.safetensors"].clone();
    let blobs = cache.path().join("models--someone--small/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&weights))), &weights[..123_456]).unwrap();
    let folder = fetch(&hub(&server, cache.path())).unwrap();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights);
    assert!(server.world.lock().unwrap().asked.iter().any(|line| line.contains("/elsewhere/model.safetensors 123456")));
}

#[test]
fn a_server_that_forgets_ranges_gives_the_same_bytes() {
    let change = |world: &mut World| (world.ranges_are_forgotten, world.breaks) = (true, Some((100_000, 1)));
    let (server, cache) = (server(change), tempfile::tempdir().unwrap());
    let folder = fetch(&hub(&server, cache.path())).unwrap();
    assert!(
        fs::read(folder.join("model.safetensors")).unwrap() == server.world.lock().unwrap().files["model.safetensors"]
    );
}

#[test]
fn damaged_content_is_refused_and_removed() {
    let (server, cache) = (server(|world| world.damaged = true), tempfile::tempdir().unwrap());
    let error = fetch(&hub(&server, cache.path())).unwrap_err();
    let expected = "can't fetch `someone/small` at `0123456789abcdef0123456789abcdef01234567`: `config.json`: expected content with the digest";
    assert!(error.starts_with(expected), "{error}");
    assert!(names(&cache.path().join("models--someone--small/blobs")).is_empty());
    server.world.lock().unwrap().damaged = false;
    fetch(&hub(&server, cache.path())).unwrap();
}

#[test]
fn what_the_hub_does_not_have_is_said_with_what_to_do() {
    let (server, cache) = (server(|_| {}), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let error = |name: &str, revision: &str| {
        hub.fetch(name, revision, HubFiles::Model, &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let missing = error("someone/other", COMMIT);
    assert!(
        missing.ends_with("expected the status 200, got 404 (`Entry not found`); check the name and the commit"),
        "{missing}"
    );
    assert!(error("../../etc", COMMIT).ends_with("expected a name of the form `organisation/name` and a commit"));
    assert!(error(NAME, "../x").ends_with("expected a name of the form `organisation/name` and a commit"));
    let offline = Hub { offline: true, ..hub.clone() };
    assert!(fetch(&offline).unwrap_err().ends_with("got none, and `HF_HUB_OFFLINE` forbids to fetch them"));
}

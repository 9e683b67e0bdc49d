//! A hub of models and data sets on a real socket: it lists files with their digests, redirects to where large ones lie, knows ranges; and
//! breaks off, forgets ranges and damages content when it is told to. What is pushed to it, `uploads` takes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use sha2::Digest as _;

use crate::uploads;

/// What a [`HubServer`] holds, how it fails, and what it was asked.
#[derive(Default)]
pub struct HubWorld {
    /// The repository's files by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that lie elsewhere and are named by their SHA-256.
    pub large: Vec<String>,
    /// Bytes of a body after which the connection breaks, and how often.
    pub breaks: Option<(usize, usize)>,
    /// Does it answer every request with the whole file?
    pub forgets_ranges: bool,
    /// Is the first byte of every file another one?
    pub damages: bool,
    /// Path, first byte and authorization of each request for a file or a list; method, path and authorization of others.
    pub asked: Vec<String>,
    /// Is there no repository yet?
    pub is_missing: bool,
    /// Its branches beside `main`.
    pub branches: Vec<String>,
    /// What was asked for when it was made.
    pub made: Vec<serde_json::Value>,
    /// Content that came through LFS, by its SHA-256.
    pub stored: BTreeMap<String, Vec<u8>>,
    /// The messages of commits.
    pub commits: Vec<String>,
    /// Bytes of a part, where content is to come in parts.
    pub part: Option<usize>,
    /// Files that the repository's `.gitignore` leaves out.
    pub ignores: Vec<String>,
    /// The only token that may push.
    pub token: Option<String>,
    /// A part of the path, and the status with which such requests are refused so many times.
    pub refuses: Option<(String, u16, usize)>,
    /// A part of the path: connections of such requests end after so many bytes of their body, so many times.
    pub cuts: Option<(String, usize, usize)>,
    /// A part of the path: such requests are heeded, but not answered, so many times.
    pub loses: Option<(String, usize)>,
    /// Called when a body has come, with its path.
    pub arrived: Option<Arrived>,
    /// Parts of content that is not whole yet, by the content's SHA-256 and their number.
    pub parts: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
}

/// What is called with the path of a body that has come.
pub type Arrived = Box<dyn FnMut(&str) + Send>;

/// A hub with one repository at one commit, as a model's and as a data set's.
pub struct HubServer {
    endpoint: String,
    world: Arc<Mutex<HubWorld>>,
}

impl HubServer {
    /// The repository's name.
    pub const NAME: &str = "someone/small";
    /// Its commit.
    pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Begins to answer on a free port of this machine.
    pub fn start(world: HubWorld) -> Self {
        let world = Arc::new(Mutex::new(world));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let shared = world.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The client may hang up.
                let _ = answer(stream, &shared);
            }
        });
        Self { endpoint, world }
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it holds and was asked, to look at and to change.
    pub fn world(&self) -> MutexGuard<'_, HubWorld> {
        lock(&self.world)
    }

    /// The digest by which large files go.
    pub fn sha256(bytes: &[u8]) -> String {
        hex(&sha2::Sha256::digest(bytes))
    }

    /// The digest by which git names a file.
    pub fn git_digest(bytes: &[u8]) -> String {
        let framed = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
        hex(&sha1::Sha1::digest(framed))
    }
}

/// Is this one of the so many requests with a part of a path that something happens to?
pub(crate) fn falls_to(part: &str, times: &mut usize, path: &str) -> bool {
    let falls = *times > 0 && path.contains(part);
    *times -= usize::from(falls);
    falls
}

fn lock(world: &Mutex<HubWorld>) -> MutexGuard<'_, HubWorld> {
    world.lock().expect("no answer panicked")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn answer(mut stream: TcpStream, world: &Mutex<HubWorld>) -> std::io::Result<()> {
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
    let method = lines.first().and_then(|line| line.split(' ').next()).unwrap_or("").to_owned();
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let from: usize =
        header("range").and_then(|r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().ok()).unwrap_or(0);
    let mut world = lock(world);
    let bearer = header("authorization").unwrap_or_default();
    if method == "GET" {
        world.asked.push(format!("{path} {from} {bearer}"));
    } else {
        world.asked.push(format!("{method} {path} {bearer}"));
    }
    if let Some((part, most, times)) = &mut world.cuts
        && falls_to(part, times, &path)
    {
        reader.take(*most as u64).read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut reply = |status: &str, more: &str, body: &[u8], most: usize| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n", body.len())?;
        stream.write_all(&body[..body.len().min(most)])
    };
    if method != "GET" {
        if let Some(arrived) = &mut world.arrived {
            arrived(&path);
        }
        let host = header("host").unwrap_or_default();
        let (status, more, said) = uploads::answer(&method, &path, &bearer, &host, &body, &mut world);
        if let Some((part, times)) = &mut world.loses
            && falls_to(part, times, &path)
        {
            return Ok(());
        }
        return reply(&status, &more, said.as_bytes(), usize::MAX);
    }
    let (name, commit) = (HubServer::NAME, HubServer::COMMIT);
    let api = path.strip_prefix("/api/").and_then(|rest| rest.split_once(&format!("/{name}/revision/")));
    if let Some((_, revision)) = api.filter(|(kind, _)| ["models", "datasets"].contains(kind)) {
        if let Some(status) = uploads::refused(&path, &mut world) {
            return reply(&status, "", b"no", usize::MAX);
        }
        let revision = revision.trim_end_matches("?blobs=true").replace("%2F", "/");
        if world.is_missing {
            return reply("404 Not Found", "X-Error-Code: RepoNotFound\r\n", b"Repository not found", usize::MAX);
        }
        if ![commit, "main"].contains(&revision.as_str()) && !world.branches.contains(&revision) {
            return reply("404 Not Found", "X-Error-Code: RevisionNotFound\r\n", b"Invalid rev id", usize::MAX);
        }
        let siblings: Vec<serde_json::Value> = world
            .files
            .iter()
            .map(|(file, bytes)| {
                let mut entry = serde_json::json!({"rfilename": file, "size": bytes.len(), "blobId": HubServer::git_digest(bytes)});
                if world.large.contains(file) {
                    entry["lfs"] =
                        serde_json::json!({"sha256": HubServer::sha256(bytes), "size": bytes.len(), "pointerSize": 134});
                }
                entry
            })
            .collect();
        let body = serde_json::json!({"id": name, "sha": commit, "siblings": siblings}).to_string();
        return reply("200 OK", "", body.as_bytes(), usize::MAX);
    }
    let asked = path.trim_start_matches("/datasets");
    let resolved = asked.strip_prefix(&format!("/{name}/resolve/{commit}/"));
    if let Some(file) = resolved {
        // As the hub does for large files: somewhere else, with another host's name.
        let host = header("host").unwrap_or_default().replace("127.0.0.1", "localhost");
        if world.large.iter().any(|large| large == file) {
            return reply("302 Found", &format!("Location: http://{host}/elsewhere/{file}\r\n"), b"", 0);
        }
    }
    let file = resolved.unwrap_or_else(|| asked.trim_start_matches("/elsewhere/"));
    let Some(mut bytes) = world.files.get(file).cloned() else {
        return reply("404 Not Found", "", b"Entry not found", usize::MAX);
    };
    if world.damages {
        bytes[0] ^= 1;
    }
    let (status, from) = match (from, world.forgets_ranges) {
        (0, _) | (_, true) => ("200 OK", 0),
        (from, false) => ("206 Partial Content", from),
    };
    let range = match from {
        0 => String::new(),
        from => format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()),
    };
    let most = match &mut world.breaks {
        Some((most, times)) if *times > 0 && bytes.len() > *most => {
            *times -= 1;
            *most
        }
        _ => usize::MAX,
    };
    reply(status, &range, &bytes[from..], most)
}

//! The hub's protocol for a push, request by request; [`Hub::push`](crate::Hub::push) says in which order.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::StoreError;
use crate::download::hexadecimal;
use crate::hub::Listing;
use crate::upload::{Content, HubKind, Measured, PushTarget, Pushed};

/// How often a request is made again after the connection broke or the hub was at fault.
const TRIES: u32 = 4;

/// Files of one question to the hub.
const ASKED_AT_ONCE: usize = 100;

/// Why a request came to nothing.
enum Broken {
    /// It is made again.
    Connection(String),
    /// It is not.
    Refused(String),
}

/// What came back.
struct Reply {
    status: u16,
    /// The hub's own word for an error.
    code: String,
    etag: Option<String>,
    body: String,
}

/// What the hub says of files that are about to be sent.
#[derive(Deserialize)]
struct Preupload {
    files: Vec<Way>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

/// Where content goes, in the words of Git LFS.
#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

/// What the hub has at the branch.
enum There {
    Files(Listing),
    NoBranch,
    NoRepository,
}

/// Why a push ends early.
pub(crate) enum Stop {
    Said(String),
    Store(StoreError),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Said(reason)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Someone who may write to a repository.
pub(crate) struct Sender<'a> {
    agent: ureq::Agent,
    endpoint: &'a str,
    token: &'a str,
    target: &'a PushTarget,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(endpoint: &'a str, token: &'a str, target: &'a PushTarget) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_per_write(Some(Duration::from_mins(1)))
            .timeout_recv_response(Some(Duration::from_mins(5)))
            .timeout_per_read(Some(Duration::from_mins(1)));
        Self { agent: config.build().into(), endpoint, token, target }
    }

    /// Sends what the hub lacks, as one commit.
    pub(crate) fn push(&self, files: &[Measured<'_>], observe: &mut dyn FnMut(&str, u64, u64)) -> Result<Pushed, Stop> {
        let mut done = Pushed::default();
        let there = match self.look()? {
            There::Files(listing) => listing,
            missing => {
                if matches!(missing, There::NoRepository) {
                    self.create()?;
                    done.created = true;
                }
                match self.look()? {
                    There::Files(listing) => listing,
                    There::NoBranch => {
                        self.branch()?;
                        self.look_again()?
                    }
                    There::NoRepository => {
                        return Err(format!("`{}` was made and is not there", self.target.name).into());
                    }
                }
            }
        };
        let mut new = Vec::new();
        for file in files {
            if is_there(&there, file) {
                done.there.push(file.file.path.clone());
            } else {
                new.push(file);
            }
        }
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for some in new.chunks(ASKED_AT_ONCE) {
            let modes = self.modes(some)?;
            for file in some {
                match modes.get(&file.file.path) {
                    Some(mode) if mode.should_ignore => done.ignored.push(file.file.path.clone()),
                    // Nothing is no object of LFS.
                    Some(mode) if mode.upload_mode == "lfs" && file.size > 0 => large.push(*file),
                    Some(_) => small.push(*file),
                    None => {
                        return Err(format!("expected the way that `{}` is sent, got none", file.file.path).into());
                    }
                }
            }
        }
        for some in large.chunks(ASKED_AT_ONCE) {
            done.had.extend(self.send_large(some, observe)?);
        }
        done.sent = small.iter().chain(&large).map(|file| file.file.path.clone()).collect();
        done.sent.sort();
        if !done.sent.is_empty() {
            done.commit = Some(self.commit(&small, &large)?);
            for file in small {
                observe(&file.file.path, file.size, file.size);
            }
        }
        Ok(done)
    }

    fn api(&self, what: &str) -> String {
        format!("{}/api/{}s/{}/{what}", self.endpoint, self.target.kind.word(), self.target.name)
    }

    /// The branch as a part of an address.
    fn revision(&self) -> String {
        self.target.revision.replace('/', "%2F")
    }

    fn look(&self) -> Result<There, String> {
        let url = self.api(&format!("revision/{}?blobs=true", self.revision()));
        let reply = patiently(|| self.ask("GET", &url, "", &[]))?;
        match (reply.status, reply.code.as_str()) {
            (200, _) => serde_json::from_str(&reply.body)
                .map(There::Files)
                .map_err(|e| format!("`{}`: expected a list of files: {e}", shown(&url))),
            (404, "RevisionNotFound") => Ok(There::NoBranch),
            (404, _) => Ok(There::NoRepository),
            _ => Err(self.refusal("GET", &url, &reply)),
        }
    }

    fn look_again(&self) -> Result<Listing, String> {
        match self.look()? {
            There::Files(listing) => Ok(listing),
            There::NoBranch | There::NoRepository => {
                Err(format!("expected the branch `{}`, got none", self.target.revision))
            }
        }
    }

    fn create(&self) -> Result<(), String> {
        let (owner, name) = self.target.name.split_once('/').expect("the name was looked at");
        let mut wanted = json!({"name": name, "organization": owner, "private": self.target.private});
        if self.target.kind == HubKind::Dataset {
            wanted["type"] = json!("dataset");
        }
        let url = format!("{}/api/repos/create", self.endpoint);
        self.tell(&url, &wanted).map(drop)
    }

    fn branch(&self) -> Result<(), String> {
        self.tell(&self.api(&format!("branch/{}", self.revision())), &json!({})).map(drop)
    }

    fn modes(&self, files: &[&Measured<'_>]) -> Result<BTreeMap<String, Way>, String> {
        let asked = files.iter().map(|file| {
            json!({
                "path": file.file.path, "size": file.size, "sha": file.sha256, "sample": STANDARD.encode(&file.sample),
            })
        });
        let url = self.api(&format!("preupload/{}", self.revision()));
        let reply = self.tell(&url, &json!({"files": asked.collect::<Vec<_>>()}))?;
        let said: Preupload = parsed(&url, &reply.body, "how files are sent")?;
        Ok(said.files.into_iter().map(|mode| (mode.path.clone(), mode)).collect())
    }

    /// Sends the content of large files. Gives those whose content the hub has.
    fn send_large(
        &self,
        files: &[&Measured<'_>],
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<Vec<String>, Stop> {
        let target = self.target;
        let url = format!("{}/{}{}.git/info/lfs/objects/batch", self.endpoint, target.kind.prefix(), target.name);
        let objects: Vec<Value> = files.iter().map(|file| json!({"oid": file.sha256, "size": file.size})).collect();
        let asked = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects, "hash_algo": "sha256",
            "ref": {"name": target.revision},
        });
        let reply = self.tell(&url, &asked)?;
        let batch: Batch = parsed(&url, &reply.body, "where content goes")?;
        let faults: Vec<String> = batch
            .objects
            .iter()
            .filter_map(|object| {
                let error = object.error.as_ref()?;
                let path = files.iter().find(|file| file.sha256 == object.oid).map_or("", |file| &file.file.path);
                Some(format!("`{path}`: {}", self.plain(error["message"].as_str().unwrap_or("refused"))))
            })
            .collect();
        if !faults.is_empty() {
            return Err(format!("the hub takes no such content: {}", faults.join("; ")).into());
        }
        let mut had = Vec::new();
        let mut sent: Vec<&str> = Vec::new();
        for file in files {
            let path = &file.file.path;
            // Two files with the same content are one object.
            let Some(object) = batch.objects.iter().find(|object| object.oid == file.sha256) else {
                return Err(format!("expected to be told where `{path}` goes, got nothing").into());
            };
            match object.actions.as_ref().and_then(|actions| Some((actions, actions.upload.as_ref()?))) {
                None => had.push(path.clone()),
                Some(_) if sent.contains(&file.sha256.as_str()) => {}
                Some((actions, upload)) => {
                    self.send(file, upload, observe)?;
                    if let Some(verify) = &actions.verify {
                        self.tell(&verify.href, &json!({"oid": file.sha256, "size": file.size}))?;
                    }
                    sent.push(&file.sha256);
                }
            }
            observe(path, file.size, file.size);
        }
        Ok(had)
    }

    /// Sends the content of a file, whole or in parts.
    fn send(&self, file: &Measured<'_>, upload: &Action, observe: &mut dyn FnMut(&str, u64, u64)) -> Result<(), Stop> {
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(size) = upload.header.get("chunk_size") else {
            let headers: Vec<(String, String)> =
                upload.header.iter().map(|(name, value)| (name.clone(), word(value))).collect();
            self.put(file, &upload.href, &headers, 0, file.size, &mut Sha256::new(), observe)?;
            return Ok(());
        };
        let numbered = upload.header.iter().filter_map(|(key, url)| Some((key.parse::<u64>().ok()?, word(url))));
        let parts: BTreeMap<u64, String> = numbered.collect();
        let length = word(size).parse::<u64>().ok().filter(|length| *length > 0);
        let Some(length) = length.filter(|length| file.size.div_ceil(*length) == parts.len() as u64) else {
            let (path, count) = (&file.file.path, parts.len());
            return Err(format!(
                "`{path}`: expected parts for {} bytes, got {count} of `{}` bytes each",
                file.size,
                word(size)
            )
            .into());
        };
        let (mut seen, mut tags) = (Sha256::new(), Vec::new());
        for (place, url) in parts.values().enumerate() {
            let from = place as u64 * length;
            let tag = self.put(file, url, &[], from, length.min(file.size - from), &mut seen, observe)?;
            let Some(tag) = tag else {
                return Err(format!("`{}`: expected an `ETag` of part {}, got none", file.file.path, place + 1).into());
            };
            tags.push(json!({"partNumber": place + 1, "etag": tag}));
        }
        self.tell(&upload.href, &json!({"oid": file.sha256, "parts": tags}))?;
        Ok(())
    }

    /// Sends bytes of a file. `seen` digests them; after the last it is compared with what the file was.
    #[expect(clippy::too_many_arguments, reason = "which bytes of what, to where, and who looks on")]
    fn put(
        &self,
        file: &Measured<'_>,
        url: &str,
        headers: &[(String, String)],
        from: u64,
        length: u64,
        seen: &mut Sha256,
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<Option<String>, Stop> {
        let path = &file.file.path;
        let changed = || Stop::Said(format!("`{path}` changed while it was sent; run again when nothing writes to it"));
        let mut trial = 0;
        loop {
            let mut content = file.file.open()?;
            content.seek(SeekFrom::Start(from)).map_err(StoreError::io(Path::new(path), "read the file"))?;
            let mut body = Watched {
                content: content.take(length),
                left: length,
                seen: seen.clone(),
                ended: false,
                observe: &mut |sent| observe(path, from + sent, file.size),
                length,
            };
            let mut request = self.agent.put(url).header("Content-Length", length.to_string());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let sent = request.send(ureq::SendBody::from_reader(&mut body));
            if body.ended {
                return Err(changed());
            }
            let (now, left) = (body.seen.clone(), body.left);
            if left == 0 && from + length == file.size && hexadecimal(&now.clone().finalize()) != file.sha256 {
                return Err(changed());
            }
            let broken = match sent {
                Ok(mut response) => {
                    let reply = read(&mut response);
                    match reply.status {
                        200..=299 if left > 0 => "the hub answered before all was sent".to_owned(),
                        200..=299 => {
                            *seen = now;
                            return Ok(reply.etag);
                        }
                        500.. | 429 => format!("the status {}", reply.status),
                        _ => return Err(format!("`{path}`: {}", self.refusal("PUT", url, &reply)).into()),
                    }
                }
                Err(error) => error.to_string(),
            };
            trial += 1;
            if trial == TRIES {
                return Err(format!("`{path}`: {broken}, {TRIES} times; run again to go on with what is left").into());
            }
            std::thread::sleep(pause(trial));
        }
    }

    /// Makes the commit. One whose reply was lost is not made twice: what is there is looked at first.
    fn commit(&self, small: &[&Measured<'_>], large: &[&Measured<'_>]) -> Result<String, Stop> {
        let mut lines = vec![json!({"key": "header", "value": {"summary": self.target.message, "description": ""}})];
        for file in small {
            let mut content = Vec::new();
            let path = Path::new(&file.file.path);
            file.file.open()?.read_to_end(&mut content).map_err(StoreError::io(path, "read the file"))?;
            if hexadecimal(&Sha256::digest(&content)) != file.sha256 {
                let path = path.display();
                return Err(format!("`{path}` changed while it was sent; run again when nothing writes to it").into());
            }
            let content = STANDARD.encode(content);
            lines.push(json!({
                "key": "file", "value": {"path": file.file.path, "encoding": "base64", "content": content},
            }));
        }
        for file in large {
            lines.push(json!({
                "key": "lfsFile",
                "value": {"path": file.file.path, "algo": "sha256", "oid": file.sha256, "size": file.size},
            }));
        }
        let body = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
        let url = self.api(&format!("commit/{}", self.revision()));
        let mut trial = 0;
        loop {
            let broken = match self.ask("POST", &url, "application/x-ndjson", body.as_bytes()) {
                Ok(reply) if reply.status < 300 => {
                    return Ok(parsed::<Committed>(&url, &reply.body, "a commit")?.commit_oid);
                }
                Ok(reply) => return Err(self.refusal("POST", &url, &reply).into()),
                Err(Broken::Refused(reason)) => return Err(reason.into()),
                Err(Broken::Connection(reason)) => reason,
            };
            trial += 1;
            if trial == TRIES {
                return Err(format!("{broken}, {TRIES} times; run again to go on with what is left").into());
            }
            std::thread::sleep(pause(trial));
            let now = self.look_again()?;
            if small.iter().chain(large).all(|file| is_there(&now, file)) {
                return Ok(now.sha);
            }
        }
    }

    /// Asks for something to be done, with a success as the only answer.
    fn tell(&self, url: &str, what: &Value) -> Result<Reply, String> {
        let body = what.to_string();
        let lfs = url.contains(".git/info/lfs/") || !self.is_hub(url);
        let form = if lfs { "application/vnd.git-lfs+json" } else { "application/json" };
        let reply = patiently(|| self.ask("POST", url, form, body.as_bytes()))?;
        if reply.status < 300 { Ok(reply) } else { Err(self.refusal("POST", url, &reply)) }
    }

    /// Makes one request. The token goes to the hub alone.
    fn ask(&self, method: &str, url: &str, form: &str, body: &[u8]) -> Result<Reply, Broken> {
        let bearer = self.is_hub(url).then(|| format!("Bearer {}", self.token));
        let sent = if method == "GET" {
            let mut request = self.agent.get(url);
            if let Some(bearer) = bearer {
                request = request.header("Authorization", bearer);
            }
            request.call()
        } else {
            let mut request = self.agent.post(url).header("Content-Type", form);
            if form.contains("lfs") {
                request = request.header("Accept", form);
            }
            if let Some(bearer) = bearer {
                request = request.header("Authorization", bearer);
            }
            request.send(body)
        };
        match sent {
            Ok(mut response) => {
                let reply = read(&mut response);
                match reply.status {
                    500.. | 429 => Err(Broken::Connection(self.refusal(method, url, &reply))),
                    _ => Ok(reply),
                }
            }
            // A header that can't be sent holds the token: it is not repeated.
            Err(ureq::Error::Http(_)) => Err(Broken::Refused(
                "expected a token of letters, digits and `_` in `HF_TOKEN`, got other characters".to_owned(),
            )),
            Err(error) => Err(Broken::Connection(format!("`{}`: {error}", shown(url)))),
        }
    }

    fn is_hub(&self, url: &str) -> bool {
        url.strip_prefix(self.endpoint).is_some_and(|rest| rest.starts_with('/'))
    }

    /// What a status other than success means, and what to do.
    fn refusal(&self, method: &str, url: &str, reply: &Reply) -> String {
        let stored = !self.is_hub(url);
        let hint = match reply.status {
            300..=399 => "the repository may have another name now: push to that",
            403 if stored => "the address may have expired: run again to go on with what is left",
            401 => "the hub does not know the token in `HF_TOKEN`: make one with write access in its settings",
            403 => {
                "give the token in `HF_TOKEN` write access to this owner's repositories, or push to a name of your own"
            }
            404 => "check the name and the branch",
            409 if url.ends_with("/repos/create") => {
                "the name is taken by a repository that the token can't read, or of the other kind: give another name or `--kind`"
            }
            409 | 412 => "someone else changed the repository meanwhile: run again",
            413 => {
                "the hub takes no file or commit so large: split the file into shards, or push fewer files at a time"
            }
            429 => "the hub asks for patience: run again later",
            500.. => "the hub is at fault: run again later",
            _ => "",
        };
        let said: String = self.plain(&reply.body).chars().take(200).collect();
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        let (url, status) = (shown(url), reply.status);
        format!("`{method} {url}`: expected success, got the status {status} (`{}`){hint}", said.trim())
    }

    /// What someone said, without the token.
    fn plain(&self, text: &str) -> String {
        text.replace(self.token, "…")
    }
}

/// Bytes on their way, with their digest.
struct Watched<'a> {
    content: io::Take<Box<dyn Content + 'a>>,
    /// Bytes that are yet to be read.
    left: u64,
    length: u64,
    seen: Sha256,
    /// Were there fewer bytes than there should be?
    ended: bool,
    observe: &'a mut dyn FnMut(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            self.ended = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.seen.update(&buffer[..count]);
        self.left -= count as u64;
        (self.observe)(self.length - self.left);
        Ok(count)
    }
}

fn read(response: &mut ureq::http::Response<ureq::Body>) -> Reply {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (code, etag) = (header("x-error-code").unwrap_or_default(), header("etag"));
    let status = response.status().as_u16();
    Reply { status, code, etag, body: response.body_mut().read_to_string().unwrap_or_default() }
}

fn parsed<'a, T: Deserialize<'a>>(url: &str, body: &'a str, what: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|e| format!("`{}`: expected {what}: {e}", shown(url)))
}

fn is_there(listing: &Listing, file: &Measured<'_>) -> bool {
    listing.siblings.iter().any(|there| there.rfilename == file.file.path && file.is(there))
}

/// Makes a request again where the connection broke.
fn patiently(mut ask: impl FnMut() -> Result<Reply, Broken>) -> Result<Reply, String> {
    let mut trial = 0;
    loop {
        let reason = match ask() {
            Ok(reply) => return Ok(reply),
            Err(Broken::Refused(reason)) => return Err(reason),
            Err(Broken::Connection(reason)) => reason,
        };
        trial += 1;
        if trial == TRIES {
            return Err(format!("{reason}, {TRIES} times; run again to go on with what is left"));
        }
        std::thread::sleep(pause(trial));
    }
}

fn pause(trial: u32) -> Duration {
    Duration::from_millis(100 << trial)
}

/// An address without its query, which may be a signature.
fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

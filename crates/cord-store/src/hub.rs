//! Models of the Hugging Face hub, by id and revision: fetched once, checked, resumed where a connection broke, and found again without
//! a network.
//!
//! The cache is the one that `huggingface_hub` keeps, so that what either has fetched serves both:
//!
//! ```text
//! <cache>/models--<organisation>--<name>/
//!   blobs/<digest>                       a file, by the SHA-256 or the git SHA-1 of its content
//!   blobs/<digest>.incomplete            what was fetched of it so far
//!   snapshots/<commit>/<file>            a link to its blob
//!   .cord/<commit>.json                  the hub's list of the commit's files, kept when all that was wanted is there
//! ```
//!
//! Not the crate `hf-hub`: it brings an asynchronous runtime or a system's TLS library, and does not compare what it
//! fetched with the hub's digests.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::{StoreError, durable};

/// How often a broken transfer is taken up again without a single new byte.
const TRIES: u32 = 4;

/// Bytes that are held at a time.
const BUFFER: usize = 1 << 20;

/// Which of a repository's files are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubFiles {
    /// What running a model takes: its config, safetensors, tokenizer and chat template.
    Model,
    /// Its tokenizer and chat template, and the configs that name the ends of a turn.
    Tokenizer,
}

impl HubFiles {
    fn wants(self, file: &str) -> bool {
        const TEXT: [&str; 6] = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "chat_template.jinja",
        ];
        // Folders hold other formats of the same weights.
        let weights = !file.contains('/')
            && file.starts_with("model")
            && (file.ends_with(".safetensors") || file.ends_with(".safetensors.index.json"));
        TEXT.contains(&file) || (self == Self::Model && weights)
    }
}

/// Where models come from and where they are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The folder of all models.
    pub cache: PathBuf,
    /// Sent to the hub itself, never to where it redirects.
    pub token: Option<String>,
    /// Ask nobody; what is not there is an error.
    pub offline: bool,
}

/// What the hub says of a commit.
#[derive(Serialize, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(rename = "blobId", default)]
    blob: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Sibling {
    /// What the content is called and checked by, and how long it is.
    fn content(&self) -> Option<(&str, u64)> {
        match &self.lfs {
            Some(lfs) => Some((&lfs.sha256, lfs.size)),
            None => Some((self.blob.as_deref()?, self.size?)),
        }
    }
}

impl Hub {
    /// The hub as the environment has it, with the variables of `huggingface_hub`: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`,
    /// `HF_TOKEN`, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = || read("HOME").or_else(|| read("USERPROFILE")).map_or_else(PathBuf::new, PathBuf::from);
        let root = || {
            let cache = || read("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
            read("HF_HOME").map_or_else(|| cache().join("huggingface"), PathBuf::from)
        };
        let endpoint = read("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: read("HF_HUB_CACHE").map_or_else(|| root().join("hub"), PathBuf::from),
            token: read("HF_TOKEN"),
            offline: read("HF_HUB_OFFLINE").is_some_and(|value| !["0", "false", "no"].contains(&value.as_str())),
        }
    }

    /// The folder of a model's files at a revision, fetched where it is not there yet. `observe` is told a file's name, how many of its
    /// bytes are there and how many there are.
    ///
    /// What was fetched is compared with the hub's sizes and digests; a transfer that broke off goes on where it broke.
    ///
    /// # Errors
    /// [`StoreError::Hub`] with what was asked for, what came and what to do; [`StoreError::Io`].
    pub fn fetch(
        &self,
        name: &str,
        revision: &str,
        wanted: HubFiles,
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<PathBuf, StoreError> {
        let fault = |reason: String| StoreError::Hub { name: name.to_owned(), revision: revision.to_owned(), reason };
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !(name.split('/').count() == 2 && name.split('/').all(plain) && plain(revision)) {
            return Err(fault("expected a name of the form `organisation/name` and a commit".to_owned()));
        }
        let model = self.cache.join(format!("models--{}", name.replace('/', "--")));
        let snapshot = model.join("snapshots").join(revision);
        let kept = model.join(".cord").join(format!("{revision}.json"));
        if let Some(listing) = fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice::<Listing>(&bytes).ok())
            && complete(&listing, &snapshot, wanted)
        {
            return Ok(snapshot);
        }
        if self.offline {
            // Another program may have fetched it; what is missing then shows when it is opened.
            if snapshot.is_dir() {
                return Ok(snapshot);
            }
            return Err(fault(format!(
                "expected its files in `{}`, got none, and `HF_HUB_OFFLINE` forbids to fetch them",
                snapshot.display()
            )));
        }
        let agent = agent();
        let listing = self.list(&agent, name, revision).map_err(&fault)?;
        if listing.sha != revision && revision.len() == 40 {
            return Err(fault(format!("expected the commit `{revision}`, got `{}`", listing.sha)));
        }
        let files: Vec<&Sibling> = listing.siblings.iter().filter(|file| wanted.wants(&file.rfilename)).collect();
        if files.is_empty() {
            return Err(fault("expected `config.json`, weights and a tokenizer among its files, got none".to_owned()));
        }
        let blobs = model.join("blobs");
        for folder in [&snapshot, &blobs, &model.join(".cord")] {
            fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
        }
        for file in files {
            let Some((digest, size)) = file.content() else {
                return Err(fault(format!("expected the size and digest of `{}`, got none", file.rfilename)));
            };
            if !(matches!(digest.len(), 40 | 64) && digest.chars().all(|c| c.is_ascii_hexdigit())) {
                return Err(fault(format!("expected a digest of `{}`, got `{digest}`", file.rfilename)));
            }
            let blob = blobs.join(digest);
            let url = format!("{}/{name}/resolve/{revision}/{}", self.endpoint, file.rfilename);
            if !fs::metadata(&blob).is_ok_and(|there| there.len() == size) {
                let transfer = Transfer { hub: self, agent: &agent, url: &url, file: &file.rfilename, digest, size };
                transfer.run(&blob, &fault, observe)?;
            }
            observe(&file.rfilename, size, size);
            link(&blob, &snapshot.join(&file.rfilename))?;
        }
        let bytes = serde_json::to_vec(&listing).expect("a list of files is JSON");
        durable::write(&kept, &bytes)?;
        Ok(snapshot)
    }

    fn get(&self, agent: &ureq::Agent, url: &str, from: u64) -> Result<ureq::http::Response<ureq::Body>, String> {
        let mut request = agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|e| format!("`{url}`: {e}"))
    }

    fn list(&self, agent: &ureq::Agent, name: &str, revision: &str) -> Result<Listing, String> {
        let url = format!("{}/api/models/{name}/revision/{revision}?blobs=true", self.endpoint);
        let mut response = self.get(agent, &url, 0)?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().map_err(|e| format!("`{url}`: {e}"))?;
        if status != 200 {
            return Err(refusal(&url, status, &body));
        }
        serde_json::from_str(&body).map_err(|e| format!("`{url}`: expected a list of files: {e}"))
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_mins(1)))
        .timeout_per_read(Some(Duration::from_mins(1)));
    config.build().into()
}

fn refusal(url: &str, status: u16, body: &str) -> String {
    let hint = match status {
        401 | 403 => "; set `HF_TOKEN` to a token that may read it, and accept its licence on the hub",
        404 => "; check the name and the commit",
        429 => "; the hub asks for patience: try again later",
        _ => "",
    };
    let said: String = body.chars().take(200).collect();
    format!("`{url}`: expected the status 200, got {status} (`{}`){hint}", said.trim())
}

/// Is everything that was wanted there, in its full size?
fn complete(listing: &Listing, snapshot: &Path, wanted: HubFiles) -> bool {
    listing.siblings.iter().filter(|file| wanted.wants(&file.rfilename)).all(|file| {
        let there = fs::metadata(snapshot.join(&file.rfilename)).map(|there| there.len()).ok();
        there.is_some() && there == file.content().map(|(_, size)| size)
    })
}

/// One file on its way.
struct Transfer<'a> {
    hub: &'a Hub,
    agent: &'a ureq::Agent,
    url: &'a str,
    file: &'a str,
    digest: &'a str,
    size: u64,
}

impl Transfer<'_> {
    fn run(
        &self,
        blob: &Path,
        fault: &dyn Fn(String) -> StoreError,
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(), StoreError> {
        let partial = blob.with_extension("incomplete");
        let io = |action: &'static str| StoreError::io(&partial, action);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&partial)
            .map_err(io("create the file"))?;
        // Whoever else fetches it now is waited for.
        file.lock().map_err(io("lock the file"))?;
        if fs::metadata(blob).is_ok_and(|there| there.len() == self.size) {
            return Ok(());
        }
        let mut idle = 0;
        loop {
            let mut there = file.seek(SeekFrom::End(0)).map_err(io("measure the file"))?;
            if there > self.size {
                file.set_len(0).map_err(io("empty the file"))?;
                there = file.seek(SeekFrom::Start(0)).map_err(io("measure the file"))?;
            }
            if there == self.size {
                break;
            }
            let broken = match self.receive(&mut file, there, observe) {
                Ok(()) => "the connection ended early".to_owned(),
                Err(Broken::Disk(source)) => return Err(io("write the file")(source)),
                Err(Broken::Refused(reason)) => return Err(fault(reason)),
                Err(Broken::Connection(reason)) => reason,
            };
            let now = file.seek(SeekFrom::End(0)).map_err(io("measure the file"))?;
            if now == self.size {
                break;
            }
            idle = if now > there { 0 } else { idle + 1 };
            if idle == TRIES {
                return Err(fault(format!(
                    "`{}`: got {now} of {} bytes, then {broken}; run again to go on from there",
                    self.file, self.size
                )));
            }
            std::thread::sleep(Duration::from_millis(200 << idle));
        }
        file.sync_all().map_err(io("flush the file"))?;
        let given = content_digest(&mut file, self.digest.len(), self.size).map_err(io("read the file"))?;
        if given != self.digest {
            fs::remove_file(&partial).map_err(io("remove the file"))?;
            let (file, digest) = (self.file, self.digest);
            return Err(fault(format!(
                "`{file}`: expected content with the digest `{digest}`, got `{given}`; it was removed: run again"
            )));
        }
        fs::rename(&partial, blob).map_err(StoreError::io(blob, "rename the finished file"))
    }

    /// Appends what comes.
    fn receive(&self, file: &mut File, mut there: u64, observe: &mut dyn FnMut(&str, u64, u64)) -> Result<(), Broken> {
        let mut response = self.hub.get(self.agent, self.url, there).map_err(Broken::Connection)?;
        match response.status().as_u16() {
            206 => {}
            // The whole file, whatever was asked for.
            200 => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(Broken::Disk)?;
                there = 0;
            }
            status if status >= 500 => {
                return Err(Broken::Connection(format!("the status {status}")));
            }
            status => {
                let body = response.body_mut().read_to_string().unwrap_or_default();
                return Err(Broken::Refused(refusal(self.url, status, &body)));
            }
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = body.read(&mut buffer).map_err(|e| Broken::Connection(e.to_string()))?;
            if count == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..count]).map_err(Broken::Disk)?;
            there += count as u64;
            observe(self.file, there, self.size);
            if there > self.size {
                // More than there is to it: the digest will differ.
                return Ok(());
            }
        }
    }
}

enum Broken {
    Connection(String),
    Refused(String),
    Disk(io::Error),
}

/// The SHA-256 of a file, or git's SHA-1 of it, by the number of digits that are wanted.
fn content_digest(file: &mut File, digits: usize, size: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut git, mut plain) = (Sha1::new(), Sha256::new());
    let is_git = digits == 40;
    git.update(format!("blob {size}\0"));
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if is_git {
            git.update(&buffer[..count]);
        } else {
            plain.update(&buffer[..count]);
        }
    }
    Ok(if is_git { hexadecimal(&git.finalize()) } else { hexadecimal(&plain.finalize()) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Lets a snapshot's file be its blob.
fn link(blob: &Path, file: &Path) -> Result<(), StoreError> {
    if fs::canonicalize(file).ok().is_some_and(|target| fs::canonicalize(blob).is_ok_and(|blob| blob == target)) {
        return Ok(());
    }
    if fs::symlink_metadata(file).is_ok() {
        fs::remove_file(file).map_err(StoreError::io(file, "remove the old file"))?;
    }
    #[cfg(unix)]
    {
        let name = blob.file_name().expect("a blob has a name");
        let target = Path::new("../../blobs").join(name);
        std::os::unix::fs::symlink(target, file).map_err(StoreError::io(file, "link the file"))
    }
    // Links take a privilege elsewhere.
    #[cfg(not(unix))]
    fs::hard_link(blob, file).map_err(StoreError::io(file, "link the file"))
}

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

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::download::{Transfer, agent, get, refusal};
use crate::{StoreError, durable};

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
pub(crate) struct Listing {
    pub(crate) sha: String,
    pub(crate) siblings: Vec<Sibling>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sibling {
    pub(crate) rfilename: String,
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
    pub(crate) fn content(&self) -> Option<(&str, u64)> {
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
        if !(is_repository(name) && is_plain(revision)) {
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
                let transfer = Transfer {
                    agent: &agent,
                    url: &url,
                    token: self.token.as_deref(),
                    name: &file.rfilename,
                    digest: Some(digest),
                    size: Some(size),
                };
                transfer.run(&blob, &fault, observe)?;
            }
            observe(&file.rfilename, size, size);
            link(&blob, &snapshot.join(&file.rfilename))?;
        }
        let bytes = serde_json::to_vec(&listing).expect("a list of files is JSON");
        durable::write(&kept, &bytes)?;
        Ok(snapshot)
    }

    fn list(&self, agent: &ureq::Agent, name: &str, revision: &str) -> Result<Listing, String> {
        let url = format!("{}/api/models/{name}/revision/{revision}?blobs=true", self.endpoint);
        let mut response = get(agent, &url, self.token.as_deref(), 0)?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().map_err(|e| format!("`{url}`: {e}"))?;
        if status != 200 {
            return Err(refusal(&url, status, &body));
        }
        serde_json::from_str(&body).map_err(|e| format!("`{url}`: expected a list of files: {e}"))
    }
}

/// A part of a name that can be a part of an address and of a path.
pub(crate) fn is_plain(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

/// `owner/name`
pub(crate) fn is_repository(name: &str) -> bool {
    name.split('/').count() == 2 && name.split('/').all(is_plain)
}

/// Is everything that was wanted there, in its full size?
fn complete(listing: &Listing, snapshot: &Path, wanted: HubFiles) -> bool {
    listing.siblings.iter().filter(|file| wanted.wants(&file.rfilename)).all(|file| {
        let there = fs::metadata(snapshot.join(&file.rfilename)).map(|there| there.len()).ok();
        there.is_some() && there == file.content().map(|(_, size)| size)
    })
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

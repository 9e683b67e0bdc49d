//! Data sets and models sent to the Hugging Face hub: what it lacks, and nothing else, as one commit.
//!
//! ```text
//! GET  /api/<kind>s/<name>/revision/<branch>    what is there, with digests
//! POST /api/repos/create                        where there is no repository
//! POST /api/<kind>s/<name>/branch/<branch>      where there is no such branch
//! POST /api/<kind>s/<name>/preupload/<branch>   which files go through LFS
//! POST /<name>.git/info/lfs/objects/batch       where their content goes, if it is not there yet
//! PUT  …                                        the content, whole or in parts as the hub asks
//! POST /api/<kind>s/<name>/commit/<branch>      all files, small ones with their content
//! ```
//!
//! What a push that broke off has brought through LFS stays with the hub, so that running again sends the rest.
//!
//! Not the crate `hf-hub`, which sends large files by Xet alone, with an asynchronous runtime and a second HTTP client; the
//! hub takes LFS as well.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::download::hexadecimal;
use crate::hub::{Sibling, is_plain, is_repository};
use crate::sender::{Sender, Stop};
use crate::{Hub, StoreError};

/// The bytes of a file by which the hub tells text from other content.
const SAMPLE: usize = 512;

/// Bytes over which a file goes through LFS whatever it is called.
const LARGE: u64 = 10 << 20;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl HubKind {
    /// The hub's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// What stands before the name in addresses of pages and files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// A file to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushFile {
    /// Its path in the repository, `/` between folders.
    pub path: String,
    /// Where its content is.
    pub content: PushContent,
}

/// The content of a file to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushContent {
    /// A file of this machine.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Where files are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTarget {
    /// What the repository holds.
    pub kind: HubKind,
    /// `owner/name`.
    pub name: String,
    /// The branch; made where it is missing.
    pub revision: String,
    /// Is a repository that is made here hidden from others? One that is there stays as it is.
    pub private: bool,
    /// The commit's message.
    pub message: String,
}

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Was the repository made?
    pub created: bool,
    /// Files of the commit.
    pub sent: Vec<String>,
    /// Those of them whose content the hub had: of another repository, or from a push that broke off.
    pub had: Vec<String>,
    /// Files that were there already, with the same content.
    pub there: Vec<String>,
    /// Files that the repository's `.gitignore` leaves out.
    pub ignored: Vec<String>,
    /// The commit, where one was made.
    pub commit: Option<String>,
}

impl PushFile {
    /// Bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn size(&self) -> Result<u64, StoreError> {
        match &self.content {
            PushContent::Bytes(bytes) => Ok(bytes.len() as u64),
            PushContent::File(path) => Ok(fs::metadata(path).map_err(StoreError::io(path, "measure the file"))?.len()),
        }
    }

    /// Will it go through LFS, by the rules that a new repository has? The hub decides when it is asked.
    pub fn is_large(&self, size: u64) -> bool {
        const ENDINGS: [&str; 11] =
            [".safetensors", ".parquet", ".bin", ".arrow", ".gz", ".zip", ".zst", ".npy", ".npz", ".pt", ".pth"];
        size > LARGE || ENDINGS.iter().any(|ending| self.path.ends_with(ending))
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Content + '_>, StoreError> {
        Ok(match &self.content {
            PushContent::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            PushContent::File(path) => Box::new(File::open(path).map_err(StoreError::io(path, "open the file"))?),
        })
    }
}

/// What can be read from any place on.
pub(crate) trait Content: Read + Seek {}
impl<T: Read + Seek> Content for T {}

/// A file as it was when it was looked at.
pub(crate) struct Measured<'a> {
    pub(crate) file: &'a PushFile,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// Git's SHA-1.
    git: String,
    pub(crate) sample: Vec<u8>,
}

impl<'a> Measured<'a> {
    fn of(file: &'a PushFile) -> Result<Self, StoreError> {
        let size = file.size()?;
        let mut content = file.open()?;
        let (mut plain, mut git) = (Sha256::new(), Sha1::new());
        git.update(format!("blob {size}\0"));
        let (mut sample, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let count = content.read(&mut buffer).map_err(StoreError::io(Path::new(&file.path), "read the file"))?;
            if count == 0 {
                break;
            }
            let missing = SAMPLE.saturating_sub(sample.len()).min(count);
            sample.extend_from_slice(&buffer[..missing]);
            plain.update(&buffer[..count]);
            git.update(&buffer[..count]);
        }
        Ok(Self { file, size, sha256: hexadecimal(&plain.finalize()), git: hexadecimal(&git.finalize()), sample })
    }

    /// Is the file of the hub the same?
    pub(crate) fn is(&self, there: &Sibling) -> bool {
        there.content().is_some_and(|(digest, size)| size == self.size && (digest == self.sha256 || digest == self.git))
    }
}

impl Hub {
    /// The address of a repository's page.
    pub fn page(&self, kind: HubKind, name: &str) -> String {
        format!("{}/{}{name}", self.endpoint, kind.prefix())
    }

    /// Sends the files that the hub lacks, as one commit; makes the repository and the branch where they are missing. Files of
    /// the repository that are not among these stay. `observe` is told a file's name, how many of its bytes are sent and how
    /// many there are.
    ///
    /// # Errors
    /// [`StoreError::Push`] with what was asked for, what came and what to do, never with the token; [`StoreError::Io`].
    pub fn push(
        &self,
        target: &PushTarget,
        files: &[PushFile],
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<Pushed, StoreError> {
        let fault = |reason: String| StoreError::Push { name: target.name.clone(), reason };
        if !is_repository(&target.name) {
            return Err(fault("expected a name of the form `owner/name`".to_owned()));
        }
        if !is_branch(&target.revision) {
            return Err(fault(format!("expected a branch of letters, digits and `-_./`, got `{}`", target.revision)));
        }
        if self.offline {
            return Err(fault("`HF_HUB_OFFLINE` forbids to send anything; unset it".to_owned()));
        }
        let Some(token) = self.token.as_deref().map(str::trim) else {
            return Err(fault(
                "expected a token in `HF_TOKEN`, got none; make one with write access in the hub's settings".to_owned(),
            ));
        };
        let sender = Sender::new(&self.endpoint, token, target);
        let measured = files.iter().map(Measured::of).collect::<Result<Vec<_>, _>>()?;
        sender.push(&measured, observe).map_err(|stop| match stop {
            Stop::Said(reason) => fault(reason),
            Stop::Store(error) => error,
        })
    }
}

fn is_branch(text: &str) -> bool {
    text.split('/').all(is_plain)
}

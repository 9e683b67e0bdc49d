//! The append-only file of model replies.
//!
//! One reply is one line of JSON, written by one system call:
//!
//! ```text
//! {"check":"<16 hex digits>","request":"<64 hex digits>","reply":{"generation":{…}}}
//! ```
//!
//! `check` opens the digest of the rest, so that a line changed in place is seen. A killed process can leave
//! only the *last* line torn, and a torn line has no line break: such a tail is cut off when the journal is
//! opened. A complete line that can't be read was damaged by something else, and is an error that says where.
//!
//! Replies stay on the disk, and so does the index of their places ([`Index`]): memory does not grow with the journal. No reply
//! is ever let go of, for whoever asks again, a resumed run or another arm of an ablation, asks for any of them. The index is
//! made anew when the journal is opened, which reads all of it anyway.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cord_core::{Digest, Digester, Generation, ModelError, TokenLogprob};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::StoreError;
use crate::index::Index;

/// What a model replied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To a request to continue a prompt.
    Generation(Generation),
    /// To a request for log-probabilities.
    Logprobs(Vec<TokenLogprob>),
}

impl Reply {
    /// JSON has no word for NaN and the infinities: they would be read back as something else.
    fn not_finite(&self) -> Option<String> {
        match self {
            Self::Generation(generation) => {
                let mean = generation.mean_logprob.filter(|mean| !mean.is_finite())?;
                Some(format!("`{mean}` as the mean log-probability"))
            }
            Self::Logprobs(tokens) => {
                let index = tokens.iter().position(|token| !token.logprob.is_finite())?;
                Some(format!("`{}` at token {index}", tokens[index].logprob))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    check: String,
    request: Digest,
    #[serde(borrow)]
    reply: &'a RawValue,
}

fn check(request: Digest, reply: &str) -> String {
    let digest = Digester::new("cord-journal").part(request.as_bytes()).part(reply.as_bytes()).finish();
    digest.to_string()[..16].to_owned()
}

#[derive(Debug)]
struct State {
    file: File,
    /// Where the line of each request begins, in bytes.
    places: Index,
    end: u64,
}

type Asking = BoxFuture<'static, Result<Reply, ModelError>>;
pub(crate) type Asked = Shared<Asking>;

/// What the journal knows of a request.
pub(crate) enum Known {
    /// It was answered before.
    Answered(Reply),
    /// It is being asked now, on behalf of someone else.
    Asked(Asked),
    /// It is asked with this call.
    New(Asked),
}

/// An append-only file of model replies. One journal serves all models of a stage, or of all stages that share their
/// replies ([`Replies`](crate::Replies)): share it by `Arc`. Only one may be open on a file at a time; the lock of what it
/// belongs to sees to that.
///
/// Its calls touch the disk and block for as long as that takes: microseconds, beside the milliseconds to
/// minutes of a model's reply.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
    asked: Mutex<BTreeMap<Digest, WeakShared<Asking>>>,
}

impl Journal {
    /// Opens a journal, and makes it where it is missing. A torn last line is cut off.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(StoreError::io(path, "open the journal"))?;
        let mut places = Index::beside(path);
        let read = each_line(path, &mut file, |offset, line| {
            // Only a journal joined by hand holds a request twice; the first reply is the one that others saw.
            places.insert(line.request, offset).map(drop)
        })?;
        if read.torn {
            file.set_len(read.end).map_err(StoreError::io(path, "cut off the torn last line"))?;
        }
        let state = State { file, places, end: read.end };
        Ok(Self { path: path.to_path_buf(), state: Mutex::new(state), asked: Mutex::default() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many requests it can answer.
    pub fn len(&self) -> usize {
        self.state().places.len() as usize
    }

    /// Can it answer none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply to a request, where it has one.
    pub fn get(&self, request: Digest) -> Result<Option<Reply>, StoreError> {
        let mut state = self.state();
        let Some(offset) = state.places.get(request)? else { return Ok(None) };
        let mut text = Vec::new();
        let mut read = || {
            state.file.seek(SeekFrom::Start(offset))?;
            BufReader::new(&state.file).read_until(b'\n', &mut text)
        };
        read().map_err(StoreError::io(&self.path, "read the journal"))?;
        drop(state);
        let reply = parse(&text).and_then(|line| {
            serde_json::from_str(line.reply.get()).map_err(|error| format!("expected a reply, got `{error}`"))
        });
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(reason) => {
                let line = line_at(&self.path, offset).map_err(StoreError::io(&self.path, "read the journal"))?;
                Err(StoreError::Journal { path: self.path.clone(), line, offset, reason })
            }
        }
    }

    /// Appends a reply. A request that has one keeps it.
    pub fn append(&self, request: Digest, reply: &Reply) -> Result<(), StoreError> {
        if let Some(given) = reply.not_finite() {
            return Err(StoreError::NotFinite { path: self.path.clone(), given });
        }
        let json = serde_json::to_string(reply).map_err(StoreError::json(&self.path))?;
        let reply = RawValue::from_string(json).map_err(StoreError::json(&self.path))?;
        let line = Line { check: check(request, reply.get()), request, reply: &reply };
        let mut text = serde_json::to_vec(&line).map_err(StoreError::json(&self.path))?;
        text.push(b'\n');

        let mut state = self.state();
        let State { file, places, end } = &mut *state;
        if places.get(request)?.is_some() {
            return Ok(());
        }
        // One call for one line: nothing that kills the process can then tear any line but the last.
        let written = loop {
            match file.write(&text) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let written = match written {
            Ok(bytes) if bytes == text.len() => Ok(()),
            Ok(bytes) => Err(std::io::Error::new(
                ErrorKind::WriteZero,
                format!("expected {} bytes to be written, got {bytes}", text.len()),
            )),
            Err(error) => Err(error),
        };
        let written = written.map_err(StoreError::io(&self.path, "append to the journal"));
        if let Err(error) = written.and_then(|()| places.insert(request, *end)) {
            // A full disk: what was written must not stand before the next line, in part or without a place.
            file.set_len(*end).map_err(StoreError::io(&self.path, "cut off a line that was written in part"))?;
            return Err(error);
        }
        *end += text.len() as u64;
        Ok(())
    }

    /// Appends every reply of another journal that this one has none to. Gives how many those were.
    pub fn take_in(&self, other: &Self) -> Result<usize, StoreError> {
        let before = self.len();
        let mut file = File::open(&other.path).map_err(StoreError::io(&other.path, "open the journal"))?;
        each_line(&other.path, &mut file, |_, line| {
            if self.state().places.get(line.request)?.is_some() {
                return Ok(());
            }
            let reply = serde_json::from_str(line.reply.get()).map_err(StoreError::json(&other.path))?;
            self.append(line.request, &reply)
        })?;
        Ok(self.len() - before)
    }

    /// Flushes to the disk, so that even a loss of power keeps what was appended.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.state().file.sync_data().map_err(StoreError::io(&self.path, "flush the journal"))
    }

    /// Answers a request, joins whoever asks it now, or asks it with `ask`. The reply is appended before
    /// anyone sees it; an error is not, so that the next run asks again.
    pub(crate) fn look_up(
        self: &std::sync::Arc<Self>,
        request: Digest,
        ask: impl FnOnce() -> Asking,
    ) -> Result<Known, StoreError> {
        // Held over the whole decision: of two callers at once, one asks and the other joins.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = asked.get(&request).and_then(WeakShared::upgrade) {
            return Ok(Known::Asked(running));
        }
        if let Some(reply) = self.get(request)? {
            return Ok(Known::Answered(reply));
        }
        let (journal, reply) = (std::sync::Arc::clone(self), ask());
        let new = async move {
            let reply = reply.await;
            let reply = reply.and_then(|reply| match journal.append(request, &reply) {
                Ok(()) => Ok(reply),
                Err(error) => Err(journal.model_error(&error)),
            });
            journal.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
            reply
        };
        let new = new.boxed().shared();
        // Weak, so that a caller who goes away takes the question with him if no one else waits for it.
        let weak = new.downgrade().expect("a future that was never polled is not finished");
        asked.insert(request, weak);
        Ok(Known::New(new))
    }

    pub(crate) fn model_error(&self, error: &StoreError) -> ModelError {
        ModelError::Journal { path: self.path.display().to_string(), reason: error.to_string() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands in a journal.
struct Read {
    /// The end of its last whole line, in bytes.
    end: u64,
    /// Is there a torn line behind that?
    torn: bool,
}

/// Hands each whole line to `visit`, with the byte at which it begins.
fn each_line(
    path: &Path,
    file: &mut File,
    mut visit: impl FnMut(u64, Line<'_>) -> Result<(), StoreError>,
) -> Result<Read, StoreError> {
    let mut reader = BufReader::new(file);
    let (mut end, mut lines, mut text) = (0u64, 0u64, Vec::new());
    loop {
        text.clear();
        let bytes = reader.read_until(b'\n', &mut text).map_err(StoreError::io(path, "read the journal"))?;
        if bytes == 0 || text.last() != Some(&b'\n') {
            return Ok(Read { end, torn: bytes > 0 });
        }
        lines += 1;
        let line = parse(&text);
        let fault = |reason| StoreError::Journal { path: path.to_path_buf(), line: lines, offset: end, reason };
        visit(end, line.map_err(fault)?)?;
        end += bytes as u64;
    }
}

/// Reads a line, or says what is wrong with it.
fn parse(text: &[u8]) -> Result<Line<'_>, String> {
    let line: Line<'_> = serde_json::from_slice(text).map_err(|_| {
        // The line itself says more than the parser, which counts lines of its own.
        let text = String::from_utf8_lossy(text);
        let start: String = text.trim_end().chars().take(60).collect();
        format!("expected a record, got `{start}`")
    })?;
    let expected = check(line.request, line.reply.get());
    if line.check != expected {
        return Err(format!("expected the check `{expected}` of its content, got `{}`", line.check));
    }
    Ok(line)
}

/// The number of the line that begins at this byte: counted when it is asked for, since only errors say it.
fn line_at(path: &Path, offset: u64) -> std::io::Result<u64> {
    let mut before = BufReader::new(File::open(path)?.take(offset));
    let (mut lines, mut text) = (1, Vec::new());
    while before.read_until(b'\n', &mut text)? > 0 {
        lines += 1;
        text.clear();
    }
    Ok(lines)
}

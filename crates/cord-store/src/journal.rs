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
//! Replies stay on the disk; memory holds one place for each, so that a journal of gigabytes can be resumed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cord_core::{Digest, Digester, Generation, ModelError, TokenLogprob};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::StoreError;

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

/// Where a line stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: u64,
    offset: u64,
    bytes: usize,
}

#[derive(Debug)]
struct State {
    file: File,
    places: BTreeMap<Digest, Place>,
    lines: u64,
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
        let mut places = BTreeMap::new();
        let (mut end, mut lines) = (0u64, 0u64);
        let mut reader = BufReader::new(&mut file);
        let mut text = Vec::new();
        loop {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text).map_err(StoreError::io(path, "read the journal"))?;
            if bytes == 0 || text.last() != Some(&b'\n') {
                break;
            }
            lines += 1;
            let place = Place { line: lines, offset: end, bytes };
            let line = parse(path, place, &text)?;
            // Only a journal joined by hand holds a request twice; the first reply is the one that others saw.
            places.entry(line.request).or_insert(place);
            end += bytes as u64;
        }
        drop(reader);
        if !text.is_empty() {
            file.set_len(end).map_err(StoreError::io(path, "cut off the torn last line"))?;
        }
        let state = State { file, places, lines, end };
        Ok(Self { path: path.to_path_buf(), state: Mutex::new(state), asked: Mutex::default() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many requests it can answer.
    pub fn len(&self) -> usize {
        self.state().places.len()
    }

    /// Can it answer none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply to a request, where it has one.
    pub fn get(&self, request: Digest) -> Result<Option<Reply>, StoreError> {
        let mut state = self.state();
        let Some(place) = state.places.get(&request).copied() else { return Ok(None) };
        let mut text = vec![0; place.bytes];
        let mut read = || {
            state.file.seek(SeekFrom::Start(place.offset))?;
            state.file.read_exact(&mut text)
        };
        read().map_err(StoreError::io(&self.path, "read the journal"))?;
        drop(state);
        let line = parse(&self.path, place, &text)?;
        let reply = serde_json::from_str(line.reply.get());
        reply.map(Some).map_err(|error| fault(&self.path, place, format!("expected a reply, got `{error}`")))
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
        let State { file, places, lines, end } = &mut *state;
        let Entry::Vacant(place) = places.entry(request) else { return Ok(()) };
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
        if let Err(error) = written {
            // A full disk: the part that was written must not stand before the next line.
            file.set_len(*end).map_err(StoreError::io(&self.path, "cut off a line that was written in part"))?;
            return Err(StoreError::io(&self.path, "append to the journal")(error));
        }
        *lines += 1;
        place.insert(Place { line: *lines, offset: *end, bytes: text.len() });
        *end += text.len() as u64;
        Ok(())
    }

    /// Appends every reply of another journal that this one has none to. Gives how many those were.
    pub fn take_in(&self, other: &Self) -> Result<usize, StoreError> {
        let known: Vec<Digest> = other.state().places.keys().copied().collect();
        let before = self.len();
        for request in known {
            if self.state().places.contains_key(&request) {
                continue;
            }
            if let Some(reply) = other.get(request)? {
                self.append(request, &reply)?;
            }
        }
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

fn parse<'a>(path: &Path, place: Place, text: &'a [u8]) -> Result<Line<'a>, StoreError> {
    let line: Line<'a> = serde_json::from_slice(text).map_err(|_| {
        // The line itself says more than the parser, which counts lines of its own.
        let text = String::from_utf8_lossy(text);
        let start: String = text.trim_end().chars().take(60).collect();
        fault(path, place, format!("expected a record, got `{start}`"))
    })?;
    let expected = check(line.request, line.reply.get());
    if line.check != expected {
        let reason = format!("expected the check `{expected}` of its content, got `{}`", line.check);
        return Err(fault(path, place, reason));
    }
    Ok(line)
}

fn fault(path: &Path, place: Place, reason: String) -> StoreError {
    StoreError::Journal { path: path.to_path_buf(), line: place.line, offset: place.offset, reason }
}

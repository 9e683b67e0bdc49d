//! A map from digests to numbers that lies on the disk, so that memory does not grow with it.
//!
//! The newest entries are in memory; when there are too many, they become a run: a file in the order of its keys, written once from
//! front to back. Runs of a size are merged when there are a few, so that n entries make some log n of them. (A hash table in a
//! file, written wherever an entry falls, was tried: such writes wait for the disk.) Digests are spread evenly, so that the place of
//! one in a run is guessed from its value and found in a read or three, and nothing of a run is held in memory.
//!
//! The files have no name: the system removes them with the process, however that ends. So an index is never older than what it is
//! made from, and nothing has to be checked when one is opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cord_core::Digest;

use crate::StoreError;

const KEY: usize = 32;
/// A key and its number.
const ENTRY: usize = KEY + 8;
/// The most entries in memory.
const RECENT: usize = 1 << 13;
/// Runs of a size that are merged into one of the next.
const MERGED: usize = 4;
/// Entries that are read at once.
const WINDOW: u64 = 64;

type Key = [u8; KEY];

/// A map from digests to numbers, in which the first number of a digest stays.
#[derive(Debug)]
pub(crate) struct Index {
    folder: PathBuf,
    recent: BTreeMap<Key, u64>,
    /// Each size has fewer than `MERGED` runs and is `MERGED` times as large as the one before. No key is in two.
    sizes: Vec<Vec<Run>>,
    entries: u64,
}

/// A file of entries in the order of their keys.
#[derive(Debug)]
struct Run {
    file: File,
    entries: u64,
}

impl Index {
    /// An empty index, with its files in the folder of this one: there is room where that one grows.
    pub(crate) fn beside(file: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: folder.to_path_buf(), recent: BTreeMap::new(), sizes: Vec::new(), entries: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries
    }

    pub(crate) fn get(&mut self, key: Digest) -> Result<Option<u64>, StoreError> {
        let key = key.as_bytes();
        if let Some(number) = self.recent.get(key) {
            return Ok(Some(*number));
        }
        for run in self.sizes.iter_mut().flatten() {
            let found = run.find(key).map_err(StoreError::io(&self.folder, "read the index"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Notes the number of a digest that has none, and says whether it had none. One that can't be noted changes nothing.
    pub(crate) fn insert(&mut self, key: Digest, number: u64) -> Result<bool, StoreError> {
        if self.get(key)?.is_some() {
            return Ok(false);
        }
        if self.recent.len() >= RECENT {
            self.spill().map_err(StoreError::io(&self.folder, "write to the index"))?;
        }
        self.recent.insert(*key.as_bytes(), number);
        self.entries += 1;
        Ok(true)
    }

    /// Makes a run of what is in memory, and one run of those that have become too many.
    fn spill(&mut self) -> io::Result<()> {
        for size in 0..self.sizes.len() {
            if self.sizes[size].len() == MERGED {
                let merged = Run::merged(&self.folder, &mut self.sizes[size])?;
                self.sizes[size].clear();
                self.at(size + 1).push(merged);
            }
        }
        let run = Run::write(&self.folder, self.recent.iter().map(|(key, number)| Ok((*key, *number))))?;
        self.recent.clear();
        self.at(0).push(run);
        Ok(())
    }

    fn at(&mut self, size: usize) -> &mut Vec<Run> {
        if self.sizes.len() == size {
            self.sizes.push(Vec::new());
        }
        &mut self.sizes[size]
    }
}

impl Run {
    /// Writes entries, which come in the order of their keys.
    fn write(folder: &Path, entries: impl Iterator<Item = io::Result<(Key, u64)>>) -> io::Result<Self> {
        let mut writer = BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(folder)?);
        let mut count = 0;
        for entry in entries {
            let (key, number) = entry?;
            writer.write_all(&key)?;
            writer.write_all(&number.to_le_bytes())?;
            count += 1;
        }
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Self { file, entries: count })
    }

    fn merged(folder: &Path, runs: &mut [Self]) -> io::Result<Self> {
        let mut heads = BTreeMap::new();
        let mut readers = Vec::new();
        for (at, run) in runs.iter_mut().enumerate() {
            run.file.rewind()?;
            let mut reader = BufReader::with_capacity(1 << 16, &run.file).take(run.entries * ENTRY as u64);
            if let Some((key, number)) = next(&mut reader)? {
                heads.insert(key, (number, at));
            }
            readers.push(reader);
        }
        let ordered = std::iter::from_fn(|| {
            let (key, (number, at)) = heads.pop_first()?;
            match next(&mut readers[at]) {
                Ok(Some((key, number))) => drop(heads.insert(key, (number, at))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            Some(Ok((key, number)))
        });
        Self::write(folder, ordered)
    }

    fn find(&mut self, key: &Key) -> io::Result<Option<u64>> {
        // The key can only be at `first..end`, and what stands there lies from `low` to `high`.
        let (mut first, mut end, mut low, mut high) = (0, self.entries, 0, u64::MAX);
        let wanted = leading(key);
        let mut window = [0; WINDOW as usize * ENTRY];
        while first < end {
            let guess = if high > low {
                let share = u128::from(wanted.clamp(low, high) - low) * u128::from(end - first);
                first + (share / u128::from(high - low)) as u64
            } else {
                // Keys that begin alike: their beginning says nothing about their places.
                first + (end - first) / 2
            };
            let from = guess.saturating_sub(WINDOW / 2).max(first);
            let to = (from + WINDOW).min(end);
            let from = to.saturating_sub(WINDOW).max(first);
            let window = &mut window[..(to - from) as usize * ENTRY];
            self.file.seek(SeekFrom::Start(from * ENTRY as u64))?;
            self.file.read_exact(window)?;
            let (entries, _) = window.as_chunks::<ENTRY>();
            let (lowest, highest) = (split(&entries[0]), split(&entries[entries.len() - 1]));
            if *key < lowest.0 {
                (end, high) = (from, leading(&lowest.0));
            } else if highest.0 < *key {
                (first, low) = (to, leading(&highest.0));
            } else {
                let place = entries.binary_search_by_key(key, |entry| split(entry).0);
                return Ok(place.ok().map(|place| split(&entries[place]).1));
            }
        }
        Ok(None)
    }
}

fn leading(key: &Key) -> u64 {
    let (leading, _) = key.split_first_chunk().expect("a key has more than eight bytes");
    u64::from_be_bytes(*leading)
}

fn split(entry: &[u8; ENTRY]) -> (Key, u64) {
    let (key, number) = entry.split_first_chunk().expect("an entry begins with a key");
    (*key, u64::from_le_bytes(number.try_into().expect("an entry ends with eight bytes")))
}

fn next(reader: &mut impl Read) -> io::Result<Option<(Key, u64)>> {
    let mut entry = [0; ENTRY];
    match reader.read_exact(&mut entry) {
        Ok(()) => Ok(Some(split(&entry))),
        // A run has whole entries.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::beside(&folder.path().join("journal.jsonl"));
        (folder, index)
    }

    fn key(n: u64) -> Digest {
        Digest::of_bytes(&n.to_le_bytes())
    }

    #[test]
    fn what_is_noted_is_found_however_large_the_index_becomes() {
        let (folder, mut index) = index();
        let count = 22 * RECENT as u64 + 5;
        for n in 0..count {
            assert!(index.insert(key(n), n).unwrap());
            if n % 7 == 0 {
                assert!(!index.insert(key(n / 2), n + 1).unwrap(), "the first number stays");
            }
        }
        assert_eq!(index.len(), count);
        let runs: Vec<usize> = index.sizes.iter().map(Vec::len).collect();
        assert!(runs.len() > 2 && runs.iter().all(|runs| *runs <= MERGED), "{runs:?}");
        for n in 0..2 * count {
            assert_eq!(index.get(key(n)).unwrap(), (n < count).then_some(n), "{n}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its files have no name");
    }

    #[test]
    fn keys_that_begin_alike_are_told_apart() {
        let (_folder, mut index) = index();
        let key = |n: usize| -> Digest { format!("{}{n:08x}", "f".repeat(56)).parse().unwrap() };
        let count = 2 * RECENT + 1;
        for n in 0..count {
            assert!(index.insert(key(2 * n), n as u64).unwrap());
        }
        for n in 0..count {
            assert_eq!(index.get(key(2 * n)).unwrap(), Some(n as u64));
            assert_eq!(index.get(key(2 * n + 1)).unwrap(), None);
        }
    }
}

//! The lock that gives a stage one writer.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::StoreError;

/// A locked file, signed by whoever holds it.
///
/// Dropping it unlocks the file by a call of its own. Closing the file is not enough: a child that another thread
/// is starting holds a copy of every open file until it runs its program, and the lock would outlive its holder
/// for as long.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks the file at `path`, which is made where it is missing. `guarded` is what the error says is in use.
    pub(crate) fn take(path: &Path, guarded: &Path) -> Result<Self, StoreError> {
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io(path, "open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be about to write its name: an unreadable one is no reason to say less.
                let named = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if named { holder.trim().to_owned() } else { "of unknown number".to_owned() };
                return Err(StoreError::Locked { path: guarded.to_owned(), lock: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(path, "lock the stage")(error)),
        }
        let mut lock = Self(file);
        lock.sign().map_err(StoreError::io(path, "sign the lock"))?;
        Ok(lock)
    }

    fn sign(&mut self) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        write!(self.0, "process {} on {}", std::process::id(), host())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where it fails the file is closed next, which unlocks it too.
        let _ = self.0.unlock();
    }
}

/// This machine's name, for people who share a file system with it.
fn host() -> String {
    let of_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let of_shell = || ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = of_kernel.or_else(of_shell).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "an unnamed machine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_open_file_does_not_keep_a_dropped_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (path, guarded) = (folder.path().join(".lock"), folder.path().join("stage"));
        let lock = Lock::take(&path, &guarded).unwrap();
        let copy = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::take(&path, &guarded), Err(StoreError::Locked { .. })));
        drop(lock);
        Lock::take(&path, &guarded).unwrap();
        drop(copy);
    }
}

//! Writing so that a file is either whole or absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use cord_core::Digest;

use crate::{FileEntry, StoreError};

/// What a file is called until it is whole. Such a file is never a result, and a writer removes those it finds.
pub(crate) const TEMPORARY: &str = ".writing-";

/// Writes a file under a temporary name in the same folder, flushes it to the disk and renames it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let name = path.file_name().expect("a file of the store has a name").to_string_lossy();
    let temporary = path.with_file_name(format!("{TEMPORARY}{name}"));
    let mut file = File::create(&temporary).map_err(StoreError::io(&temporary, "create the file"))?;
    file.write_all(bytes).map_err(StoreError::io(&temporary, "write the file"))?;
    file.sync_all().map_err(StoreError::io(&temporary, "flush the file"))?;
    drop(file);
    fs::rename(&temporary, path).map_err(StoreError::io(path, "rename the finished file"))
}

/// A file's size and digest, read piece by piece: a model's weights need not fit in memory.
pub(crate) fn entry(path: &Path) -> Result<FileEntry, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut read = || -> io::Result<()> {
        hasher.update_reader(File::open(path)?)?;
        Ok(())
    };
    read().map_err(StoreError::io(path, "read the file"))?;
    let digest: Digest = hasher.finalize().to_hex().parse().expect("a BLAKE3 digest has 64 hexadecimal digits");
    Ok(FileEntry { bytes: hasher.count(), digest })
}

/// Flushes a folder's entries to the disk, so that a rename in it outlives a loss of power.
///
/// Elsewhere than on Unix a folder can't be opened as a file, and the file system keeps its own order.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let folder = File::open(path).map_err(StoreError::io(path, "open the folder"))?;
        folder.sync_all().map_err(StoreError::io(path, "flush the folder"))?;
    }
    Ok(())
}

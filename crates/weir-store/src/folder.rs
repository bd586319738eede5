//! The folder of a store: who owns it, and where its files are.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// A folder that this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    files: Files,
    _lock: File,
}

/// Where the files of a store are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Folder {
    /// Creates the folder if need be and takes it, readable by its owner only.
    ///
    /// The lock is the operating system's and vanishes with the process; the number in the file
    /// is only there to be told.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        create_private(path)?;
        let files = Files::of(path);
        let lock_path = files.lock();
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(OpenError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may be between taking the lock and writing its number.
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
                return Err(OpenError::InUse { path: path.to_owned(), pid: pid.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::io("lock", &lock_path)(source));
            }
        }
        write_pid(&mut lock).map_err(OpenError::io("write", &lock_path))?;
        Ok(Self { files, _lock: lock })
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}

impl Files {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The truth: entries, resources, events, and what belongs into one commit with them.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.db")
    }

    /// Limit windows and roll-ups, written behind.
    pub(crate) fn usage(&self) -> PathBuf {
        self.folder.join("usage.db")
    }

    /// What can be computed again from the ledger, written behind.
    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index.db")
    }

    /// Space that is given back when the disk is full.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), OpenError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(OpenError::io("sync", path))
}

/// Removes a database with its log and shared memory; what is not there is no error.
pub(crate) fn remove_database(path: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let name = PathBuf::from(name);
        match std::fs::remove_file(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io("remove", &name)(error)),
        }
    }
    Ok(())
}

fn create_private(path: &Path) -> Result<(), OpenError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(OpenError::io("create", path))
}

fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time_and_tells_which() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let first = Folder::take(&path).unwrap();
        let refused = Folder::take(&path).unwrap_err();
        assert!(
            matches!(&refused, OpenError::InUse { pid, .. } if *pid == std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        Folder::take(&path).unwrap();
    }
}

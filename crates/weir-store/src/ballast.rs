//! A file of really written bytes, given back when the disk is full so that what has already
//! been promised can still be written down.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The ballast of one store.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// How many bytes are kept back.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the whole file is there.
    pub(crate) fn present(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes)
    }

    /// Writes the file if it is not there, or not whole. Bytes that do not compress, and no
    /// `fallocate`: a file system must not be able to promise what it does not have.
    pub(crate) fn restore(&self) -> std::io::Result<()> {
        if self.present() {
            return Ok(());
        }
        let unfinished = self.path.with_extension("new");
        let written =
            fill(&unfinished, self.bytes).and_then(|()| std::fs::rename(&unfinished, &self.path));
        if written.is_err() {
            // What was written of it must not take the space that the ledger needs.
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }

    /// Gives the space back.
    pub(crate) fn release(&self) {
        // A file that is not there has been given back before.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut block = [0u8; 4096];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let size = left.min(4096);
        file.write_all(&block[..usize::try_from(size).unwrap_or(block.len())])?;
        left -= size;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_written_whole_and_comes_back_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path().join("ballast"), 10_000);
        ballast.restore().unwrap();
        assert!(ballast.present());
        ballast.release();
        assert!(!ballast.present());
        std::fs::write(dir.path().join("ballast"), b"cut short").unwrap();
        assert!(!ballast.present());
        ballast.restore().unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("ballast")).unwrap().len(), 10_000);
    }
}

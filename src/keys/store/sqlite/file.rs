//! The file that was opened, as opposed to what is at its path now.
//!
//! `mv backup.db latchkey.db` gives the path to another file, while every open connection keeps the old one: changes of keys would
//! be read from, and written to, a file that nobody sees any more, and a new connection would open the other one. So device and
//! inode are compared, and a store that was replaced answers nothing until the process is started anew, or the file is back.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::keys::store::StoreError;

/// The file at the time of its opening.
#[derive(Debug)]
pub(super) struct OpenedFile {
    path: Box<Path>,
    device_and_inode: (u64, u64),
    replaced: AtomicBool,
}

impl OpenedFile {
    /// The file that is at `path` now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            device_and_inode: device_and_inode(&std::fs::metadata(path)?),
            replaced: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Compares it with what is at its path now.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let is_same = match tokio::fs::metadata(&self.path).await {
            Ok(metadata) => device_and_inode(&metadata) == self.device_and_inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // It may be there all the same.
            Err(_) => !self.replaced.load(Ordering::Relaxed),
        };
        self.replaced.store(!is_same, Ordering::Relaxed);
        self.check()
    }

    /// What the last look has found.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.replaced.load(Ordering::Relaxed) {
            Err(StoreError::Replaced {
                path: self.path.to_path_buf(),
            })
        } else {
            Ok(())
        }
    }
}

fn device_and_inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

//! Notices that files have changed: a configuration, or the certificates of a listener.
//!
//! It looks at them four times a second, through links, rather than be told by the kernel: notifications miss what happens on NFS,
//! follow the old file when an editor renames a new one over it, and see nothing of a link that is swapped two folders up, as
//! Kubernetes does with `..data`. A look is one `stat` a file. What counts is the content: a file that was touched, or
//! written anew with the same bytes, has not changed.
//!
//! A file may be seen half written. So news is told only once nothing has moved for [`QUIET_LOOKS`] looks in a row.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks in a row that must see the same before it is told: half a second after the last write.
const QUIET_LOOKS: u32 = 2;

/// Bytes of a file that are compared; beyond them its size and times tell. Every file that may be watched is smaller.
const COMPARED_BYTES: u64 = 1024 * 1024 + 1;

/// A file that changed less than this ago may change once more without another look of its times, whose grain is 2 s on some
/// file systems. It is read at every look until then.
const GRAIN: Duration = Duration::from_secs(3);

/// Files, and what they held when that was last told.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<Watched>,
    /// Kept here, so that a wait that is given up and begun anew over and over still looks.
    next_look: Instant,
}

#[derive(Clone, Debug)]
struct Watched {
    path: PathBuf,
    /// What the caller knows of it.
    told: Content,
    latest: Look,
    quiet_looks: u32,
}

/// What one look has seen.
#[derive(Clone, PartialEq, Debug)]
struct Look {
    /// `None`: there is no file, or nothing may be known of it.
    stamp: Option<Stamp>,
    content: Content,
}

/// Where a file is and when it changed; as long as it stays the same so does the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when `modified` was set back by hand, as `cp -p` does.
    changed: (i64, i64),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    /// SHA-256 of the size and of the beginning; of the times as well when there is more.
    Bytes([u8; 32]),
    /// Nothing that can be read: gone, a directory, or not ours to read.
    Unreadable(io::ErrorKind),
}

impl FileWatch {
    /// Watches `paths`. What they hold at this moment is known: begin before you read them, so that no change in between
    /// is lost. Blocks for a look at each file.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let watched = |path: PathBuf| {
            let latest = look(&path, None);
            Watched {
                path,
                told: latest.content.clone(),
                latest,
                quiet_looks: 0,
            }
        };
        Self {
            files: paths.into_iter().map(watched).collect(),
            next_look: Instant::now() + LOOK_EVERY,
        }
    }

    /// Waits until the content of one of the files is another than when that was last told, and all of them have come to rest; they
    /// are told together. A file that went away, or cannot be read any more, has changed as well.
    ///
    /// Cancel safe. Without files it waits for ever.
    pub async fn changed(&mut self) {
        loop {
            sleep_until(self.next_look).await;
            let files = self.files.clone();
            // A network file system that hangs must not hold a thread of the runtime.
            let looked = tokio::task::spawn_blocking(move || look_again(files)).await;
            self.next_look = Instant::now() + LOOK_EVERY;
            match looked {
                Ok(files) => self.files = files,
                // The runtime is about to end.
                Err(_) => continue,
            }
            let at_rest = self.files.iter().all(|file| file.quiet_looks >= QUIET_LOOKS);
            if at_rest && self.files.iter().any(|file| file.told != file.latest.content) {
                for file in &mut self.files {
                    file.told = file.latest.content.clone();
                }
                return;
            }
        }
    }
}

fn look_again(mut files: Vec<Watched>) -> Vec<Watched> {
    for file in &mut files {
        let seen = look(&file.path, Some(&file.latest));
        file.quiet_looks = if seen.content == file.latest.content {
            file.quiet_looks.saturating_add(1)
        } else {
            0
        };
        file.latest = seen;
    }
    files
}

fn look(path: &Path, before: Option<&Look>) -> Look {
    let unreadable = |error: &io::Error| Look {
        stamp: None,
        content: Content::Unreadable(error.kind()),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(&error),
    };
    // Asked before opening, since opening a pipe waits for its writer.
    if !metadata.is_file() {
        return unreadable(&io::ErrorKind::InvalidInput.into());
    }
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    if let Some(before) = before
        && before.stamp == Some(stamp)
        && is_settled(stamp)
    {
        return before.clone();
    }
    match digest(path, stamp) {
        Ok(digest) => Look {
            stamp: Some(stamp),
            content: Content::Bytes(digest),
        },
        Err(error) => unreadable(&error),
    }
}

/// Whether a further change must show in the times. Times ahead of ours (the clock of a file server) never settle: such a file
/// is read at every look.
fn is_settled(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let latest = stamp.modified.0.max(stamp.changed.0);
    u64::try_from(latest).is_ok_and(|latest| Duration::from_secs(latest) + GRAIN < now)
}

fn digest(path: &Path, stamp: Stamp) -> io::Result<[u8; 32]> {
    let mut bytes = Vec::new();
    File::open(path)?.take(COMPARED_BYTES).read_to_end(&mut bytes)?;
    let mut digest = Sha256::new();
    if bytes.len() as u64 >= COMPARED_BYTES {
        digest.update(format!("{stamp:?}"));
    }
    digest.update(&bytes);
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests;

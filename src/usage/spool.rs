//! Events on disk, while the store does not take them.
//!
//! One folder, in it one file a batch, named by time and number so that the oldest is the first: a line of JSON an event. A file
//! is written beside its name and renamed, so that whoever reads it reads a whole one, also after a crash. Files are read again by
//! whichever server runs next; that an event comes twice then does no harm.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::event::Event;

const SUFFIX: &str = "jsonl";

/// A folder of batches that wait. Its calls block, for as long as a disk does.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    most_bytes: u64,
    bytes: u64,
    written: u64,
}

/// Why a batch was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    #[error("the spool {folder} is full ({bytes} bytes)")]
    Full { folder: PathBuf, bytes: u64 },
    #[error("the spool {folder} cannot be written")]
    Failed {
        folder: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Spool {
    /// The spool in `folder`, which is made when there is something to keep; at most `most_bytes` of events.
    pub(super) fn open(folder: &Path, most_bytes: u64) -> Self {
        let mut spool = Self {
            folder: folder.into(),
            most_bytes,
            bytes: 0,
            written: 0,
        };
        let size = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
        spool.bytes = spool.files().iter().map(size).sum();
        spool
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a batch. On disk when this returns.
    pub(super) fn keep(&mut self, events: &[Event], now_ms: u64) -> Result<(), SpoolError> {
        if self.bytes >= self.most_bytes {
            return Err(SpoolError::Full {
                folder: self.folder.clone(),
                bytes: self.bytes,
            });
        }
        self.write(events, now_ms).map_err(|cause| SpoolError::Failed {
            folder: self.folder.clone(),
            cause,
        })
    }

    fn write(&mut self, events: &[Event], now_ms: u64) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        // Ordered as text: both numbers have leading zeros.
        let name = format!("{now_ms:015}-{:08}-{:08}", std::process::id(), self.written);
        let unfinished = self.folder.join(format!("{name}.part"));
        let written = Self::write_lines(&unfinished, events).and_then(|bytes| {
            fs::rename(&unfinished, self.folder.join(format!("{name}.{SUFFIX}")))?;
            Ok(bytes)
        });
        match written {
            Ok(bytes) => {
                self.bytes += bytes;
                self.written += 1;
                Ok(())
            }
            Err(error) => {
                // Nothing half-written stays; that it cannot be removed either is not worth a second error.
                let _ = fs::remove_file(&unfinished);
                Err(error)
            }
        }
    }

    fn write_lines(path: &Path, events: &[Event]) -> io::Result<u64> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut lines = BufWriter::new(file);
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.write_all(b"\n")?;
        }
        let file = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        Ok(file.metadata()?.len())
    }

    /// The oldest batch, and the lines of it that are no event.
    pub(super) fn oldest(&self) -> io::Result<Option<Kept>> {
        let Some(path) = self.files().into_iter().next() else {
            return Ok(None);
        };
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        let (mut events, mut broken) = (Vec::new(), 0);
        for line in BufReader::new(file).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(event) => events.push(event),
                Err(_) => broken += 1,
            }
        }
        Ok(Some(Kept {
            path,
            bytes,
            events,
            broken,
        }))
    }

    /// Removes a batch that was written to the store.
    pub(super) fn remove(&mut self, kept: &Kept) -> io::Result<()> {
        fs::remove_file(&kept.path)?;
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        Ok(())
    }

    /// Keeps a batch that is not to be written, for people to look at; tells where.
    pub(super) fn set_aside(&mut self, kept: &Kept) -> io::Result<PathBuf> {
        let place = kept.path.with_extension("refused");
        fs::rename(&kept.path, &place)?;
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        Ok(place)
    }

    /// The files that are whole, the oldest first. A folder that is not there has none.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == SUFFIX))
            .collect();
        files.sort();
        files
    }
}

/// A batch that waits on disk.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    bytes: u64,
    pub(super) events: Vec<Event>,
    pub(super) broken: u64,
}

#[cfg(test)]
mod tests {
    use super::super::event::testing::event;
    use super::*;

    #[test]
    fn batches_come_back_in_order_also_to_another_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut spool = Spool::open(&path, 1 << 20);
        assert!(spool.oldest().unwrap().is_none());
        for (number, now_ms) in [(1, 10), (2, 10), (3, 9)] {
            spool.keep(&[event(number)], now_ms).unwrap();
        }
        let mut spool = Spool::open(&path, 1 << 20);
        let mut seen = Vec::new();
        while let Some(kept) = spool.oldest().unwrap() {
            assert_eq!(kept.broken, 0);
            seen.extend(kept.events.iter().cloned());
            spool.remove(&kept).unwrap();
        }
        assert_eq!(seen, [event(3), event(1), event(2)]);
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn a_full_spool_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 1);
        spool.keep(&[event(1)], 1).unwrap();
        assert!(matches!(spool.keep(&[event(2)], 2), Err(SpoolError::Full { .. })));
    }

    #[test]
    fn what_is_broken_on_disk_costs_no_other_event() {
        let folder = tempfile::tempdir().unwrap();
        let good = serde_json::to_string(&event(1)).unwrap();
        fs::write(
            folder.path().join("1.jsonl"),
            format!("{{\"id\":\n{good}\n\u{0}\n"),
        )
        .unwrap();
        fs::write(folder.path().join("0.part"), "half").unwrap();
        let kept = Spool::open(folder.path(), 1).oldest().unwrap().unwrap();
        assert_eq!((kept.events, kept.broken), (vec![event(1)], 2));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let kept = Spool::open(&file.join("spool"), 1 << 20).keep(&[event(1)], 1);
        assert!(matches!(kept, Err(SpoolError::Failed { .. })));
    }
}

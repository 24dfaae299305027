//! What is news and what is not. Tokio's time is paused: looks follow each other as fast as files are read.

use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Enough for a change to be seen and to come to rest.
const SOON: Duration = Duration::from_secs(2);

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of this name with this text.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

async fn is_told(watch: &mut FileWatch) -> bool {
    timeout(SOON, watch.changed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn every_way_to_replace_a_file_is_told_once() {
    type Replace = fn(&Folder, &Path);
    let ways: [(&str, Replace); 6] = [
        ("written in place", |_, path| fs::write(path, "new").unwrap()),
        ("renamed over", |folder, path| {
            fs::rename(folder.file("new", "new"), path).unwrap();
        }),
        ("removed, then made anew", |_, path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "new").unwrap();
        }),
        ("same size, times set back", |_, path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, "dlo").unwrap();
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }),
        ("gone", |_, path| fs::remove_file(path).unwrap()),
        ("a directory in its place", |_, path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (way, replace) in ways {
        let folder = Folder::new();
        let path = folder.file("file", "old");
        let mut watch = FileWatch::new([path.clone()]);
        replace(&folder, &path);
        assert!(is_told(&mut watch).await, "{way}");
        assert!(!is_told(&mut watch).await, "{way}: told twice");
    }
}

/// With a second for the rest, a good edit is in force within two.
#[tokio::test(start_paused = true)]
async fn a_change_is_told_within_a_second() {
    let folder = Folder::new();
    let path = folder.file("file", "old");
    let mut watch = FileWatch::new([path.clone()]);
    for edit in 0..10 {
        // At another moment between two looks each time.
        let _ = timeout(Duration::from_millis(37 * edit), watch.changed()).await;
        fs::write(&path, edit.to_string()).unwrap();
        let told = timeout(Duration::from_secs(1), watch.changed()).await;
        assert!(told.is_ok(), "edit {edit}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_content_is_no_news() {
    let folder = Folder::new();
    let path = folder.file("file", "text");
    let mut watch = FileWatch::new([path.clone()]);
    fs::write(&path, "text").unwrap();
    assert!(!is_told(&mut watch).await, "written anew");
    fs::rename(folder.file("other", "text"), &path).unwrap();
    assert!(!is_told(&mut watch).await, "replaced by its like");
    fs::write(&path, "other").unwrap();
    fs::write(&path, "text").unwrap();
    assert!(!is_told(&mut watch).await, "there and back");
}

#[tokio::test(start_paused = true)]
async fn the_link_swap_of_kubernetes_is_seen() {
    let folder = Folder::new();
    for (version, text) in [("..1", "old"), ("..2", "new")] {
        fs::create_dir(folder.path(version)).unwrap();
        folder.file(&format!("{version}/latchkey.yaml"), text);
    }
    symlink("..1", folder.path("..data")).unwrap();
    symlink("..data/latchkey.yaml", folder.path("latchkey.yaml")).unwrap();
    let mut watch = FileWatch::new([folder.path("latchkey.yaml")]);
    assert!(!is_told(&mut watch).await);
    symlink("..2", folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    fs::remove_dir_all(folder.path("..1")).unwrap();
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_told_when_it_rests() {
    let folder = Folder::new();
    let path = folder.file("file", "");
    let mut watch = FileWatch::new([path.clone()]);
    for part in ["a", "ab", "abc", "abcd"] {
        fs::write(&path, part).unwrap();
        let early = timeout(LOOK_EVERY + LOOK_EVERY / 2, watch.changed()).await;
        assert!(early.is_err(), "told at {part:?}");
    }
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn files_that_belong_together_are_told_together() {
    let folder = Folder::new();
    let (certificate, key) = (folder.file("certificate", "1"), folder.file("key", "1"));
    let mut watch = FileWatch::new([certificate.clone(), key.clone()]);
    fs::write(&certificate, "2").unwrap();
    let early = timeout(LOOK_EVERY + LOOK_EVERY / 2, watch.changed()).await;
    assert!(early.is_err());
    fs::write(&key, "2").unwrap();
    assert!(is_told(&mut watch).await);
    assert!(!is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_later_is_seen() {
    let folder = Folder::new();
    let mut watch = FileWatch::new([folder.path("file")]);
    assert!(!is_told(&mut watch).await);
    folder.file("file", "");
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_pipe_and_a_large_file_keep_nobody() {
    let folder = Folder::new();
    let path = folder.file("file", "");
    let mut watch = FileWatch::new([path.clone()]);
    let large = File::options().write(true).open(&path).unwrap();
    large.set_len(50 * COMPARED_BYTES).unwrap();
    assert!(is_told(&mut watch).await);
    large.set_len(50 * COMPARED_BYTES + 1).unwrap();
    assert!(is_told(&mut watch).await, "beyond what is compared");
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_loses_nothing() {
    let folder = Folder::new();
    let path = folder.file("file", "old");
    let mut watch = FileWatch::new([path.clone()]);
    fs::write(&path, "new").unwrap();
    for _ in 0..20 {
        // Always cut between two looks, or in the middle of one.
        if timeout(LOOK_EVERY + Duration::from_millis(1), watch.changed())
            .await
            .is_ok()
        {
            return;
        }
    }
    panic!("never told");
}

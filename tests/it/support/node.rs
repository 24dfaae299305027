//! Programs in JavaScript.

use std::path::PathBuf;
use std::process::Command;

use super::in_repository;

/// `node` with a script of the repository.
pub(crate) fn node(script: &str) -> Command {
    let found = Command::new("node").arg("--version").output();
    assert!(
        found.is_ok_and(|version| version.status.success()),
        "Node is not there; `apt-get install nodejs npm` installs it (18 or later)"
    );
    let mut command = Command::new("node");
    command.arg(in_repository(script));
    command
}

/// Where `scripts/install.sh test` has put the packages of npm.
pub(crate) fn npm_folder() -> PathBuf {
    let folder = in_repository(".tools/npm");
    assert!(
        folder.join("node_modules").exists(),
        "the packages of npm are not there; `scripts/install.sh test` installs them"
    );
    folder
}

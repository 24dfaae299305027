//! The token of a first start: when the settings name nobody who may manage keys, somebody must be able to make the first one.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;
use zeroize::Zeroizing;

use super::secret_file::{self, SecretFileError};
use super::tokens::SHORTEST;
use crate::keys::{ApiKey, NoRandomness};

/// What the token begins with: `lkm_…`. No prefix of API keys, so that nobody takes one for the other.
const PREFIX: &str = "lkm";

/// The first token cannot be made or read again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirstTokenError {
    /// There is a file, and it cannot be used.
    #[error("the first management token: {0}; remove the file, and a new one is made")]
    Unusable(SecretFileError),
    /// There is none, and it cannot be written.
    #[error("the first management token cannot be written to {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is no token without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Where the first token of a server with this store is: `latchkey.db.management-token`.
pub(super) fn path(store: &Path) -> PathBuf {
    beside(store, ".management-token")
}

/// The store's path with something after its name.
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(suffix);
    name.into()
}

/// The token of this file; made and written if the file is not there.
pub(super) fn read_or_create(path: &Path) -> Result<Zeroizing<String>, FirstTokenError> {
    let unwritable = |cause| FirstTokenError::Unwritable {
        path: path.into(),
        cause,
    };
    if !path.try_exists().map_err(unwritable)? {
        let token = ApiKey::generate(PREFIX)?;
        create_exclusively(path, format!("{}\n", token.expose()).as_bytes()).map_err(unwritable)?;
    }
    secret_file::read(path, SHORTEST).map_err(FirstTokenError::Unusable)
}

/// Writes a new file that only its owner can read. It is whole when it appears, and one that is there already stays: of two servers that start
/// at once, the second finds the file of the first.
pub(super) fn create_exclusively(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = beside(path, &format!(".{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(path = %unfinished.display(), %error, "a half-written secret is left behind; remove it");
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_token_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("latchkey.db"));
        assert!(path.ends_with("latchkey.db.management-token"));
        let made = read_or_create(&path).unwrap();
        assert!(ApiKey::has_own_shape(PREFIX, made.as_bytes()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_create(&path).unwrap(), made);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn servers_that_start_at_once_agree_on_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        create_exclusively(&path, b"0123456789abcdef\n").unwrap();
        create_exclusively(&path, b"fedcba9876543210\n").unwrap();
        assert_eq!(*read_or_create(&path).unwrap(), "0123456789abcdef");
    }

    #[test]
    fn a_file_that_is_no_token_stops_the_start_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "").unwrap();
        assert!(
            read_or_create(&path)
                .unwrap_err()
                .to_string()
                .contains("is empty; remove the file")
        );
        let nowhere = folder.path().join("none").join("token");
        assert!(matches!(
            read_or_create(&nowhere),
            Err(FirstTokenError::Unwritable { .. })
        ));
    }
}

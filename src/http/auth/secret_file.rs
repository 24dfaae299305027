//! Files that hold one secret.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;
use zeroize::Zeroizing;

/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 16 * 1024;

/// A file that should hold a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The system does not give it.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What is in it cannot be the secret.
    #[error("{} {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Begins with a verb, and shows nothing of what is in it.
        why: &'static str,
    },
}

/// Reads the secret of a file: one line of visible ASCII, at least `least` and at most 512 characters; a line feed at the end is no part
/// of it. Warns when others than its owner and group may read the file.
pub(super) fn read(path: &Path, least: usize) -> Result<Zeroizing<String>, SecretFileError> {
    let bytes = read_bytes(path)?;
    let unusable = |why| SecretFileError::Unusable {
        path: path.into(),
        why,
    };
    let text = str::from_utf8(&bytes).map_err(|_| unusable("is not text"))?;
    let secret = text.trim_ascii_end();
    if secret.is_empty() {
        return Err(unusable("is empty"));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("holds more than one line of visible ASCII characters"));
    }
    if secret.len() < least {
        return Err(unusable(
            "holds a secret that is too short to be safe; 16 characters are the least",
        ));
    }
    if secret.len() > 512 {
        return Err(unusable("holds a secret of more than 512 characters"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Reads a file of secrets whole; warns when others may read it too.
pub(super) fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let unreadable = |cause| SecretFileError::Unreadable {
        path: path.into(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        warn!(path = %path.display(), "everybody on this machine can read this file of secrets; chmod 600 mends it");
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_FILE as usize + 1));
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(SecretFileError::Unusable {
            path: path.into(),
            why: "is longer than 16 KiB",
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_one_line_of_a_sensible_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, expected) in [
            ("0123456789abcdef", Ok("0123456789abcdef")),
            ("0123456789abcdef\n", Ok("0123456789abcdef")),
            ("0123456789abcdef\r\n", Ok("0123456789abcdef")),
            ("", Err("is empty")),
            ("\n", Err("is empty")),
            ("0123456789\nabcdef", Err("more than one line")),
            ("0123456789 abcdef", Err("more than one line")),
            ("0123456789abcd\u{e9}f", Err("more than one line")),
            ("0123456789abcde", Err("too short")),
            (&"a".repeat(513), Err("more than 512")),
            (&"a".repeat(20_000), Err("longer than 16 KiB")),
        ] {
            fs::write(&path, content).unwrap();
            match (read(&path, 16), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(*secret, expected),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected), "{error}");
                    assert!(!error.contains("0123456789"), "{error}");
                }
                (found, expected) => panic!("{content:?}: {found:?}, expected {expected:?}"),
            }
        }
        assert!(matches!(
            read(&folder.path().join("none"), 16),
            Err(SecretFileError::Unreadable { .. })
        ));
        fs::write(&path, b"\xff\xfe0123456789abcdef").unwrap();
        assert!(read(&path, 16).unwrap_err().to_string().contains("is not text"));
    }
}

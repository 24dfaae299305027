//! Files that hold one secret and may be written anew at any time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::super::source::KeySourceError;

/// No token is longer.
const MOST_BYTES: u64 = 16 * 1024;

/// The one line of a file, as it is now.
pub(super) async fn line(path: &Path) -> Result<Zeroizing<String>, KeySourceError> {
    let failed = |why: &str| {
        let text: Arc<str> = format!("{}: {why}", path.display()).into();
        KeySourceError::Failed(text)
    };
    let bytes = read(path).await.map_err(|error| failed(&error.to_string()))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_ascii_end();
    let is_line = text.len() as u64 <= MOST_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || !is_line {
        return Err(failed("it does not hold one line of visible ASCII characters"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

async fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    tokio::fs::File::open(path)
        .await?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

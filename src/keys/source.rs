//! Where an unknown key is verified.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::record::KeyRecord;
use super::secret::ApiKey;

/// A look-up under way.
pub type Verifying<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Arc<KeyRecord>>, KeySourceError>> + Send + 'a>>;

/// Something that knows keys: the store, or a remote verify endpoint.
///
/// `Ok(None)` means that the source answered and does not know the key. A revoked, inactive or expired key is a record all
/// the same: `decision` refuses it, in the same way and shape as an unknown one.
pub trait KeySource: Send + Sync + 'static {
    /// Looks the key up. The caller sets the deadline; dropping the future must be safe.
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a>;

    /// Whether a key of this form can be known here at all. What cannot be is refused without a look-up.
    fn can_know(&self, presented: &[u8]) -> bool;

    /// The longest that one look-up may take, whoever waits for it.
    fn limit(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Why a source gave no answer. Never means that the key is bad.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeySourceError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// No slot among `keys.max_in_flight` before the deadline.
    #[error("too many look-ups of unknown keys are under way")]
    Busy,
    /// The source failed; the text is for operators and holds no secret.
    #[error("key source failed: {0}")]
    Failed(Arc<str>),
}

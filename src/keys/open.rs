//! Which source the settings name.

use std::sync::Arc;

use super::remote::{RemoteSource, StoreThenRemote};
use super::source::KeySource;
use crate::config::{KeySettings, SourceKind};
use crate::outbound::{ClientError, RemoteMetrics};

/// The source that `settings` name, with `store` for the keys of our own. Calls nobody.
pub fn open_source(
    settings: &KeySettings,
    store: impl KeySource,
    metrics: &RemoteMetrics,
) -> Result<Arc<dyn KeySource>, ClientError> {
    let remote = || {
        let remote = settings.remote.as_ref();
        RemoteSource::new(
            remote.expect("settings refuse this source without keys.remote"),
            metrics,
        )
    };
    Ok(match settings.source {
        SourceKind::Store => Arc::new(store),
        SourceKind::Remote => Arc::new(remote()?),
        SourceKind::StoreThenRemote => Arc::new(StoreThenRemote::new(store, remote()?, &settings.prefix)),
    })
}

//! The key source of a configuration, for a decision without a server.

use std::sync::Arc;

use anyhow::{Context, bail};

use crate::config::{Settings, SourceKind, StoreUrl};
use crate::explain::ListedKeys;
use crate::keys::{self, KeySource, SqliteStore, StoreSource};
use crate::outbound::RemoteMetrics;

/// Opens the source. A store that is not there yet knows no key, and is not made; a verify endpoint is asked as by a server.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Arc<dyn KeySource>> {
    let StoreUrl::Sqlite(path) = &settings.store else {
        bail!("this version stores keys in SQLite only");
    };
    let metrics = RemoteMetrics::default();
    let prefix = &settings.keys.prefix;
    let source = if path.exists() {
        let store = SqliteStore::open(path).await?;
        keys::open_source(&settings.keys, StoreSource::new(store, prefix), &metrics)
    } else {
        if settings.keys.source != SourceKind::Remote {
            eprintln!(
                "note: the store {} is not there yet, so none of its keys is known",
                path.display()
            );
        }
        keys::open_source(&settings.keys, ListedKeys::none(prefix), &metrics)
    };
    source.context("keys.remote")
}

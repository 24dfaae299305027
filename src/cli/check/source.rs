//! The key source of a configuration, for a decision without a server.

use std::sync::Arc;

use anyhow::bail;

use crate::config::{Settings, SourceKind, StoreUrl};
use crate::explain::ListedKeys;
use crate::keys::{KeySource, SqliteStore, StoreSource};

/// Opens the source. A store that is not there yet knows no key, and is not made.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Arc<dyn KeySource>> {
    if settings.keys.source != SourceKind::Store {
        bail!("this version looks up keys in the store only; ask a running server with --server");
    }
    let StoreUrl::Sqlite(path) = &settings.store else {
        bail!("this version stores keys in SQLite only");
    };
    if !path.exists() {
        eprintln!(
            "note: the store {} is not there yet, so no key is known",
            path.display()
        );
        return Ok(Arc::new(ListedKeys::none(&settings.keys.prefix)));
    }
    let store = SqliteStore::open(path).await?;
    Ok(Arc::new(StoreSource::new(store, &settings.keys.prefix)))
}

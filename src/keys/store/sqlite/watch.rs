//! The change poll: what another process changed leaves the cache within moments.
//!
//! `PRAGMA data_version` costs microseconds and tells whether any other connection has committed. Only then is the change
//! table read. The connection is one of its own and never writes, so that it sees the writes of this process as well.

use std::time::{Duration, Instant};

use sqlx::{Row, SqliteConnection};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{SqliteStore, StoreError};
use crate::keys::cache::KeyCache;
use crate::keys::secret::KeyDigest;

const POLL_EVERY: Duration = Duration::from_millis(50);

/// The longest that one poll may take before changes count as unseen.
const POLL_LIMIT: Duration = Duration::from_millis(500);

/// How far a watcher has read. The place in the change table outlives a connection that failed.
#[derive(Default)]
struct Position {
    link: Option<Link>,
    seq: Option<i64>,
}

struct Link {
    connection: SqliteConnection,
    data_version: i64,
}

/// However a watch ends, what comes after it is not seen.
struct Unwatched<'a>(&'a KeyCache);

impl Drop for Unwatched<'_> {
    fn drop(&mut self) {
        self.0.suspect(Instant::now());
    }
}

impl SqliteStore {
    /// Tells the cache what changes, until `stop`. While the store cannot be read, the cache does not trust what it knows.
    pub async fn watch(&self, cache: &KeyCache, stop: CancellationToken) {
        let _unwatched = Unwatched(cache);
        let mut position = Position::default();
        let (mut trouble, mut replaced) = (false, false);
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let error = match timeout(POLL_LIMIT, self.poll(&mut position, cache)).await {
                Ok(Ok(())) => {
                    if replaced {
                        info!("the store that was opened is back");
                        replaced = false;
                    }
                    if trouble {
                        info!("changes of keys are seen again");
                        trouble = false;
                    }
                    cache.trust();
                    continue;
                }
                Ok(Err(error @ StoreError::Replaced { .. })) => {
                    position.link = None;
                    cache.suspect(Instant::now());
                    if !replaced {
                        error!(%error, "the store is not used any more");
                        replaced = true;
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {POLL_LIMIT:?}"),
            };
            // A connection that failed halfway is not asked again.
            position.link = None;
            cache.suspect(Instant::now());
            if !trouble {
                warn!(error, "changes of keys are not seen");
                trouble = true;
            }
        }
    }

    async fn poll(&self, position: &mut Position, cache: &KeyCache) -> Result<(), StoreError> {
        self.file.look().await?;
        let new_link = position.link.is_none();
        let link = match &mut position.link {
            Some(link) => link,
            None => {
                let mut connection = self.connect().await?;
                let data_version = data_version(&mut connection).await?;
                position.link.insert(Link {
                    connection,
                    data_version,
                })
            }
        };
        let Some(from) = position.seq else {
            position.seq = Some(last_seq(&mut link.connection).await?);
            // After the place was taken: what was changed until then is read anew, what comes later is seen.
            cache.forget_all();
            return Ok(());
        };
        let data_version = data_version(&mut link.connection).await?;
        if data_version == link.data_version && !new_link {
            return Ok(());
        }
        // Before anybody asks for a key that was imported just now.
        self.read_imported(&mut link.connection).await?;
        let rows = sqlx::query("SELECT seq, digest FROM changes WHERE seq > ? ORDER BY seq")
            .bind(from)
            .fetch_all(&mut link.connection)
            .await?;
        let mut seq = from;
        for row in &rows {
            let (next, digest): (i64, Vec<u8>) = (row.try_get("seq")?, row.try_get("digest")?);
            match <[u8; 32]>::try_from(digest) {
                Ok(digest) if next == seq + 1 => cache.forget(&KeyDigest::from_bytes(digest)),
                // Rows that were pruned before we read them, or that are not ours.
                _ => cache.forget_all(),
            }
            seq = next;
        }
        position.seq = Some(seq);
        link.data_version = data_version;
        Ok(())
    }
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
}

async fn last_seq(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM changes")
        .fetch_one(connection)
        .await
}

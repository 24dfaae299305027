//! The change poll: what another process changed leaves the cache within moments.
//!
//! `PRAGMA data_version` costs microseconds and tells whether any other connection has committed. Only then is the change
//! table read. The connection is one of its own and never writes, so that it sees the writes of this process as well.

use std::time::{Duration, Instant};

use sqlx::{Row, SqliteConnection};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::SqliteStore;
use crate::keys::cache::KeyCache;
use crate::keys::secret::KeyDigest;

const POLL_EVERY: Duration = Duration::from_millis(50);

/// The longest that one poll may take before changes count as unseen.
const POLL_LIMIT: Duration = Duration::from_millis(500);

/// How far a watcher has read.
struct Position {
    connection: SqliteConnection,
    data_version: i64,
    seq: i64,
}

impl SqliteStore {
    /// Tells the cache what changes, until `stop`. While the store cannot be read, the cache does not trust what it knows.
    pub async fn watch(&self, cache: &KeyCache, stop: CancellationToken) {
        let mut position: Option<Position> = None;
        let mut trouble = false;
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match timeout(POLL_LIMIT, self.poll(&mut position, cache)).await {
                Ok(Ok(())) => {
                    if trouble {
                        info!("changes of keys are seen again");
                        trouble = false;
                    }
                    cache.trust();
                }
                failed => {
                    // A connection that failed halfway is not asked again; the next one begins by forgetting everything.
                    position = None;
                    cache.suspect(Instant::now());
                    if !trouble {
                        let error = match failed {
                            Ok(Err(error)) => error.to_string(),
                            _ => format!("no answer within {POLL_LIMIT:?}"),
                        };
                        warn!(error, "changes of keys are not seen");
                        trouble = true;
                    }
                }
            }
        }
    }

    async fn poll(&self, position: &mut Option<Position>, cache: &KeyCache) -> Result<(), sqlx::Error> {
        let at = match position {
            Some(at) => at,
            None => {
                let mut connection = self.connect().await?;
                let data_version = data_version(&mut connection).await?;
                let seq = last_seq(&mut connection).await?;
                // After the position was taken: what was changed until then is read anew, what comes later is seen.
                cache.forget_all();
                position.insert(Position {
                    connection,
                    data_version,
                    seq,
                })
            }
        };
        let data_version = data_version(&mut at.connection).await?;
        if data_version == at.data_version {
            return Ok(());
        }
        let rows = sqlx::query("SELECT seq, digest FROM changes WHERE seq > ? ORDER BY seq")
            .bind(at.seq)
            .fetch_all(&mut at.connection)
            .await?;
        let mut seq = at.seq;
        for row in &rows {
            let (next, digest): (i64, Vec<u8>) = (row.try_get("seq")?, row.try_get("digest")?);
            match <[u8; 32]>::try_from(digest) {
                Ok(digest) if next == seq + 1 => cache.forget(&KeyDigest::from_bytes(digest)),
                // Rows that were pruned before we read them, or that are not ours.
                _ => cache.forget_all(),
            }
            seq = next;
        }
        at.seq = seq;
        at.data_version = data_version;
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

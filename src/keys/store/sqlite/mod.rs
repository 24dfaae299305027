//! The embedded store: keys in one SQLite file.
//!
//! Several processes may use the file at once, a server and a command line for instance. Each change writes a row into the
//! table `changes` in its own transaction, and servers [`watch`](SqliteStore::watch) that table. A transaction that writes
//! begins with `IMMEDIATE`, so that it waits for its turn at its start, and never fails halfway because another was faster.

mod audit;
mod changes;
mod file;
mod list;
mod rows;
mod watch;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Sqlite, SqliteConnection, Transaction};
use tokio::time::sleep;

use self::file::OpenedFile;
use self::rows::{COLUMNS, stored};
use super::{
    Changed, KeyChange, KeyFilter, KeyStore, NewKey, SecretMark, StoreError, StoredEvent, StoredKey, Storing,
};
use crate::keys::audit::{AuditEvent, AuditFilter};
use crate::keys::record::KeyRecord;
use crate::keys::secret::KeyDigest;
use crate::keys::uses::KeyUse;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Tries to open the file, and the pause between two.
const OPEN_TRIES: u32 = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// Keys in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    /// To be used through [`Self::pool`].
    opened_pool: SqlitePool,
    file: Arc<OpenedFile>,
    /// How imported keys begin; read anew with each change.
    imported: Arc<ArcSwap<Vec<Box<str>>>>,
}

impl SqliteStore {
    /// Opens the file, makes it when there is none (readable by its owner only), and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let open_error = |cause: String| StoreError::Open {
            path: path.into(),
            cause,
        };
        // Made here, so that it never exists with wider permissions; SQLite gives its side files the same ones.
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(open_error(error.to_string())),
        }
        // Two processes that make the file at the same moment get into each other's way, in SQLite's switch to the write-ahead
        // log and in the making of the tables; the one that comes second finds all done on its next try.
        for _ in 1..OPEN_TRIES {
            match Self::prepare(path).await {
                Err(StoreError::Open { .. }) => sleep(OPEN_PAUSE).await,
                done => return done,
            }
        }
        Self::prepare(path).await
    }

    /// Opens the file that is there, and brings its schema up to date.
    async fn prepare(path: &Path) -> Result<Self, StoreError> {
        let open_error = |cause: String| StoreError::Open {
            path: path.into(),
            cause,
        };
        // Before it is opened: if it is replaced in between, that is noticed.
        let file = OpenedFile::at(path).map_err(|error| open_error(error.to_string()))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options(path))
            .await
            .map_err(|error| open_error(plainly(&error)))?;
        match MIGRATIONS.run(&pool).await {
            Ok(()) => {}
            Err(MigrateError::VersionMissing(version)) => {
                return Err(StoreError::Newer {
                    path: path.into(),
                    version,
                });
            }
            Err(MigrateError::Execute(error)) => return Err(open_error(plainly(&error))),
            Err(error) => return Err(open_error(error.to_string())),
        }
        let store = Self {
            opened_pool: pool,
            file: Arc::new(file),
            imported: Arc::default(),
        };
        let mut connection = store.pool()?.acquire().await?;
        store.read_imported(&mut connection).await?;
        drop(connection);
        Ok(store)
    }

    /// Reads how imported keys begin.
    async fn read_imported(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let prefixes: Vec<String> = sqlx::query_scalar("SELECT prefix FROM imported_prefixes")
            .fetch_all(connection)
            .await?;
        self.imported.store(Arc::new(
            prefixes.into_iter().map(String::into_boxed_str).collect(),
        ));
        Ok(())
    }

    /// A transaction that will write.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.pool()?.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The connections. None are given while another file is at the path: an answer of the old one may be outdated, and a change
    /// of it would be lost.
    pub(crate) fn pool(&self) -> Result<&SqlitePool, StoreError> {
        self.file.check().map(|()| &self.opened_pool)
    }

    /// A connection of its own, outside the pool.
    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnection::connect_with(&options(self.file.path())).await
    }

    async fn find_record(&self, digest: &KeyDigest, now_ms: u64) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query(AssertSqlSafe(find_sql()))
            .bind(digest.as_bytes().as_slice())
            .bind(rows::integer(now_ms))
            .fetch_optional(self.pool()?)
            .await?;
        Ok(row.as_ref().map(rows::found).transpose()?)
    }
}

/// The key of a current secret, or else of one that was rotated out and whose grace has not ended.
fn find_sql() -> String {
    format!(
        "SELECT {COLUMNS}, 0 AS retiring FROM keys WHERE digest = ?1 \
         UNION ALL SELECT {COLUMNS}, 1 FROM keys WHERE old_digest = ?1 AND old_until_ms > ?2 LIMIT 1"
    )
}

async fn get(connection: &mut SqliteConnection, id: &str) -> Result<StoredKey, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM keys WHERE id = ?")))
        .bind(id)
        .fetch_optional(connection)
        .await?;
    match row {
        Some(row) => Ok(stored(&row)?),
        None => Err(StoreError::NoSuchKey(id.into())),
    }
}

impl KeyStore for SqliteStore {
    fn ping(&self) -> Storing<'_, ()> {
        Box::pin(async {
            sqlx::query("SELECT 1 FROM keys LIMIT 1")
                .fetch_optional(self.pool()?)
                .await?;
            Ok(())
        })
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest, now_ms: u64) -> Storing<'a, Option<KeyRecord>> {
        Box::pin(self.find_record(digest, now_ms))
    }

    fn imported_begin_like(&self, presented: &[u8]) -> bool {
        let prefixes = self.imported.load();
        prefixes
            .iter()
            .any(|prefix| presented.starts_with(prefix.as_bytes()))
    }

    fn get<'a>(&'a self, id: &'a str) -> Storing<'a, StoredKey> {
        Box::pin(async move { get(&mut *self.pool()?.acquire().await?, id).await })
    }

    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Storing<'a, Vec<StoredKey>> {
        Box::pin(self.list_keys(filter))
    }

    fn create<'a>(&'a self, key: &'a NewKey, event: &'a AuditEvent) -> Storing<'a, ()> {
        Box::pin(self.create_key(key, event))
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        change: &'a KeyChange,
        event: &'a AuditEvent,
    ) -> Storing<'a, Changed> {
        Box::pin(self.update_key(id, change, event))
    }

    fn rotate<'a>(
        &'a self,
        id: &'a str,
        secret: &'a SecretMark,
        grace_until_ms: Option<u64>,
        event: &'a AuditEvent,
    ) -> Storing<'a, Changed> {
        Box::pin(self.rotate_key(id, secret, grace_until_ms, event))
    }

    fn revoke<'a>(&'a self, id: &'a str, event: &'a AuditEvent) -> Storing<'a, Changed> {
        Box::pin(self.revoke_key(id, event))
    }

    fn note_uses<'a>(&'a self, uses: &'a [KeyUse]) -> Storing<'a, ()> {
        Box::pin(self.add_uses(uses))
    }

    fn note_events<'a>(&'a self, events: &'a [AuditEvent]) -> Storing<'a, ()> {
        Box::pin(self.add_events(events))
    }

    fn events<'a>(&'a self, filter: &'a AuditFilter) -> Storing<'a, Vec<StoredEvent>> {
        Box::pin(self.list_events(filter))
    }

    fn prune_events(&self, now_ms: u64) -> Storing<'_, ()> {
        Box::pin(self.drop_old_events(now_ms))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A revocation that was acknowledged must survive a power cut, which NORMAL does not promise.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
}

/// SQLite's own words, without the layers around them.
fn plainly(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;

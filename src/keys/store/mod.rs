//! The embedded store: keys in one SQLite file.
//!
//! Several processes may use the file at once, a server and a command line for instance. Each change writes a row into the
//! table `changes` in its own transaction, and servers [`watch`](SqliteStore::watch) that table.

mod file;
mod rows;
mod watch;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};
use tokio::time::sleep;

use self::file::OpenedFile;
use self::rows::{COLUMNS, stored};
use super::record::{KeyRecord, KeyStatus};
use super::secret::{ApiKey, KeyDigest};
use super::source::{KeySource, KeySourceError, Verifying};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Rows of the change table that are kept; a watcher that is further behind forgets everything.
const CHANGES_KEPT: i64 = 10_000;

/// Tries to open the file, and the pause between two.
const OPEN_TRIES: u32 = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// The longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 255;

/// The longest id of an owner, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The longest list of scopes as a header value, in bytes.
const MAX_SCOPES_BYTES: usize = 4096;

/// Keys in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    /// To be used through [`Self::pool`].
    opened_pool: SqlitePool,
    file: Arc<OpenedFile>,
}

/// A key as it is stored: its record, and what is for people only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredKey {
    /// Its record.
    pub record: KeyRecord,
    /// Last four characters of the secret.
    pub suffix: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error("store {path} cannot be opened: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why, in the system's or SQLite's words.
        cause: String,
    },
    /// A newer version of Latchkey has changed the file.
    #[error("store {path} was written by a newer version of latchkey (schema {version}); use that version")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Number of a schema change that this version does not know.
        version: i64,
    },
    /// Another file is at its path, or none; what was opened is no longer the store.
    #[error(
        "store {path} was replaced or removed since it was opened; restart latchkey to use what is there now"
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// There is no key with this id.
    #[error("no key has the id {0:?}")]
    NoSuchKey(String),
    /// A key that must not be stored.
    #[error("{0}")]
    Refused(&'static str),
    /// SQLite failed.
    #[error("store failed: {0}")]
    Failed(#[from] sqlx::Error),
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
            Ok(()) => Ok(Self {
                opened_pool: pool,
                file: Arc::new(file),
            }),
            Err(MigrateError::VersionMissing(version)) => Err(StoreError::Newer {
                path: path.into(),
                version,
            }),
            Err(MigrateError::Execute(error)) => Err(open_error(plainly(&error))),
            Err(error) => Err(open_error(error.to_string())),
        }
    }

    /// The connections. None are given while another file is at the path: an answer of the old one may be outdated, and a change
    /// of it would be lost.
    pub(crate) fn pool(&self) -> Result<&SqlitePool, StoreError> {
        self.file.check().map(|()| &self.opened_pool)
    }

    /// Asks for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM keys LIMIT 1")
            .fetch_optional(self.pool()?)
            .await?;
        Ok(())
    }

    /// What every stored key must hold to, so that its answer always fits (tenant headers, metadata).
    pub fn check(record: &KeyRecord) -> Result<(), StoreError> {
        let refused = |why| Err(StoreError::Refused(why));
        if record.name.trim().is_empty() || record.name.chars().count() > MAX_NAME_CHARS {
            return refused("a name is 1 to 255 characters, not all of them space");
        }
        if record.name.chars().any(char::is_control) {
            return refused("a name holds no control characters");
        }
        let ids = record
            .owner
            .iter()
            .flat_map(|owner| [owner.org_code(), owner.user_id()])
            .flatten();
        if ids
            .into_iter()
            .any(|id| id.len() > MAX_ID_BYTES || id.chars().any(char::is_control))
        {
            return refused("an owner's id is 1 to 256 bytes without control characters");
        }
        if record.owner.is_none() {
            return refused("a key needs an owner: an organization, a user, or both");
        }
        let scopes = rows::joined(&record.scopes);
        // A percent sign is three bytes in the header.
        if scopes.len() + 2 * scopes.matches('%').count() > MAX_SCOPES_BYTES {
            return refused("the scopes of a key are at most 4096 bytes together");
        }
        if record.status == KeyStatus::Active {
            Ok(())
        } else {
            refused("a new key is active")
        }
    }

    /// Stores a new key.
    pub async fn create(
        &self,
        record: &KeyRecord,
        key: &ApiKey,
        created_at_ms: u64,
    ) -> Result<(), StoreError> {
        Self::check(record)?;
        let digest = KeyDigest::of(key.expose());
        let owner = record.owner.as_ref();
        let mut change = self.pool()?.begin().await?;
        sqlx::query(
            "INSERT INTO keys (id, name, org_code, user_id, api_id, scopes, status, digest, suffix, allowed_networks, \
             created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&*record.id)
        .bind(&*record.name)
        .bind(owner.and_then(|owner| owner.org_code()))
        .bind(owner.and_then(|owner| owner.user_id()))
        .bind(record.api_id.as_deref())
        .bind(rows::joined(&record.scopes))
        .bind(record.status.as_str())
        .bind(digest.as_bytes().as_slice())
        .bind(key.suffix())
        .bind(rows::joined(&record.allowed_networks))
        .bind(rows::integer(created_at_ms))
        .bind(record.expires_at_ms.map(rows::integer))
        .execute(&mut *change)
        .await?;
        note_change(&mut change, digest.as_bytes()).await?;
        change.commit().await?;
        Ok(())
    }

    /// The key with this id.
    pub async fn get(&self, id: &str) -> Result<StoredKey, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM keys WHERE id = ?"
        )))
        .bind(id)
        .fetch_optional(self.pool()?)
        .await?;
        match row {
            Some(row) => Ok(stored(&row)?),
            None => Err(StoreError::NoSuchKey(id.into())),
        }
    }

    /// Keys, the newest first: at most `limit`, and only those older than the key `after`.
    pub async fn list(&self, limit: u32, after: Option<&str>) -> Result<Vec<StoredKey>, StoreError> {
        let after = match after {
            Some(id) => Some(self.get(id).await?),
            None => None,
        };
        let (age, id) = match &after {
            Some(key) => (rows::integer(key.created_at_ms), &*key.record.id),
            None => (i64::MAX, ""),
        };
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM keys WHERE (created_at_ms, id) < (?, ?) ORDER BY created_at_ms DESC, id DESC LIMIT ?"
        )))
        .bind(age)
        .bind(id)
        .bind(limit)
        .fetch_all(self.pool()?)
        .await?;
        Ok(rows.iter().map(stored).collect::<Result<_, _>>()?)
    }

    /// Revokes a key for ever. Once more is no error.
    pub async fn revoke(&self, id: &str) -> Result<(), StoreError> {
        let mut change = self.pool()?.begin().await?;
        let digest: Option<Vec<u8>> =
            sqlx::query_scalar("UPDATE keys SET status = 'revoked' WHERE id = ? RETURNING digest")
                .bind(id)
                .fetch_optional(&mut *change)
                .await?;
        let Some(digest) = digest else {
            return Err(StoreError::NoSuchKey(id.into()));
        };
        note_change(&mut change, &digest).await?;
        change.commit().await?;
        Ok(())
    }

    /// The record of the key with this digest.
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM keys WHERE digest = ?"
        )))
        .bind(digest.as_bytes().as_slice())
        .fetch_optional(self.pool()?)
        .await?;
        Ok(row.as_ref().map(stored).transpose()?.map(|key| key.record))
    }

    /// A connection of its own, outside the pool.
    async fn connect(&self) -> Result<sqlx::SqliteConnection, sqlx::Error> {
        sqlx::SqliteConnection::connect_with(&options(self.file.path())).await
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

async fn note_change(change: &mut Transaction<'_, Sqlite>, digest: &[u8]) -> Result<(), sqlx::Error> {
    let noted = sqlx::query("INSERT INTO changes (digest) VALUES (?)")
        .bind(digest)
        .execute(&mut **change)
        .await?;
    sqlx::query("DELETE FROM changes WHERE seq <= ?")
        .bind(noted.last_insert_rowid() - CHANGES_KEPT)
        .execute(&mut **change)
        .await?;
    Ok(())
}

/// The store as a source of keys.
#[derive(Debug)]
pub struct StoreSource {
    store: SqliteStore,
    prefix: Box<str>,
}

impl StoreSource {
    /// Knows keys that begin with `prefix`.
    pub fn new(store: SqliteStore, prefix: &str) -> Self {
        Self {
            store,
            prefix: prefix.into(),
        }
    }
}

impl KeySource for StoreSource {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        Box::pin(async move {
            match self.store.find(&KeyDigest::of(key.expose())).await {
                Ok(record) => Ok(record.map(Arc::new)),
                Err(error) => Err(KeySourceError::Failed(error.to_string().into())),
            }
        })
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        ApiKey::has_own_shape(&self.prefix, presented)
    }
}

#[cfg(test)]
mod tests;

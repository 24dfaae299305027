//! What changes keys: one transaction each, with its row for the watchers and its event for the audit log.

use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::{SqliteStore, audit, get, rows};
use crate::keys::audit::AuditEvent;
use crate::keys::record::KeyStatus;
use crate::keys::secret::KeyDigest;
use crate::keys::store::{Changed, KeyChange, NewKey, SecretMark, StoreError};
use crate::keys::uses::KeyUse;

/// Rows of the change table that are kept; a watcher that is further behind forgets everything.
const CHANGES_KEPT: i64 = 10_000;

impl SqliteStore {
    pub(super) async fn create_key(&self, key: &NewKey, event: &AuditEvent) -> Result<(), StoreError> {
        key.check()?;
        let record = &key.record;
        let owner = record.owner.as_ref();
        let mut change = self.begin().await?;
        if is_taken(&mut change, &key.secret.digest).await? {
            return Err(StoreError::SecretTaken);
        }
        sqlx::query(
            "INSERT INTO keys (id, name, key_type, org_code, user_id, api_id, scopes, status, digest, prefix, suffix, \
             allowed_networks, created_at_ms, expires_at_ms, created_by, metadata, rate_limit, rate_window_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&*record.id)
        .bind(&*record.name)
        .bind(record.key_type.as_str())
        .bind(owner.and_then(|owner| owner.org_code()))
        .bind(owner.and_then(|owner| owner.user_id()))
        .bind(record.api_id.as_deref())
        .bind(rows::joined(&record.scopes))
        .bind(record.status.as_str())
        .bind(key.secret.digest.as_bytes().as_slice())
        .bind(&*key.secret.prefix)
        .bind(&*key.secret.suffix)
        .bind(rows::joined(&record.allowed_networks))
        .bind(rows::integer(key.created_at_ms))
        .bind(record.expires_at_ms.map(rows::integer))
        .bind(key.created_by.as_deref())
        .bind(text_of(&key.metadata))
        .bind(record.rate_limit.map(|own| i64::from(own.limit.get())))
        .bind(record.rate_limit.map(|own| window_ms(&own)))
        .execute(&mut *change)
        .await?;
        if key.imported {
            sqlx::query("INSERT OR IGNORE INTO imported_prefixes (prefix) VALUES (?)")
                .bind(&*key.secret.prefix)
                .execute(&mut *change)
                .await?;
        }
        note_changes(&mut change, &[key.secret.digest]).await?;
        audit::insert(&mut change, event).await?;
        change.commit().await?;
        if key.imported {
            self.read_imported(&mut *self.pool()?.acquire().await?).await?;
        }
        Ok(())
    }

    pub(super) async fn update_key(
        &self,
        id: &str,
        wanted: &KeyChange,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        let mut change = self.begin().await?;
        let mut key = get(&mut change, id).await?;
        wanted.apply(&mut key)?;
        let record = &key.record;
        sqlx::query(
            "UPDATE keys SET name = ?, allowed_networks = ?, expires_at_ms = ?, metadata = ?, rate_limit = ?, \
             rate_window_ms = ? WHERE id = ?",
        )
        .bind(&*record.name)
        .bind(rows::joined(&record.allowed_networks))
        .bind(record.expires_at_ms.map(rows::integer))
        .bind(text_of(&key.metadata))
        .bind(record.rate_limit.map(|own| i64::from(own.limit.get())))
        .bind(record.rate_limit.map(|own| window_ms(&own)))
        .bind(id)
        .execute(&mut *change)
        .await?;
        finish(change, id, event).await
    }

    pub(super) async fn rotate_key(
        &self,
        id: &str,
        secret: &SecretMark,
        grace_until_ms: Option<u64>,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        let mut change = self.begin().await?;
        if get(&mut change, id).await?.record.status == KeyStatus::Revoked {
            return Err(StoreError::Revoked);
        }
        // What the key had until now, also a secret whose grace this ends.
        let before = digests(&mut change, id).await?;
        sqlx::query(
            "UPDATE keys SET old_digest = CASE WHEN ?1 IS NULL THEN NULL ELSE digest END, \
             old_suffix = CASE WHEN ?1 IS NULL THEN NULL ELSE suffix END, \
             old_until_ms = ?1, old_used_at_ms = NULL, old_used_ip = NULL, digest = ?2, prefix = ?3, suffix = ?4 \
             WHERE id = ?5",
        )
        .bind(grace_until_ms.map(rows::integer))
        .bind(secret.digest.as_bytes().as_slice())
        .bind(&*secret.prefix)
        .bind(&*secret.suffix)
        .bind(id)
        .execute(&mut *change)
        .await?;
        note_changes(&mut change, &before).await?;
        let mut changed = finish(change, id, event).await?;
        changed.digests.extend(before);
        Ok(changed)
    }

    pub(super) async fn revoke_key(&self, id: &str, event: &AuditEvent) -> Result<Changed, StoreError> {
        let mut change = self.begin().await?;
        let revoked = sqlx::query("UPDATE keys SET status = 'revoked' WHERE id = ?")
            .bind(id)
            .execute(&mut *change)
            .await?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NoSuchKey(id.into()));
        }
        finish(change, id, event).await
    }

    pub(super) async fn add_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        for key in uses {
            if let Some(seen) = key.verified.filter(|_| key.verifications > 0) {
                sqlx::query(
                    "UPDATE keys SET verification_count = verification_count + ?, last_verified_at_ms = ?, \
                     last_verified_ip = ? WHERE id = ?",
                )
                .bind(rows::integer(key.verifications))
                .bind(rows::integer(seen.at_ms))
                .bind(seen.address.map(|address| address.to_string()))
                .bind(&*key.id)
                .execute(&mut *change)
                .await?;
            }
            if let Some(seen) = key.old_secret {
                // Of a secret that another rotation has ended meanwhile nothing is kept.
                sqlx::query(
                    "UPDATE keys SET old_used_at_ms = ?1, old_used_ip = ?2 WHERE id = ?3 AND old_until_ms > ?1",
                )
                .bind(rows::integer(seen.at_ms))
                .bind(seen.address.map(|address| address.to_string()))
                .bind(&*key.id)
                .execute(&mut *change)
                .await?;
            }
        }
        change.commit().await?;
        Ok(())
    }
}

/// Notes the key's digests for the watchers, writes the event, commits.
async fn finish(
    mut change: Transaction<'_, Sqlite>,
    id: &str,
    event: &AuditEvent,
) -> Result<Changed, StoreError> {
    let key = get(&mut change, id).await?;
    let digests = digests(&mut change, id).await?;
    note_changes(&mut change, &digests).await?;
    audit::insert(&mut change, event).await?;
    change.commit().await?;
    Ok(Changed { key, digests })
}

async fn is_taken(connection: &mut SqliteConnection, digest: &KeyDigest) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM keys WHERE digest = ?1 UNION ALL SELECT 1 FROM keys WHERE old_digest = ?1)",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_one(connection)
    .await
}

async fn digests(connection: &mut SqliteConnection, id: &str) -> Result<Vec<KeyDigest>, sqlx::Error> {
    let row = sqlx::query("SELECT digest, old_digest FROM keys WHERE id = ?")
        .bind(id)
        .fetch_one(connection)
        .await?;
    let both: [Option<&[u8]>; 2] = [row.try_get("digest")?, row.try_get("old_digest")?];
    let whole = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
    Ok(both
        .into_iter()
        .flatten()
        .filter_map(whole)
        .map(KeyDigest::from_bytes)
        .collect())
}

async fn note_changes(change: &mut SqliteConnection, digests: &[KeyDigest]) -> Result<(), sqlx::Error> {
    for digest in digests {
        let noted = sqlx::query("INSERT INTO changes (digest) VALUES (?)")
            .bind(digest.as_bytes().as_slice())
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM changes WHERE seq <= ?")
            .bind(noted.last_insert_rowid() - CHANGES_KEPT)
            .execute(&mut *change)
            .await?;
    }
    Ok(())
}

fn window_ms(own: &crate::keys::record::KeyRateLimit) -> i64 {
    i64::try_from(own.window.as_millis()).unwrap_or(i64::MAX)
}

fn text_of(metadata: &crate::keys::store::Metadata) -> String {
    serde_json::Value::Object(metadata.clone()).to_string()
}

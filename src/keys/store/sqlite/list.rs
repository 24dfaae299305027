//! Pages of keys.
//!
//! Each filter has an index that ends with the order of the list, so a page costs the same among a thousand keys and among a
//! million. Which one is used is said and not left to SQLite, that would have to guess how rare a value is.

use sqlx::AssertSqlSafe;

use super::rows::{self, COLUMNS, stored};
use super::{SqliteStore, get};
use crate::keys::record::KeyStatus;
use crate::keys::store::{KeyFilter, StoreError, StoredKey};

impl SqliteStore {
    pub(super) async fn list_keys(&self, filter: &KeyFilter) -> Result<Vec<StoredKey>, StoreError> {
        let mut connection = self.pool()?.acquire().await?;
        let (age, id) = match &filter.after {
            Some(after) => {
                let key = get(&mut connection, after).await?;
                (rows::integer(key.created_at_ms), key.record.id)
            }
            None => (i64::MAX, "".into()),
        };
        let rows = sqlx::query(AssertSqlSafe(sql(filter)))
            .bind(age)
            .bind(&*id)
            .bind(filter.limit)
            .bind(rows::integer(filter.now_ms))
            .bind(filter.key_type.map(|key_type| key_type.as_str()))
            .bind(filter.user_id.as_deref())
            .bind(filter.org_code.as_deref())
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(stored).collect::<Result<_, _>>()?)
    }
}

/// The query of a page. Parameters: age and id of the key before, limit, now, type, user, organization.
pub(super) fn sql(filter: &KeyFilter) -> String {
    let index = match filter {
        KeyFilter { user_id: Some(_), .. } => "keys_by_user",
        KeyFilter {
            org_code: Some(_), ..
        } => "keys_by_org",
        KeyFilter {
            status: Some(KeyStatus::Inactive),
            ..
        } => "keys_by_inactivity",
        KeyFilter {
            key_type: Some(_),
            status: Some(_),
            ..
        } => "keys_by_type_and_status",
        KeyFilter {
            key_type: Some(_), ..
        } => "keys_by_type",
        KeyFilter { status: Some(_), .. } => "keys_by_status",
        _ => "keys_by_age",
    };
    let mut conditions = vec!["(created_at_ms, id) < (?1, ?2)"];
    if filter.key_type.is_some() {
        conditions.push("key_type = ?5");
    }
    if filter.user_id.is_some() {
        conditions.push("user_id = ?6");
    }
    if filter.org_code.is_some() {
        conditions.push("org_code = ?7");
    }
    conditions.extend(filter.status.map(|status| match status {
        KeyStatus::Active => "status = 'active' AND (expires_at_ms IS NULL OR expires_at_ms > ?4)",
        KeyStatus::Inactive => "may_be_inactive = 1 AND (status = 'inactive' OR expires_at_ms <= ?4)",
        KeyStatus::Revoked => "status = 'revoked'",
    }));
    format!(
        "SELECT {COLUMNS} FROM keys INDEXED BY {index} WHERE {} ORDER BY created_at_ms DESC, id DESC LIMIT ?3",
        conditions.join(" AND ")
    )
}

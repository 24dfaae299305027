//! From a row to a stored key, and back.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoredKey;
use crate::keys::record::{KeyRecord, KeyStatus, KeyType, Owner};

/// What [`stored`] reads.
pub(super) const COLUMNS: &str = "id, name, org_code, user_id, api_id, scopes, status, suffix, allowed_networks, created_at_ms, expires_at_ms";

/// Reads a row. A row that makes no sense is an error, never a key with less to it.
pub(super) fn stored(row: &SqliteRow) -> Result<StoredKey, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let id = text("id")?;
    let organization: Option<String> = row.try_get("org_code")?;
    let user: Option<String> = row.try_get("user_id")?;
    let expires_at_ms: Option<i64> = row.try_get("expires_at_ms")?;
    let owner = Owner::from_parts(organization.as_deref(), user.as_deref());
    let record = KeyRecord {
        name: text("name")?.into(),
        key_type: KeyType::of(owner.as_ref()),
        owner,
        api_id: Some(text("api_id")?.into()),
        scopes: split(&text("scopes")?, "scopes")?,
        status: status(&text("status")?)?,
        expires_at_ms: expires_at_ms.map(unsigned),
        allowed_networks: split(&text("allowed_networks")?, "allowed_networks")?,
        rate_limit: None,
        retiring: false,
        id: id.into(),
    };
    Ok(StoredKey {
        record,
        suffix: text("suffix")?,
        created_at_ms: unsigned(row.try_get("created_at_ms")?),
    })
}

fn status(text: &str) -> Result<KeyStatus, sqlx::Error> {
    [KeyStatus::Active, KeyStatus::Inactive, KeyStatus::Revoked]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| unreadable("status"))
}

fn split<T: FromStr>(text: &str, column: &str) -> Result<Vec<T>, sqlx::Error> {
    text.split_ascii_whitespace()
        .map(|part| part.parse().map_err(|_| unreadable(column)))
        .collect()
}

fn unreadable(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.into(),
        source: "not what latchkey writes".into(),
    }
}

/// A list as one text.
pub(super) fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// SQLite's integers are signed; times stay far below where that matters.
pub(super) fn integer(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

fn unsigned(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}

//! From a row to a stored key, and back.

use std::fmt::Display;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::keys::record::{KeyRateLimit, KeyRecord, Owner};
use crate::keys::store::{OldSecret, StoredKey};

/// What [`stored`] reads.
pub(super) const COLUMNS: &str = "id, name, key_type, org_code, user_id, api_id, scopes, status, prefix, suffix, \
    allowed_networks, created_at_ms, expires_at_ms, created_by, metadata, rate_limit, rate_window_ms, \
    last_verified_at_ms, last_verified_ip, verification_count, \
    old_suffix, old_until_ms, old_used_at_ms, old_used_ip";

/// Reads a row. A row that makes no sense is an error, never a key with less to it.
pub(super) fn stored(row: &SqliteRow) -> Result<StoredKey, sqlx::Error> {
    Ok(StoredKey {
        record: record(row)?,
        prefix: row.try_get("prefix")?,
        suffix: row.try_get("suffix")?,
        created_at_ms: unsigned(row.try_get("created_at_ms")?),
        created_by: row.try_get("created_by")?,
        metadata: serde_json::from_str(row.try_get("metadata")?).map_err(|_| unreadable("metadata"))?,
        last_verified_at_ms: time(row, "last_verified_at_ms")?,
        last_verified_ip: address(row, "last_verified_ip")?,
        verification_count: unsigned(row.try_get("verification_count")?),
        old_secret: old_secret(row)?,
    })
}

/// Reads what was found by a secret: a secret that was rotated out is good for no longer than its grace.
pub(super) fn found(row: &SqliteRow) -> Result<KeyRecord, sqlx::Error> {
    let mut record = record(row)?;
    record.retiring = row.try_get("retiring")?;
    if record.retiring {
        let until_ms = time(row, "old_until_ms")?.ok_or_else(|| unreadable("old_until_ms"))?;
        record.expires_at_ms = Some(record.expires_at_ms.map_or(until_ms, |at| at.min(until_ms)));
    }
    Ok(record)
}

fn record(row: &SqliteRow) -> Result<KeyRecord, sqlx::Error> {
    let text = |column: &str| row.try_get::<&str, _>(column);
    Ok(KeyRecord {
        id: text("id")?.into(),
        name: text("name")?.into(),
        key_type: parsed(text("key_type")?, "key_type")?,
        owner: Owner::from_parts(row.try_get("org_code")?, row.try_get("user_id")?),
        api_id: Some(text("api_id")?.into()),
        scopes: split(text("scopes")?, "scopes")?,
        status: parsed(text("status")?, "status")?,
        expires_at_ms: time(row, "expires_at_ms")?,
        allowed_networks: split(text("allowed_networks")?, "allowed_networks")?,
        rate_limit: rate_limit(row)?,
        retiring: false,
    })
}

fn rate_limit(row: &SqliteRow) -> Result<Option<KeyRateLimit>, sqlx::Error> {
    let limit: Option<i64> = row.try_get("rate_limit")?;
    let window: Option<i64> = row.try_get("rate_window_ms")?;
    match (limit, window) {
        (None, None) => Ok(None),
        (Some(limit), Some(window)) => {
            let limit = u32::try_from(limit).ok().and_then(NonZeroU32::new);
            Ok(Some(KeyRateLimit {
                limit: limit.ok_or_else(|| unreadable("rate_limit"))?,
                window: Duration::from_millis(unsigned(window)),
            }))
        }
        _ => Err(unreadable("rate_window_ms")),
    }
}

fn old_secret(row: &SqliteRow) -> Result<Option<OldSecret>, sqlx::Error> {
    let Some(until_ms) = time(row, "old_until_ms")? else {
        return Ok(None);
    };
    Ok(Some(OldSecret {
        suffix: row
            .try_get::<Option<String>, _>("old_suffix")?
            .unwrap_or_default(),
        until_ms,
        last_used_at_ms: time(row, "old_used_at_ms")?,
        last_used_ip: address(row, "old_used_ip")?,
    }))
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Option<u64>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(unsigned))
}

pub(super) fn address(row: &SqliteRow, column: &str) -> Result<Option<IpAddr>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| parsed(text, column)).transpose()
}

pub(super) fn parsed<T: FromStr>(text: &str, column: &str) -> Result<T, sqlx::Error> {
    text.parse().map_err(|_| unreadable(column))
}

fn split<T: FromStr>(text: &str, column: &str) -> Result<Vec<T>, sqlx::Error> {
    text.split_ascii_whitespace()
        .map(|part| parsed(part, column))
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

pub(super) fn unsigned(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}

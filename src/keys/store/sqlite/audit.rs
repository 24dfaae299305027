//! The audit log in SQLite.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{SqliteStore, rows};
use crate::keys::audit::{AUDIT_EVENTS_KEPT, AUDIT_KEPT_MS, AuditEvent, AuditFilter, StoredEvent};
use crate::keys::store::StoreError;

impl SqliteStore {
    pub(super) async fn add_events(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        for event in events {
            insert(&mut change, event).await?;
        }
        change.commit().await?;
        Ok(())
    }

    pub(super) async fn list_events(&self, filter: &AuditFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(sql(filter)))
            .bind(filter.before.map_or(i64::MAX, rows::integer))
            .bind(filter.limit)
            .bind(filter.target.as_deref())
            .bind(filter.actor.as_deref())
            .bind(filter.action.as_deref())
            .bind(filter.result.map(|result| result.as_str()))
            .bind(filter.from_ms.map_or(0, rows::integer))
            .bind(filter.to_ms.map_or(i64::MAX, rows::integer))
            .fetch_all(self.pool()?)
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let text = |column: &str| row.try_get::<Option<&str>, _>(column);
            events.push(StoredEvent {
                seq: rows::unsigned(row.try_get("seq")?),
                event: AuditEvent {
                    at_ms: rows::unsigned(row.try_get("at_ms")?),
                    actor: text("actor")?.map(Into::into),
                    action: row.try_get::<&str, _>("action")?.into(),
                    target: text("target")?.map(Into::into),
                    result: rows::parsed(row.try_get("result")?, "result")?,
                    code: text("code")?.map(Into::into),
                    address: rows::address(row, "address")?,
                },
            });
        }
        Ok(events)
    }

    pub(super) async fn drop_old_events(&self, now_ms: u64) -> Result<(), StoreError> {
        // The order of the numbers is that of time, but for clocks that were set back, which do not matter here.
        sqlx::query(
            "DELETE FROM audit_events WHERE seq <= (SELECT MAX(seq) FROM audit_events) - ? OR seq IN \
             (SELECT seq FROM audit_events WHERE at_ms < ? ORDER BY seq LIMIT 100000)",
        )
        .bind(AUDIT_EVENTS_KEPT)
        .bind(rows::integer(now_ms.saturating_sub(AUDIT_KEPT_MS)))
        .execute(self.pool()?)
        .await?;
        Ok(())
    }
}

/// The query of a page. Parameters: number of the event before, limit, target, actor, action, result, from, to.
pub(super) fn sql(filter: &AuditFilter) -> String {
    let (index, mut conditions) = match filter {
        AuditFilter { target: Some(_), .. } => ("INDEXED BY audit_events_by_target", vec!["target = ?3"]),
        AuditFilter { actor: Some(_), .. } => ("INDEXED BY audit_events_by_actor", vec!["actor = ?4"]),
        AuditFilter { action: Some(_), .. } => ("INDEXED BY audit_events_by_action", vec!["action = ?5"]),
        _ => ("NOT INDEXED", vec![]),
    };
    for (wanted, condition) in [
        (filter.actor.is_some(), "actor = ?4"),
        (filter.action.is_some(), "action = ?5"),
        (filter.result.is_some(), "result = ?6"),
        (filter.from_ms.is_some(), "at_ms >= ?7"),
        (filter.to_ms.is_some(), "at_ms < ?8"),
    ] {
        if wanted && !conditions.contains(&condition) {
            conditions.push(condition);
        }
    }
    conditions.push("seq < ?1");
    format!(
        "SELECT seq, at_ms, actor, action, target, result, code, address FROM audit_events {index} WHERE {} \
         ORDER BY seq DESC LIMIT ?2",
        conditions.join(" AND ")
    )
}

pub(super) async fn insert(change: &mut SqliteConnection, event: &AuditEvent) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit_events (at_ms, actor, action, target, result, code, address) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(rows::integer(event.at_ms))
    .bind(event.actor.as_deref())
    .bind(&*event.action)
    .bind(event.target.as_deref())
    .bind(event.result.as_str())
    .bind(event.code.as_deref())
    .bind(event.address.map(|address| address.to_string()))
    .execute(change)
    .await?;
    Ok(())
}

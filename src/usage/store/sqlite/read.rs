//! Sums and events, read.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::super::hour_of;
use super::super::query::{By, EventFilter, Filter, Group, UsageRow};
use super::{EVENT, SqliteUsage, integer, whole};
use crate::keys::StoreError;
use crate::usage::event::{Event, EventId};

const MS_PER_HOUR: u64 = 3_600_000;

impl SqliteUsage {
    pub(super) async fn sums(
        &self,
        filter: &Filter,
        by: &By,
        limit: u32,
        offset: u64,
    ) -> Result<Vec<UsageRow>, StoreError> {
        // The groups have names of their own, g0, g1, …: an expression over `hour` must not be taken for the column.
        let groups: Vec<&str> = by
            .groups()
            .iter()
            .flat_map(|group| expressions(*group))
            .copied()
            .collect();
        let page = Page {
            filter,
            by,
            groups: &groups,
            limit,
            offset,
        };
        let mut query = QueryBuilder::new("");
        page.push(&mut query);
        let found = query.build().fetch_all(self.store.pool()?).await?;
        let mut rows = Vec::with_capacity(found.len());
        let mut places = BTreeMap::new();
        for row in &found {
            let group = group_of(row, groups.len())?;
            places.insert(group.clone(), rows.len());
            rows.push(totals_of(row, by, &group)?);
        }

        let mut query = QueryBuilder::new("WITH page AS (");
        page.push(&mut query);
        query.push(") SELECT ");
        page.push_groups(&mut query);
        query.push("bucket, SUM(d.requests) AS times FROM usage_rollups JOIN usage_durations d ON d.rollup_id = usage_rollups.id WHERE ");
        push_filter(&mut query, filter);
        if !groups.is_empty() {
            query.push(" AND (").push(groups.join(", ")).push(") IN (SELECT ");
            query.push(page.names().join(", ")).push(" FROM page)");
        }
        query.push(" GROUP BY ").push(page.names().join(", "));
        query.push(if groups.is_empty() { "bucket" } else { ", bucket" });
        for row in query.build().fetch_all(self.store.pool()?).await? {
            if let Some(place) = places.get(&group_of(&row, groups.len())?) {
                let bucket = u16::try_from(row.try_get::<i64, _>("bucket")?).unwrap_or(u16::MAX);
                rows[*place].durations.add(bucket, whole(row.try_get("times")?));
            }
        }
        Ok(rows)
    }

    pub(super) async fn list(&self, asked: &EventFilter, limit: u32) -> Result<Vec<Event>, StoreError> {
        let filter = &asked.filter;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(EVENT).push(" FROM usage_events WHERE at_ms >= ");
        query.push_bind(integer(filter.from_ms.unwrap_or(0)));
        query
            .push(" AND at_ms < ")
            .push_bind(filter.to_ms.map_or(i64::MAX, integer));
        push_equal(&mut query, filter);
        if let Some(failed) = asked.failed {
            query.push(" AND failed = ").push_bind(i64::from(failed));
        }
        if let Some((at_ms, id)) = &asked.before {
            query.push(" AND (at_ms, id) < (").push_bind(integer(*at_ms));
            query.push(", ").push_bind(id.clone()).push(")");
        }
        query
            .push(" ORDER BY at_ms DESC, id DESC LIMIT ")
            .push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.store.pool()?).await?;
        Ok(rows.iter().map(event_of).collect::<Result<_, _>>()?)
    }
}

/// One page of sums.
struct Page<'q> {
    filter: &'q Filter,
    by: &'q By,
    groups: &'q [&'q str],
    limit: u32,
    offset: u64,
}

impl Page<'_> {
    fn names(&self) -> Vec<String> {
        (0..self.groups.len())
            .map(|number| format!("g{number}"))
            .collect()
    }

    fn push_groups(&self, query: &mut QueryBuilder<Sqlite>) {
        for (expression, name) in self.groups.iter().zip(self.names()) {
            query.push(expression).push(" AS ").push(name).push(", ");
        }
    }

    fn push(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push("SELECT ");
        self.push_groups(query);
        query.push(
            "SUM(requests) AS requests, SUM(errors) AS errors, SUM(input_length) AS input_length, SUM(response_length) \
             AS response_length, SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens, SUM(tokens) AS \
             tokens FROM usage_rollups WHERE ",
        );
        push_filter(query, self.filter);
        let names = self.names();
        if !names.is_empty() {
            query.push(" GROUP BY ").push(names.join(", "));
        }
        // Without any row there is no sum, not a sum of nothing.
        query.push(" HAVING COUNT(*) > 0 ORDER BY ");
        // Series go on in time; all else is told with the greatest first.
        let mut order = Vec::new();
        let mut name = names.iter();
        for group in self.by.groups() {
            let columns = name.by_ref().take(expressions(*group).len());
            if matches!(group, Group::Hour | Group::Day) {
                order.extend(columns.cloned());
            } else {
                columns.for_each(drop);
            }
        }
        order.push("requests DESC".into());
        order.extend(names);
        query.push(order.join(", "));
        query.push(" LIMIT ").push_bind(i64::from(self.limit));
        query.push(" OFFSET ").push_bind(integer(self.offset));
    }
}

/// What a group is in the rollups.
fn expressions(group: Group) -> &'static [&'static str] {
    match group {
        Group::Key => &["key_id"],
        Group::Owner => &["org_code", "CASE WHEN org_code = '' THEN user_id ELSE '' END"],
        Group::Route => &["route"],
        Group::Status => &["status"],
        Group::Hour => &["hour"],
        Group::Day => &["hour / 24 * 24"],
    }
}

/// A value that a row of a group has: a text, or a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Cell {
    Text(String),
    Number(i64),
}

fn group_of(row: &SqliteRow, groups: usize) -> Result<Vec<Cell>, sqlx::Error> {
    (0..groups)
        .map(|number| match row.try_get::<String, _>(number) {
            Ok(text) => Ok(Cell::Text(text)),
            Err(_) => row.try_get(number).map(Cell::Number),
        })
        .collect()
}

fn totals_of(row: &SqliteRow, by: &By, group: &[Cell]) -> Result<UsageRow, sqlx::Error> {
    let mut totals = UsageRow {
        requests: whole(row.try_get("requests")?),
        errors: whole(row.try_get("errors")?),
        input_length: whole(row.try_get("input_length")?),
        response_length: whole(row.try_get("response_length")?),
        input_tokens: whole(row.try_get("input_tokens")?),
        output_tokens: whole(row.try_get("output_tokens")?),
        tokens: whole(row.try_get("tokens")?),
        ..UsageRow::default()
    };
    let mut cells = group.iter();
    let mut next = || cells.next().cloned().unwrap_or(Cell::Number(0));
    let text = |cell| match cell {
        Cell::Text(text) => Some(text),
        Cell::Number(_) => None,
    };
    let number = |cell| match cell {
        Cell::Number(number) => whole(number),
        Cell::Text(_) => 0,
    };
    for group in by.groups() {
        match group {
            Group::Key => totals.key_id = text(next()),
            Group::Owner => {
                totals.org_code = text(next());
                totals.user_id = text(next());
            }
            Group::Route => totals.route = text(next()),
            Group::Status => totals.status = u16::try_from(number(next())).ok(),
            Group::Hour | Group::Day => totals.start_ms = Some(number(next()) * MS_PER_HOUR),
        }
    }
    Ok(totals)
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let from = filter.from_ms.map_or(0, hour_of);
    // An hour that has begun counts as a whole.
    let to = filter
        .to_ms
        .map_or(i64::MAX, |to| integer(to.div_ceil(MS_PER_HOUR)));
    query.push("hour >= ").push_bind(integer(from));
    query.push(" AND hour < ").push_bind(to);
    push_equal(query, filter);
}

/// The parts of a filter that events and sums have in common.
fn push_equal(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    for (column, value) in [
        ("key_id", &filter.key_id),
        ("org_code", &filter.org_code),
        ("user_id", &filter.user_id),
        ("route", &filter.route),
    ] {
        if let Some(value) = value {
            query
                .push(" AND ")
                .push(column)
                .push(" = ")
                .push_bind(value.clone());
        }
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(i64::from(status));
    }
}

fn event_of(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    let text = |name: &str| row.try_get::<String, _>(name).map(Box::<str>::from);
    let number = |name: &str| row.try_get::<i64, _>(name).map(whole);
    let maybe = |name: &str| {
        row.try_get::<Option<i64>, _>(name)
            .map(|number| number.map(whole))
    };
    Ok(Event {
        id: EventId::stored(&text("id")?),
        at_ms: number("at_ms")?,
        key_id: text("key_id")?,
        key_name: text("key_name")?,
        org_code: text("org_code")?,
        user_id: text("user_id")?,
        route: text("route")?,
        method: text("method")?,
        path: text("path")?,
        status: u16::try_from(number("status")?).unwrap_or_default(),
        outcome: text("outcome")?,
        reason: text("reason")?,
        flags: text("flags")?,
        details: text("details")?,
        guard: text("guard")?,
        input_bytes: number("input_bytes")?,
        response_bytes: number("response_bytes")?,
        input_chars: maybe("input_chars")?,
        response_chars: maybe("response_chars")?,
        input_tokens: maybe("input_tokens")?,
        output_tokens: maybe("output_tokens")?,
        total_tokens: maybe("total_tokens")?,
        duration_us: number("duration_us")?,
    })
}

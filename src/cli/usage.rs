//! `latchkey usage`: who used what, from the store that the configuration names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::Environment;
use super::config::load_settings;
use super::table;
use crate::config::StoreUrl;
use crate::http::Sums;
use crate::keys::SqliteStore;
use crate::usage::{By, Filter, Group, SqliteUsage, UsageRow, UsageStore, rfc3339};

/// The parts of a sparkline.
const PARTS: usize = 24;

/// The arguments of `latchkey usage`.
#[derive(Args, Debug)]
pub(super) struct UsageArgs {
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One or more of key, owner, route, status, hour, day, separated by commas
    #[arg(long, value_name = "GROUPS", default_value = "owner")]
    by: By,
    /// How far to look back
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Only of this key
    #[arg(long, value_name = "KEY_ID")]
    key: Option<String>,
    /// Only of this organization
    #[arg(long, value_name = "ORG_CODE")]
    org: Option<String>,
    /// Only of this user
    #[arg(long, value_name = "USER_ID")]
    user: Option<String>,
    /// Only on this route
    #[arg(long)]
    route: Option<String>,
    /// Only what was answered with this status
    #[arg(long)]
    status: Option<u16>,
    /// How many rows at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

pub(super) fn run(args: UsageArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let named = super::named_config(args.config.clone(), environment);
    let settings = match load_settings(named.as_deref(), environment) {
        Ok(loaded) => loaded.settings,
        Err(code) => return Ok(code),
    };
    let StoreUrl::Sqlite(path) = &settings.store else {
        bail!("this version keeps usage in SQLite only");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = SqliteUsage::new(&SqliteStore::open(path).await?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let span = Span {
            from_ms: milliseconds(now.saturating_sub(args.since)),
            to_ms: milliseconds(now) + 1,
        };
        let filter = Filter {
            from_ms: Some(span.from_ms),
            to_ms: Some(span.to_ms),
            key_id: args.key,
            org_code: args.org,
            user_id: args.user,
            route: args.route,
            status: args.status,
        };
        let rows = store.totals(&filter, &args.by, args.limit, 0).await?;
        let mut out = std::io::stdout().lock();
        match args.output {
            Output::Json => {
                let usage: Vec<Sums> = rows.into_iter().map(Sums::from).collect();
                writeln!(out, "{}", json!({"usage": usage}))?;
            }
            Output::Table if rows.is_empty() => writeln!(out, "no requests in this time")?,
            Output::Table => {
                let series = series(&store, &filter, &args.by, span).await?;
                for line in table_of(&rows, &series) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The time that is asked about.
#[derive(Clone, Copy)]
struct Span {
    from_ms: u64,
    to_ms: u64,
}

/// Requests of each group over the time; empty when time is among the groups already.
async fn series(
    store: &SqliteUsage,
    filter: &Filter,
    by: &By,
    span: Span,
) -> anyhow::Result<BTreeMap<String, [u64; PARTS]>> {
    let mut series = BTreeMap::new();
    if by.has(Group::Hour) || by.has(Group::Day) {
        return Ok(series);
    }
    // Sums are by the hour, and a part is at least one.
    let rows = store.totals(filter, &by.and(Group::Hour), u32::MAX, 0).await?;
    let length = (span.to_ms - span.from_ms).max(1);
    for row in rows {
        let at = row.start_ms.unwrap_or(span.from_ms).saturating_sub(span.from_ms);
        let part = usize::try_from(at * PARTS as u64 / length)
            .unwrap_or(PARTS)
            .min(PARTS - 1);
        series.entry(label(&row)).or_insert([0; PARTS])[part] += row.requests;
    }
    Ok(series)
}

/// What a group is called, without its time.
fn label(row: &UsageRow) -> String {
    let known = |text: &String| {
        if text.is_empty() {
            "(none)".to_owned()
        } else {
            table::printable(text)
        }
    };
    let mut parts = Vec::new();
    parts.extend(row.key_id.as_ref().map(known));
    parts.extend(match (row.org_code.as_deref(), row.user_id.as_deref()) {
        (None, _) => None,
        (Some(""), Some("")) => Some("(none)".to_owned()),
        (Some(""), Some(user)) => Some(format!("user:{}", table::printable(user))),
        (Some(org), _) => Some(format!("org:{}", table::printable(org))),
    });
    parts.extend(row.route.as_ref().map(known));
    parts.extend(row.status.map(|status| status.to_string()));
    if parts.is_empty() {
        parts.push("all".to_owned());
    }
    parts.join("  ")
}

fn table_of(rows: &[UsageRow], series: &BTreeMap<String, [u64; PARTS]>) -> Vec<String> {
    let head = [
        "GROUP",
        "REQUESTS",
        "ERRORS",
        "P50",
        "P99",
        "IN",
        "OUT",
        "TOKENS",
        "OVER TIME",
    ];
    let mut lines = vec![head.map(String::from)];
    lines.extend(rows.iter().map(|row| {
        let group = match row.start_ms {
            None => label(row),
            Some(start) => {
                let start: String = rfc3339(start)
                    .to_string()
                    .chars()
                    .take("2026-01-01T00:00".len())
                    .collect();
                format!("{start}  {}", label(row))
                    .trim_end_matches("  all")
                    .to_owned()
            }
        };
        let percentile = |part| match row.durations.percentile_ms(part) {
            Some(ms) if ms >= 1000.0 => format!("{:.1}s", ms / 1000.0),
            Some(ms) => format!("{ms:.0}ms"),
            None => "-".to_owned(),
        };
        [
            group,
            row.requests.to_string(),
            row.errors.to_string(),
            percentile(0.5),
            percentile(0.99),
            row.input_length.to_string(),
            row.response_length.to_string(),
            row.tokens.to_string(),
            series.get(&label(row)).map(sparkline).unwrap_or_default(),
        ]
    }));
    table::lines(&lines)
}

/// One sign for each part of the time, as high as its share of the greatest.
fn sparkline(parts: &[u64; PARTS]) -> String {
    const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = parts.iter().copied().max().unwrap_or(0).max(1);
    let sign = |part: &u64| match part {
        0 => ' ',
        part => SIGNS[usize::try_from((part * 8).div_ceil(most)).map_or(7, |height| height.clamp(1, 8) - 1)],
    };
    parts.iter().map(sign).collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_shows_shares_of_the_greatest_and_nothing_for_nothing() {
        let mut parts = [0; PARTS];
        parts[1] = 1;
        parts[2] = 500;
        parts[23] = 1000;
        let line: Vec<char> = sparkline(&parts).chars().collect();
        assert_eq!((line[0], line[1], line[2], line[23]), (' ', '▁', '▄', '█'));
        assert_eq!(sparkline(&[0; PARTS]).trim(), "");
        assert_eq!(sparkline(&[u64::from(u32::MAX); PARTS]), "█".repeat(PARTS));
    }

    #[test]
    fn a_group_is_called_by_what_is_known_of_it() {
        let text = |text: &str| Some(text.to_owned());
        for (row, expected) in [
            (UsageRow::default(), "all"),
            (
                UsageRow {
                    org_code: text("acme"),
                    user_id: text(""),
                    ..UsageRow::default()
                },
                "org:acme",
            ),
            (
                UsageRow {
                    org_code: text(""),
                    user_id: text("u1"),
                    ..UsageRow::default()
                },
                "user:u1",
            ),
            (
                UsageRow {
                    org_code: text(""),
                    user_id: text(""),
                    ..UsageRow::default()
                },
                "(none)",
            ),
            (
                UsageRow {
                    key_id: text("k"),
                    status: Some(200),
                    ..UsageRow::default()
                },
                "k  200",
            ),
            (
                UsageRow {
                    route: text("a\u{1b}[2J"),
                    ..UsageRow::default()
                },
                "a\\u{1b}[2J",
            ),
        ] {
            assert_eq!(label(&row), expected);
        }
    }
}

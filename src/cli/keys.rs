//! `latchkey keys …`: keys, directly in the store that the configuration names.
//!
//! A server beside it sees each change within moments.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::Environment;
use super::config::load_settings;
use super::table;
use crate::config::{Api, Scope, Settings, StoreUrl};
use crate::keys::{ApiKey, KeyRecord, KeyStatus, KeyType, Owner, SqliteStore, StoredKey};

/// What `latchkey keys` can do.
#[derive(Subcommand, Debug)]
pub(super) enum KeysCommand {
    /// Make a key; its secret is shown once
    Create(CreateArgs),
    /// List keys, the newest first
    List(ListArgs),
    /// Show one key
    Show(OneArgs),
    /// Revoke a key for ever
    Revoke(OneArgs),
}

#[derive(Args, Debug)]
pub(super) struct Common {
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Debug)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    common: Common,
    /// For people; need not be unique
    #[arg(long)]
    name: String,
    /// Id of the API that the key is for
    #[arg(long)]
    api: String,
    /// What the key may do; may be given more than once, or as a list with commas
    #[arg(long = "scope", value_delimiter = ',')]
    scopes: Vec<String>,
    /// The organization that owns it
    #[arg(long, value_name = "ORG_CODE", required_unless_present = "user")]
    org: Option<String>,
    /// The user who owns it
    #[arg(long, value_name = "USER_ID")]
    user: Option<String>,
    /// How long it is valid, such as 90d; for ever without
    #[arg(long, value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// A network that it may be used from, such as 192.0.2.0/24; may be given more than once
    #[arg(long = "allow-network", value_name = "CIDR")]
    networks: Vec<IpNet>,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Only keys older than the one with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct OneArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the key, such as api_key_…
    id: String,
}

pub(super) fn run(command: KeysCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    let common = match &command {
        KeysCommand::Create(args) => &args.common,
        KeysCommand::List(args) => &args.common,
        KeysCommand::Show(args) | KeysCommand::Revoke(args) => &args.common,
    };
    let named = super::named_config(common.config.clone(), environment);
    let settings = match load_settings(named.as_deref(), environment) {
        Ok(loaded) => loaded.settings,
        Err(code) => return Ok(code),
    };
    let StoreUrl::Sqlite(path) = &settings.store else {
        bail!("this version stores keys in SQLite only");
    };
    let style = Style::of(environment);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Mistakes in the arguments come before the store, which is made when it is not there.
        if let KeysCommand::Create(args) = command {
            let record = match record(&args, &settings) {
                Ok(record) => record,
                Err(mistake) => {
                    eprintln!("latchkey: {mistake}");
                    return Ok(ExitCode::from(2));
                }
            };
            let store = SqliteStore::open(path).await?;
            return create(&store, &settings, record, args.common.output, style).await;
        }
        let store = SqliteStore::open(path).await?;
        match command {
            KeysCommand::Create(_) => bail!("handled above"),
            KeysCommand::List(args) => list(&store, &args, style).await,
            KeysCommand::Show(args) => print_one(&store.get(&args.id).await?, args.common.output),
            KeysCommand::Revoke(args) => {
                store.revoke(&args.id).await?;
                print_one(&store.get(&args.id).await?, args.common.output)
            }
        }
    })
}

/// The record that the arguments describe.
fn record(args: &CreateArgs, settings: &Settings) -> Result<KeyRecord, String> {
    let api = known(&args.api, settings.apis.iter().map(|api| &*api.id))
        .map_err(|near| format!("unknown API {:?}{near}", args.api))
        .map(|at| &settings.apis[at])?;
    let mut scopes = Vec::new();
    for written in args.scopes.iter().flat_map(|list| list.split_ascii_whitespace()) {
        let scope = scope(written, api)?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if [&args.org, &args.user]
        .into_iter()
        .flatten()
        .any(String::is_empty)
    {
        return Err("--org and --user are not empty".into());
    }
    let owner = Owner::from_parts(args.org.as_deref(), args.user.as_deref())
        .ok_or("a key needs an owner: --org, --user, or both")?;
    let expires_at_ms = match args.expires {
        Some(valid) if valid.is_zero() => return Err("--expires is more than nothing".into()),
        Some(valid) => {
            Some(now_ms().saturating_add(u64::try_from(valid.as_millis()).unwrap_or(u64::MAX / 2)))
        }
        None => None,
    };
    let record = KeyRecord {
        id: new_id().map_err(|error| error.to_string())?.into(),
        name: args.name.as_str().into(),
        key_type: KeyType::of(Some(&owner)),
        owner: Some(owner),
        api_id: Some(api.id.clone()),
        scopes,
        status: KeyStatus::Active,
        expires_at_ms,
        allowed_networks: args.networks.clone(),
        rate_limit: None,
        retiring: false,
    };
    SqliteStore::check(&record).map_err(|refused| refused.to_string())?;
    Ok(record)
}

fn scope(written: &str, api: &Api) -> Result<Scope, String> {
    known(written, api.scopes.iter().map(Scope::as_str))
        .map(|at| api.scopes[at].clone())
        .map_err(|near| format!("API {:?} has no scope {written:?}{near}", &*api.id))
}

/// Where `wanted` is among the names, or a hint at the nearest one.
fn known<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Result<usize, String> {
    let names: Vec<&str> = names.collect();
    names.iter().position(|name| *name == wanted).ok_or_else(|| {
        let near = names
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, wanted).total_cmp(&strsim::jaro_winkler(b, wanted)));
        near.map(|name| format!("; did you mean {name:?}?"))
            .unwrap_or_default()
    })
}

/// `api_key_` and 128 random bits.
fn new_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("api_key_{:032x}", u128::from_be_bytes(bytes)))
}

fn now_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

async fn create(
    store: &SqliteStore,
    settings: &Settings,
    record: KeyRecord,
    output: Output,
    style: Style,
) -> anyhow::Result<ExitCode> {
    let key = ApiKey::generate(&settings.keys.prefix).context("making a key")?;
    store.create(&record, &key, now_ms()).await?;
    if let Err(error) = tell(&record, &key, output, style) {
        // A key that nobody has must not stay valid.
        store.revoke(&record.id).await?;
        return Err(error.context(format!("the key could not be shown, so {} is revoked", record.id)));
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(record: &KeyRecord, key: &ApiKey, output: Output, style: Style) -> anyhow::Result<()> {
    match output {
        Output::Json => print(&json!({"id": record.id, "key": key.expose()})),
        Output::Table => {
            let mut out = stdout().lock();
            writeln!(out, "id   {}\nkey  {}", record.id, style.strong(key.expose()))?;
            writeln!(out, "\nThis is the only time that the key is shown.")?;
            Ok(out.flush()?)
        }
    }
}

async fn list(store: &SqliteStore, args: &ListArgs, style: Style) -> anyhow::Result<ExitCode> {
    let keys = store.list(args.limit, args.after.as_deref()).await?;
    if args.common.output == Output::Json {
        print(&Value::Array(keys.iter().map(as_json).collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = [
        "ID", "NAME", "OWNER", "API", "SCOPES", "STATUS", "KEY", "CREATED", "EXPIRES",
    ]
    .map(String::from);
    let mut rows = vec![head];
    rows.extend(keys.iter().map(as_row));
    let mut out = stdout().lock();
    for (number, line) in table::lines(&rows).into_iter().enumerate() {
        let line = if number == 0 { style.strong(&line) } else { line };
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_one(key: &StoredKey, output: Output) -> anyhow::Result<ExitCode> {
    match output {
        Output::Json => print(&as_json(key))?,
        Output::Table => {
            let names = [
                "id", "name", "owner", "api", "scopes", "status", "key", "created", "expires",
            ];
            let mut out = stdout().lock();
            for (name, cell) in names.iter().zip(as_row(key)) {
                writeln!(out, "{name:8} {cell}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(value: &Value) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")
        .and_then(|()| out.flush())
        .context("writing to standard output")
}

/// Whether to print in bold: on a terminal that has not been asked for none (no-color.org).
#[derive(Clone, Copy)]
struct Style {
    bold: bool,
}

impl Style {
    fn of(environment: &Environment) -> Self {
        let plain = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            bold: stdout().is_terminal() && !plain,
        }
    }

    fn strong(self, text: &str) -> String {
        if self.bold {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn day(at_ms: u64) -> String {
    time(at_ms).split('T').next().unwrap_or_default().to_owned()
}

/// RFC 3339, in UTC, to the second.
fn time(at_ms: u64) -> String {
    // humantime prints years of four digits, and panics beyond.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    let at = UNIX_EPOCH + Duration::from_millis(at_ms.min(YEAR_9999_MS));
    humantime::format_rfc3339_seconds(at).to_string()
}

fn as_row(key: &StoredKey) -> [String; 9] {
    let record = &key.record;
    let expires = match record.expires_at_ms {
        None => "never".to_owned(),
        Some(at) if at <= now_ms() => "expired".to_owned(),
        Some(at) => format!("{} ({}d left)", day(at), (at - now_ms()) / 86_400_000),
    };
    [
        record.id.to_string(),
        record.name.to_string(),
        record.owner.as_ref().map(Owner::to_string).unwrap_or_default(),
        record.api_id.as_deref().unwrap_or_default().to_owned(),
        joined(&record.scopes),
        record.status.as_str().to_owned(),
        format!("…{}", key.suffix),
        day(key.created_at_ms),
        expires,
    ]
}

fn as_json(key: &StoredKey) -> Value {
    let record = &key.record;
    json!({
        "id": record.id,
        "name": record.name,
        "org_code": record.owner.as_ref().and_then(Owner::org_code),
        "user_id": record.owner.as_ref().and_then(Owner::user_id),
        "api_id": record.api_id,
        "scopes": record.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "status": record.status.as_str(),
        "key_suffix": key.suffix,
        "created_on": time(key.created_at_ms),
        "expires_on": record.expires_at_ms.map(time),
        "allowed_networks": record.allowed_networks,
    })
}

//! `latchkey keys …`: keys, over the HTTP API of a running server or directly in the store that the configuration names.
//!
//! Both go the same way: a command becomes one request of the HTTP API. It is sent to a server, or answered by the same
//! router in this process, on the store itself; a server beside it sees each change within moments.

mod args;
mod place;
mod print;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

pub(super) use self::args::KeysCommand;
use self::args::{
    Common, CreateArgs, ImportArgs, ListArgs, NewKeyArgs, Output, RotateArgs, UpdateArgs, VerifyArgs,
};
use self::place::{Place, Reply};
use self::print::Style;
use super::Environment;
use crate::http::time;
use crate::keys::{ApiKey, KeyDigest, now_ms};

const KEYS: &str = "/api/v1/api_keys";

/// Longest secret that is read from a file, in bytes; more than any key has.
const LONGEST_SECRET: u64 = 4096;

/// A request that was refused: what it says, and whether the caller's words were wrong.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
    is_mistake: bool,
}

pub(super) fn run(command: KeysCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    let common = command.common();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let place = match Place::of(common, environment).await? {
            Ok(place) => place,
            // Mistakes in the configuration are printed already.
            Err(exit_code) => return Ok(exit_code),
        };
        let done = act(&place, &command, environment, Style::of(environment)).await;
        place.close().await;
        done
    });
    match done {
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.is_mistake => {
                eprintln!("latchkey: {error:#}");
                Ok(ExitCode::from(2))
            }
            _ => Err(error),
        },
        done => done,
    }
}

async fn act(
    place: &Place,
    command: &KeysCommand,
    environment: &Environment,
    style: Style,
) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Create(args) => create(place, args, style).await?,
        KeysCommand::Import(args) => import(place, args, environment).await?,
        KeysCommand::List(args) => list(place, args, style).await?,
        KeysCommand::Show(args) => show(place, &args.id, args.common.output).await?,
        KeysCommand::Rotate(args) => rotate(place, args, style).await?,
        KeysCommand::Update(args) => {
            ask(place, "PATCH", &one(&args.id), Some(changes(args)?)).await?;
            show(place, &args.id, args.common.output).await?;
        }
        KeysCommand::Revoke(args) => {
            ask(place, "DELETE", &one(&args.id), None).await?;
            show(place, &args.id, args.common.output).await?;
        }
        KeysCommand::Verify(args) => return verify(place, args, environment).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// One request; an answer that is no success is an error with what it says.
async fn ask(place: &Place, method: &str, target: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let Reply { status, body } = place.ask(method, target, body).await?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let errors = &body["errors"];
    let first = if errors.is_array() { &errors[0] } else { errors };
    let message = match first["message"].as_str() {
        Some(message) => print::safe(message),
        None => format!("the server answered {status}"),
    };
    Err(Refused {
        message,
        is_mistake: status == 400,
    }
    .into())
}

fn one(id: &str) -> String {
    format!("{KEYS}/{}", encoded(id))
}

async fn create(place: &Place, args: &CreateArgs, style: Style) -> anyhow::Result<()> {
    let answer = ask(place, "POST", KEYS, Some(Value::Object(new_key(&args.key)?))).await?;
    let id = answer["api_key"]["id"].as_str().unwrap_or_default();
    if let Err(error) = print::secret(&answer, args.common.output, style) {
        // A key that nobody has must not stay valid.
        ask(place, "DELETE", &one(id), None).await?;
        return Err(error.context(format!("the key could not be shown, so {id} is revoked")));
    }
    Ok(())
}

async fn import(place: &Place, args: &ImportArgs, environment: &Environment) -> anyhow::Result<()> {
    let mut body = new_key(&args.key)?;
    let mut put = |name: &str, value: &str| body.insert(name.into(), value.into());
    if let Some(digest) = &args.digest {
        put("digest", digest);
        // clap has seen to it that there is one.
        put("key_prefix", args.key_prefix.as_deref().unwrap_or_default());
        put("key_suffix", args.key_suffix.as_deref().unwrap_or_default());
    } else {
        // The secret itself stays here.
        let secret = secret(args.key_file.as_deref(), environment)?;
        let digest = KeyDigest::of(secret.expose());
        let hex: String = digest
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        put("digest", &hex);
        put(
            "key_prefix",
            args.key_prefix.as_deref().unwrap_or(secret.beginning()),
        );
        put(
            "key_suffix",
            args.key_suffix.as_deref().unwrap_or(secret.suffix()),
        );
    }
    let answer = ask(
        place,
        "POST",
        &format!("{KEYS}/import"),
        Some(Value::Object(body)),
    )
    .await?;
    let id = answer["api_key"]["id"].as_str().unwrap_or_default();
    show(place, id, args.common.output).await
}

async fn list(place: &Place, args: &ListArgs, style: Style) -> anyhow::Result<()> {
    let mut target = format!("{KEYS}?page_size={}&expand=owner", args.limit);
    for (name, value) in [
        ("starting_after", &args.after),
        ("key_type", &args.key_type),
        ("status", &args.status),
        ("org_code", &args.org),
        ("user_id", &args.user),
    ] {
        if let Some(value) = value {
            target += &format!("&{name}={}", encoded(value));
        }
    }
    let answer = ask(place, "GET", &target, None).await?;
    print::list(&answer, args.common.output, style)
}

async fn show(place: &Place, id: &str, output: Output) -> anyhow::Result<()> {
    print::key(&ask(place, "GET", &one(id), None).await?, output)
}

async fn rotate(place: &Place, args: &RotateArgs, style: Style) -> anyhow::Result<()> {
    let mut target = one(&args.id);
    if let Some(grace) = args.grace {
        target += &format!("?grace_period={}s", grace.as_secs());
    }
    let answer = ask(place, "PUT", &target, None).await?;
    print::secret(&answer, args.common.output, style)
}

async fn verify(place: &Place, args: &VerifyArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let secret = secret(args.key_file.as_deref(), environment)?;
    let body = json!({"api_key": secret.expose()});
    let answer = ask(place, "POST", &format!("{KEYS}/verify"), Some(body)).await?;
    print::verification(&answer, args.common.output)?;
    Ok(match answer["is_valid"].as_bool() {
        Some(true) => ExitCode::SUCCESS,
        // As `latchkey check` says deny.
        _ => ExitCode::from(3),
    })
}

/// The body of a new key.
fn new_key(args: &NewKeyArgs) -> anyhow::Result<Map<String, Value>> {
    let scopes: Vec<&str> = args
        .scopes
        .iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .collect();
    let mut body = Map::new();
    body.insert("name".into(), args.name.as_str().into());
    body.insert("api_id".into(), args.api.as_str().into());
    body.insert("scope_ids".into(), scopes.into());
    for (name, value) in [
        ("type", &args.key_type),
        ("org_code", &args.org),
        ("user_id", &args.user),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), value.as_str().into());
        }
    }
    if [&args.org, &args.user]
        .into_iter()
        .flatten()
        .any(String::is_empty)
    {
        bail!(Refused::mistake("--org and --user are not empty"));
    }
    if let Some(valid) = args.expires {
        body.insert("expires_on".into(), expiry(valid)?);
    }
    if !args.networks.is_empty() {
        body.insert("allowed_networks".into(), texts(&args.networks));
    }
    if let Some(limit) = &args.rate_limit {
        body.insert("rate_limit".into(), rate_limit(limit)?);
    }
    if let Some(metadata) = &args.metadata {
        body.insert("metadata".into(), object(metadata)?);
    }
    Ok(body)
}

fn changes(args: &UpdateArgs) -> anyhow::Result<Value> {
    let mut body = Map::new();
    if let Some(name) = &args.name {
        body.insert("name".into(), name.as_str().into());
    }
    if let Some(expires) = &args.expires {
        let value = match expires.as_str() {
            "never" => Value::Null,
            valid => expiry(humantime::parse_duration(valid).map_err(|error| {
                Refused::mistake(format!("--expires is a duration such as 90d, or never: {error}"))
            })?)?,
        };
        body.insert("expires_on".into(), value);
    }
    if args.any_network {
        body.insert("allowed_networks".into(), Value::Null);
    } else if !args.networks.is_empty() {
        body.insert("allowed_networks".into(), texts(&args.networks));
    }
    if let Some(limit) = &args.rate_limit {
        let value = if limit == "none" {
            Value::Null
        } else {
            rate_limit(limit)?
        };
        body.insert("rate_limit".into(), value);
    }
    if let Some(metadata) = &args.metadata {
        body.insert("metadata".into(), object(metadata)?);
    }
    if body.is_empty() {
        bail!(Refused::mistake("nothing to change was given"));
    }
    Ok(Value::Object(body))
}

impl Refused {
    fn mistake(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_mistake: true,
        }
    }
}

fn expiry(valid: Duration) -> anyhow::Result<Value> {
    if valid < Duration::from_secs(1) {
        bail!(Refused::mistake("--expires is at least 1s"));
    }
    // To the full second, since times are written so.
    let at_ms = now_ms().saturating_add(u64::try_from(valid.as_millis()).unwrap_or(u64::MAX / 2));
    Ok(time::written(at_ms.div_ceil(1000).saturating_mul(1000)).into())
}

/// `100/15m`: so many in so long.
fn rate_limit(written: &str) -> anyhow::Result<Value> {
    let mistake = || Refused::mistake("--rate-limit is a number and a window, such as 100/15m");
    let (limit, window) = written.split_once('/').ok_or_else(mistake)?;
    let limit: u64 = limit.parse().map_err(|_| mistake())?;
    Ok(json!({"limit": limit, "window": window}))
}

fn object(written: &str) -> anyhow::Result<Value> {
    match serde_json::from_str(written) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => bail!(Refused::mistake("--metadata is a JSON object")),
    }
}

fn texts<T: ToString>(items: &[T]) -> Value {
    items.iter().map(T::to_string).collect::<Vec<_>>().into()
}

/// The secret that a file holds (`-` is standard input), or the environment.
fn secret(file: Option<&Path>, environment: &BTreeMap<String, String>) -> anyhow::Result<ApiKey> {
    let text = match file {
        Some(path) => {
            let mut text = String::new();
            let read = if path == Path::new("-") {
                std::io::stdin().take(LONGEST_SECRET).read_to_string(&mut text)
            } else {
                File::open(path).and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text))
            };
            read.with_context(|| format!("reading the key from {}", path.display()))?;
            text
        }
        None => match environment.get("LATCHKEY_KEY") {
            Some(key) => key.clone(),
            None => bail!(Refused::mistake(
                "which key? --key-file FILE (or -), or LATCHKEY_KEY"
            )),
        },
    };
    ApiKey::presented(text.trim())
        .ok_or_else(|| Refused::mistake("the key is not 1 to 256 characters of visible ASCII").into())
}

/// Percent-encoded for a path or a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

impl KeysCommand {
    fn common(&self) -> &Common {
        match self {
            Self::Create(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Show(args) | Self::Revoke(args) => &args.common,
            Self::Rotate(args) => &args.common,
            Self::Update(args) => &args.common,
            Self::Verify(args) => &args.common,
        }
    }
}

#[cfg(test)]
mod tests;

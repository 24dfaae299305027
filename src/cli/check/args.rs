//! The arguments, and the requests that they describe.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::print::Output;
use super::{presented, read_bytes};
use crate::cli::Environment;
use crate::config::Settings;
use crate::explain::{self, Request};
use crate::keys::ApiKey;

/// The arguments of `latchkey check`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct CheckArgs {
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Ask the server at this gRPC address, such as 127.0.0.1:9191 or unix:/run/latchkey/grpc.sock
    #[arg(long, value_name = "ADDRESS")]
    pub(super) server: Option<String>,
    /// The method
    #[arg(long, default_value = "GET")]
    method: OsString,
    /// The path with its query, exactly as Envoy would show it
    #[arg(long, required_unless_present_any = ["request", "requests"])]
    path: Option<OsString>,
    /// The host
    #[arg(long, default_value = "localhost")]
    host: OsString,
    /// A header as 'name: value'; may be given more than once
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<OsString>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    peer: IpAddr,
    /// The file that holds the key, or - for standard input; without it, LATCHKEY_KEY
    #[arg(long, value_name = "PATH")]
    key_file: Option<OsString>,
    /// The file that describes the request, in YAML or JSON, or - for standard input; for bytes that no command line takes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "path", "host", "headers", "peer"])]
    request: Option<OsString>,
    /// The same with a request in each line, and one line of answer for each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "method", "path", "host", "headers", "peer"])]
    requests: Option<OsString>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

/// What is asked.
pub(super) struct Asked {
    pub(super) requests: Requests,
    /// The key of the command line.
    pub(super) key: Option<ApiKey>,
}

pub(super) enum Requests {
    One(Request),
    Many(Vec<Request>),
}

/// Why nothing can be asked.
pub(super) enum Mistake {
    /// The arguments or a file make no sense; told as these lines.
    Usage(String),
    /// A file cannot be read.
    Unreadable(anyhow::Error),
}

impl From<anyhow::Error> for Mistake {
    fn from(error: anyhow::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Asked {
    pub(super) fn of(
        args: &CheckArgs,
        environment: &Environment,
        settings: Option<&Settings>,
    ) -> Result<Self, Mistake> {
        let files = [&args.key_file, &args.request, &args.requests];
        if files
            .iter()
            .filter(|file| file.as_deref() == Some(OsStr::new("-")))
            .count()
            > 1
        {
            return Err(Mistake::Usage(
                "latchkey: standard input can be only one file".into(),
            ));
        }
        let key = key(args, environment)?;
        let mut requests = requests(args)?;
        if let Some(key) = &key {
            let all = match &mut requests {
                Requests::One(request) => std::slice::from_mut(request),
                Requests::Many(requests) => &mut requests[..],
            };
            let place = settings.and_then(|settings| settings.credentials.first());
            all.iter_mut().for_each(|request| request.carry(key, place));
        }
        Ok(Self {
            requests,
            key: key.as_deref().and_then(presented),
        })
    }
}

/// The key as it was given, without the newline that editors put at the end of a file.
fn key(args: &CheckArgs, environment: &Environment) -> Result<Option<Vec<u8>>, Mistake> {
    let (mut key, from) = match (&args.key_file, environment.get("LATCHKEY_KEY")) {
        (Some(path), _) => (
            read_bytes(path, "the key file")?,
            format!("key file {}", path.display()),
        ),
        (None, Some(key)) if !key.is_empty() => (key.clone().into_bytes(), "LATCHKEY_KEY".into()),
        (None, _) => return Ok(None),
    };
    if key.last() == Some(&b'\n') {
        key.pop();
        if key.last() == Some(&b'\r') {
            key.pop();
        }
    }
    if key.is_empty() {
        return Err(Mistake::Usage(format!("latchkey: {from} is empty")));
    }
    Ok(Some(key))
}

fn requests(args: &CheckArgs) -> Result<Requests, Mistake> {
    let lines = |lines: Vec<String>| Mistake::Usage(lines.join("\n"));
    if let Some(path) = &args.request {
        let (name, text) = described(path)?;
        return explain::single_request(&name, &text)
            .map(Requests::One)
            .map_err(lines);
    }
    if let Some(path) = &args.requests {
        let (name, text) = described(path)?;
        return explain::requests_of_lines(&name, &text)
            .map(Requests::Many)
            .map_err(lines);
    }
    let mut request = Request {
        method: args.method.as_bytes().into(),
        host: args.host.as_bytes().into(),
        peer: Some(args.peer),
        ..Request::new(args.path.as_deref().map_or(&b""[..], OsStrExt::as_bytes))
    };
    for header in &args.headers {
        let Some(header) = split_header(header.as_bytes()) else {
            let shown = header.as_bytes().escape_ascii();
            return Err(Mistake::Usage(format!(
                "latchkey: --header wants 'name: value', found '{shown}'"
            )));
        };
        request.headers.push(header);
    }
    Ok(Requests::One(request))
}

fn described(path: &OsStr) -> Result<(String, String), Mistake> {
    let name = if path == "-" {
        "standard input".into()
    } else {
        path.as_bytes().escape_ascii().to_string()
    };
    let bytes = read_bytes(path, "the requests in")?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(_) => Err(Mistake::Usage(format!(
            "{name}: not UTF-8; write other bytes as {{hex: …}}"
        ))),
    }
}

/// Name and value; a pseudo header begins with a colon of its own.
fn split_header(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = 1 + header.get(1..)?.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
    Some((name.trim_ascii().to_vec(), value.to_vec()))
}

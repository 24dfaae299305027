//! Where keys are worked on: at a server over HTTP, or in the store itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::args::Common;
use crate::authorizer::Authorizer;
use crate::cli::{Environment, config::load_settings, named_config};
use crate::config::{Settings, StoreUrl};
use crate::decision::Policy;
use crate::http::auth::Principal;
use crate::http::{App, AuditLog, AuditWriter, Operator, Shared, router};
use crate::keys::{KeyCache, KeyStore, SqliteStore, StoreSource};
use crate::limits::LocalLimits;
use crate::outbound;
use crate::telemetry::CheckMetrics;
use crate::usage::SqliteUsage;

/// How long a server may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes: a page of 500 keys with all that they may have.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Where keys are worked on.
pub(super) enum Place {
    /// At a server.
    Server(Server),
    /// In the store.
    Store(Box<Store>),
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

pub(super) struct Server {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

pub(super) struct Store {
    router: Router,
    operator: Operator,
    keys: Arc<KeyCache>,
    store: Arc<dyn KeyStore>,
    writer: AuditWriter,
}

impl Place {
    /// What the arguments and the environment name. The inner error is the exit code of a wrong configuration.
    pub(super) async fn of(
        common: &Common,
        environment: &Environment,
    ) -> anyhow::Result<Result<Self, ExitCode>> {
        let named = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let url = match (&common.url, &common.config) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => None,
            (None, None) => named("LATCHKEY_URL").cloned(),
        };
        if let Some(url) = url {
            return Ok(Ok(Self::Server(Server::new(&url, common, environment)?)));
        }
        if common.token_file.is_some() || common.ca_file.is_some() {
            bail!("--token-file and --ca-file are for a server: --url, or LATCHKEY_URL");
        }
        let config = named_config(common.config.clone(), environment);
        let settings = match load_settings(config.as_deref(), environment) {
            Ok(loaded) => loaded.settings,
            Err(exit_code) => return Ok(Err(exit_code)),
        };
        let user = named("USER").map_or("unknown", String::as_str);
        Ok(Ok(Self::Store(Box::new(Store::open(settings, user).await?))))
    }

    pub(super) async fn ask(&self, method: &str, target: &str, body: Option<Value>) -> anyhow::Result<Reply> {
        let method = Method::from_bytes(method.as_bytes())?;
        match self {
            Self::Server(server) => server.ask(method, target, body).await,
            Self::Store(store) => store.ask(method, target, body).await,
        }
    }

    /// Writes what waits to be written.
    pub(super) async fn close(self) {
        if let Self::Store(store) = self {
            let stopped = CancellationToken::new();
            stopped.cancel();
            store.writer.run(store.store, store.keys, stopped).await;
        }
    }
}

impl Server {
    fn new(url: &str, common: &Common, environment: &Environment) -> anyhow::Result<Self> {
        let parsed: reqwest::Url = url.parse().with_context(|| "--url is no URL")?;
        let is_loopback = parsed.host_str().is_some_and(|host| {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost"
                || address
                    .parse()
                    .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        });
        match parsed.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            "http" => bail!("tokens and keys travel there: https, or http on this machine only"),
            _ => bail!("--url begins with https://"),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            bail!("--url holds no user and no password; a token is given with --token-file");
        }
        Ok(Self {
            client: outbound::client(&[url], common.ca_file.as_deref())?,
            base: url.trim_end_matches('/').to_owned(),
            token: token(common.token_file.clone(), environment)?,
        })
    }

    async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> anyhow::Result<Reply> {
        let mut request = self
            .client
            .request(method, format!("{}{target}", self.base))
            .timeout(DEADLINE);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut response = request
            .send()
            .await
            .with_context(|| format!("asking {}", self.base))?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("reading the answer")? {
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                bail!("the answer is too long");
            }
            bytes.extend_from_slice(&chunk);
        }
        reply(status, &bytes)
    }
}

fn token(file: Option<PathBuf>, environment: &Environment) -> anyhow::Result<Option<String>> {
    let named = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let file = file.or_else(|| named("LATCHKEY_TOKEN_FILE").map(PathBuf::from));
    match file {
        Some(file) => {
            let token = std::fs::read_to_string(&file)
                .with_context(|| format!("reading the token from {}", file.display()))?;
            Ok(Some(token.trim().to_owned()))
        }
        None => Ok(named("LATCHKEY_TOKEN").map(|token| token.trim().to_owned())),
    }
}

impl Store {
    async fn open(settings: Settings, user: &str) -> anyhow::Result<Self> {
        let StoreUrl::Sqlite(path) = &settings.store else {
            bail!("this version stores keys in SQLite only");
        };
        let store = SqliteStore::open(path).await?;
        let source = Arc::new(StoreSource::new(store.clone(), &settings.keys.prefix));
        let keys = KeyCache::new(source, &settings.keys, Handle::current());
        let policy = Policy::compile(Arc::new(settings));
        // Nothing is counted here.
        let limits = LocalLimits::new(1);
        let authorizer = Authorizer::new(policy, Arc::clone(&keys), limits, CheckMetrics::default());
        let (audit, writer) = AuditLog::new();
        let usage = Arc::new(SqliteUsage::new(&store));
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let app = App::new(Shared {
            authorizer: Arc::new(authorizer),
            store: Arc::clone(&store),
            keys: Arc::clone(&keys),
            authenticator: None,
            audit,
            usage,
        });
        Ok(Self {
            router: router(app),
            operator: Operator(Principal::operator(user)),
            keys,
            store,
            writer,
        })
    }

    async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> anyhow::Result<Reply> {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(self.operator.clone())
            .body(body)?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        reply(status, &bytes)
    }
}

fn reply(status: u16, bytes: &[u8]) -> anyhow::Result<Reply> {
    let body = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(_) if status >= 400 => Value::Null,
        Err(_) => bail!("the answer is not JSON; is this the URL of Latchkey's HTTP listener?"),
    };
    Ok(Reply { status, body })
}

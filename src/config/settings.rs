//! The checked settings: what the file and the environment mean.
//!
//! Whoever holds a [`Settings`] holds a valid one: names resolve, limits are not zero, header names are usable. What the
//! user *wrote* lives in a tree of its own and nothing outside this room sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::pattern::PathPattern;

/// One permission, such as `read:ai_chats`. Parsing is the only way to get one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope(Box<str>);

/// A scope is 1 to 64 visible ASCII characters without space, `"`, `\` or `,` (RFC 6749 §3.3, and so that a list of scopes
/// can be separated by spaces and quoted in a header).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is 1 to 64 visible ASCII characters without space, quote, backslash or comma")]
pub struct InvalidScope;

impl Scope {
    /// The scope as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(written: &str) -> Result<Self, InvalidScope> {
        let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',');
        if (1..=64).contains(&written.len()) && written.bytes().all(good) {
            Ok(Self(written.into()))
        } else {
            Err(InvalidScope)
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lower-case HTTP field name that a setting may use (RFC 9110 §5.6.2 token, at most 64 bytes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeaderName(Box<str>);

/// The name is no RFC 9110 token of 1 to 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a header name is 1 to 64 letters, digits or characters of !#$%&'*+-.^_`|~")]
pub struct InvalidHeaderName;

impl HeaderName {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = InvalidHeaderName;

    fn from_str(written: &str) -> Result<Self, InvalidHeaderName> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if (1..=64).contains(&written.len()) && written.bytes().all(token) {
            Ok(Self(written.to_ascii_lowercase().into()))
        } else {
            Err(InvalidHeaderName)
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that the configuration says, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server listens.
    pub listen: Listen,
    /// Where keys are stored.
    pub store: StoreUrl,
    /// Shares rate limits between replicas; its URL may hold a password.
    pub redis: Option<SecretString>,
    /// How a stop is spread over time.
    pub drain: Drain,
    /// The registered APIs.
    pub apis: Vec<Api>,
    /// Where the address of a caller is read.
    pub client_address: ClientAddress,
    /// The longest that one Check may take.
    pub check_deadline: Duration,
    /// Request headers that never reach the backend.
    pub strip_headers: Vec<HeaderName>,
    /// Where a key is looked for, in this order.
    pub credentials: Vec<CredentialPlace>,
    /// How keys are verified and remembered.
    pub keys: KeySettings,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// The rate limits by name.
    pub rate_limits: BTreeMap<Box<str>, RateLimit>,
    /// The guards by name.
    pub guards: BTreeMap<Box<str>, Guard>,
    /// The names of the tenant headers.
    pub tenant_headers: TenantHeaders,
    /// Who may use the key API.
    pub management: Management,
    /// How usage is kept.
    pub usage: Usage,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// The name of the rate limit that counts failed authentications by address. Routes cannot use it.
pub const UNAUTHENTICATED_LIMIT: &str = "unauthenticated";

/// The three listeners.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Check, health and reflection.
    pub grpc: ListenAddress,
    /// The key API.
    pub http: ListenAddress,
    /// `/livez`, `/readyz`, `/metrics` and gRPC health; always plaintext.
    pub ops: ListenAddress,
    /// TLS for `grpc`.
    pub grpc_tls: Option<TlsFiles>,
    /// TLS for `http`.
    pub http_tls: Option<TlsFiles>,
    /// Lets `grpc` listen off loopback without TLS.
    pub allow_plaintext: bool,
}

/// A TCP address or the path of a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// `127.0.0.1:9191`; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// `unix:/run/latchkey/grpc.sock`
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Files of a TLS listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// PEM certificate chain.
    pub cert_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
    /// PEM authorities of client certificates; present means mutual TLS.
    pub client_ca_file: Option<PathBuf>,
}

impl TlsFiles {
    /// Every file that there is.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert_file, &self.key_file]
            .into_iter()
            .chain(&self.client_ca_file)
    }
}

/// Which store, and where.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// `sqlite://PATH`
    Sqlite(PathBuf),
    /// `postgres://…`; may hold a password.
    Postgres(SecretString),
}

/// NOT_SERVING for `settle`, then GOAWAY, then at most `grace`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Time for Envoy to see NOT_SERVING and to send elsewhere.
    pub settle: Duration,
    /// Longest time that open calls get after GOAWAY.
    pub grace: Duration,
}

/// A registered product API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Api {
    /// What keys are bound to.
    pub id: Box<str>,
    /// For people.
    pub name: Box<str>,
    /// Usually its URL.
    pub audience: Box<str>,
    /// The scopes that its keys may carry.
    pub scopes: Vec<Scope>,
}

/// Where the address of a caller is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAddress {
    /// `source.address` of the check request: the direct TCP peer of Envoy.
    Peer,
    /// `x-envoy-external-address`; to be trusted only with Envoy's `use_remote_address: true`.
    EnvoyExternal,
    /// The N-th entry of `x-forwarded-for`, counted from the right, 1 being the last.
    XForwardedFor(NonZeroUsize),
}

/// One place where a key may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialPlace {
    /// A request header, such as `authorization` with the scheme `Bearer`.
    Header {
        /// The header.
        name: HeaderName,
        /// The authentication scheme before the key; matched without regard to case (RFC 9110 §11.1).
        scheme: Option<Box<str>>,
    },
    /// A parameter of the query, such as `api_key`; compared after percent-decoding.
    Query {
        /// The parameter.
        name: Box<str>,
    },
}

/// How keys are verified and remembered.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// Where an unknown key is verified.
    pub source: SourceKind,
    /// What keys of our own begin with: `lk` in `lk_…`.
    pub prefix: Box<str>,
    /// Look-ups of unknown keys at once; one address holds at most a quarter of them (at least one).
    pub max_in_flight: NonZeroUsize,
    /// The remote verify endpoint; present when `source` needs it.
    pub remote: Option<Remote>,
    /// What is remembered, and for how long.
    pub cache: CacheSettings,
}

/// Where an unknown key is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// The store of Latchkey.
    Store,
    /// A Kinde-style verify endpoint.
    Remote,
    /// Keys of our own shape in the store, all others at the endpoint.
    StoreThenRemote,
}

/// A Kinde-style verify endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// https only, but for loopback.
    pub verify_url: Box<str>,
    /// For one call.
    pub timeout: Duration,
    /// PEM authorities that its certificate, and that of the token endpoint, must be signed by; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// How Latchkey shows itself there.
    pub auth: Option<RemoteAuth>,
}

impl Remote {
    /// Every URL that is called.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let token_url = match &self.auth {
            Some(RemoteAuth::Client(client)) => Some(&*client.token_url),
            Some(RemoteAuth::Bearer { .. }) | None => None,
        };
        [&*self.verify_url].into_iter().chain(token_url)
    }
}

/// How Latchkey shows itself to the verify endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RemoteAuth {
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    Client(RemoteClient),
    /// File with a bearer token.
    Bearer {
        /// The file.
        bearer_file: PathBuf,
    },
}

/// An OAuth 2.0 client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteClient {
    /// The client.
    pub client_id: Box<str>,
    /// File with the client's secret.
    pub client_secret_file: PathBuf,
    /// Where a token is fetched.
    pub token_url: Box<str>,
    /// The audience asked for.
    pub audience: Option<Box<str>>,
}

/// What the key cache keeps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CacheSettings {
    /// Time that a verified key may be used before its source is asked again, counted from the answer.
    pub ttl: Duration,
    /// The same for a key that its source does not know.
    pub negative_ttl: Duration,
    /// How long past `ttl` a verified key may still be used while its source does not answer.
    pub stale_if_error: Duration,
    /// Part of `ttl`, above 0 and at most 1, after which a used key is asked for again in the background. 1 turns it off.
    pub refresh_ahead: f64,
    /// Verified keys kept.
    pub max_keys: NonZeroUsize,
    /// Unknown keys kept; a budget of their own, so that a flood of them evicts no verified key.
    pub max_unknown_keys: NonZeroUsize,
}

/// One route: which requests, and what they need.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name in metrics, logs and metadata.
    pub name: Box<str>,
    /// Upper-case methods; empty means any. `GET` includes `HEAD`.
    pub methods: Vec<Box<str>>,
    /// The path pattern.
    pub path: PathPattern,
    /// A lower-case host name without port; `None` means any.
    pub host: Option<Box<str>>,
    /// What the caller must show.
    pub access: Access,
    /// Whether CORS preflights pass without a key.
    pub cors_preflight: CorsPreflight,
    /// From which duration on its requests are reported as slow, if not from `usage.slow_after` on.
    pub slow_after: Option<Duration>,
}

/// What a route asks of its callers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// No key; `public: true`.
    Public,
    /// A key.
    Key(KeyAccess),
}

/// What a route that takes keys asks of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyAccess {
    /// `auth: optional`: no key at all passes without identity; a key that is there must be good.
    pub optional: bool,
    /// The API that the key must belong to.
    pub api: Box<str>,
    /// The scopes that it must carry.
    pub scopes: ScopeRule,
    /// Names of the limits that count; a name in [`Settings::rate_limits`].
    pub rate_limit: Option<Box<str>>,
    /// Name of the guard; a name in [`Settings::guards`].
    pub guard: Option<Box<str>>,
}

/// Which scopes a key must carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScopeRule {
    /// Every one of them; an empty list asks for none.
    All(Vec<Scope>),
    /// At least one of them; never empty.
    Any(Vec<Scope>),
}

/// What happens to an `OPTIONS` request with `Access-Control-Request-Method`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CorsPreflight {
    /// It is checked like any other request.
    #[default]
    Check,
    /// It passes without identity.
    Allow,
}

/// A rate limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Requests in a window.
    pub limit: NonZeroU32,
    /// The window, at least a second.
    pub window: Duration,
    /// Whose requests are counted together.
    pub per: Per,
    /// `error` of the body of a 429.
    pub error: Box<str>,
    /// `code` of the body of a 429.
    pub code: Box<str>,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Per {
    /// Each key.
    Key,
    /// Each organization, or each user without one.
    Owner,
    /// Each address of a caller; IPv6 by /64.
    Address,
    /// All callers of a route.
    Route,
}

/// Rules for what goes into an AI backend and what comes out of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Guard {
    /// What goes in.
    pub request: Option<GuardRequest>,
    /// What comes out.
    pub response: Option<GuardResponse>,
}

/// The guard's rules for requests.
#[derive(Clone, PartialEq, Debug)]
pub struct GuardRequest {
    /// JSON fields whose text is scanned.
    pub fields: Vec<Box<str>>,
    /// `sanitize`, `reject` or `report`.
    pub on_match: OnMatch,
    /// What to do with a body that cannot be scanned.
    pub on_unscanned: OnUnscanned,
    /// Most characters of all scanned texts together, in Unicode scalar values, after sanitizing.
    pub max_chars: NonZeroUsize,
    /// How the backend learns the context owner.
    pub context: PromptContext,
    /// Template of the prompt context; it has [`CONTEXT_PLACEHOLDERS`]. `None`: the default one.
    pub context_template: Option<Box<str>>,
    /// Which event handlers count.
    pub handlers: Handlers,
}

/// The guard's rules for responses.
#[derive(Clone, PartialEq, Debug)]
pub struct GuardResponse {
    /// JSON fields whose text is scanned; `*` means every string.
    pub fields: Vec<Box<str>>,
    /// `reject` or `report`.
    pub on_match: OnMatch,
    /// What to do with a body that cannot be scanned.
    pub on_unscanned: OnUnscanned,
    /// Longest text, in Unicode scalar values.
    pub max_chars: NonZeroUsize,
    /// Which event handlers count.
    pub handlers: Handlers,
}

/// What a template of the prompt context may name, between braces.
pub const CONTEXT_PLACEHOLDERS: [&str; 7] = [
    "context_owner",
    "org_code",
    "user_id",
    "key_id",
    "scopes",
    "route",
    "input",
];

/// What a match does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnMatch {
    /// The match is removed.
    Sanitize,
    /// The message is refused.
    Reject,
    /// The match is only counted.
    Report,
}

/// What to do with a body that cannot be scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUnscanned {
    /// It is refused.
    Reject,
    /// It passes, and metadata says so.
    Pass,
}

/// How the backend learns the context owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PromptContext {
    /// In the tenant header.
    Header,
    /// In the prompt itself.
    Prompt,
    /// Not at all.
    None,
}

/// Which event handlers count as such.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handlers {
    /// The event names of the HTML standard.
    #[default]
    Known,
    /// Anything like `on…=`.
    Any,
}

/// The names of the tenant headers; all different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantHeaders {
    /// Default `x-auth-key-id`.
    pub key_id: HeaderName,
    /// Default `x-auth-org-code`.
    pub org_code: HeaderName,
    /// Default `x-auth-user-id`.
    pub user_id: HeaderName,
    /// Default `x-auth-scopes`.
    pub scopes: HeaderName,
    /// Default `x-auth-context-owner`.
    pub context_owner: HeaderName,
}

impl TenantHeaders {
    /// All of them, in the order that answers use.
    pub fn all(&self) -> [&HeaderName; 5] {
        [
            &self.key_id,
            &self.org_code,
            &self.user_id,
            &self.scopes,
            &self.context_owner,
        ]
    }
}

/// Every permission of the management API, one for each kind of operation. A role in `management` names some of them.
pub const ALL_PERMISSIONS: [&str; 11] = [
    "create:api_keys",
    "read:api_keys",
    "update:api_keys",
    "delete:api_keys",
    "read:apis",
    "create:apis",
    "read:api_scopes",
    "create:api_scopes",
    "create:management_keys",
    "read:audit_events",
    "read:usage",
];

/// Who may use the management API.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Management {
    /// Static tokens.
    pub tokens: Vec<ManagementToken>,
    /// Tokens of an identity provider.
    pub jwt: Option<ManagementJwt>,
    /// Machine clients.
    pub clients: Vec<ManagementClient>,
    /// Folder of the keys that sign tokens and assertions.
    pub signing_keys_dir: Option<PathBuf>,
    /// Whether verify asks for a bearer.
    pub verify: VerifyAccess,
    /// Whether environment keys may be made.
    pub environment_keys: bool,
}

/// A static management token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManagementToken {
    /// For the audit log.
    pub name: Box<str>,
    /// File with the token.
    pub token_file: PathBuf,
    /// What it may do.
    pub permissions: Vec<Box<str>>,
}

/// JWTs of an identity provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManagementJwt {
    /// Expected `iss`.
    pub issuer: Box<str>,
    /// Expected `aud`.
    pub audience: Box<str>,
    /// Where its keys are fetched.
    pub jwks_url: Box<str>,
}

/// A machine client of the token endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManagementClient {
    /// Its `client_id`.
    pub id: Box<str>,
    /// What its secret is compared with.
    pub secret: ClientSecret,
    /// What it may do.
    pub permissions: Vec<Box<str>>,
}

/// What the secret of a machine client is compared with.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientSecret {
    /// The secret in a file.
    File(PathBuf),
    /// SHA-256 of the secret.
    Sha256([u8; 32]),
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Sha256(_) => f.write_str("Sha256(..)"),
        }
    }
}

/// Whether verify asks for a bearer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VerifyAccess {
    /// It does not.
    #[default]
    Open,
    /// It asks for one with `read:api_keys`.
    Strict,
}

/// How usage is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage {
    /// How long single requests are kept.
    pub retention: Duration,
    /// How long sums by hour are kept; not shorter than `retention`.
    pub sums_retention: Duration,
    /// Requests that take longer are reported, unless their route says otherwise.
    pub slow_after: Duration,
    /// When a decision without an access log entry counts as missing; longer than any stream.
    pub missing_after: Duration,
    /// Where requests wait while the store is away.
    pub spool_dir: PathBuf,
    /// Most of them there, in bytes.
    pub spool_max_bytes: u64,
    /// Whether each request is also a line of JSON on standard output.
    pub stdout: bool,
}

/// Logs and traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telemetry {
    /// `json` or `text`.
    pub log_format: LogFormat,
    /// A level or a filter such as `info,latchkey=debug`.
    pub log_level: Box<str>,
    /// The OpenTelemetry collector that traces go to, over gRPC.
    pub otlp_endpoint: Option<Box<str>>,
}

/// The format of log lines on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The network that a rate limit by address counts together: an IPv4 address alone, an IPv6 address by its /64.
pub fn address_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

//! `POST /oauth2/token`: access tokens for machine clients (RFC 6749 §4.4), and the documents that say how to verify them.
//!
//! Programs written for Kinde's management API get their token here. So a form and JSON are both read, the client may show itself in the
//! body or by HTTP Basic, an empty parameter is an absent one, and what is asked for as `audience` is in the token's `aud`.
//!
//! Only `<the origin that was called>/api` can be asked for: a token that names the audience of a product API could be taken
//! for something else by a backend that trusts our keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequest as _, Json, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::Authenticator;
use super::machines::{LIFETIME, Refusal, Wanted};
use crate::http::Peer;

/// The longest request, in bytes.
const LONGEST_BODY: usize = 16 * 1024;
const TOKEN: &str = "/oauth2/token";
const JWKS: &str = "/.well-known/jwks.json";

/// The paths of this module.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(authenticator: Authenticator) -> Router<S> {
    Router::new()
        .route(TOKEN, post(token).layer(DefaultBodyLimit::max(LONGEST_BODY)))
        .route(JWKS, get(jwks))
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/.well-known/oauth-authorization-server", get(configuration))
        .with_state(authenticator)
}

/// What a client sends; unknown parameters do not matter, and none may come twice.
#[derive(Default, Deserialize)]
struct Parameters {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    audience: Option<String>,
    scope: Option<String>,
}

/// Why there is no token (RFC 6749 §5.2, RFC 8707 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TokenError {
    InvalidRequest(&'static str),
    InvalidClient,
    UnsupportedGrantType,
    InvalidScope,
    InvalidTarget,
    TooManyAttempts(Duration),
    ServerError,
}

/// Who a client says it is. It may be meant in two ways: some programs percent-encode what goes into HTTP Basic, as RFC 6749
/// §2.3.1 wants, and some do not.
struct Shown {
    id: String,
    secrets: Vec<Zeroizing<String>>,
}

async fn token(State(authenticator): State<Authenticator>, request: Request) -> Response {
    let issued = issue(&authenticator, request).await;
    let result = issued.as_ref().map_or_else(TokenError::code, |_| "issued");
    authenticator.metrics().requested(result);
    let response = match issued {
        Ok(body) => Json(body).into_response(),
        Err(error) => error.into_response(),
    };
    (
        [no_store(), (header::PRAGMA, HeaderValue::from_static("no-cache"))],
        response,
    )
        .into_response()
}

async fn issue(authenticator: &Authenticator, request: Request) -> Result<Value, TokenError> {
    let address = request.extensions().get::<Peer>().and_then(|peer| peer.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let (attempts, machines) = (authenticator.attempts(), authenticator.machines());
    // Before the secret is looked at: who guesses does not learn by the 401 that ends the 429s.
    attempts
        .check(address, now_ms)
        .map_err(TokenError::TooManyAttempts)?;

    let origin = origin(&request, authenticator.serves_tls());
    let by_basic = Shown::by_basic(request.headers())?;
    let parameters = parameters(request).await?;
    match parameters.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some("") | None => return Err(TokenError::InvalidRequest("grant_type is missing")),
        Some(_) => return Err(TokenError::UnsupportedGrantType),
    }
    let shown = Shown::once(by_basic, parameters.client_id, parameters.client_secret)?;
    let secrets: Vec<&str> = shown.secrets.iter().map(|secret| secret.as_str()).collect();
    let Some(client) = machines.client(&shown.id, &secrets) else {
        attempts.failed(address, now_ms);
        // Not what was sent as its id: that may be anything, a secret in the wrong place among it.
        warn!(peer = ?address, "a machine client was refused: it is unknown, or has another secret");
        return Err(TokenError::InvalidClient);
    };

    let origin = origin.ok_or(TokenError::InvalidRequest(
        "the request does not name the host that it calls",
    ))?;
    let audiences = words(parameters.audience.as_deref());
    if !audiences
        .iter()
        .all(|audience| authenticator.may_be_audience(audience, &origin))
    {
        return Err(TokenError::InvalidTarget);
    }
    let wanted = Wanted {
        issuer: &origin.url,
        audiences: &audiences,
        scopes: &words(parameters.scope.as_deref()),
        now: now.as_secs(),
    };
    let issued = machines
        .issue(client, wanted)
        .await
        .map_err(|refusal| match refusal {
            Refusal::TooMuch => TokenError::InvalidScope,
            Refusal::NoKey => {
                error!("an access token cannot be signed");
                TokenError::ServerError
            }
        })?;
    info!(
        client.id = shown.id,
        scope = issued.scope,
        "a machine client got an access token"
    );
    Ok(json!({
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": LIFETIME.as_secs(),
        "scope": issued.scope,
    }))
}

fn words(parameter: Option<&str>) -> Vec<&str> {
    let words = parameter.unwrap_or_default().split(' ');
    words.filter(|word| !word.is_empty()).collect()
}

async fn parameters(request: Request) -> Result<Parameters, TokenError> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let read = match kind.as_str() {
        "application/x-www-form-urlencoded" => {
            Form::from_request(request, &()).await.ok().map(|Form(read)| read)
        }
        "application/json" => Json::from_request(request, &()).await.ok().map(|Json(read)| read),
        _ => None,
    };
    read.ok_or(TokenError::InvalidRequest(
        "expected a form or JSON of at most 16 KiB, in which every parameter is one text",
    ))
}

impl Shown {
    /// What `Authorization: Basic` says.
    fn by_basic(headers: &HeaderMap) -> Result<Option<Self>, TokenError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let shown = value
            .to_str()
            .ok()
            .filter(|_| values.next().is_none())
            .and_then(Self::of_basic);
        shown.map(Some).ok_or(TokenError::InvalidClient)
    }

    fn of_basic(value: &str) -> Option<Self> {
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = Zeroizing::new(String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?);
        let (id, secret) = text.split_once(':')?;
        let secrets = [Some(secret.to_owned()), percent_decoded(secret)];
        Some(Self {
            id: percent_decoded(id)?,
            secrets: secrets.into_iter().flatten().map(Zeroizing::new).collect(),
        })
    }

    /// RFC 6749 §2.3: a client shows itself in one way.
    fn once(by_basic: Option<Self>, id: Option<String>, secret: Option<String>) -> Result<Self, TokenError> {
        let [id, secret] = [id, secret].map(|text| text.filter(|text| !text.is_empty()));
        match (by_basic, id, secret) {
            (Some(_), _, Some(_)) => Err(TokenError::InvalidRequest("the client shows itself in two ways")),
            (Some(shown), Some(id), None) if id != shown.id => Err(TokenError::InvalidRequest(
                "client_id is another than that of HTTP Basic",
            )),
            (Some(shown), _, None) => Ok(shown),
            (None, Some(id), Some(secret)) => Ok(Self {
                id,
                secrets: vec![Zeroizing::new(secret)],
            }),
            (None, _, _) => Err(TokenError::InvalidClient),
        }
    }
}

/// `application/x-www-form-urlencoded` of one value; `None` when it is none.
fn percent_decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Where a request was sent to.
pub(super) struct Origin {
    /// `https://keys.example.com`
    url: String,
    authority: String,
}

impl Origin {
    /// The audience that stands for the management API here, in the two schemes in which it may be reached: what ends TLS may
    /// stand before us.
    pub(super) fn is_audience(&self, audience: &str) -> bool {
        let rest = audience
            .strip_prefix("https://")
            .or_else(|| audience.strip_prefix("http://"));
        rest.and_then(|rest| rest.strip_suffix("/api"))
            .is_some_and(|authority| authority.eq_ignore_ascii_case(&self.authority))
    }
}

fn origin(request: &Request, serves_tls: bool) -> Option<Origin> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => header(header::HOST)?,
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if authority.len() > 255 || !authority.bytes().all(good) || authority.parse::<Authority>().is_err() {
        return None;
    }
    // Whoever lies about it misleads only itself.
    let is_https = serves_tls || header(HeaderName::from_static("x-forwarded-proto")) == Some("https");
    let authority = authority.to_ascii_lowercase();
    Some(Origin {
        url: format!("{}://{authority}", if is_https { "https" } else { "http" }),
        authority,
    })
}

async fn jwks(State(authenticator): State<Authenticator>) -> Response {
    // Short, so that a key that was added is known everywhere before tokens of the old one end.
    let fresh = HeaderValue::from_static("public, max-age=60");
    (
        [(header::CACHE_CONTROL, fresh)],
        Json(authenticator.machines().jwks().await),
    )
        .into_response()
}

/// What programs look up that are given an issuer only (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).
async fn configuration(State(authenticator): State<Authenticator>, request: Request) -> Response {
    let Some(Origin { url, .. }) = origin(&request, authenticator.serves_tls()) else {
        return TokenError::InvalidRequest("the request does not name the host that it calls")
            .into_response();
    };
    let document = json!({
        "issuer": url,
        "token_endpoint": format!("{url}{TOKEN}"),
        "jwks_uri": format!("{url}{JWKS}"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "scopes_supported": crate::config::ALL_PERMISSIONS,
    });
    ([no_store()], Json(document)).into_response()
}

fn no_store() -> (HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

impl TokenError {
    /// `error` of the body, and the label in metrics.
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::TooManyAttempts(_) => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget => StatusCode::BAD_REQUEST,
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn description(&self) -> &'static str {
        match self {
            Self::InvalidRequest(why) => why,
            Self::InvalidClient => "the client is unknown, or its secret is wrong",
            Self::UnsupportedGrantType => "only client_credentials is supported",
            Self::InvalidScope => "the client does not have all of these permissions",
            Self::InvalidTarget => "the audience can only be the origin of this server followed by /api",
            Self::TooManyAttempts(_) => "too many failed attempts from this address",
            Self::ServerError => "internal server error",
        }
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.code(), "error_description": self.description()});
        let mut response = (self.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::InvalidClient => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"latchkey\""),
                );
            }
            Self::TooManyAttempts(wait) => {
                let seconds = wait.as_secs().saturating_add(1);
                headers.insert(header::RETRY_AFTER, seconds.into());
                headers.insert(HeaderName::from_static("ratelimit-reset"), seconds.into());
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests;

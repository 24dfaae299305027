//! Tokens of the client credentials grant: RFC 6749 §4.4.
//!
//! One is fetched when it is first needed, and the next when four fifths of its life are over, by one caller while all others go on
//! with the old one. When there is none that may be used, all wait for the same fetch.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::source::KeySourceError;
use super::credentials::header;
use super::file;
use crate::config::RemoteClient;
use crate::outbound::{Answer, CallError, Endpoint, RemoteMetrics};

/// The life of a token whose server does not say.
const LIFE: Duration = Duration::from_secs(300);
/// No token is used longer, whatever its server says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token that is younger is not fetched anew because of a refusal: whoever shows bad keys must not choose how often we ask.
const YOUNG: Duration = Duration::from_secs(30);
/// After a fetch that failed nobody tries again for this time, so that those who wait do not try one after another.
const PAUSE: Duration = Duration::from_secs(1);

/// The tokens of one client.
#[derive(Debug)]
pub(super) struct Tokens {
    client_id: Box<str>,
    secret_file: PathBuf,
    url: Box<str>,
    audience: Option<Box<str>>,
    endpoint: Endpoint,
    /// Held for a few instructions.
    state: Mutex<State>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, KeySourceError)>,
}

#[derive(Clone, Debug)]
struct Token {
    header: HeaderValue,
    fetched_at: Instant,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Serialize)]
struct Request<'r> {
    grant_type: &'static str,
    client_id: &'r str,
    client_secret: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'r str>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Tokens {
    pub(super) fn new(
        settings: &RemoteClient,
        client: Client,
        limit: Duration,
        metrics: &RemoteMetrics,
    ) -> Self {
        Self {
            client_id: settings.client_id.clone(),
            secret_file: settings.client_secret_file.clone(),
            url: settings.token_url.clone(),
            audience: settings.audience.clone(),
            endpoint: Endpoint::new("token", client, limit, metrics),
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The header with a token that is good now.
    pub(super) async fn current(&self) -> Result<HeaderValue, KeySourceError> {
        let now = Instant::now();
        if let Some(token) = self.usable(now) {
            if now < token.renew_at {
                return Ok(token.header);
            }
            // Due, and still good: one renews it, whose failure is no harm yet.
            let Ok(_fetching) = self.fetching.try_lock() else {
                return Ok(token.header);
            };
            return Ok(self.fetch().await.unwrap_or(token.header));
        }
        let _fetching = self.fetching.lock().await;
        match self.usable(Instant::now()) {
            // Another one has fetched it while we waited.
            Some(token) => Ok(token.header),
            None => self.fetch().await,
        }
    }

    /// A token other than the one that was refused; `None` when that one is young, and so must be as good as the next.
    pub(super) async fn other_than(
        &self,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, KeySourceError> {
        let _fetching = self.fetching.lock().await;
        let now = Instant::now();
        match self.usable(now) {
            Some(token) if Some(&token.header) != refused => Ok(Some(token.header)),
            Some(token) if now < token.fetched_at + YOUNG => Ok(None),
            _ => self.fetch().await.map(Some),
        }
    }

    /// Makes the token older, as if it had been fetched that much earlier.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut state = self.state.lock().unwrap();
        let token = state.token.as_mut().unwrap();
        token.fetched_at = token.fetched_at.checked_sub(by).unwrap();
    }

    fn usable(&self, now: Instant) -> Option<Token> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.token.clone().filter(|token| now < token.expires_at)
    }

    /// To be called with `fetching` held.
    async fn fetch(&self) -> Result<HeaderValue, KeySourceError> {
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, error)) = &state.failed
                && at.elapsed() < PAUSE
            {
                return Err(error.clone());
            }
        }
        let fetched = self.ask().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(token) => {
                let header = token.header.clone();
                *state = State {
                    token: Some(token),
                    failed: None,
                };
                Ok(header)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<Token, KeySourceError> {
        let secret = file::line(&self.secret_file).await?;
        let form = Request {
            grant_type: "client_credentials",
            client_id: &self.client_id,
            client_secret: &secret,
            audience: self.audience.as_deref(),
        };
        let asked_at = Instant::now();
        let granted = self
            .endpoint
            .call(|client| client.post(&*self.url).form(&form), read)
            .await
            .map_err(|error| KeySourceError::Failed(format!("the token endpoint: {error}").into()))?;
        // Counted from the question: it may have been granted at any time since.
        let life = life(granted.expires_in);
        Ok(Token {
            header: header(granted.access_token.expose_secret())?,
            fetched_at: asked_at,
            renew_at: asked_at + life.mul_f64(0.8),
            expires_at: asked_at + life.mul_f64(0.95),
        })
    }
}

fn read(answer: Answer) -> Result<Granted, CallError> {
    if answer.status != StatusCode::OK {
        return Err(CallError::TryLater {
            status: answer.status.as_u16(),
            retry_after: None,
        });
    }
    let granted: Granted = serde_json::from_slice(&answer.body)
        .map_err(|_| CallError::Malformed("it is no JSON object with an access_token"))?;
    let is_bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
    if !granted.token_type.as_ref().is_none_or(is_bearer) {
        return Err(CallError::Unusable("its token_type is not Bearer"));
    }
    let token = granted.access_token.expose_secret();
    if token.is_empty() || token.len() > 16 * 1024 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CallError::Unusable("its access_token is none"));
    }
    Ok(granted)
}

fn secret<'de, D: Deserializer<'de>>(text: D) -> Result<SecretString, D::Error> {
    String::deserialize(text).map(SecretString::from)
}

fn life(expires_in: Option<f64>) -> Duration {
    expires_in
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(LIFE)
        .min(LONGEST_LIFE)
}

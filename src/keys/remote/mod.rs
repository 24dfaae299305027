//! Keys of another server: a verify endpoint in the manner of Kinde, asked about each key that the cache does not know.
//!
//! Its answers are read with suspicion. Only a whole, well-formed *valid* lets a key in; only a clear *invalid* keeps it out as
//! unknown. All else, and that is most of what can go wrong between two servers, says nothing of the key: the source gave no
//! answer, known keys go on within `stale_if_error`, and callers with others are told to come back.
//!
//! A refusal (401, and 400 or 422) may mean the key, or ourselves. It is taken for the key only when the same credentials were
//! proven good a moment ago, since otherwise a token of ours that has expired would turn out every caller.

mod answer;
mod both;
mod credentials;
mod file;
mod proof;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde::Serialize;
use tracing::warn;

use self::answer::Verdict;
pub use self::both::StoreThenRemote;
use self::credentials::{Bearer, Credentials};
use self::proof::Proof;
use super::record::KeyRecord;
use super::secret::ApiKey;
use super::source::{KeySource, KeySourceError, Verifying};
use crate::config::Remote;
use crate::outbound::{CallError, ClientError, Endpoint, RemoteMetrics, client};

const JSON: &str = "application/json";

/// Calls that one look-up may take: to verify, for a token, and both once more after a refusal.
const CALLS: u32 = 4;

/// Asks a verify endpoint.
#[derive(Debug)]
pub struct RemoteSource {
    url: Box<str>,
    endpoint: Endpoint,
    credentials: Credentials,
    proof: Proof,
    /// Times in a row that our own credentials seemed to be the reason.
    refused: AtomicU64,
}

/// What is sent.
#[derive(Serialize)]
struct Question<'k> {
    api_key: &'k str,
}

impl RemoteSource {
    /// A source for these settings. Reads the file of authorities, if there is one; calls nobody.
    pub fn new(settings: &Remote, metrics: &RemoteMetrics) -> Result<Self, ClientError> {
        let urls: Vec<&str> = settings.urls().collect();
        let client = client(&urls, settings.ca_file.as_deref())?;
        Ok(Self {
            url: settings.verify_url.clone(),
            credentials: Credentials::new(settings, &client, metrics),
            endpoint: Endpoint::new("verify", client, settings.timeout, metrics),
            proof: Proof::default(),
            refused: AtomicU64::new(0),
        })
    }

    async fn look_up(&self, key: &ApiKey) -> Result<Option<Arc<KeyRecord>>, KeySourceError> {
        let mut bearer = self.credentials.bearer().await?;
        let mut verdict = self.ask(key, &bearer).await?;
        // The token may have ended before its time. Asked once more with a new one; that it is new proves nothing yet.
        if verdict == Verdict::Refused(401)
            && let Some(renewed) = self.credentials.renewed(&bearer).await?
        {
            bearer = renewed;
            verdict = self.ask(key, &bearer).await?;
        }
        let now = Instant::now();
        match verdict {
            Verdict::Valid(record) => {
                self.proven(&bearer, now);
                Ok(Some(Arc::new(*record)))
            }
            Verdict::Invalid => {
                self.proven(&bearer, now);
                Ok(None)
            }
            Verdict::NotFound => Ok(None),
            Verdict::Refused(_) if self.proof.holds(&bearer, now) => Ok(None),
            Verdict::Refused(status) => {
                let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if refused.is_power_of_two() {
                    warn!(
                        status,
                        refused,
                        "the verify endpoint refuses us, or a key before any other was verified: check keys.remote.auth"
                    );
                }
                Err(failed(&CallError::TryLater {
                    status,
                    retry_after: None,
                }))
            }
        }
    }

    fn proven(&self, bearer: &Bearer, now: Instant) {
        self.proof.renew(bearer, now);
        self.refused.store(0, Ordering::Relaxed);
    }

    /// One call. A verification changes no more than a counter there, so it may be made twice.
    async fn ask(&self, key: &ApiKey, bearer: &Bearer) -> Result<Verdict, KeySourceError> {
        let question = Question {
            api_key: key.expose(),
        };
        let question = serde_json::to_vec(&question)
            .map_err(|_| KeySourceError::Failed("the question cannot be written".into()))?;
        let request = |client: &reqwest::Client| {
            let request = client
                .post(&*self.url)
                .header(CONTENT_TYPE, JSON)
                .header(ACCEPT, JSON)
                .body(question.clone());
            match &bearer.header {
                Some(header) => request.header(AUTHORIZATION, header),
                None => request,
            }
        };
        let verdict = self
            .endpoint
            .call(request, |answer| answer::read(&answer, key))
            .await;
        verdict.map_err(|error| failed(&error))
    }
}

/// What a call that came to nothing means to the cache.
fn failed(error: &CallError) -> KeySourceError {
    match error {
        CallError::Timeout(limit) => KeySourceError::Deadline(*limit),
        other => KeySourceError::Failed(format!("the verify endpoint: {other}").into()),
    }
}

impl KeySource for RemoteSource {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        Box::pin(self.look_up(key))
    }

    /// Keys of others have any form that a key can have.
    fn can_know(&self, presented: &[u8]) -> bool {
        ApiKey::can_be_presented(presented)
    }

    fn limit(&self) -> Duration {
        self.endpoint.limit() * CALLS
    }
}

#[cfg(test)]
mod tests;

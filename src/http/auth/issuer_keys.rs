//! The public keys of an identity provider: fetched when they are needed, remembered, and asked for again.
//!
//! ```text
//! nothing known ──fetch──▶ fresh ──FRESH_FOR──▶ due, used, asked for again beside it ──USED_FOR──▶ nothing known
//! ```
//!
//! A key id that is not known may be new: the set is fetched once more, though not oftener than [`PAUSE`], so that nobody
//! makes Latchkey hammer an issuer by inventing key ids. All who wait share one fetch, which goes on when they do not. What
//! cannot be fetched is an error that says "try again", and never an allow.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::StatusCode;
use http::header::ACCEPT;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::AuthError;
use super::jws::{Algorithm, PublicKey};
use crate::outbound::{self, Answer, CallError, ClientError, Endpoint, RemoteMetrics};

/// Keys are used without asking for this time.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// Keys are used for this time while their issuer does not answer. Longer, and a key that it has withdrawn would count for too
/// long; shorter, and a night's outage of the issuer would be one of the management API.
const USED_FOR: Duration = Duration::from_secs(6 * 3600);
/// The least time between two fetches, for whatever reason.
const PAUSE: Duration = Duration::from_secs(10);
/// The same after a fetch that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long one fetch may take, all of it.
const DEADLINE: Duration = Duration::from_secs(3);
/// The same for the call in it.
const CALL: Duration = Duration::from_millis(2500);

/// Gets a set of keys.
pub(super) type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<PublicKey>, CallError>> + Send + Sync>;

/// The keys of one issuer.
pub(super) struct IssuerKeys {
    inner: Arc<Inner>,
}

struct Inner {
    fetch: Fetch,
    known: ArcSwapOption<Known>,
    /// Held for a few instructions, never across an await.
    attempts: Mutex<Attempts>,
}

struct Known {
    keys: Vec<PublicKey>,
    since: Instant,
}

#[derive(Default)]
struct Attempts {
    /// The task, and its end for all who wait.
    under_way: Option<(AbortHandle, Shared<BoxFuture<'static, ()>>)>,
    last: Option<Instant>,
    last_failed: bool,
}

impl IssuerKeys {
    pub(super) fn new(fetch: Fetch) -> Self {
        Self {
            inner: Arc::new(Inner {
                fetch,
                known: ArcSwapOption::empty(),
                attempts: Mutex::default(),
            }),
        }
    }

    /// The key with this id that can have made a signature of this algorithm; without an id, the only one that can. Nothing: the
    /// issuer has no such key.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<PublicKey>, AuthError> {
        if let Some((key, is_due)) = self.inner.remembered(kid, algorithm) {
            if is_due {
                Inner::refresh(&self.inner);
            }
            return Ok(Some(key));
        }
        if let Some(refresh) = Inner::refresh(&self.inner) {
            refresh.await;
        }
        if let Some((key, _)) = self.inner.remembered(kid, algorithm) {
            return Ok(Some(key));
        }
        // Only an issuer that has just answered can be taken to have no such key.
        match self.inner.attempts().last_failed {
            true => Err(AuthError::Unavailable {
                retry_after: PAUSE_AFTER_FAILURE,
            }),
            false => Ok(None),
        }
    }
}

impl Inner {
    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, and whether it is time to ask for the set again.
    fn remembered(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<(PublicKey, bool)> {
        let known = self.known.load();
        let known = known.as_ref().filter(|known| known.since.elapsed() < USED_FOR)?;
        let mut fitting = known.keys.iter().filter(|key| key.fits(algorithm));
        let key = match kid {
            Some(kid) => fitting.find(|key| key.kid() == Some(kid))?,
            None => fitting.next().filter(|_| fitting.next().is_none())?,
        };
        Some((key.clone(), known.since.elapsed() >= FRESH_FOR))
    }

    /// Begins a fetch, or joins the one that is under way. Nothing: it is too soon after the last one.
    fn refresh(inner: &Arc<Self>) -> Option<Shared<BoxFuture<'static, ()>>> {
        let mut attempts = inner.attempts();
        if let Some((task, under_way)) = &attempts.under_way
            && !task.is_finished()
        {
            return Some(under_way.clone());
        }
        let pause = if attempts.last_failed {
            PAUSE_AFTER_FAILURE
        } else {
            PAUSE
        };
        if attempts.last.is_some_and(|last| last.elapsed() < pause) {
            return None;
        }
        attempts.last = Some(Instant::now());
        // A task of its own, which the deadline ends: a caller who leaves takes nothing from those who wait.
        let fetching = tokio::spawn(Arc::clone(inner).fetch());
        let task = fetching.abort_handle();
        let shared = fetching.map(|_| ()).boxed().shared();
        attempts.under_way = Some((task, shared.clone()));
        Some(shared)
    }

    async fn fetch(self: Arc<Self>) {
        let since = Instant::now();
        let fetched = match timeout(DEADLINE, (self.fetch)()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(CallError::Timeout(DEADLINE)),
        };
        let mut attempts = self.attempts();
        match fetched {
            Ok(keys) => {
                if attempts.last_failed || self.known.load().is_none() {
                    info!(
                        keys = keys.len(),
                        "the keys of the identity provider were fetched"
                    );
                }
                self.known.store(Some(Arc::new(Known { keys, since })));
                attempts.last_failed = false;
            }
            Err(error) => {
                if !attempts.last_failed {
                    warn!(%error, "the keys of the identity provider cannot be fetched; those that are known are used for a while");
                }
                attempts.last_failed = true;
                // The pause begins here: an issuer that hangs would have used it up.
                attempts.last = Some(Instant::now());
            }
        }
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKeys").finish_non_exhaustive()
    }
}

/// Fetches from a URL of the settings, which saw to it that it is https, or on this machine.
pub(super) fn over_http(url: &str, metrics: &RemoteMetrics) -> Result<Fetch, ClientError> {
    let client = outbound::client(&[url], None)?;
    let endpoint = Arc::new(Endpoint::new("jwks", client, CALL, metrics));
    let url: Arc<str> = url.into();
    Ok(Box::new(move || {
        let (endpoint, url) = (Arc::clone(&endpoint), Arc::clone(&url));
        Box::pin(async move {
            let request = |client: &reqwest::Client| client.get(&*url).header(ACCEPT, "application/json");
            endpoint.call(request, keys_of).await
        })
    }))
}

fn keys_of(answer: Answer) -> Result<Vec<PublicKey>, CallError> {
    if answer.status != StatusCode::OK {
        return Err(CallError::Unusable("its status is not 200"));
    }
    PublicKey::of_set(&answer.body).ok_or(CallError::Malformed("it is no JWK Set"))
}

#[cfg(test)]
mod tests;

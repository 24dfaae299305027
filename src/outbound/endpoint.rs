//! One thing that another server does for us, such as to verify a key.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use tokio::time::timeout;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::breaker::{Breaker, Permit};
use super::error::CallError;
use super::metrics::RemoteMetrics;

/// The longest body that is read. No answer that we can use is near it.
const MOST_BYTES: usize = 256 * 1024;
/// The pause before a second try: enough for a restarted process to listen, and not the same for everyone.
const PAUSE: Duration = Duration::from_millis(20);
/// What is left of the time for a second try to make sense.
const LEAST_LEFT: Duration = Duration::from_millis(50);

/// An answer that was read whole. Its body may hold a secret, and is cleared.
pub struct Answer {
    /// The status, never one that says to try later.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// Calls one endpoint: with a deadline, a second try where that is safe, and a breaker before it.
#[derive(Debug)]
pub struct Endpoint {
    name: &'static str,
    client: Client,
    limit: Duration,
    breaker: Breaker,
    metrics: RemoteMetrics,
}

impl Endpoint {
    /// `name` is in metrics and logs; `limit` is for one call, all its tries together.
    pub fn new(name: &'static str, client: Client, limit: Duration, metrics: &RemoteMetrics) -> Self {
        metrics.appear(name);
        Self {
            name,
            client,
            limit,
            breaker: Breaker::default(),
            metrics: metrics.clone(),
        }
    }

    /// The time that one call gets.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Makes a call, and reads its answer. 429 and 5xx are errors; what any other answer means is for `read` to say.
    ///
    /// `request` may be made twice, so it must be for something that does no harm when it is done twice. Dropping the future is
    /// safe.
    pub async fn call<T>(
        &self,
        request: impl Fn(&Client) -> RequestBuilder,
        read: impl Fn(Answer) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let permit = self.breaker.admit(began).map_err(|pause| {
            let error = CallError::NotAsked(pause);
            self.metrics.called(self.name, error.label());
            error
        })?;
        let is_worth_it =
            |error: &CallError| error.is_worth_another_try() && began.elapsed() + LEAST_LEFT < self.limit;
        let once = || async { self.send(request(&self.client)).await.and_then(&read) };
        let tries = once
            .retry(
                ExponentialBuilder::new()
                    .with_min_delay(PAUSE)
                    .with_max_times(1)
                    .with_jitter(),
            )
            .when(is_worth_it)
            .notify(|_, _| self.metrics.retried(self.name));
        let called = match timeout(self.limit, tries).await {
            Ok(called) => called,
            Err(_) => Err(CallError::Timeout(self.limit)),
        };
        self.metrics.took(self.name, began.elapsed());
        self.conclude(permit, called.as_ref().err());
        called
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, CallError> {
        let failed = |error| CallError::of(error, self.limit);
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(CallError::TryLater {
                status: status.as_u16(),
                retry_after: retry_after(status, &headers),
            });
        }
        let body = read_body(response, self.limit).await?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn conclude(&self, permit: Permit<'_>, error: Option<&CallError>) {
        match error {
            Some(error) if error.is_trouble() => {
                let was_open = self.breaker.is_open();
                if permit.failed(Instant::now(), error.retry_after()) {
                    self.metrics.opened(self.name);
                    if !was_open {
                        warn!(endpoint = self.name, %error, "it keeps failing and is left alone for a while");
                    }
                }
            }
            _ => {
                let was_open = self.breaker.is_open();
                permit.succeeded();
                if was_open && !self.breaker.is_open() {
                    info!(endpoint = self.name, "it answers again");
                }
            }
        }
        self.metrics.breaker(self.name, self.breaker.is_open());
        self.metrics
            .called(self.name, error.map_or("ok", CallError::label));
    }
}

async fn read_body(mut response: Response, limit: Duration) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| CallError::of(error, limit))?
    {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(CallError::Malformed("it is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3), or with a 429 `RateLimit-Reset`, which Kinde sends. A date is not understood.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    // Many servers put it into every answer: beside a fault it says when a quota begins anew, and is no wish to be left alone.
    let reset = || seconds("ratelimit-reset").filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
    seconds(header::RETRY_AFTER.as_str())
        .or_else(reset)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests;

//! What joins decision, keys and limits: who is counted, against what, and what happens when the source is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;

use super::*;
use crate::decision::NotAllowed;
use crate::decision::testing::{FakeRequest, key_record, policy_with};
use crate::keys::{KeySource, KeySourceError, KeyStatus, Verifying};

const GOOD: &str = "lk_good";
const NO_SCOPE: &str = "lk_no-scope";
const REVOKED: &str = "lk_revoked";

/// Knows three keys, and can be away.
#[derive(Default)]
struct Source {
    away: AtomicBool,
    hangs: AtomicBool,
    asked: AtomicUsize,
}

impl KeySource for Source {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.away.load(Ordering::SeqCst) {
                return Err(KeySourceError::Failed("planted".into()));
            }
            let record = key_record();
            Ok(match key.expose() {
                GOOD => Some(Arc::new(record)),
                NO_SCOPE => Some(Arc::new(KeyRecord {
                    id: "api_key_2".into(),
                    scopes: Vec::new(),
                    ..record
                })),
                REVOKED => Some(Arc::new(KeyRecord {
                    status: KeyStatus::Revoked,
                    ..record
                })),
                _ => None,
            })
        })
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        presented.starts_with(b"lk_")
    }
}

struct World {
    authorizer: Authorizer,
    source: Arc<Source>,
}

impl World {
    fn new() -> Self {
        let policy = policy_with(|settings| {
            for limit in settings.rate_limits.values_mut() {
                limit.limit = std::num::NonZeroU32::new(3).unwrap();
            }
        });
        let source = Arc::new(Source::default());
        let keys = KeyCache::new(
            Arc::clone(&source) as Arc<dyn KeySource>,
            &policy.settings.keys,
            Handle::current(),
        );
        let authorizer = Authorizer::new(policy, keys, LocalLimits::new(1000), CheckMetrics::default());
        Self { authorizer, source }
    }

    /// The decision on a request, waited for if that is needed, and the key id that the outcome names.
    async fn ask(&self, request: &FakeRequest) -> (Decision, Option<String>) {
        let policy = self.authorizer.policy();
        let outcome = match self.authorizer.authorize_now(&policy, request, Arrival::now()) {
            Ok(outcome) => outcome,
            Err(NeedsLookUp) => {
                let deadline = Instant::now() + Duration::from_millis(200);
                self.authorizer
                    .authorize(&policy, request, Arrival::now(), deadline)
                    .await
            }
        };
        self.authorizer.record(&policy, &outcome, Duration::ZERO);
        let id = outcome.identity.as_ref().map(|record| record.id.to_string());
        (outcome.decision, id)
    }

    async fn reason(&self, key: &str) -> &'static str {
        self.ask(&chat(key)).await.0.reason()
    }
}

fn chat(key: &str) -> FakeRequest {
    FakeRequest::new("POST", "/ai/chat").bearer(key)
}

#[tokio::test]
async fn a_good_key_is_allowed_and_asked_for_once() {
    let world = World::new();
    for _ in 0..3 {
        let (decision, id) = world.ask(&chat(GOOD)).await;
        assert!(
            matches!(&decision, Decision::Allow(grant) if grant.identity().is_some()),
            "{decision:?}"
        );
        assert_eq!(id.as_deref(), Some("api_key_1"));
    }
    assert_eq!(world.source.asked.load(Ordering::SeqCst), 1);
    assert_eq!(world.reason(GOOD).await, "rate_limited");
}

#[tokio::test]
async fn a_verified_request_counts_also_when_scopes_refuse_it() {
    let world = World::new();
    for _ in 0..3 {
        assert_eq!(world.reason(NO_SCOPE).await, "insufficient_scope");
    }
    assert_eq!(world.reason(NO_SCOPE).await, "rate_limited");
    assert_eq!(world.reason(GOOD).await, "key", "keys are counted apart");
}

#[tokio::test]
async fn failed_authentications_are_counted_by_address_and_a_good_key_never_meets_that() {
    let world = World::new();
    for (key, reason) in [
        ("lk_unknown", "key_unknown"),
        ("garbage", "key_malformed"),
        (REVOKED, "key_revoked"),
        ("lk_unknown", "rate_limited"),
        (REVOKED, "rate_limited"),
        ("garbage", "rate_limited"),
        (GOOD, "key"),
    ] {
        assert_eq!(world.reason(key).await, reason, "{key}");
    }
    let nobody = FakeRequest::new("POST", "/ai/chat");
    assert_eq!(world.ask(&nobody).await.0.reason(), "rate_limited");
    let other = FakeRequest::new("POST", "/ai/chat").peer(Some([198, 51, 100, 7].into()));
    assert_eq!(world.ask(&other).await.0, Decision::Deny(Denial::MissingKey));
}

#[tokio::test]
async fn garbage_is_never_looked_up() {
    let world = World::new();
    assert_eq!(world.reason("garbage").await, "key_malformed");
    assert_eq!(world.source.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_source_that_is_away_lets_nobody_in_and_counts_nothing() {
    let world = World::new();
    world.source.away.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(world.reason(GOOD).await, "key_source_unavailable");
    }
    world.source.away.store(false, Ordering::SeqCst);
    assert_eq!(world.reason(GOOD).await, "key");
    assert_eq!(world.reason("lk_unknown").await, "key_unknown");
}

#[tokio::test]
async fn a_source_that_hangs_is_unavailable_at_the_deadline() {
    let world = World::new();
    world.source.hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert_eq!(world.reason(GOOD).await, "key_source_unavailable");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_needs_no_key_is_decided_without_one() {
    let world = World::new();
    let (decision, id) = world.ask(&FakeRequest::new("GET", "/healthz")).await;
    assert!(
        matches!(&decision, Decision::Allow(grant) if grant.identity().is_none()),
        "{decision:?}"
    );
    assert_eq!(id, None);
    let twice = world
        .ask(&FakeRequest::new("GET", "/ai//chat").bearer(GOOD))
        .await
        .0;
    assert_eq!(twice, Decision::Deny(Denial::InvalidPath));
    let nowhere = world
        .ask(&FakeRequest::new("GET", "/nowhere").bearer(GOOD))
        .await
        .0;
    assert_eq!(nowhere, Decision::Deny(Denial::NotAllowed(NotAllowed::NoRoute)));
}

#[tokio::test]
async fn another_policy_is_in_force_at_once() {
    let world = World::new();
    assert_eq!(world.reason(GOOD).await, "key");
    world
        .authorizer
        .replace_policy(policy_with(|settings| settings.routes.truncate(1)));
    assert_eq!(world.reason(GOOD).await, "no_route");
}

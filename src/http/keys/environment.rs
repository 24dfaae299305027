//! Environment keys as bearers of the management API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::http::auth::{AuthError, EnvironmentKey, EnvironmentKeys};
use crate::keys::{ApiKey, KeyCache, KeyStatus, KeyType, Remembered, now_ms};

/// How long the source may take.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Verifies environment keys by what Check knows of keys.
pub(crate) struct VerifiedEnvironmentKeys(pub(crate) Arc<KeyCache>);

impl EnvironmentKeys for VerifiedEnvironmentKeys {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> BoxFuture<'a, Result<Option<EnvironmentKey>, AuthError>> {
        Box::pin(async move {
            let presented = key.expose();
            let again = ApiKey::presented(presented).filter(|_| self.0.can_know(presented));
            let Some(again) = again else {
                return Ok(None);
            };
            let now = Instant::now();
            let found = match self.0.get(presented, now) {
                Remembered::Known(record) => Some(record),
                Remembered::Unknown => None,
                Remembered::Nothing => {
                    let unavailable = |_| AuthError::Unavailable {
                        retry_after: Duration::from_secs(1),
                    };
                    let looked_up = self.0.look_up(again, None, now + LOOK_UP).await;
                    looked_up.map_err(unavailable)?
                }
            };
            let good = found.filter(|record| {
                record.key_type == KeyType::Environment
                    && record.status == KeyStatus::Active
                    && record.expires_at_ms.is_none_or(|at| at > now_ms())
            });
            Ok(good.map(|record| EnvironmentKey {
                id: record.id.clone(),
                permissions: record.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            }))
        })
    }
}

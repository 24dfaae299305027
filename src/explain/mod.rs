//! What Check would say of a request, and why.
//!
//! Nothing here decides. A [`Judge`] asks the same [`Authorizer`] with the same bytes as the server does, has the answer
//! written by the same writer, and reads it back; each [`Step`] is told from what the decision itself found. So an
//! explanation cannot say one thing while the server does another.

mod answer;
mod keys;
mod read;
mod request;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::runtime::Handle;

pub use self::answer::{Answer, NoAnswer, Verb};
pub use self::keys::ListedKeys;
pub(crate) use self::read::{REQUEST_FIELDS, request_fields, requests_of_lines, single_request};
pub use self::request::Request;
pub use self::steps::{Step, StepName, StepResult};
use crate::authorizer::{Arrival, Authorizer, NeedsLookUp};
use crate::config::Settings;
use crate::decision::{self, Next, Policy};
use crate::envoy::{self, CheckView, Malformed};
use crate::keys::{ApiKey, KeyCache, KeySource};
use crate::limits::LocalLimits;
use crate::telemetry::CheckMetrics;

/// How long a look-up may take. Longer than a server would wait: who asks here wants to know of the key, not of the hurry.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Subjects that the limits of one judgement have: a key and an address.
const LIMIT_SUBJECTS: usize = 16;

/// A decision with every step to it, and the answer that Envoy would get.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The steps, in the order in which they are decided.
    pub steps: Vec<Step>,
    /// What Envoy would be told.
    #[serde(flatten)]
    pub answer: Answer,
    /// The key that the request carried, if it carried one; to keep it out of what is shown.
    #[serde(skip)]
    pub presented: Option<ApiKey>,
}

/// Whether earlier requests count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// Each request is judged as if it were the first.
    Never,
    /// Requests count against the limits, as they do in a server.
    Yes,
}

/// Says what Check would say.
pub struct Judge {
    settings: Arc<Settings>,
    keys: Arc<KeyCache>,
    counting: Counting,
    authorizer: Authorizer,
}

impl Judge {
    /// A judge under these settings, whose keys are what `source` knows; look-ups run on `waiting`.
    pub fn new(
        settings: Arc<Settings>,
        source: Arc<dyn KeySource>,
        counting: Counting,
        waiting: Handle,
    ) -> Self {
        let keys = KeyCache::new(source, &settings.keys, waiting);
        let authorizer = authorizer(&settings, &keys);
        Self {
            settings,
            keys,
            counting,
            authorizer,
        }
    }

    /// Judges an encoded `CheckRequest` that arrived at `arrival`.
    pub async fn judge(&self, message: Bytes, arrival: Arrival) -> Result<Explanation, Malformed> {
        let view = CheckView::read(message)?;
        match self.counting {
            Counting::Yes => Ok(self.judge_by(&self.authorizer, &view, arrival).await),
            Counting::Never => {
                let fresh = authorizer(&self.settings, &self.keys);
                Ok(self.judge_by(&fresh, &view, arrival).await)
            }
        }
    }

    async fn judge_by(&self, authorizer: &Authorizer, view: &CheckView, arrival: Arrival) -> Explanation {
        let policy = authorizer.policy();
        let outcome = match authorizer.authorize_now(&policy, view, arrival) {
            Ok(outcome) => outcome,
            Err(NeedsLookUp) => {
                let deadline = Instant::now() + LOOK_UP;
                authorizer.authorize(&policy, view, arrival, deadline).await
            }
        };
        // Pure: what it found for the decision above, it finds again.
        let read = decision::read(&policy, view);
        let presented = match &read.next {
            Next::Verify(candidate) => ApiKey::presented(candidate.key()),
            Next::Decided { .. } | Next::Unverified { .. } => None,
        };
        let written = envoy::write_answer(&policy, &outcome, Vec::new());
        Explanation {
            steps: steps::steps(&policy, view, &read.next, &outcome, self.counting),
            answer: Answer::read(&written).expect("what the answer's own writer wrote can be read"),
            presented,
        }
    }
}

fn authorizer(settings: &Arc<Settings>, keys: &Arc<KeyCache>) -> Authorizer {
    Authorizer::new(
        Policy::compile(Arc::clone(settings)),
        Arc::clone(keys),
        LocalLimits::new(LIMIT_SUBJECTS),
        CheckMetrics::default(),
    )
}

#[cfg(test)]
mod tests;

//! Any bytes as a `CheckRequest`: the view agrees with prost, and whatever is decided becomes an answer that prost reads.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey::authorizer::{Arrival, Outcome};
use latchkey::decision::{Decision, Next, Policy, Reading, RequestView, read};
use latchkey::envoy::messages::envoy::config::core::v3::address::Address;
use latchkey::envoy::messages::envoy::service::auth::v3::check_response::HttpResponse;
use latchkey::envoy::messages::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use latchkey::envoy::{CheckView, Malformed, write_answer};
use latchkey::limits::Verdict;
use latchkey::usage::Replica;
use prost::Message;

#[cfg(fuzzing)]
#[path = "support.rs"]
mod support;
#[cfg(not(fuzzing))]
use super::support;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input.
pub(crate) fn run(data: &[u8]) {
    let view = CheckView::read(Bytes::copy_from_slice(data));
    // Prost refuses more: text that is no UTF-8, and faults in fields that no decision needs.
    if let Ok(message) = CheckRequest::decode(data) {
        agree(&view, &message);
    }
    if let Ok(view) = view {
        support::with_policy(|policy| answer(policy, &view));
    }
}

fn agree(view: &Result<CheckView, Malformed>, message: &CheckRequest) {
    let attributes = message.attributes.as_ref();
    let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
    let (view, http) = match (view, http) {
        (Ok(view), Some(http)) => (view, http),
        (Err(Malformed::NoHttp), None) | (Err(Malformed::TooManyHeaders), Some(_)) => return,
        (view, http) => panic!("we say {view:?}, prost {http:?}"),
    };
    assert_eq!(view.method(), http.method.as_bytes());
    assert_eq!(view.target(), http.path.as_bytes());
    assert_eq!(view.host(), http.host.as_bytes());
    let source = attributes.and_then(|attributes| attributes.source.as_ref());
    let peer = match source.and_then(|peer| peer.address.as_ref()?.address.as_ref()) {
        Some(Address::SocketAddress(socket)) => socket.address.parse().ok(),
        _ => None,
    };
    assert_eq!(view.peer_address(), peer);

    // A name that is twice in the map is shown twice, so ours may be more, but never fewer or others.
    let listed = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let is_raw = !header.raw_value.is_empty();
        let value = if is_raw {
            &header.raw_value[..]
        } else {
            header.value.as_bytes()
        };
        (header.key.as_bytes(), value)
    });
    let mapped = http
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let theirs: BTreeSet<(&[u8], &[u8])> = mapped.chain(listed).collect();
    let ours: BTreeSet<(&[u8], &[u8])> = view.headers().collect();
    assert!(theirs.is_subset(&ours));
    let names = |headers: &BTreeSet<(&[u8], &[u8])>| -> BTreeSet<Vec<u8>> {
        headers.iter().map(|(name, _)| name.to_vec()).collect()
    };
    assert_eq!(names(&ours), names(&theirs));
}

fn answer(policy: &Policy, view: &CheckView) {
    for allowed in [true, false] {
        let outcome = decide(policy, view, allowed);
        let encoded = write_answer(policy, &outcome, Vec::new());
        let response = CheckResponse::decode(&encoded[..]).expect("prost reads the answer");
        assert_eq!(
            response.encoded_len(),
            encoded.len(),
            "written as prost would write it"
        );
        let code = response.status.as_ref().expect("there is a status").code;
        match &response.http_response {
            Some(HttpResponse::OkResponse(ok)) => {
                assert_eq!(code, 0);
                assert!(matches!(outcome.decision, Decision::Allow(_)));
                let set: Vec<&str> = ok
                    .headers
                    .iter()
                    .filter_map(|option| option.header.as_ref())
                    .map(|header| header.key.as_str())
                    .collect();
                // Whatever a backend could take for a tenant header is set or removed, and nothing is both.
                for name in policy.settings.tenant_headers.all() {
                    let is_removed = ok.headers_to_remove.iter().any(|other| other == name.as_str());
                    assert_ne!(set.contains(&name.as_str()), is_removed, "{name}");
                }
                for (name, _) in view.headers() {
                    if support::is_twin_of_a_tenant_header(policy, name) {
                        let is_set = set.iter().any(|set| set.as_bytes().eq_ignore_ascii_case(name));
                        let is_removed = ok
                            .headers_to_remove
                            .iter()
                            .any(|other| other.as_bytes().eq_ignore_ascii_case(name));
                        assert!(is_set != is_removed, "{:?}", String::from_utf8_lossy(name));
                    }
                }
            }
            Some(HttpResponse::DeniedResponse(denied)) => {
                assert_ne!(code, 0);
                assert!(denied.status.as_ref().is_some_and(|status| status.code >= 400));
                assert!(!denied.body.is_empty());
            }
            other => panic!("an answer that is neither: {other:?}"),
        }
    }
}

/// Decides as the authorizer does; whatever key comes is known and good.
fn decide<'r>(policy: &Policy, view: &'r CheckView, allowed: bool) -> Outcome<'r> {
    let Reading { facts, next } = read(policy, view);
    let record = Arc::new(support::record());
    let mut outcome = Outcome {
        facts,
        ..Outcome::fault(Replica::new(), Arrival::now())
    };
    match next {
        Next::Decided { decision, route } => (outcome.decision, outcome.route) = (decision, route),
        Next::Unverified { denial, route } => {
            (outcome.decision, outcome.route) = (Decision::Deny(denial), route.ok());
        }
        Next::Verify(candidate) => {
            outcome.route = candidate.route().cloned();
            outcome.identity = Some(Arc::clone(&record));
            outcome.decision = match candidate.identify(allowed.then_some(record), 0) {
                Ok(admitted) => {
                    let verdict = Verdict {
                        allowed: true,
                        remaining: 1,
                        reset_after: Duration::from_secs(2),
                        retry_after: Duration::ZERO,
                    };
                    outcome.limit = admitted.limit().map(|limit| (Arc::clone(limit), verdict));
                    admitted.decide()
                }
                Err(latchkey::decision::Refused::Unverified(kind)) => {
                    Decision::Deny(latchkey::decision::Denial::InvalidKey(kind))
                }
                Err(latchkey::decision::Refused::Denied(denial)) => Decision::Deny(denial),
            };
        }
    }
    outcome
}

//! Any bytes as a JSON or form body: what goes on is still of its kind, and goes on unchanged the next time.
#![cfg_attr(fuzzing, no_main)]

use std::num::NonZeroUsize;

use latchkey::config::{GuardRequest, Handlers, OnMatch, OnUnscanned, PromptContext};
use latchkey::guard::{Caller, RequestAction, RequestBody, RequestGuard};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

fn guard(context: PromptContext) -> RequestGuard {
    RequestGuard::compile(&GuardRequest {
        fields: ["input", "messages[*].content", "messages[*].content[*].text"]
            .map(Into::into)
            .to_vec(),
        on_match: OnMatch::Sanitize,
        on_unscanned: OnUnscanned::Reject,
        max_chars: NonZeroUsize::MAX,
        context,
        context_template: None,
        handlers: Handlers::Any,
    })
}

/// One input.
pub(crate) fn run(data: &[u8]) {
    for content_type in [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        let request = |body| RequestBody {
            content_type: Some(content_type),
            content_encoding: None,
            body,
            caller: Caller {
                context_owner: "org:acme",
                ..Caller::default()
            },
        };
        let plain = guard(PromptContext::None);
        let action = plain.process(&request(data)).action;
        let forwarded = match &action {
            RequestAction::Unchanged => data,
            RequestAction::Rewritten(body) => body,
            RequestAction::Refused(_) => continue,
        };
        assert_eq!(
            plain.process(&request(forwarded)).action,
            RequestAction::Unchanged
        );
        if content_type == "application/json" && !data.is_empty() {
            assert!(is_json(forwarded));
        }
        let prompt = guard(PromptContext::Prompt).process(&request(data)).action;
        if let RequestAction::Rewritten(body) = prompt {
            let text = String::from_utf8_lossy(&body);
            assert!(text.contains("org:acme") || text.contains("org%3Aacme"));
            assert!(content_type != "application/json" || is_json(&body));
        }
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

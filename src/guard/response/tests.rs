//! Whole response bodies.

use std::num::NonZeroUsize;

use super::*;
use crate::config::Handlers;
use crate::guard::{Rule, Scanned, TokenUsage};

fn settings() -> GuardResponse {
    GuardResponse {
        fields: vec!["*".into()],
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: NonZeroUsize::new(50_000).unwrap(),
        handlers: Handlers::Known,
    }
}

fn scan(settings: &GuardResponse, content_type: &str, body: &str) -> ResponseVerdict {
    let body = ResponseBody {
        content_type: Some(content_type),
        content_encoding: None,
        body: body.as_bytes(),
    };
    ResponseGuard::compile(settings).scan(&body)
}

const JSON: &str = "application/json";

#[test]
fn a_harmful_answer_is_refused() {
    for (content_type, body, harmful) in [
        (
            JSON,
            r#"{"response":"hello","organization":"acme","user_id":null}"#,
            false,
        ),
        (JSON, r#"{"response":"\u003cscript>alert(1)</script>"}"#, true),
        (JSON, r#"{"deep":[{"x":["java\tscript:"]}]}"#, true),
        (JSON, r#"{"a":"<scr","b":"ipt>"}"#, false),
        (
            JSON,
            r#"{"candidates":[{"content":{"parts":[{"text":"<scr"},{"text":"ipt>"}]}}]}"#,
            true,
        ),
        (
            JSON,
            r#"[{"candidates":[{"content":{"parts":[{"text":"<scr"}]}}]},{"candidates":[{"content":{"parts":[{"text":"ipt>"}]}}]}]"#,
            true,
        ),
        (
            JSON,
            r#"[{"choices":[{"index":0,"delta":{"content":"<scr"}}]},{"choices":[{"index":1,"delta":{"content":"ipt>"}}]}]"#,
            false,
        ),
        (JSON, "{}", false),
        (JSON, "[1, null, true]", false),
        ("text/html", "<b onload\n=1>", true),
        ("text/plain", r#"{"a":"\u003cscript>"}"#, true),
        ("text/plain", r#"{"a":"\u003cscript>" and so on"#, false),
        ("text/event-stream", "data: <scr\n\ndata: ipt>\n\n", true),
        (
            "application/x-ndjson",
            "{\"response\":\"<scr\"}\n{\"response\":\"ipt>\"}",
            true,
        ),
    ] {
        let verdict = scan(&settings(), content_type, body);
        assert_eq!(
            verdict.refused,
            harmful.then_some(Refusal::HarmfulOutput),
            "{body}"
        );
        assert_eq!(verdict.report.scanned, Scanned::Full);
        assert_eq!(!verdict.report.matches.is_empty(), harmful);

        let reporting = GuardResponse {
            on_match: OnMatch::Report,
            ..settings()
        };
        let reported = scan(&reporting, content_type, body);
        assert_eq!(reported.refused, None);
        assert_eq!(!reported.report.matches.is_empty(), harmful);
    }
    assert_eq!(
        Refusal::HarmfulOutput.message(),
        "AI response contains potentially harmful content"
    );
    assert_eq!(Refusal::HarmfulOutput.status(), 502);
}

#[test]
fn each_text_of_an_answer_may_be_as_long_as_allowed() {
    let json = |count: usize| {
        format!(
            r#"{{"response":"{}","organization":"acme"}}"#,
            "é\\n".repeat(count / 2) + &"x".repeat(count % 2)
        )
    };
    let fits = scan(&settings(), JSON, &json(50_000));
    assert_eq!((fits.refused, fits.report.chars), (None, 50_000));
    let more = scan(&settings(), JSON, &json(50_001));
    assert_eq!(
        (more.refused, more.report.chars),
        (Some(Refusal::OutputTooLong), 50_001)
    );
    assert_eq!(more.report.matches.count(Rule::TooLong), 1);
    assert_eq!(scan(&settings(), "text/plain", &"é".repeat(50_000)).refused, None);
    assert_eq!(
        scan(&settings(), "text/plain", &"é".repeat(50_001)).refused,
        Some(Refusal::OutputTooLong)
    );
    assert_eq!(Refusal::OutputTooLong.message(), "AI response too long");
}

#[test]
fn an_answer_that_cannot_be_scanned_is_refused_or_passed_by_rule() {
    let named = GuardResponse {
        fields: vec!["response".into()],
        ..settings()
    };
    for (settings, content_type, body, why) in [
        (settings(), JSON, "{", Unscanned::InvalidJson),
        (settings(), JSON, r#"{"a":1,"a":2}"#, Unscanned::DuplicateKey),
        (settings(), "image/png", "x", Unscanned::ContentType),
        (
            settings(),
            "application/x-www-form-urlencoded",
            "a=b",
            Unscanned::ContentType,
        ),
        (settings(), "text/html; charset=utf-16le", "x", Unscanned::Charset),
        (named.clone(), JSON, r#"{"answer":"x"}"#, Unscanned::NoField),
    ] {
        let verdict = scan(&settings, content_type, body);
        assert_eq!(verdict.refused, Some(Refusal::UnscannedOutput(why)), "{body}");
        let passing = GuardResponse {
            on_unscanned: OnUnscanned::Pass,
            ..settings
        };
        let verdict = scan(&passing, content_type, body);
        assert_eq!(
            (verdict.refused, verdict.report.scanned),
            (None, Scanned::Skipped(why))
        );
    }
    assert_eq!(
        scan(&named, JSON, r#"{"answer":"javascript:","response":"x"}"#).refused,
        None
    );
    let empty = ResponseBody {
        content_type: None,
        content_encoding: None,
        body: b"",
    };
    assert_eq!(ResponseGuard::compile(&settings()).scan(&empty).refused, None);
    let compressed = ResponseBody {
        content_type: Some(JSON),
        content_encoding: Some("br"),
        body: b"x",
    };
    let verdict = ResponseGuard::compile(&settings()).scan(&compressed);
    assert_eq!(
        verdict.refused,
        Some(Refusal::UnscannedOutput(Unscanned::Encoding))
    );
}

#[test]
fn the_headers_say_how_a_body_is_read() {
    let guard = ResponseGuard::compile(&settings());
    for (content_type, content_encoding, has_length, expected) in [
        (Some(JSON), None, true, Reading::Whole),
        (Some(JSON), None, false, Reading::Whole),
        (
            Some("text/event-stream; charset=utf-8"),
            None,
            false,
            Reading::Stream,
        ),
        (
            Some("text/event-stream"),
            Some("identity"),
            false,
            Reading::Stream,
        ),
        (Some("text/event-stream"), Some("gzip"), false, Reading::Whole),
        (Some("application/x-ndjson"), None, false, Reading::Stream),
        (Some("text/plain"), None, false, Reading::Stream),
        (Some("text/plain"), None, true, Reading::Whole),
        (Some("image/png"), None, true, Reading::Whole),
        (None, None, false, Reading::Whole),
    ] {
        assert_eq!(
            guard.reading(content_type, content_encoding, has_length),
            expected,
            "{content_type:?}"
        );
    }
}

#[test]
fn the_tokens_of_an_answer_are_read() {
    for (body, expected) in [
        (
            r#"{"id":"x","model":"gpt\n-4o","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#,
            Some(TokenUsage {
                input: Some(9),
                output: Some(12),
                total: Some(21),
                model: Some("gpt-4o".into()),
            }),
        ),
        (
            r#"{"type":"message","model":"claude","usage":{"input_tokens":3,"cache_creation_input_tokens":4,"output_tokens":5}}"#,
            Some(TokenUsage {
                input: Some(7),
                output: Some(5),
                total: Some(12),
                model: Some("claude".into()),
            }),
        ),
        (
            r#"{"candidates":[],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"totalTokenCount":3}}"#,
            Some(TokenUsage {
                input: Some(1),
                output: Some(2),
                total: Some(3),
                model: None,
            }),
        ),
        (
            r#"{"response":"usage: {\"prompt_tokens\": 5}","data":{"usage":{"prompt_tokens":5}}}"#,
            None,
        ),
    ] {
        assert_eq!(scan(&settings(), JSON, body).report.tokens, expected, "{body}");
    }
}

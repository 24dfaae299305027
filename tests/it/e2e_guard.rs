//! What the guard does to bodies, through the real Envoy in each of its shapes.

use crate::support::ai::{ANSWER, guarded, metric};
use crate::support::{Client, Response, Shape, in_each_shape};

in_each_shape!(
    a_script_does_not_reach_the_backend,
    a_harmful_answer_does_not_reach_the_caller,
    a_stream_is_cut_with_an_event,
    a_route_without_a_guard_shows_no_body,
);

/// A request with a body of this type.
fn post(client: &mut Client, target: &str, key: &str, content_type: &str, body: &str) -> Response {
    let headers = [("authorization", key), ("content-type", content_type)];
    client.send("POST", target, &headers, body.as_bytes())
}

/// The same, to be answered with this very body and type.
fn mirror(client: &mut Client, target: &str, key: &str, content_type: &str, body: &str) -> Response {
    let headers = [
        ("authorization", key),
        ("content-type", content_type),
        (ANSWER, content_type),
    ];
    client.send("POST", target, &headers, body.as_bytes())
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, code: &str, error: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    assert_eq!(answer.json()["error"], error);
    assert!(
        !answer.json()["request_id"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    );
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.header("x-latchkey-decision").is_empty());
}

fn a_script_does_not_reach_the_backend(shape: Shape) {
    let (stack, key) = guarded(shape, &[]);
    let mut client = stack.client();
    for (content_type, body, seen) in [
        ("text/plain", "say <script>alert(1)</script>hi", "say hi"),
        ("text/plain", "say hi", "say hi"),
        ("text/plain", "go to JavaScript:alert(1)", "go to alert(1)"),
        ("text/plain", "<img onerror=alert(1)>", "<img alert(1)>"),
        (
            "application/json",
            r#"{"other": "<script>", "message":"a<script>b</script>c"}"#,
            r#"{"other": "<script>", "message":"ac"}"#,
        ),
        (
            "application/json; charset=utf-8",
            r#"{"messages": [{"role":"user", "content": "javascript:x"}]}"#,
            r#"{"messages": [{"role":"user", "content": "x"}]}"#,
        ),
        (
            "application/x-www-form-urlencoded",
            "message=a%3Cscript%3Eb%3C%2Fscript%3Ec",
            "message=ac",
        ),
    ] {
        let answer = post(&mut client, "/g/in", &key, content_type, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["body"], seen, "{body}");
        let length = answer.seen("content-length");
        assert_eq!(length, [seen.len().to_string()], "{body}");
    }
    assert_eq!(metric(&stack, r#"latchkey_guard_missed_total{route="both"}"#), 0);
}

fn a_harmful_answer_does_not_reach_the_caller(shape: Shape) {
    let (stack, key) = guarded(shape, &[]);
    let mut client = stack.client();
    let answer = mirror(&mut client, "/g/out", &key, "text/plain", "good");
    assert_eq!((answer.status, answer.body.as_str()), (200, "good"), "{answer:?}");
    let answer = mirror(&mut client, "/g/out", &key, "text/plain", "<script>bad</script>");
    assert_refused(
        &answer,
        502,
        "HARMFUL_OUTPUT",
        "AI response contains potentially harmful content",
    );
}

fn a_stream_is_cut_with_an_event(shape: Shape) {
    let (stack, key) = guarded(shape, &[]);
    let headers = [
        ("authorization", key.as_str()),
        (ANSWER, "text/event-stream"),
        ("x-pause-ms", "30"),
    ];
    let send = |body: &str| {
        let mut pieces = stack.client().open("POST", "/g/out", &headers, body.as_bytes());
        assert_eq!(pieces.head.status, 200, "{:?}", pieces.head);
        let (text, is_whole) = pieces.rest();
        (String::from_utf8_lossy(&text).into_owned(), is_whole)
    };
    let fine = "data: one\n\ndata: two\n\ndata: [DONE]\n\n";
    assert_eq!(send(fine), (fine.to_owned(), true));

    let (text, is_whole) = send("data: one\n\ndata: <scr\n\ndata: ipt>\n\ndata: more\n\ndata: more\n\n");
    assert!(text.starts_with("data: one\n\n"), "{text}");
    assert!(text.contains("event: error\n"), "{text}");
    assert!(
        text.contains("AI response contains potentially harmful content"),
        "{text}"
    );
    assert!(!text.contains("ipt>") && !text.contains("more"), "{text}");
    assert!(!is_whole, "the backend's stream is not waited for");
    let line = r#"latchkey_guard_refusals_total{route="out",code="HARMFUL_OUTPUT"}"#;
    assert_eq!(metric(&stack, line), 1);
}

fn a_route_without_a_guard_shows_no_body(shape: Shape) {
    let (stack, key) = guarded(shape, &[]);
    let mut client = stack.client();
    let large = "x".repeat(100_000);
    for _ in 0..3 {
        let answer = mirror(&mut client, "/g/none", &key, "text/plain", &large);
        assert_eq!((answer.status, answer.body.len()), (200, large.len()));
        // A denial and a public route show nothing at all, or their headers.
        assert_eq!(client.get("/g/none", &[]).status, 401);
        assert_eq!(client.get("/healthz", &[]).status, 200);
    }
    let messages = |kind: &str| {
        metric(
            &stack,
            &format!(r#"latchkey_guard_messages_total{{kind="{kind}"}}"#),
        )
    };
    assert_eq!(
        messages("request_headers"),
        6,
        "one message a request that may pass"
    );
    for kind in ["request_body", "response_headers", "response_body"] {
        assert_eq!(messages(kind), 0, "{kind}");
    }
    for direction in ["request", "response"] {
        let line = format!(r#"latchkey_guard_body_bytes_total{{direction="{direction}"}}"#);
        assert_eq!(metric(&stack, &line), 0);
    }
    assert_eq!(metric(&stack, "latchkey_guard_streams"), 0, "and none stays open");
}

//! The exchange, message by message.

use bytes::Bytes;

use super::super::metrics::GuardMetrics;
use super::super::testing::{
    DECISION, allowed, message, metadata, request_body, request_headers, response_body, response_headers,
    response_trailers,
};
use super::super::wire::Response;
use super::*;
use crate::config::{Guard, GuardRequest, GuardResponse, Handlers, OnMatch, OnUnscanned, PromptContext};
use crate::decision::testing::policy_with;
use crate::envoy::messages::envoy::config::core::v3::Metadata;
use crate::envoy::messages::envoy::service::ext_proc::v3::body_mutation::Mutation;
use crate::envoy::messages::envoy::service::ext_proc::v3::{CommonResponse, ImmediateResponse};
use crate::telemetry::{CheckMetrics, Registry, render};

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
const OK: (&str, &str) = (":status", "200");

fn request_rules() -> GuardRequest {
    GuardRequest {
        fields: vec!["message".into()],
        on_match: OnMatch::Sanitize,
        on_unscanned: OnUnscanned::Reject,
        max_chars: 100.try_into().unwrap(),
        context: PromptContext::Header,
        context_template: None,
        handlers: Handlers::Known,
    }
}

fn response_rules() -> GuardResponse {
    GuardResponse {
        fields: vec!["*".into()],
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: 1000.try_into().unwrap(),
        handlers: Handlers::Known,
    }
}

/// One stream under a policy with the guards `both`, `in`, `out` and `report`.
struct Stream {
    exchange: Option<Exchange>,
    metrics: GuardMetrics,
    guard: &'static str,
}

impl Stream {
    fn of(guard: &'static str) -> Self {
        let policy = policy_with(|settings| {
            let mut add = |name: &str, request, response| {
                settings.guards.insert(name.into(), Guard { request, response });
            };
            add("both", Some(request_rules()), Some(response_rules()));
            add("in", Some(request_rules()), None);
            add("out", None, Some(response_rules()));
            let report = OnMatch::Report;
            add(
                "report",
                Some(GuardRequest {
                    on_match: report,
                    ..request_rules()
                }),
                Some(GuardResponse {
                    on_match: report,
                    ..response_rules()
                }),
            );
        });
        let policy = Arc::new(ActivePolicy::new(policy, &CheckMetrics::default()));
        let metrics = GuardMetrics::default();
        Self {
            exchange: Some(Exchange::new(policy, metrics.clone())),
            metrics,
            guard,
        }
    }

    fn send(&mut self, request: Request) -> Reply {
        self.send_with(request, Some(allowed(self.guard)))
    }

    fn send_with(&mut self, request: Request, metadata: Option<Metadata>) -> Reply {
        self.exchange.as_mut().unwrap().answer(message(request, metadata))
    }

    /// The metrics after the stream's end.
    fn end(&mut self) -> String {
        self.exchange = None;
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        render(&registry).unwrap()
    }

    /// Whether the response was missed, as counted at the end.
    fn misses(&mut self) -> bool {
        self.end().contains("latchkey_guard_missed_total{")
    }
}

#[track_caller]
fn common(reply: &Reply) -> &CommonResponse {
    let response = match reply.message.response.as_ref().unwrap() {
        Response::RequestHeaders(answer) | Response::ResponseHeaders(answer) => &answer.response,
        Response::RequestBody(answer) | Response::ResponseBody(answer) => &answer.response,
        other => panic!("{other:?}"),
    };
    response.as_ref().unwrap()
}

#[track_caller]
fn immediate(reply: &Reply) -> &ImmediateResponse {
    assert!(reply.last, "nothing comes after an immediate answer");
    match reply.message.response.as_ref().unwrap() {
        Response::ImmediateResponse(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(reply: &Reply) -> (i32, String) {
    let answer = immediate(reply);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let code = body["code"].as_str().unwrap().to_owned();
    (answer.status.as_ref().unwrap().code, code)
}

fn body_of(reply: &Reply) -> Option<&Mutation> {
    common(reply).body_mutation.as_ref()?.mutation.as_ref()
}

fn mode_of(reply: &Reply) -> ProcessingMode {
    reply.message.mode_override.unwrap()
}

fn fact(reply: &Reply, name: &str) -> Option<String> {
    use prost_types::value::Kind;
    let namespaces = &reply.message.dynamic_metadata.as_ref()?.fields;
    let Some(Kind::StructValue(facts)) = &namespaces["latchkey"].kind else {
        panic!("{namespaces:?}");
    };
    match facts.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        Kind::NumberValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_guard_the_first_answer_is_the_last_and_wants_no_body() {
    let mut stream = Stream::of("");
    let reply = stream.send(request_headers(&[JSON], false));
    assert!(reply.last);
    let mode = mode_of(&reply);
    assert_eq!(mode.request_body_mode(), BodySendMode::None);
    assert_eq!(mode.response_header_mode(), HeaderSendMode::Skip);
    assert!(common(&reply).header_mutation.is_none());
    assert!(reply.message.dynamic_metadata.is_none());
    assert!(!stream.misses());
}

#[test]
fn a_request_guard_alone_ends_with_the_request() {
    let mut stream = Stream::of("in");
    let reply = stream.send(request_headers(&[TEXT], false));
    assert!(!reply.last);
    assert_eq!(mode_of(&reply).request_body_mode(), BodySendMode::Buffered);
    assert_eq!(mode_of(&reply).response_header_mode(), HeaderSendMode::Skip);
    assert!(
        common(&reply).header_mutation.is_none(),
        "the backend may compress"
    );
    let reply = stream.send(request_body("hello"));
    assert!(reply.last);
    assert_eq!(body_of(&reply), None);
    assert_eq!(fact(&reply, "guard").as_deref(), Some("ok"));
    assert_eq!(fact(&reply, "input_chars").as_deref(), Some("5"));
    assert_eq!(fact(&reply, "scanned").as_deref(), Some("full"));
    assert!(!stream.misses());
}

#[test]
fn a_rewritten_body_has_its_own_length_and_nothing_of_the_old_one() {
    let mut stream = Stream::of("in");
    stream.send(request_headers(&[TEXT, ("content-length", "99")], false));
    let reply = stream.send(request_body("<script>x</script>hello"));
    assert_eq!(
        body_of(&reply),
        Some(&Mutation::Body(Bytes::from_static(b"hello")))
    );
    let headers = common(&reply).header_mutation.as_ref().unwrap();
    let [length] = &headers.set_headers[..] else {
        panic!("{headers:?}");
    };
    let length = length.header.as_ref().unwrap();
    assert_eq!(
        (length.key.as_str(), &*length.raw_value),
        ("content-length", &b"5"[..])
    );
    assert_eq!(length.value, "", "Envoy reads the other one");
    assert!(
        headers
            .remove_headers
            .iter()
            .any(|name| name == "content-encoding")
    );
    assert_eq!(fact(&reply, "rules").as_deref(), Some("script"));
    let told = format!("{:?}", reply.message.dynamic_metadata);
    assert!(!told.contains("hello"), "no text is told: {told}");
    let text = stream.end();
    let line =
        r#"latchkey_guard_matches_total{route="chat",direction="request",rule="script",action="sanitize"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_body_that_becomes_empty_is_cleared() {
    let mut stream = Stream::of("in");
    stream.send(request_headers(&[TEXT], false));
    let reply = stream.send(request_body("<script>x</script>"));
    assert_eq!(body_of(&reply), Some(&Mutation::ClearBody(true)));
    assert_eq!(
        common(&reply).header_mutation.as_ref().unwrap().set_headers[0]
            .header
            .as_ref()
            .unwrap()
            .raw_value,
        b"0"
    );
}

#[test]
fn an_answer_in_place_of_the_backends_has_the_shape_of_a_denial() {
    let mut stream = Stream::of("both");
    stream.send(request_headers(&[TEXT, ("x-request-id", "req-1")], false));
    let reply = stream.send(request_body("x".repeat(101)));
    assert_eq!(refused(&reply), (400, "INPUT_TOO_LONG".into()));
    let answer = immediate(&reply);
    assert_eq!(
        answer.body,
        r#"{"error":"Input too long","code":"INPUT_TOO_LONG","request_id":"req-1"}"#
    );
    assert_eq!(answer.details, "latchkey_guard_input_too_long");
    assert!(answer.grpc_status.is_none());
    let headers: Vec<_> = answer.headers.as_ref().unwrap().set_headers.iter().collect();
    let pairs: Vec<_> = headers
        .iter()
        .map(|option| option.header.as_ref().unwrap())
        .map(|header| {
            (
                header.key.as_str(),
                String::from_utf8_lossy(&header.raw_value).into_owned(),
            )
        })
        .collect();
    let expected = [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-latchkey-decision", DECISION),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    assert_eq!(pairs, expected);
    assert_eq!(fact(&reply, "guard").as_deref(), Some("refused"));
    assert_eq!(fact(&reply, "refused").as_deref(), Some("INPUT_TOO_LONG"));
    assert!(!stream.misses(), "it never reached the backend");
}

#[test]
fn a_caller_that_speaks_grpc_reads_the_status_in_a_trailer() {
    let mut stream = Stream::of("in");
    stream.send(request_headers(&[("content-type", "application/grpc")], false));
    let reply = stream.send(request_body("x"));
    assert_eq!(refused(&reply).0, 415);
    assert_eq!(immediate(&reply).grpc_status.as_ref().unwrap().status, 3);
}

#[test]
fn a_whole_answer_passes_or_does_not() {
    for (body, expected) in [
        ("fine", None),
        ("a <script> in it", Some((502, "HARMFUL_OUTPUT".to_owned()))),
    ] {
        let mut stream = Stream::of("both");
        let reply = stream.send(request_headers(&[TEXT], false));
        let removed = &common(&reply).header_mutation.as_ref().unwrap().remove_headers;
        assert_eq!(removed[..], ["accept-encoding", "range", "if-range"]);
        assert_eq!(mode_of(&reply).response_header_mode(), HeaderSendMode::Send);
        let reply = stream.send(request_body("hello"));
        assert!(!reply.last);
        assert_eq!(
            fact(&reply, "guard").as_deref(),
            Some("missed"),
            "until it is seen"
        );
        let reply = stream.send(response_headers(&[OK, TEXT, ("content-length", "9")], false));
        assert_eq!(mode_of(&reply).response_body_mode(), BodySendMode::Buffered);
        assert!(common(&reply).header_mutation.is_none());
        let reply = stream.send(response_body(body, true));
        match expected {
            None => {
                assert!(reply.last);
                assert_eq!(body_of(&reply), None);
                assert_eq!(fact(&reply, "guard").as_deref(), Some("ok"));
            }
            Some(expected) => assert_eq!(refused(&reply), expected),
        }
        assert!(!stream.misses());
    }
}

#[test]
fn a_stream_passes_as_it_comes_and_is_cut_with_an_event() {
    let mut stream = Stream::of("out");
    let reply = stream.send(request_headers(&[JSON], false));
    assert_eq!(mode_of(&reply).request_body_mode(), BodySendMode::None);
    let reply = stream.send(response_headers(&[OK, EVENTS, ("content-length", "99")], false));
    assert_eq!(mode_of(&reply).response_body_mode(), BodySendMode::Streamed);
    assert_eq!(
        common(&reply).header_mutation.as_ref().unwrap().remove_headers,
        ["content-length"]
    );
    let reply = stream.send(response_body("data: hello\n\n", false));
    assert_eq!(body_of(&reply), None, "as it came");
    assert_eq!(
        fact(&reply, "guard").as_deref(),
        Some("ok"),
        "nothing passes unseen from here"
    );
    let reply = stream.send(response_body("data: <script>alert(1)</script>\n\n", false));
    assert!(!reply.last);
    let Some(Mutation::Body(body)) = body_of(&reply) else {
        panic!("{reply:?}");
    };
    let text = String::from_utf8_lossy(body);
    assert!(
        text.starts_with("event: error\n") && text.contains("HARMFUL_OUTPUT"),
        "{text}"
    );
    assert!(!text.contains("script"), "{text}");
    assert_eq!(fact(&reply, "guard").as_deref(), Some("refused"));
    // The next piece ends it, whatever is in it.
    let reply = stream.send(response_body("data: more\n\n", false));
    assert_eq!(refused(&reply), (502, "HARMFUL_OUTPUT".into()));
    let text = stream.end();
    assert!(
        text.contains(r#"latchkey_guard_refusals_total{route="chat",code="HARMFUL_OUTPUT"} 1"#),
        "{text}"
    );
    assert!(!text.contains("missed_total{"), "{text}");
}

#[test]
fn a_stream_that_ends_well_is_told_at_its_end() {
    let mut stream = Stream::of("out");
    stream.send(request_headers(&[], true));
    stream.send(response_headers(&[OK, EVENTS], false));
    stream.send(response_body("data: hello\n\n", false));
    let reply = stream.send(response_body("", true));
    assert!(reply.last);
    assert_eq!(fact(&reply, "scanned_response").as_deref(), Some("full"));
}

#[test]
fn trailers_end_a_response_too() {
    for (kind, last) in [(TEXT, "a"), (EVENTS, "data: a\n\n")] {
        let mut stream = Stream::of("out");
        stream.send(request_headers(&[], true));
        let reply = stream.send(response_headers(&[OK, kind, ("content-length", "1")], false));
        assert_eq!(mode_of(&reply).response_trailer_mode(), HeaderSendMode::Send);
        assert!(!stream.send(response_body(last, false)).last);
        let reply = stream.send(response_trailers());
        assert!(reply.last);
        assert_eq!(fact(&reply, "guard").as_deref(), Some("ok"));
        assert!(!stream.misses());
    }
}

#[test]
fn a_whole_answer_that_comes_in_pieces_all_the_same_is_cut() {
    let mut stream = Stream::of("out");
    stream.send(request_headers(&[], true));
    stream.send(response_headers(&[OK, TEXT, ("content-length", "20")], false));
    assert!(!stream.send(response_body("first", false)).last);
    let reply = stream.send(response_body("second", true));
    assert_eq!(refused(&reply), (500, "GUARD_OUT_OF_ORDER".into()));
}

#[test]
fn a_response_without_a_body_is_seen() {
    for (headers, end) in [
        (&[OK][..], true),
        (&[(":status", "204")], false),
        (&[(":status", "304")], false),
    ] {
        let mut stream = Stream::of("out");
        stream.send(request_headers(&[], true));
        let reply = stream.send(response_headers(headers, end));
        assert!(reply.last);
        assert_eq!(fact(&reply, "guard").as_deref(), Some("ok"));
        assert_eq!(fact(&reply, "scanned").as_deref(), Some("full"));
    }
}

#[test]
fn a_backend_that_changes_the_protocol_is_refused() {
    let mut stream = Stream::of("out");
    stream.send(request_headers(&[], true));
    let reply = stream.send(response_headers(&[(":status", "101")], false));
    assert_eq!(refused(&reply), (502, "UPGRADE_NOT_ALLOWED".into()));
}

#[test]
fn monitor_mode_reports_and_changes_nothing() {
    let mut stream = Stream::of("report");
    stream.send(request_headers(&[TEXT], false));
    let reply = stream.send(request_body("<script>x</script>"));
    assert_eq!(body_of(&reply), None);
    assert_eq!(fact(&reply, "rules").as_deref(), Some("script"));
    stream.send(response_headers(&[OK, EVENTS], false));
    let reply = stream.send(response_body("data: javascript:x\n\n", false));
    assert_eq!(body_of(&reply), None);
    let reply = stream.send(response_body("", true));
    assert_eq!(fact(&reply, "guard").as_deref(), Some("ok"));
    assert_eq!(fact(&reply, "rules").as_deref(), Some("script javascript_url"));
    let text = stream.end();
    for line in [
        r#"latchkey_guard_bodies_total{route="chat",direction="request",result="reported"} 1"#,
        r#"latchkey_guard_matches_total{route="chat",direction="request",rule="script",action="report"} 1"#,
        r#"latchkey_guard_matches_total{route="chat",direction="response",rule="javascript_url",action="report"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_request_that_no_check_allowed_is_refused_and_never_taken_for_unguarded() {
    let denied = metadata(&[("decision_id", DECISION), ("outcome", "deny"), ("guard", "both")]);
    for metadata in [None, Some(Metadata::default()), Some(denied)] {
        let mut stream = Stream::of("both");
        let reply = stream.send_with(request_headers(&[], true), metadata);
        assert_eq!(refused(&reply), (500, "GUARD_CONTEXT_MISSING".into()));
        assert!(!stream.misses());
    }
}

#[test]
fn a_guard_that_a_reload_removed_is_refused() {
    let mut stream = Stream::of("gone");
    let reply = stream.send(request_headers(&[], true));
    assert_eq!(refused(&reply), (500, "GUARD_UNKNOWN".into()));
}

#[test]
fn an_envoy_that_could_let_bodies_pass_unseen_is_refused() {
    for (mode, observes) in [
        (BodySendMode::None, false),
        (BodySendMode::Streamed, false),
        (BodySendMode::BufferedPartial, false),
        (BodySendMode::FullDuplexStreamed, false),
        (BodySendMode::Buffered, true),
    ] {
        let mut stream = Stream::of("both");
        let mut first = message(request_headers(&[TEXT], false), Some(allowed("both")));
        first.protocol_config.as_mut().unwrap().request_body_mode = mode.into();
        first.observability_mode = observes;
        let reply = stream.exchange.as_mut().unwrap().answer(first);
        assert_eq!(
            refused(&reply),
            (500, "GUARD_MODE_UNSUPPORTED".into()),
            "{mode:?}"
        );
    }
}

#[test]
fn a_body_that_comes_though_none_was_wanted_shows_that_the_response_would_not() {
    let mut stream = Stream::of("out");
    stream.send(request_headers(&[JSON], false));
    let reply = stream.send(request_body("{}"));
    assert_eq!(refused(&reply), (500, "GUARD_MODE_UNSUPPORTED".into()));
    assert!(!stream.misses());

    // Unless Envoy is told to send bodies before it knows.
    let mut stream = Stream::of("out");
    let mut first = message(request_headers(&[JSON], false), Some(allowed("out")));
    let protocol = first.protocol_config.as_mut().unwrap();
    protocol.send_body_without_waiting_for_header_response = true;
    stream.exchange.as_mut().unwrap().answer(first);
    let reply = stream.send(request_body("{\"message\": \"<script>\"}"));
    assert!(!reply.last);
    assert_eq!(body_of(&reply), None);
    assert!(!stream.send(response_headers(&[OK, TEXT], false)).last);
}

#[test]
fn envoys_own_answer_before_the_body_was_judged_is_looked_at_like_any_other() {
    let mut stream = Stream::of("both");
    stream.send(request_headers(&[TEXT], false));
    let reply = stream.send(response_headers(
        &[(":status", "413"), TEXT, ("content-length", "17")],
        false,
    ));
    assert!(!reply.last);
    assert!(stream.send(response_body("Payload Too Large", true)).last);
    assert!(!stream.misses());
    // And where responses are not guarded, it passes.
    let mut stream = Stream::of("in");
    stream.send(request_headers(&[TEXT], false));
    assert!(stream.send(response_headers(&[(":status", "408")], false)).last);
}

#[test]
fn a_stream_that_begins_with_the_response_is_a_denial_or_is_refused() {
    let denied = || metadata(&[("decision_id", DECISION), ("outcome", "deny"), ("guard", "both")]);
    let first = || response_headers(&[(":status", "401"), JSON], false);
    let mut stream = Stream::of("both");
    let reply = stream.send_with(first(), Some(denied()));
    assert!(reply.last);
    assert!(common(&reply).header_mutation.is_none());

    let mut stream = Stream::of("both");
    assert_eq!(
        refused(&stream.send_with(first(), None)),
        (500, "GUARD_CONTEXT_MISSING".into())
    );

    let mut stream = Stream::of("both");
    let reply = stream.send(response_headers(&[OK, JSON], false));
    assert_eq!(refused(&reply), (500, "GUARD_OUT_OF_ORDER".into()));
    assert!(stream.misses(), "it reached the backend, and we have not seen it");

    let mut stream = Stream::of("");
    assert!(stream.send(response_headers(&[OK, JSON], false)).last);
}

#[test]
fn messages_without_a_place_are_refused() {
    let starts = [request_body("x"), response_body("x", true), response_trailers()];
    for first in starts {
        let mut stream = Stream::of("both");
        assert_eq!(refused(&stream.send(first)), (500, "GUARD_OUT_OF_ORDER".into()));
    }
    let after_headers = [
        request_headers(&[], true),
        response_body("x", true),
        response_trailers(),
    ];
    for second in after_headers {
        let mut stream = Stream::of("both");
        stream.send(request_headers(&[TEXT], false));
        assert_eq!(refused(&stream.send(second)), (500, "GUARD_OUT_OF_ORDER".into()));
    }
    let mut stream = Stream::of("both");
    stream.send(request_headers(&[TEXT], false));
    stream.send(request_body("x"));
    assert_eq!(
        refused(&stream.send(request_body("y"))),
        (500, "GUARD_OUT_OF_ORDER".into())
    );

    let mut stream = Stream::of("both");
    let mut nothing = message(request_headers(&[], true), Some(allowed("both")));
    nothing.request = None;
    let reply = stream.exchange.as_mut().unwrap().answer(nothing);
    assert_eq!(refused(&reply), (500, "GUARD_OUT_OF_ORDER".into()));
}

#[test]
fn a_response_that_never_comes_is_missed() {
    let begin = || {
        let mut stream = Stream::of("out");
        stream.send(request_headers(&[], true));
        stream
    };
    assert!(begin().misses());
    let mut stream = begin();
    stream.send(response_headers(&[OK, TEXT, ("content-length", "1")], false));
    assert!(stream.misses(), "the headers passed, the body did not come here");
    let mut stream = begin();
    stream.send(response_headers(&[OK, EVENTS], false));
    stream.send(response_body("data: a\n\n", false));
    assert!(!stream.misses(), "the caller has left: what it got was seen");
    let mut stream = Stream::of("both");
    stream.send(request_headers(&[TEXT], false));
    assert!(!stream.misses(), "it has not reached the backend");
}

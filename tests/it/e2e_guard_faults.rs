//! An Envoy that is configured otherwise than it should be, and a Latchkey that is away: guarded, refused, or counted and marked; never
//! a pass that nobody notices.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::ai::{ANSWER, ai, guarded, guarded_home, metric};
use crate::support::{Client, Home, Response, Shape, Stack, wait_for};

const LONG: Duration = Duration::from_secs(10);
const PROCESSOR: &str =
    "ExternalProcessor\n              grpc_service:\n                envoy_grpc: {cluster_name: latchkey}";

fn post(client: &mut Client, target: &str, key: &str, body: &str) -> Response {
    let headers = [
        ("authorization", key),
        ("content-type", "text/plain"),
        (ANSWER, "text/plain"),
    ];
    client.send("POST", target, &headers, body.as_bytes())
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    assert!(!answer.json()["error"].as_str().unwrap_or_default().is_empty());
}

/// Where the shipped configuration begins to name its access logs.
const ACCESS_LOG: &str = "          access_log:\n";

/// The access log of Envoy with what the guard said, and the replacement that writes it.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn setting(&self) -> String {
        let path = self.folder.path().join("access.log");
        format!(
            "          access_log:\n          - name: envoy.access_loggers.file\n            \
             typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n              \
             path: {}\n              log_format: {{text_format_source: {{inline_string: \"%PROTOCOL% %REQ(:PATH)% %RESPONSE_CODE% \
             guard=%DYNAMIC_METADATA(latchkey:guard)%\\n\"}}}}\n",
            path.display()
        )
    }

    /// Waits for the line about a request to this path.
    fn line(&self, path: &str) -> String {
        wait_for("a line of Envoy's access log", LONG, || {
            let text = fs::read_to_string(self.folder.path().join("access.log")).ok()?;
            text.lines().find(|line| line.contains(path)).map(str::to_owned)
        })
    }
}

#[test]
fn what_the_guard_says_is_in_the_access_log() {
    let log = Log::new();
    let setting = log.setting();
    let (stack, key) = guarded(Shape::Full, &[(ACCESS_LOG, &setting)]);
    let mut client = stack.client();
    assert_eq!(post(&mut client, "/g/both?good", &key, "hello").status, 200);
    assert_eq!(post(&mut client, "/g/out?bad", &key, "<script>").status, 502);
    assert_eq!(post(&mut client, "/g/none?none", &key, "<script>").status, 200);
    for (path, guard) in [
        ("?good", "guard=ok"),
        ("?bad", "guard=refused"),
        ("?none", "guard=-"),
    ] {
        let line = log.line(path);
        assert!(line.ends_with(guard), "{line}");
    }
}

#[test]
fn without_allow_mode_override_requests_are_guarded_and_responses_are_refused_or_marked_missed() {
    let log = Log::new();
    let setting = log.setting();
    let replaced = [
        ("allow_mode_override: true", "allow_mode_override: false"),
        (ACCESS_LOG, &*setting),
    ];
    let (stack, key) = guarded(Shape::Full, &replaced);
    let mut client = stack.client();
    let answer = post(&mut client, "/g/in", &key, "a<script>b</script>c");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "ac"),
        "requests are guarded"
    );
    assert_refused(
        &post(&mut client, "/g/out", &key, "<script>"),
        500,
        "GUARD_MODE_UNSUPPORTED",
    );

    let answer = post(&mut client, "/g/both?missed", &key, "hello");
    assert_eq!(answer.status, 200);
    let missed = |route: &str| {
        metric(
            &stack,
            &format!(r#"latchkey_guard_missed_total{{route="{route}"}}"#),
        )
    };
    wait_for("the count of what was missed", LONG, || {
        (missed("both") == 1).then_some(())
    });
    assert!(
        log.line("?missed").ends_with("guard=missed"),
        "{}",
        log.line("?missed")
    );
    let told = |event: &serde_json::Value| {
        event["level"] == "ERROR" && event.to_string().contains("its response was not seen to its end")
    };
    wait_for("the error in the log", LONG, || {
        stack.latchkey.logged().iter().any(told).then_some(())
    });

    assert_eq!(client.get("/g/out?get", &[("authorization", &key)]).status, 200);
    wait_for("the count of what was missed", LONG, || {
        (missed("out") == 1).then_some(())
    });
    assert!(log.line("?get").ends_with("guard=missed"), "{}", log.line("?get"));
}

#[test]
fn another_mode_of_request_bodies_is_refused() {
    for mode in ["NONE", "STREAMED", "BUFFERED_PARTIAL"] {
        let to = format!("request_body_mode: {mode}");
        let (stack, key) = guarded(Shape::Full, &[("request_body_mode: BUFFERED", &to)]);
        let mut client = stack.client();
        assert_refused(
            &post(&mut client, "/g/in", &key, "<script>"),
            500,
            "GUARD_MODE_UNSUPPORTED",
        );
        assert_eq!(stack.backend.requests(), 0, "{mode}");
        assert_eq!(
            post(&mut client, "/g/none", &key, "<script>").status,
            200,
            "{mode}"
        );
    }
}

#[test]
fn without_the_metadata_of_a_check_nothing_passes() {
    let not_forwarded = (
        "forwarding_namespaces: {untyped: [envoy.filters.http.ext_authz]}",
        "forwarding_namespaces: {untyped: [somebody.else]}",
    );
    let without_check = (
        "route: {cluster: backend, timeout: 0s}",
        "route: {cluster: backend, timeout: 0s}\n                typed_per_filter_config:\n                  \
         envoy.filters.http.ext_authz:\n                    \
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n                    \
         disabled: true",
    );
    for replaced in [not_forwarded, without_check] {
        let (stack, key) = guarded(Shape::Full, &[replaced]);
        let mut client = stack.client();
        for target in ["/g/both", "/g/none"] {
            assert_refused(
                &post(&mut client, target, &key, "hello"),
                500,
                "GUARD_CONTEXT_MISSING",
            );
        }
        assert_eq!(stack.backend.requests(), 0);
    }
}

#[test]
fn a_denial_stays_a_denial_where_every_response_is_shown() {
    let replaced = [("response_header_mode: SKIP", "response_header_mode: SEND")];
    let (stack, key) = guarded(Shape::Full, &replaced);
    let mut client = stack.client();
    assert_refused(
        &post(&mut client, "/g/both", "Bearer wrong", "hello"),
        401,
        "INVALID_API_KEY",
    );
    let answer = post(&mut client, "/g/both", &key, "hello");
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert_refused(
        &post(&mut client, "/g/both", &key, &"x".repeat(10_001)),
        400,
        "INPUT_TOO_LONG",
    );
    assert_eq!(post(&mut client, "/g/none", &key, "<script>").status, 200);
}

#[test]
fn an_upgrade_past_a_guard_is_refused() {
    for shape in Shape::ALL {
        let (stack, key) = guarded(shape, &[]);
        let mut client = stack.client();
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        let with_key: Vec<_> = [("authorization", key.as_str())]
            .into_iter()
            .chain(upgrade)
            .collect();
        for answer in [
            client.get("/g/both", &with_key),
            stack.client().get("/g/optional", &upgrade),
        ] {
            // The shipped configuration knows no upgrades, and refuses them itself.
            let code = if shape == Shape::Full {
                ""
            } else {
                "UPGRADE_NOT_ALLOWED"
            };
            assert_eq!((answer.status, answer.code().as_str()), (403, code), "{shape:?}");
        }
        assert_eq!(stack.backend.requests(), 0, "{shape:?}");
    }
}

/// A stack whose processor is at another address than its check.
fn processor_at(address: std::net::SocketAddr, more: &[(&str, &str)]) -> (Stack, String) {
    let elsewhere = PROCESSOR.replace("latchkey", "elsewhere");
    let cluster = format!(
        "  clusters:\n  - name: elsewhere\n    type: STATIC\n    connect_timeout: 0.5s\n    \
         typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
         explicit_http_config: {{http2_protocol_options: {{}}}}\n    load_assignment: {{cluster_name: elsewhere, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]}}\n",
        address.ip(),
        address.port()
    );
    let mut replaced = vec![
        (PROCESSOR, elsewhere.as_str()),
        ("  clusters:\n", cluster.as_str()),
    ];
    replaced.extend_from_slice(more);
    let stack = Stack::before(ai(), guarded_home(), Shape::Full, &replaced);
    let key = stack.home.chat_key().bearer();
    (stack, key)
}

#[test]
fn a_processor_that_is_away_or_slow_lets_nothing_pass_unless_envoy_is_told_to() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent
        .local_addr()
        .map(|address| (address, silent))
        .expect("its address");
    let gone = TcpListener::bind("127.0.0.1:0")
        .and_then(|bound| bound.local_addr())
        .expect("its address");
    // It accepts, in the kernel, and says nothing.
    for (address, timeout) in [(silent.0, "message_timeout: 0.3s"), (gone, "message_timeout: 2s")] {
        let (stack, key) = processor_at(address, &[("message_timeout: 2s", timeout)]);
        let mut client = stack.client();
        for target in ["/g/both", "/g/none"] {
            assert_refused(
                &post(&mut client, target, &key, "hello"),
                503,
                "GUARD_UNAVAILABLE",
            );
        }
        assert_eq!(stack.backend.requests(), 0);
        assert_refused(
            &post(&mut client, "/g/both", "Bearer wrong", "hello"),
            401,
            "INVALID_API_KEY",
        );

        let open = [
            ("message_timeout: 2s", timeout),
            (
                "              # A body that nobody looked at does not pass. With `true` it does, whenever Latchkey is away or \
                 slow; the access\n              # log then has no `guard: ok` for it.\n              failure_mode_allow: false",
                "              failure_mode_allow: true",
            ),
        ];
        let (stack, key) = processor_at(address, &open);
        assert_eq!(post(&mut stack.client(), "/g/both", &key, "hello").status, 200);
    }
}

#[test]
fn a_guard_that_a_reload_takes_away_is_not_taken_for_none() {
    // A route of the check and a guard of the processor come from one file; that they differ is a matter of a moment. What can be
    // seen from here is that a reload changes the guard for the next request.
    let (stack, key) = guarded(Shape::Full, &[]);
    let mut client = stack.client();
    assert_refused(
        &post(&mut client, "/g/in", &key, &"x".repeat(10_001)),
        400,
        "INPUT_TOO_LONG",
    );
    change(
        &stack.home,
        "  in: {request: {",
        "  in: {request: {max_chars: 20000, ",
    );
    wait_for("the new guard", LONG, || {
        (post(&mut client, "/g/in", &key, &"x".repeat(10_001)).status == 200).then_some(())
    });
    assert_refused(
        &post(&mut client, "/g/in", &key, &"x".repeat(20_001)),
        400,
        "INPUT_TOO_LONG",
    );
}

fn change(home: &Home, from: &str, to: &str) {
    let text = fs::read_to_string(home.config()).expect("the configuration");
    assert!(text.contains(from), "{from}");
    fs::write(home.config(), text.replace(from, to)).expect("the configuration can be written");
}

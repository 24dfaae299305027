//! The trace of a request goes on in Latchkey, and comes to an OpenTelemetry collector.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::support::{Home, START, Stack, wait_for};

const TRACE: [u8; 16] = [0x4b; 16];
const PARENT: [u8; 8] = [0x2a; 8];

type Spans = Arc<Mutex<Vec<Span>>>;

/// Takes spans.
struct Collector(Spans);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.0.lock().expect("no panic before").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector that serves until the tests end.
fn collector() -> (SocketAddr, Spans) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be set so");
    let address = listener.local_addr().expect("a bound address");
    let spans = Spans::default();
    let service = TraceServiceServer::new(Collector(Arc::clone(&spans)));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a socket of this runtime");
            let incoming = TcpListenerStream::new(listener);
            // Ends with the process of the tests.
            let _ = Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await;
        });
    });
    (address, spans)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(span: &Span, name: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn what_latchkey_does_for_a_request_is_part_of_its_trace() {
    let (address, spans) = collector();
    let home = Home::with(&[
        (
            "telemetry: {",
            &format!(
                "guards: {{both: {{request: {{fields: [message], on_match: sanitize, on_unscanned: pass, max_chars: 100, context: none}}}}}}\ntelemetry: {{otlp_endpoint: 'http://{address}', "
            ),
        ),
        (
            "scopes: [read:ai_chats]}",
            "scopes: [read:ai_chats], guard: both}",
        ),
    ]);
    let stack = Stack::over(home, &[]);
    let key = stack.home.ai_key(&["read:ai_chats"], &["--org", "org_acme"]);
    let mut client = stack.client();
    let bearer = key.bearer();
    let sampled = format!("00-{}-{}-01", hex(&TRACE), hex(&PARENT));
    let not_sampled = format!("00-{}-{}-00", hex(&[1; 16]), hex(&PARENT));
    let mut send = |parent: Option<&String>| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(parent.map(|parent| ("traceparent", parent.as_str())));
        assert_eq!(client.post("/ai/support", &headers).status, 200);
    };
    for parent in [Some(&not_sampled), None] {
        send(parent);
    }

    let named = |name: &str| {
        let spans = spans.lock().expect("no panic before");
        let named: Vec<Span> = spans.iter().filter(|span| span.name == name).cloned().collect();
        named
    };
    // The store's watcher may forget a new key once more, so how many misses come before the first hit is not known.
    let said = |what: &str| {
        let said = |cache: &Span| text(cache, "latchkey.cache").as_deref() == Some(what);
        named("cache").iter().filter(|cache| said(cache)).count()
    };
    let mut sent = 0;
    wait_for("a hit", START, || {
        send(Some(&sampled));
        sent += 1;
        (said("hit") > 0).then_some(())
    });
    wait_for("spans", START, || {
        (named("check").len() >= sent && named("guard").len() >= sent).then_some(())
    });
    let checks = named("check");
    assert_eq!(checks.len(), sent, "only what is sampled: {checks:?}");
    for check in &checks {
        assert_eq!(
            (&check.trace_id[..], &check.parent_span_id[..]),
            (&TRACE[..], &PARENT[..])
        );
        assert_eq!(text(check, "latchkey.outcome").as_deref(), Some("allow"));
        assert_eq!(text(check, "latchkey.key_id"), Some(key.id.clone()));
        assert_eq!(text(check, "latchkey.route").as_deref(), Some("support"));
        assert!(check.end_time_unix_nano >= check.start_time_unix_nano);
    }
    let (caches, sources) = (named("cache"), named("source"));
    assert_eq!(caches.len(), sent);
    assert_eq!(sources.len(), said("miss"), "the store is asked after each miss");
    for part in caches.iter().chain(&sources) {
        assert!(
            checks.iter().any(|check| check.span_id == part.parent_span_id),
            "{part:?}"
        );
    }
    assert!(named("guard").iter().all(|guard| guard.trace_id == TRACE));
    let everything = format!("{:?}", spans.lock().expect("no panic before"));
    assert!(!everything.contains(&key.key));
}

//! The server as a whole, in this process, on ports that the system chooses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::layer::util::Identity;

use super::parts::Parts;
use super::*;
use crate::config::{Listen, ListenAddress};
use crate::telemetry::{CheckMetrics, Registry};

const LIMIT: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_millis(300);
/// What [`drain`] may take beyond settle and grace.
const SLACK: Duration = Duration::from_secs(1);
const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

struct TestServer {
    grpc: String,
    http: String,
    ops: String,
    store_is_up: Arc<AtomicBool>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
    folder: TempDir,
}

fn listen(grpc: ListenAddress) -> Listen {
    let any = || ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    Listen {
        grpc,
        http: any(),
        ops: any(),
        grpc_tls: None,
        http_tls: None,
        allow_plaintext: false,
    }
}

fn any_port() -> ListenAddress {
    ListenAddress::Tcp(([127, 0, 0, 1], 0).into())
}

fn parts(store_is_up: Arc<AtomicBool>) -> Parts<Identity> {
    let mut registry = Registry::default();
    CheckMetrics::default().register(&mut registry);
    Parts {
        front: Identity::new(),
        services: Routes::default(),
        http: axum::Router::new(),
        descriptors: Vec::new(),
        store: Box::new(move || -> BoxFuture<'static, Result<(), String>> {
            let up = store_is_up.load(Ordering::Relaxed);
            Box::pin(async move {
                if up {
                    Ok(())
                } else {
                    Err("the disk is gone".into())
                }
            })
        }),
        registry,
    }
}

impl TestServer {
    async fn start() -> Self {
        Self::start_with(any_port(), true, SETTLE).await
    }

    async fn start_with(grpc: ListenAddress, store_is_up: bool, settle: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store_is_up = Arc::new(AtomicBool::new(store_is_up));
        let bound = Bound::bind(&listen(grpc)).await.unwrap();
        let parts = parts(Arc::clone(&store_is_up));
        let running = Running::start(bound, parts, Vitals::new(), Tokens::default())
            .await
            .unwrap();
        let start::Addresses { grpc, http, ops } = running.addresses.clone();
        running
            .addresses
            .write(&folder.path().join("addresses.json"))
            .unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served =
            tokio::spawn(async move { until(running, &stopped, || Drain { settle, grace: GRACE }).await });
        Self {
            grpc,
            http,
            ops,
            store_is_up,
            stop,
            served,
            folder,
        }
    }

    /// Stops it, and says how long that took.
    async fn stopped(self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        timeout(LIMIT, self.served).await.unwrap().unwrap().unwrap();
        began.elapsed()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        timeout(LIMIT, get(&self.ops, path)).await.unwrap()
    }
}

async fn get(address: &str, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    (answer["HTTP/1.1 ".len()..][..3].parse().unwrap(), answer)
}

async fn channel(address: &str) -> Channel {
    let address = if address.starts_with("unix:") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    timeout(LIMIT, Endpoint::from_shared(address).unwrap().connect())
        .await
        .unwrap()
        .unwrap()
}

async fn health(address: &str, service: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest {
        service: service.into(),
    };
    let answer = HealthClient::new(channel(address).await)
        .check(request)
        .await?
        .into_inner();
    Ok(if answer.status == 1 {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_listeners_answer_health() {
    let server = TestServer::start().await;
    for address in [&server.grpc, &server.ops] {
        for service in ["", AUTHORIZATION] {
            assert_eq!(
                health(address, service).await.unwrap(),
                ServingStatus::Serving,
                "{address} {service:?}"
            );
        }
        assert_eq!(
            health(address, "no.such.Service").await.unwrap_err().code(),
            Code::NotFound
        );
    }
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_spread_over_the_lanes() {
    let server = TestServer::start().await;
    let lanes = std::thread::available_parallelism().unwrap().get();
    let mut connections = Vec::new();
    for _ in 0..lanes * 2 {
        let channel = channel(&server.grpc).await;
        HealthClient::new(channel.clone())
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        connections.push(channel);
    }
    let (_, metrics) = server.get("/metrics").await;
    for lane in 0..lanes {
        let line = format!("latchkey_connections{{lane=\"{lane}\"}} 2");
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
    drop(connections);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_what_is_served() {
    let server = TestServer::start().await;
    let asked = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut client = ServerReflectionClient::new(channel(&server.grpc).await);
    let mut answers = client
        .server_reflection_info(stream::iter([asked]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(
        names,
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_so_first_and_ends_streams_that_never_would() {
    let settle = Duration::from_millis(500);
    let server = TestServer::start_with(any_port(), true, settle).await;
    let mut watches = Vec::new();
    for address in [&server.grpc, &server.ops] {
        let mut client = HealthClient::new(channel(address).await);
        let mut watch = client
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
        watches.push(watch);
    }
    let mut reflection = ServerReflectionClient::new(channel(&server.grpc).await);
    let mut answers = reflection
        .server_reflection_info(stream::pending())
        .await
        .unwrap()
        .into_inner();

    let began = Instant::now();
    server.stop.cancel();
    for watch in &mut watches {
        let status = timeout(LIMIT, watch.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .status;
        assert_eq!(status, 2, "NOT_SERVING");
    }
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.ends_with(r#"{"ready":false,"reason":"draining"}"#), "{body}");
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(
        health(&server.grpc, "").await.unwrap(),
        ServingStatus::NotServing,
        "new connections are still served"
    );
    assert!(began.elapsed() < settle, "this machine is too slow for this test");

    timeout(LIMIT, server.served).await.unwrap().unwrap().unwrap();
    let took = began.elapsed();
    assert!(took >= settle, "{took:?}");
    assert!(took < settle + GRACE, "the streams did not hold it up: {took:?}");
    for watch in &mut watches {
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(!matches!(
        timeout(LIMIT, answers.message()).await.unwrap(),
        Ok(Some(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_let_go_is_cut_after_the_grace() {
    let server = TestServer::start().await;
    // A client that sends the preface and never answers anything, GOAWAY and its ping included.
    let mut mute = TcpStream::connect(&server.grpc).await.unwrap();
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    mute.read_u8().await.unwrap();
    let took = server.stopped().await;
    assert!(took >= SETTLE + GRACE, "{took:?}");
    assert!(took < SETTLE + GRACE + SLACK, "{took:?}");
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, mute.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_drains_without_waiting() {
    let took = TestServer::start_with(any_port(), true, Duration::ZERO)
        .await
        .stopped()
        .await;
    assert!(took < GRACE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ops_listener_answers_probes_and_scrapes() {
    let server = TestServer::start().await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/metrics/x", 404),
    ] {
        assert_eq!(server.get(path).await.0, status, "{path}");
    }
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(metrics.ends_with("# EOF\n"));
    let names: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(
        names,
        [
            "latchkey_build info",
            "latchkey_start_time_seconds gauge",
            "latchkey_checks counter",
            "latchkey_check_duration_seconds histogram",
            "latchkey_connections gauge",
        ]
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_makes_it_not_ready() {
    let server = TestServer::start_with(any_port(), false, SETTLE).await;
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.ends_with(r#"{"ready":false,"reason":"store_unavailable"}"#),
        "{body}"
    );
    assert_eq!(server.get("/livez").await.0, 200);
    assert!(!server.store_is_up.load(Ordering::Relaxed));
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grpc.sock");
    let server = TestServer::start_with(ListenAddress::Unix(path.clone()), true, SETTLE).await;
    assert_eq!(server.grpc, format!("unix:{}", path.display()));
    assert_eq!(
        health(&server.grpc, AUTHORIZATION).await.unwrap(),
        ServingStatus::Serving
    );
    server.stopped().await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_addresses_are_written_as_a_whole() {
    let server = TestServer::start().await;
    let written = std::fs::read_to_string(server.folder.path().join("addresses.json")).unwrap();
    assert_eq!(
        written,
        format!(
            r#"{{"grpc":"{}","http":"{}","ops":"{}"}}"#,
            server.grpc, server.http, server.ops
        )
    );
    assert_eq!(
        std::fs::read_dir(server.folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vital_task_that_breaks_ends_the_server() {
    let bound = Bound::bind(&listen(any_port())).await.unwrap();
    let (vitals, tokens) = (Vitals::new(), Tokens::default());
    vitals.spawn("watcher", tokens.end.clone(), async {
        anyhow::bail!("the database is gone")
    });
    let running = Running::start(bound, parts(Arc::default()), vitals, tokens)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let error = timeout(
        LIMIT,
        until(running, &stop, || Drain {
            settle: LIMIT,
            grace: LIMIT,
        }),
    )
    .await
    .unwrap();
    assert_eq!(
        format!("{:#}", error.unwrap_err()),
        "the server cannot go on: the task watcher failed: the database is gone"
    );
}

//! The check service driven in this process: framing, deadlines, panics.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use super::body::{AnswerBody, MAX_DATA};
use super::frame::{MAX_MESSAGE, PREFIX};
use super::{CHECK_PATH, CheckLayer, is_grpc};
use crate::authorizer::Authorizer;
use crate::decision::testing::policy_with;
use crate::envoy::messages::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Request as Attributes,
};
use crate::envoy::messages::envoy::service::auth::v3::check_response::HttpResponse;
use crate::envoy::messages::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use crate::keys::{ApiKey, KeyCache, KeySource, Verifying};
use crate::limits::LocalLimits;
use crate::telemetry::CheckMetrics;

/// A source that knows no key, and panics when told to.
struct Source {
    panics: AtomicBool,
}

impl KeySource for Source {
    fn verify<'a>(&'a self, _: &'a ApiKey) -> Verifying<'a> {
        Box::pin(ready(Ok(None)))
    }

    fn can_know(&self, _: &[u8]) -> bool {
        assert!(!self.panics.load(Ordering::Relaxed), "a test wants this panic");
        true
    }
}

/// Stands for tonic's router: says that it was asked.
#[derive(Clone)]
struct Router;

impl Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("router", "asked".parse().unwrap());
        ready(Ok(response))
    }
}

struct Lane {
    layer: CheckLayer,
    source: Arc<Source>,
}

/// What came back.
struct Received {
    headers: HeaderMap,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Lane {
    fn start() -> Self {
        let source = Arc::new(Source {
            panics: AtomicBool::new(false),
        });
        // Long enough for a machine that has other things to do.
        let policy = policy_with(|settings| settings.check_deadline = Duration::from_secs(30));
        let shared: Arc<dyn KeySource> = source.clone();
        let waiting = tokio::runtime::Handle::current();
        let keys = KeyCache::new(shared, &policy.settings.keys, waiting);
        let authorizer = Authorizer::new(policy, keys, LocalLimits::new(100), CheckMetrics::default());
        Self {
            layer: CheckLayer::new(Arc::new(authorizer)),
            source,
        }
    }

    async fn send(&self, request: Request<Body>) -> Received {
        let response = self.layer.layer(Router).oneshot(request).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let mut received = Received {
            headers: parts.headers,
            frames: Vec::new(),
            trailers: None,
        };
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => received.frames.push(data),
                Err(frame) => received.trailers = frame.into_trailers().ok(),
            }
        }
        received
    }

    async fn check(&self, message: &[u8]) -> Received {
        self.send(call(Body::new(Full::new(framed(message))))).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Received {
        self.check(&question(method, path, headers)).await
    }
}

impl Received {
    #[track_caller]
    fn answer(&self) -> CheckResponse {
        assert_eq!(self.headers["content-type"], "application/grpc");
        assert_eq!(
            self.trailers.as_ref().expect("there are trailers")["grpc-status"],
            "0"
        );
        let all: Vec<u8> = self.frames.concat();
        let (prefix, message) = all.split_first_chunk::<PREFIX>().expect("there is a prefix");
        assert_eq!(prefix[0], 0);
        assert_eq!(
            u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize,
            message.len()
        );
        CheckResponse::decode(message).expect("the answer decodes")
    }

    /// The HTTP status that the caller gets, or 0 for an allow.
    #[track_caller]
    fn http_status(&self) -> i32 {
        let answer = self.answer();
        match answer.http_response.expect("there is a response") {
            HttpResponse::OkResponse(_) => 0,
            HttpResponse::DeniedResponse(denied) => denied.status.expect("there is a status").code,
            HttpResponse::ErrorResponse(_) => panic!("Envoy may let these through"),
        }
    }

    /// The gRPC status of an answer without a message.
    #[track_caller]
    fn status(&self) -> tonic::Code {
        assert!(self.frames.is_empty() && self.trailers.is_none(), "only headers");
        Status::from_header_map(&self.headers)
            .expect("there is a status")
            .code()
    }
}

fn question(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let http = HttpRequest {
        method: method.into(),
        path: path.into(),
        host: "api.example.com".into(),
        headers,
        ..Default::default()
    };
    let request = Attributes {
        http: Some(http),
        time: None,
    };
    let attributes = AttributeContext {
        request: Some(request),
        ..Default::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
    .encode_to_vec()
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

fn call(body: Body) -> Request<Body> {
    Request::post(CHECK_PATH)
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::new(StreamBody::new(stream::iter(
        pieces
            .into_iter()
            .map(|piece| Ok::<_, Infallible>(Frame::data(piece))),
    )))
}

#[tokio::test]
async fn a_public_route_is_allowed_and_a_missing_key_is_not() {
    let lane = Lane::start();
    assert_eq!(lane.ask("GET", "/healthz", &[]).await.http_status(), 0);
    assert_eq!(lane.ask("POST", "/ai/chat", &[]).await.http_status(), 401);
    assert_eq!(lane.ask("POST", "/ai//chat", &[]).await.http_status(), 400);
    assert_eq!(lane.ask("", "", &[]).await.http_status(), 400);
}

#[tokio::test]
async fn a_key_that_has_to_be_looked_up_is_waited_for() {
    let lane = Lane::start();
    let received = lane
        .ask("POST", "/ai/chat", &[("authorization", "Bearer lk_unknown")])
        .await;
    assert_eq!(received.http_status(), 401);
}

#[tokio::test]
async fn a_panic_denies_one_request_and_no_other() {
    let lane = Lane::start();
    lane.source.panics.store(true, Ordering::Relaxed);
    let key = [("authorization", "Bearer lk_unknown")];
    assert_eq!(lane.ask("POST", "/ai/chat", &key).await.http_status(), 500);
    lane.source.panics.store(false, Ordering::Relaxed);
    assert_eq!(lane.ask("GET", "/healthz", &[]).await.http_status(), 0);
}

#[tokio::test]
async fn everything_else_goes_to_the_router() {
    let lane = Lane::start();
    for request in [
        Request::post("/grpc.health.v1.Health/Check").header("content-type", "application/grpc"),
        Request::post("/envoy.service.auth.v3.Authorization/check")
            .header("content-type", "application/grpc"),
        Request::get(CHECK_PATH).header("content-type", "application/grpc"),
        Request::post(CHECK_PATH).header("content-type", "application/json"),
        Request::post(CHECK_PATH),
    ] {
        let received = lane.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(received.headers["router"], "asked");
    }
}

#[test]
fn content_types_of_grpc_are_told_from_others() {
    for (content_type, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc+proto; x=y", true),
        ("application/grpc-web", false),
        ("application/grpc+json", false),
        ("application/grpcx", false),
        ("text/plain", false),
    ] {
        assert_eq!(is_grpc(content_type.as_bytes()), expected, "{content_type}");
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_put_together() {
    let lane = Lane::start();
    let whole = framed(&question("GET", "/healthz", &[]));
    for size in [1, 3, 5, 6, whole.len()] {
        let body = pieces(whole.chunks(size).map(Bytes::copy_from_slice).collect());
        assert_eq!(lane.send(call(body)).await.http_status(), 0, "pieces of {size}");
    }
}

#[tokio::test]
async fn calls_that_make_no_sense_end_with_a_status_and_never_an_answer() {
    use tonic::Code::{InvalidArgument, ResourceExhausted, Unimplemented};
    let lane = Lane::start();
    let good = framed(&question("GET", "/healthz", &[]));
    let twice = [&good[..], &good].concat();
    let too_large = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
    let flagged = |flag: u8| [&[flag][..], &good[1..]].concat();
    for (case, body, code) in [
        ("no body", Vec::new(), InvalidArgument),
        ("half a prefix", vec![0, 0], InvalidArgument),
        ("prefix only", good[..PREFIX].to_vec(), InvalidArgument),
        ("truncated", good[..good.len() - 1].to_vec(), InvalidArgument),
        ("two messages", twice, InvalidArgument),
        ("compressed", flagged(1), Unimplemented),
        ("unknown flag", flagged(2), InvalidArgument),
        ("too large", [&[0][..], &too_large].concat(), ResourceExhausted),
        ("empty message", framed(b"").to_vec(), InvalidArgument),
        ("garbage", framed(b"\xff\xff\xff").to_vec(), InvalidArgument),
        (
            "truncated inside",
            framed(&question("GET", "/healthz", &[])[..9]).to_vec(),
            InvalidArgument,
        ),
        (
            "no http attributes",
            framed(b"\x0a\x02\x22\x00").to_vec(),
            InvalidArgument,
        ),
    ] {
        let received = lane.send(call(Body::new(Full::new(Bytes::from(body))))).await;
        assert_eq!(received.status(), code, "{case}");
    }
}

#[tokio::test]
async fn large_requests_are_answered() {
    let lane = Lane::start();
    let names: Vec<String> = (0..10_000).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "value")).collect();
    assert_eq!(lane.ask("GET", "/healthz", &many).await.http_status(), 0);
    let long = "x".repeat(1024 * 1024);
    assert_eq!(
        lane.ask("GET", "/healthz", &[("x-long", &long)])
            .await
            .http_status(),
        0
    );
    let mut over = many.clone();
    over.push(("x-one-more", "value"));
    assert_eq!(
        lane.ask("GET", "/healthz", &over).await.status(),
        tonic::Code::InvalidArgument
    );
}

#[tokio::test]
async fn header_bytes_that_are_no_utf_8_do_no_harm() {
    let lane = Lane::start();
    let mut message = question("GET", "/healthz", &[("x-odd", "????")]);
    let place = message.windows(4).position(|window| window == b"????").unwrap();
    message[place..place + 4].copy_from_slice(b"\xff\xfe\x00\xc3");
    assert_eq!(lane.check(&message).await.http_status(), 0);
}

#[tokio::test]
async fn a_request_that_does_not_arrive_ends_at_the_deadline() {
    let lane = Lane::start();
    let body = Body::new(StreamBody::new(
        stream::pending::<Result<Frame<Bytes>, Infallible>>(),
    ));
    let mut request = call(body);
    request
        .headers_mut()
        .insert("grpc-timeout", "100m".parse().unwrap());
    let received = tokio::time::timeout(Duration::from_secs(5), lane.send(request)).await;
    assert_eq!(received.expect("it ends").status(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn an_allow_that_comes_too_late_is_none() {
    let lane = Lane::start();
    let mut request = call(Body::new(Full::new(framed(&question("GET", "/healthz", &[])))));
    request
        .headers_mut()
        .insert("grpc-timeout", "1n".parse().unwrap());
    assert_eq!(lane.send(request).await.http_status(), 503);
}

#[tokio::test]
async fn the_layer_goes_before_the_router_of_a_server() {
    let lane = Lane::start();
    let routes = tonic::service::Routes::default();
    let _router = tonic::transport::Server::builder()
        .layer(lane.layer)
        .add_routes(routes);
}

#[tokio::test]
async fn an_answer_is_sent_in_small_frames() {
    for length in [0, 1, 5, MAX_DATA, MAX_DATA + 1, 2 * MAX_DATA, 64 * 1024] {
        let mut body = AnswerBody::new(Bytes::from(vec![7; length]));
        let mut joined = BytesMut::new();
        let mut ended = false;
        while let Some(frame) = body.frame().await {
            assert!(!ended, "nothing comes after the trailers");
            match frame.unwrap().into_data() {
                Ok(data) => {
                    assert!(
                        (1..1000).contains(&data.len()),
                        "{} of {length} bytes in one frame",
                        data.len()
                    );
                    joined.extend_from_slice(&data);
                }
                Err(_) => ended = true,
            }
        }
        assert!(ended, "{length}: there are trailers");
        assert_eq!(joined, vec![7; length]);
    }
}

#[tokio::test]
async fn an_answer_of_real_size_has_no_large_frame() {
    let lane = Lane::start();
    let received = lane.ask("POST", "/ai/chat", &[]).await;
    assert!(received.frames.iter().all(|frame| frame.len() < 1000));
    assert_eq!(received.http_status(), 401);
}

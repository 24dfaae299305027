//! A check service between Envoy and Latchkey, which sees each question and its answer, and may change the question or keep the
//! answer back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use latchkey::envoy::AUTHORIZATION_SERVICE;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Response};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What is done with questions and answers, each an encoded message.
pub(crate) trait Between: Send + Sync + 'static {
    /// The question that Latchkey is asked instead.
    fn question(&self, question: Bytes) -> Bytes {
        question
    }

    /// Sees the question that was asked, and the answer.
    fn answer(&self, _question: &Bytes, _answer: &Bytes) {}

    /// How long the answer is kept back.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// Starts one; it serves until the process ends, which is when the tests end.
pub(crate) fn start(latchkey: SocketAddr, between: Arc<dyn Between>) -> SocketAddr {
    let (told, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{latchkey}"))
                .expect("an address")
                .connect_lazy();
            let (health, service) = tonic_health::server::health_reporter();
            health
                .set_service_status(AUTHORIZATION_SERVICE, tonic_health::ServingStatus::Serving)
                .await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            told.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            Server::builder()
                .add_service(Proxy { channel, between })
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("it serves");
        });
    });
    address.recv().expect("the proxy starts")
}

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[derive(Clone)]
struct Proxy {
    channel: Channel,
    between: Arc<dyn Between>,
}

impl NamedService for Proxy {
    const NAME: &'static str = AUTHORIZATION_SERVICE;
}

type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(proxy, request).await) })
    }
}

impl UnaryService<Bytes> for Proxy {
    type Response = Bytes;
    type Future = Answering<Result<tonic::Response<Bytes>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let Self { channel, between } = self.clone();
        Box::pin(async move {
            let question = between.question(request.into_inner());
            let answer = ask(channel, question.clone()).await?;
            between.answer(&question, &answer);
            tokio::time::sleep(between.delay()).await;
            Ok(tonic::Response::new(answer))
        })
    }
}

async fn ask(channel: Channel, question: Bytes) -> Result<Bytes, tonic::Status> {
    let mut latchkey = tonic::client::Grpc::new(channel);
    latchkey
        .ready()
        .await
        .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let request = tonic::Request::new(question);
    let answer = latchkey
        .unary(request, PathAndQuery::from_static(CHECK), Raw)
        .await?;
    Ok(answer.into_inner())
}

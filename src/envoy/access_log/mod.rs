//! `StreamAccessLogs`: what Envoy says of requests that have ended.
//!
//! A stream never ends by itself, and nothing on it is acknowledged. While the recorder's queue is full the stream is not read,
//! so Envoy holds its entries for as long as its buffer lasts. An entry that makes no sense is counted and costs no other.

mod entry;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Status, Streaming};
use tower::Service;
use tracing::debug;

use crate::authorizer::Arrival;
use crate::usage::Recorder;

/// Takes the access logs of Envoys.
#[derive(Clone, Debug)]
pub struct AccessLogService {
    recorder: Arc<Recorder>,
}

impl AccessLogService {
    /// Hands what comes to `recorder`.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder }
    }
}

impl NamedService for AccessLogService {
    const NAME: &'static str = "envoy.service.accesslog.v3.AccessLogService";
}

impl Service<Request<Body>> for AccessLogService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let taking = Taking(Arc::clone(&self.recorder));
        Box::pin(async move {
            // The only method of the service.
            if !request.uri().path().ends_with("/StreamAccessLogs") {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            Ok(Grpc::new(Messages).client_streaming(taking, request).await)
        })
    }
}

struct Taking(Arc<Recorder>);

impl ClientStreamingService<Bytes> for Taking {
    type Response = Done;
    type Future = BoxFuture<'static, Result<tonic::Response<Done>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let recorder = Arc::clone(&self.0);
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut node = Box::default();
            while let Some(message) = messages.next().await {
                // A stream that breaks is one that has ended: Envoy opens another.
                let Ok(message) = message else { break };
                match entry::read(&message, &mut node, Arrival::now().unix_ms) {
                    Ok(batch) => {
                        let metrics = recorder.metrics();
                        metrics.ignored(batch.tcp_entries, batch.other_entries, batch.malformed_entries);
                        recorder.take(batch.events).await;
                    }
                    Err(malformed) => {
                        recorder.metrics().ignored(0, 0, 1);
                        debug!(%malformed, "a message of an access log makes no sense");
                    }
                }
            }
            Ok(tonic::Response::new(Done))
        })
    }
}

/// `StreamAccessLogsResponse`, which has nothing in it.
struct Done;

/// Takes messages as they are; [`entry`] reads them.
struct Messages;

impl Codec for Messages {
    type Encode = Done;
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

impl Encoder for Messages {
    type Item = Done;
    type Error = Status;

    fn encode(&mut self, Done: Done, _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Messages {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

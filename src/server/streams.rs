//! Streams that end when the server stops.
//!
//! A drain waits for open calls, and some never end by themselves: `Watch` of health, reflection, the access log. Services
//! with such calls are wrapped in [`EndsOnStop`]. A body that has something to give is never cut; one that is waiting when the stop
//! comes ends there: an answer with the gRPC status UNAVAILABLE, on which clients try elsewhere, a request as if its sender were done.
//! So a unary call through the same service still gets its whole answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// A gRPC service whose streams end on stop.
#[derive(Clone, Debug)]
pub(super) struct EndsOnStop<S> {
    inner: S,
    stop: CancellationToken,
}

impl<S> EndsOnStop<S> {
    pub(super) fn new(inner: S, stop: CancellationToken) -> Self {
        Self { inner, stop }
    }
}

impl<S: NamedService> NamedService for EndsOnStop<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for EndsOnStop<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let request = request.map(|body| Body::new(UntilStop::new(body, &self.stop, Last::Nothing)));
        let answer = self.inner.call(request);
        let stop = self.stop.clone();
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(UntilStop::new(body, &stop, Last::Unavailable))))
        })
    }
}

/// What a body says when it is ended.
#[derive(Clone, Copy, Debug)]
enum Last {
    Nothing,
    /// Trailers with the gRPC status 14.
    Unavailable,
}

pin_project! {
    /// A body that ends when it waits and the stop has come.
    struct UntilStop<B> {
        // `None` once it was ended, so that whoever feeds it sees that no one listens.
        #[pin]
        body: Option<B>,
        #[pin]
        stopped: WaitForCancellationFutureOwned,
        last: Last,
    }
}

impl<B> UntilStop<B> {
    fn new(body: B, stop: &CancellationToken, last: Last) -> Self {
        Self {
            body: Some(body),
            stopped: stop.clone().cancelled_owned(),
            last,
        }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for UntilStop<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match this.stopped.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                this.body.set(None);
                Poll::Ready(match this.last {
                    Last::Nothing => None,
                    Last::Unavailable => Some(Ok(Frame::trailers(unavailable()))),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn unavailable() -> HeaderMap {
    HeaderMap::from_iter([
        (
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("14"),
        ),
        (
            http::HeaderName::from_static("grpc-message"),
            HeaderValue::from_static("the server is stopping"),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_waits_ends_with_unavailable() {
        let stop = CancellationToken::new();
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let mut body = Box::pin(UntilStop::new(endless, &stop, Last::Unavailable));
        assert!(futures_util::poll!(body.frame()).is_pending());
        stop.cancel();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_request_that_waits_ends_as_if_its_sender_were_done() {
        let stop = CancellationToken::new();
        stop.cancel();
        let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert!(
            Box::pin(UntilStop::new(endless, &stop, Last::Nothing))
                .frame()
                .await
                .is_none()
        );
    }

    #[tokio::test]
    async fn what_is_there_to_give_is_given_after_the_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        let body = UntilStop::new(Full::new(Bytes::from_static(b"whole")), &stop, Last::Unavailable);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
    }
}

//! The body of an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// The most bytes in one DATA frame. h2 gathers frames that are smaller than 1,024 bytes into one write and spends a system
/// call of its own on each larger one.
pub(super) const MAX_DATA: usize = 999;

/// One gRPC message in small DATA frames, then `grpc-status: 0`.
pub(super) struct AnswerBody {
    left: Bytes,
    ended: bool,
}

impl AnswerBody {
    /// A body of this message, with its gRPC prefix.
    pub(super) fn new(framed: Bytes) -> Self {
        Self {
            left: framed,
            ended: false,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.left.is_empty() {
            let length = self.left.len().min(MAX_DATA);
            return Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

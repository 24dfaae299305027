//! What the guard does, as part of its request's trace: one span `guard` for each body, or piece of one, that is judged.

use std::sync::Arc;
use std::time::Instant;

use tonic::metadata::MetadataMap;

use super::wire::ProcessingRequest;
use crate::envoy::messages::envoy::service::ext_proc::v3::HttpHeaders;
use crate::envoy::messages::envoy::service::ext_proc::v3::processing_request::Request;
use crate::telemetry::{Ended, Trace, Traces};

/// An exchange whose request may be traced.
pub(super) struct Traced {
    traces: Arc<Traces>,
    trace: Option<Trace>,
}

/// Something that is being judged.
pub(super) struct Judging {
    began: Instant,
    what: &'static str,
}

impl Traced {
    /// By the metadata of the call, where Envoy traces its own calls.
    pub(super) fn begin(traces: &Arc<Traces>, metadata: &MetadataMap) -> Self {
        Self {
            traces: Arc::clone(traces),
            trace: Traces::continued(|name| metadata.get(name)?.to_str().ok()),
        }
    }

    /// Notes that a message is judged now, if it has something to judge and its request is traced.
    pub(super) fn judging(&mut self, message: &ProcessingRequest) -> Option<Judging> {
        let what = match message.request.as_ref()? {
            Request::RequestHeaders(headers) => {
                if self.trace.is_none() {
                    self.trace = of_headers(headers);
                }
                return None;
            }
            Request::RequestBody(_) => "request",
            Request::ResponseBody(_) => "response",
            _ => return None,
        };
        self.trace.as_ref().map(|_| Judging {
            began: Instant::now(),
            what,
        })
    }

    /// Records that it was judged.
    pub(super) fn judged(&self, judging: Judging) {
        let Some(trace) = &self.trace else { return };
        let whole = Ended {
            name: "guard",
            began: judging.began,
            ended: Instant::now(),
            attributes: &[("latchkey.guard.body", judging.what)],
            failed: false,
        };
        self.traces.record(trace, &whole, &[]);
    }
}

fn of_headers(headers: &HttpHeaders) -> Option<Trace> {
    let headers = &headers.headers.as_ref()?.headers;
    Traces::continued(|name| {
        let mut found = headers
            .iter()
            .filter(|header| header.key.eq_ignore_ascii_case(name));
        let header = found.next()?;
        let value = std::str::from_utf8(&header.raw_value).ok()?;
        // Two of them are nobody's.
        found.next().is_none().then_some(value)
    })
}

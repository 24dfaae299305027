//! Traces: what Latchkey does for a request, as spans of that request's own trace.
//!
//! A trace is continued, never begun: without a sampled `traceparent` (W3C Trace Context, version 00) nothing is recorded, so
//! whoever samples decides what it costs. Spans go to an OpenTelemetry collector over gRPC, in batches, by a thread of their own;
//! one that does not answer costs spans and nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// How long the collector may take for a batch.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// The longest `tracestate` that is passed on, in bytes: what everybody has to, by W3C Trace Context §3.3.1.5. It goes with
/// each span that waits to be sent, and a caller chooses it.
const MOST_STATE: usize = 512;

/// Sends spans to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

/// A trace that somebody has begun, and wants to see.
#[derive(Clone, Debug)]
pub struct Trace(Context);

/// A span that has ended.
pub struct Ended<'a> {
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What is known of it; neither a secret nor what a caller sent.
    pub attributes: &'a [(&'static str, &'a str)],
    /// Whether it failed for a reason of our own.
    pub failed: bool,
}

/// The two headers of a trace.
struct Headers<'h> {
    parent: &'h str,
    state: Option<&'h str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            PARENT => Some(self.parent),
            STATE => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

impl Traces {
    /// Spans go to the collector at `endpoint`, such as `http://127.0.0.1:4317`. To be called on the waiting runtime.
    pub fn open(endpoint: &str) -> Result<Arc<Self>, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_LIMIT)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name("latchkey")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("latchkey");
        Ok(Arc::new(Self { provider, tracer }))
    }

    /// The trace that headers tell of, if it is one that is recorded. `header` gives the value of the header with a name; it must not be
    /// a list of several.
    pub fn continued<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<Trace> {
        let headers = Headers {
            parent: header(PARENT)?,
            state: header(STATE).filter(|state| state.len() <= MOST_STATE),
        };
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        context
            .span()
            .span_context()
            .is_sampled()
            .then_some(Trace(context))
    }

    /// Records what was done as part of a trace, and what was done in it.
    pub fn record(&self, trace: &Trace, whole: &Ended<'_>, parts: &[Ended<'_>]) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let at = |instant: Instant| wall - now.saturating_duration_since(instant);
        let start = |part: &Ended<'_>, kind, context: &Context| {
            let attributes = part
                .attributes
                .iter()
                .map(|(name, value)| KeyValue::new(*name, (*value).to_owned()));
            let mut span = SpanBuilder::from_name(part.name)
                .with_kind(kind)
                .with_start_time(at(part.began))
                .with_attributes(attributes)
                .start_with_context(&self.tracer, context);
            if part.failed {
                span.set_status(Status::error(""));
            }
            span
        };
        let mut span = start(whole, SpanKind::Server, &trace.0);
        let inside = trace.0.with_remote_span_context(span.span_context().clone());
        for part in parts {
            start(part, SpanKind::Internal, &inside).end_with_timestamp(at(part.ended));
        }
        span.end_with_timestamp(at(whole.ended));
    }

    /// Sends what is left, for at most `limit`. Blocks.
    pub fn close(&self, limit: Duration) {
        // What cannot be sent any more is lost with the process.
        let _ = self.provider.shutdown_with_timeout(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_a_sampled_trace_is_continued() {
        let continued =
            |parent: Option<&str>| Traces::continued(|name| parent.filter(|_| name == PARENT)).is_some();
        assert!(continued(Some(SAMPLED)));
        for parent in [
            None,
            Some(""),
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
            Some("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
            Some("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"),
            Some("zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            Some(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01,00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ] {
            assert!(!continued(parent), "{parent:?}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_left_behind() {
        for (length, is_kept) in [(MOST_STATE, true), (MOST_STATE + 1, false)] {
            // A value has at most 256 bytes.
            let state = format!("a={},b={}", "x".repeat(253), "x".repeat(length - 258));
            assert_eq!(state.len(), length);
            let header = |name: &str| Some(if name == PARENT { SAMPLED } else { state.as_str() });
            let trace = Traces::continued(header).unwrap();
            let kept = trace.0.span().span_context().trace_state().header();
            assert_eq!(kept, if is_kept { &*state } else { "" }, "{length}");
        }
    }
}

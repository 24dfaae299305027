//! One request and its response, as Envoy shows them: the state machine of a stream.
//!
//! ```text
//! Start ── request_headers ─┬─ no guard ──────────────────────────────▶ Ended: the rest passes
//!                           ├─ a body to judge ─▶ RequestBody ── request_body ─┐
//!                           └─ none ───────────────────────────────────────────┤
//!   ┌──────────────────────────────────────────────────────────────────────────┘
//!   ├─ no rules for responses ────────────────────────────────────────▶ Ended: the rest passes
//!   └─▶ ResponseHeaders ── response_headers ─┬─ no body ──────────────▶ Ended
//!                                            ├─ whole ─▶ Whole ── response_body ─▶ Ended, or WholeSeen ── trailers ─▶ Ended
//!                                            └─ stream ─▶ Stream ── response_body … ─▶ Ended, or Cut ── response_body ─▶ Ended
//! any ── a refusal, a message that has no place ──────────────────────▶ Ended: an answer in place of the backend's
//! ```
//!
//! To Envoy a stream that ends with OK lets pass whatever is not answered yet. So the arrows to *Ended* are the only ones, and
//! each is drawn on purpose: nothing is left to judge, or Envoy was told to answer by itself. `RequestBody` knows
//! `response_headers` too: Envoy's own answer to a body that is too large or too slow, before any backend saw the request.
//!
//! The state machine is pure but for counters and log lines, and takes no time but that of the guard.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, error};

use super::context::Context;
use super::fault::Fault;
use super::findings::{Findings, State as Seen};
use super::headers::Headers;
use super::metrics::{Direction, GuardMetrics};
use super::reply::{Reply, Told};
use super::wire::{BodySendMode, HeaderSendMode, ProcessingMode, ProcessingRequest, Request};
use crate::authorizer::ActivePolicy;
use crate::envoy::messages::envoy::service::ext_proc::v3::{HttpBody, HttpHeaders};
use crate::guard::{
    CompiledGuard, Forward, Reading, Refusal, Report, RequestAction, RequestBody, ResponseBody,
    ResponseGuard, Scanned, StreamScanner,
};

/// The label of a request whose route is in no policy.
const NO_ROUTE: &str = "none";

/// Request headers that a guarded response must not depend on: a coding that nobody here reads, and a part that is judged
/// without what stands before it.
const NOT_ASKED_OF_THE_BACKEND: [&str; 3] = ["accept-encoding", "range", "if-range"];

/// What a rewritten body makes untrue.
const TRUE_OF_THE_OLD_BODY: [&str; 5] = [
    "content-encoding",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
];

/// Bodies larger than this are judged off the lane.
const QUICK_BYTES: usize = 64 * 1024;

enum State {
    Start,
    RequestBody(Codings),
    ResponseHeaders,
    Whole(Codings),
    WholeSeen,
    Stream(Box<StreamScanner>),
    Cut(Refusal),
    Ended,
}

/// Why an answer takes the place of the backend's.
enum Refused {
    /// The guard's word on a body.
    Guard(Refusal),
    /// Anything else.
    Fault(Fault),
}

/// What the headers say of a body.
#[derive(Default)]
struct Codings {
    content_type: Option<Box<str>>,
    content_encoding: Option<Box<str>>,
}

/// The exchange of one stream.
pub(super) struct Exchange {
    /// In force when the stream began, which is after the check; wanted until then only.
    policy: Option<Arc<ActivePolicy>>,
    metrics: GuardMetrics,
    state: State,
    context: Option<Context>,
    guard: Option<Arc<CompiledGuard>>,
    /// The route's name, if it is in the policy.
    route: Box<str>,
    request_id: Option<Box<str>>,
    is_grpc: bool,
    /// Envoy sends a body before it knows whether that is wanted.
    sends_ahead: bool,
    /// Whether a piece of a response that passes as a stream has come.
    is_streaming: bool,
    findings: Findings,
}

impl Exchange {
    pub(super) fn new(policy: Arc<ActivePolicy>, metrics: GuardMetrics) -> Self {
        metrics.opened();
        Self {
            policy: Some(policy),
            metrics,
            state: State::Start,
            context: None,
            guard: None,
            route: NO_ROUTE.into(),
            request_id: None,
            is_grpc: false,
            sends_ahead: false,
            is_streaming: false,
            findings: Findings::default(),
        }
    }

    /// Whether the answer to this message may take longer than a lane has time.
    pub(super) fn is_heavy(&self, message: &ProcessingRequest) -> bool {
        let body = match &message.request {
            Some(Request::RequestBody(body) | Request::ResponseBody(body)) => body.body.len(),
            _ => return false,
        };
        let is_compressed = match &self.state {
            State::RequestBody(codings) | State::Whole(codings) => codings.content_encoding.is_some(),
            _ => false,
        };
        // A small body may be a large one compressed.
        body > QUICK_BYTES || is_compressed
    }

    /// Answers one message.
    pub(super) fn answer(&mut self, message: ProcessingRequest) -> Reply {
        if let Some(request) = &message.request {
            self.metrics.received(request);
        }
        let state = std::mem::replace(&mut self.state, State::Ended);
        let answered = match (state, &message.request) {
            (State::Start, Some(Request::RequestHeaders(headers))) => self.begin(&message, headers),
            (State::Start, Some(Request::ResponseHeaders(headers))) => self.begin_late(&message, headers),
            (State::RequestBody(codings), Some(Request::RequestBody(body))) => {
                self.request_body(&codings, body)
            }
            (State::RequestBody(_) | State::ResponseHeaders, Some(Request::ResponseHeaders(headers))) => {
                self.response_headers(headers)
            }
            (State::ResponseHeaders, Some(Request::RequestBody(_))) if !self.has_request_guard() => {
                if self.sends_ahead {
                    self.state = State::ResponseHeaders;
                    Ok(Reply::request_body(None, &[]))
                } else {
                    // Envoy did not heed that no body is wanted, so it would not show the response either.
                    Err(Refused::Fault(Fault::ModeUnsupported))
                }
            }
            (state @ State::ResponseHeaders, Some(Request::RequestTrailers(_))) => {
                self.state = state;
                Ok(Reply::request_trailers())
            }
            (State::Whole(codings), Some(Request::ResponseBody(body))) => self.whole(&codings, body),
            (State::WholeSeen, Some(Request::ResponseTrailers(_))) => {
                Ok(self.done(Reply::response_trailers()))
            }
            (State::Stream(scanner), Some(Request::ResponseBody(body))) => self.piece(scanner, body),
            (State::Stream(scanner), Some(Request::ResponseTrailers(_))) => self.stream_trailers(*scanner),
            // The caller has been told why, and this ends the backend's work: the headers have gone, so Envoy resets.
            (State::Cut(refusal), Some(_)) => {
                Ok(self.immediate(refusal.status(), refusal.code(), refusal.message()))
            }
            (_, _) => Err(Refused::Fault(Fault::OutOfOrder)),
        };
        match answered {
            Ok(reply) => reply,
            Err(refused) => self.refuse(refused),
        }
    }

    /// Refuses after a panic, or when there is no time left.
    pub(super) fn fault(&mut self) -> Reply {
        self.refuse(Refused::Fault(Fault::Internal))
    }

    fn begin(&mut self, message: &ProcessingRequest, headers: &HttpHeaders) -> Result<Reply, Refused> {
        let read = Headers::of(headers);
        self.request_id = read.request_id().map(Into::into);
        let codings = Codings::read(&read);
        self.is_grpc = codings.is_grpc();
        let protocol = message.protocol_config.as_ref();
        self.sends_ahead =
            protocol.is_some_and(|protocol| protocol.send_body_without_waiting_for_header_response);
        let policy = self.identify(message)?;
        let Some(name) = self.context.as_ref().and_then(|context| context.guard.as_deref()) else {
            let mode = mode(BodySendMode::None, HeaderSendMode::Skip);
            return Ok(Reply::request_headers(&[], Some(mode)).last_if(true));
        };
        let guard = policy.guard(name).ok_or(Refused::Fault(Fault::GuardUnknown))?;
        self.guard = Some(Arc::clone(guard));
        let wants_body = guard.request.is_some() && !headers.end_of_stream;
        let wants_response = guard.response.is_some();
        if message.observability_mode || (wants_body && !keeps_bodies(message)) {
            return Err(Refused::Fault(Fault::ModeUnsupported));
        }
        let mode = mode(
            if wants_body {
                BodySendMode::Buffered
            } else {
                BodySendMode::None
            },
            if wants_response {
                HeaderSendMode::Send
            } else {
                HeaderSendMode::Skip
            },
        );
        let remove: &[&str] = if wants_response {
            &NOT_ASKED_OF_THE_BACKEND
        } else {
            &[]
        };
        let reply = Reply::request_headers(remove, Some(mode));
        if wants_body {
            self.state = State::RequestBody(codings);
            return Ok(reply.tell(self.findings.told(Seen::Missed)));
        }
        Ok(self.after_request(reply))
    }

    /// Takes what the check said. Fails unless it allowed the request.
    fn identify(&mut self, message: &ProcessingRequest) -> Result<Arc<ActivePolicy>, Refused> {
        let policy = self.policy.take().ok_or(Refused::Fault(Fault::Internal))?;
        let context = Context::read(message.metadata_context.as_ref());
        let is_allowed = context.as_ref().is_some_and(|context| context.allowed);
        if let Some(route) = context.as_ref().and_then(|context| context.route.as_deref())
            && policy.has_route(route)
        {
            self.route = route.into();
        }
        self.context = context;
        if is_allowed {
            Ok(policy)
        } else {
            Err(Refused::Fault(Fault::ContextMissing))
        }
    }

    /// A stream that begins with the response: Envoy is configured to show every one. A denial of the check, which never saw
    /// the guard, is one of them. Anything else has passed us by.
    fn begin_late(&mut self, message: &ProcessingRequest, headers: &HttpHeaders) -> Result<Reply, Refused> {
        let pass = || Ok(Reply::response_headers(&[], None).last_if(true));
        match self.identify(message) {
            Ok(_) => {
                let context = self.context.as_ref();
                let guard = context.and_then(|context| context.guard.as_deref());
                if guard.is_none() {
                    return pass();
                }
                self.missed();
                debug!(
                    status = Headers::of(headers).status(),
                    "a response without its request"
                );
                Err(Refused::Fault(Fault::OutOfOrder))
            }
            Err(_) if self.context.is_some() => pass(),
            Err(missing) => Err(missing),
        }
    }

    fn request_body(&mut self, codings: &Codings, body: &HttpBody) -> Result<Reply, Refused> {
        let (Some(guard), Some(context)) = (self.guard.clone(), &self.context) else {
            return Err(Refused::Fault(Fault::Internal));
        };
        let rules = guard.request.as_ref().ok_or(Refused::Fault(Fault::Internal))?;
        let verdict = rules.process(&RequestBody {
            content_type: codings.content_type.as_deref(),
            content_encoding: codings.content_encoding.as_deref(),
            body: &body.body,
            caller: context.caller(),
        });
        let (result, action) = match &verdict.action {
            RequestAction::Unchanged => (passed(&verdict.report), "report"),
            RequestAction::Rewritten(_) => ("rewritten", "sanitize"),
            RequestAction::Refused(_) => ("refused", "reject"),
        };
        self.found(Direction::Request, &verdict.report, result, action);
        let reply = match verdict.action {
            RequestAction::Unchanged => Reply::request_body(None, &[]),
            RequestAction::Rewritten(body) => Reply::request_body(Some(body), &TRUE_OF_THE_OLD_BODY),
            RequestAction::Refused(refusal) => return Err(Refused::Guard(refusal)),
        };
        Ok(self.after_request(reply))
    }

    /// The request goes to the backend with this reply.
    fn after_request(&mut self, reply: Reply) -> Reply {
        if self.response_guard().is_some() {
            self.state = State::ResponseHeaders;
            reply.tell(self.findings.told(Seen::Missed))
        } else {
            self.done(reply)
        }
    }

    fn response_headers(&mut self, headers: &HttpHeaders) -> Result<Reply, Refused> {
        let Some(guard) = self.guard.clone() else {
            return Err(Refused::Fault(Fault::Internal));
        };
        let Some(rules) = guard.response.as_ref() else {
            return Ok(self.done(Reply::response_headers(&[], None)));
        };
        let read = Headers::of(headers);
        let status = read.status();
        if status == Some(101) {
            return Err(Refused::Fault(Fault::Upgraded));
        }
        if headers.end_of_stream || matches!(status, Some(204 | 304)) {
            let nothing = ResponseBody {
                content_type: None,
                content_encoding: None,
                body: &[],
            };
            self.found_in_response(&rules.scan(&nothing).report, None);
            return Ok(self.done(Reply::response_headers(&[], None)));
        }
        let codings = Codings::read(&read);
        let content_type = codings.content_type.as_deref();
        let has_length = read.all("content-length").next().is_some();
        let (remove, send, state): (&[&str], _, _) =
            match rules.reading(content_type, codings.content_encoding.as_deref(), has_length) {
                // Envoy lets nothing but a removal change the length of a stream.
                Reading::Stream => {
                    let scanner = Box::new(rules.stream(content_type));
                    (
                        &["content-length"],
                        BodySendMode::Streamed,
                        State::Stream(scanner),
                    )
                }
                Reading::Whole => (&[], BodySendMode::Buffered, State::Whole(codings)),
            };
        self.state = state;
        let mode = ProcessingMode {
            response_body_mode: send.into(),
            // Tells a body with trailers from one of several pieces.
            response_trailer_mode: HeaderSendMode::Send.into(),
            ..mode(BodySendMode::None, HeaderSendMode::Send)
        };
        Ok(Reply::response_headers(remove, Some(mode)))
    }

    fn whole(&mut self, codings: &Codings, body: &HttpBody) -> Result<Reply, Refused> {
        let guard = self.guard.clone();
        let rules = guard
            .as_ref()
            .and_then(|guard| guard.response.as_ref())
            .ok_or(Refused::Fault(Fault::Internal))?;
        let verdict = rules.scan(&ResponseBody {
            content_type: codings.content_type.as_deref(),
            content_encoding: codings.content_encoding.as_deref(),
            body: &body.body,
        });
        self.found_in_response(&verdict.report, verdict.refused);
        if let Some(refusal) = verdict.refused {
            return Err(Refused::Guard(refusal));
        }
        let reply = Reply::response_body(None);
        if body.end_of_stream {
            return Ok(self.done(reply));
        }
        // Trailers follow. A second piece instead of them would mean that Envoy did not heed how the body is wanted.
        self.state = State::WholeSeen;
        Ok(reply)
    }

    fn piece(&mut self, mut scanner: Box<StreamScanner>, body: &HttpBody) -> Result<Reply, Refused> {
        let step = scanner.push(&body.body);
        let mut passing = match step.forward {
            Forward::Piece => None,
            Forward::Bytes(bytes) => Some(bytes),
        };
        if step.cut.is_none() && !body.end_of_stream {
            self.state = State::Stream(scanner);
            let reply = Reply::response_body(passing.map(Bytes::from));
            // From the first piece on nothing passes unseen, also if the caller does not stay to the end.
            let is_first = !std::mem::replace(&mut self.is_streaming, true);
            return Ok(if is_first {
                reply.tell(self.findings.told(Seen::Ok))
            } else {
                reply
            });
        }
        let end = scanner.finish();
        let cut = step.cut.or(end.cut);
        let refusal = cut.as_ref().map(|cut| cut.refusal);
        self.found_in_response(&end.report, refusal);
        let farewell = cut.map(|cut| cut.farewell).unwrap_or_default();
        if !(end.forward.is_empty() && farewell.is_empty()) {
            let passing = passing.get_or_insert_with(|| body.body.to_vec());
            passing.extend_from_slice(&end.forward);
            passing.extend_from_slice(&farewell);
        }
        let reply = Reply::response_body(passing.map(Bytes::from));
        let Some(refusal) = refusal else {
            return Ok(self.done(reply));
        };
        self.tell_refusal(&refusal);
        if !body.end_of_stream {
            self.state = State::Cut(refusal);
        }
        Ok(reply
            .tell(self.findings.refused(refusal.code()))
            .last_if(body.end_of_stream))
    }

    fn stream_trailers(&mut self, scanner: StreamScanner) -> Result<Reply, Refused> {
        let end = scanner.finish();
        let refusal = end.cut.map(|cut| cut.refusal);
        self.found_in_response(&end.report, refusal);
        match refusal {
            Some(refusal) => Err(Refused::Guard(refusal)),
            // Bytes that were held back cannot be sent any more: the response would be cut in silence.
            None if !end.forward.is_empty() => Err(Refused::Fault(Fault::OutOfOrder)),
            None => Ok(self.done(Reply::response_trailers())),
        }
    }

    /// Nothing is left to be judged: the rest passes.
    fn done(&mut self, reply: Reply) -> Reply {
        self.state = State::Ended;
        reply.tell(self.findings.told(Seen::Ok)).last_if(true)
    }

    fn refuse(&mut self, refused: Refused) -> Reply {
        self.state = State::Ended;
        let reply = match &refused {
            Refused::Guard(refusal) => {
                self.tell_refusal(refusal);
                self.immediate(refusal.status(), refusal.code(), refusal.message())
            }
            Refused::Fault(fault) => {
                self.metrics.refused(&self.route, fault.code());
                error!(
                    code = fault.code(),
                    route.name = &*self.route,
                    decision.id = self.decision_id(),
                    "{}",
                    fault.advice()
                );
                self.immediate(fault.status(), fault.code(), fault.message())
            }
        };
        reply.tell(self.findings.refused(refused.code()))
    }

    fn immediate(&self, status: u16, code: &'static str, error: &'static str) -> Reply {
        let decision_id = self.decision_id();
        Reply::immediate(&Told {
            status,
            code,
            error,
            request_id: self.request_id.as_deref().or(decision_id).unwrap_or_default(),
            decision_id,
            is_grpc: self.is_grpc,
        })
    }

    fn tell_refusal(&self, refusal: &Refusal) {
        self.metrics.refused(&self.route, refusal.code());
        debug!(
            code = refusal.code(),
            reason = refusal.reason(),
            route.name = &*self.route,
            decision.id = self.decision_id(),
            "the guard refused a body"
        );
    }

    fn found_in_response(&mut self, report: &Report, refused: Option<Refusal>) {
        let (result, action) = match refused {
            Some(_) => ("refused", "reject"),
            None => (passed(report), "report"),
        };
        self.found(Direction::Response, report, result, action);
    }

    /// Counts and remembers what was found in a body.
    fn found(&mut self, direction: Direction, report: &Report, result: &'static str, action: &'static str) {
        self.metrics.judged(&self.route, direction, result);
        for (rule, times) in report.matches.iter() {
            self.metrics
                .matched(&self.route, direction, rule.name(), action, times);
        }
        if let Scanned::Skipped(why) = report.scanned {
            debug!(
                direction = direction.name(),
                why = why.name(),
                route.name = &*self.route,
                decision.id = self.decision_id(),
                "a body could not be scanned"
            );
        }
        self.findings.add(direction, report);
    }

    fn missed(&self) {
        let so_far = self.metrics.missed(&self.route);
        // At powers of two: callers that go away are many.
        if so_far.is_power_of_two() {
            error!(
                route.name = &*self.route,
                decision.id = self.decision_id(),
                so_far,
                "a guarded request reached the backend, and its response was not seen to its end: the caller went away, \
                 or ext_proc lacks allow_mode_override"
            );
        }
    }

    fn has_request_guard(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.request.is_some())
    }

    fn response_guard(&self) -> Option<&ResponseGuard> {
        self.guard.as_ref()?.response.as_ref()
    }

    fn decision_id(&self) -> Option<&str> {
        self.context.as_ref().map(|context| &*context.decision_id)
    }
}

impl Refused {
    fn code(&self) -> &'static str {
        match self {
            Self::Guard(refusal) => refusal.code(),
            Self::Fault(fault) => fault.code(),
        }
    }
}

impl Codings {
    fn read(headers: &Headers<'_>) -> Self {
        Self {
            content_type: headers.joined("content-type"),
            content_encoding: headers.joined("content-encoding"),
        }
    }

    fn is_grpc(&self) -> bool {
        self.content_type.as_deref().is_some_and(|written| {
            written
                .get(..16)
                .is_some_and(|begin| begin.eq_ignore_ascii_case("application/grpc"))
        })
    }
}

impl Drop for Exchange {
    /// The stream is over, whoever ended it.
    fn drop(&mut self) {
        self.metrics.closed();
        let reached_the_backend_unseen = match self.state {
            State::ResponseHeaders | State::Whole(_) | State::WholeSeen => true,
            State::Stream(_) => !self.is_streaming,
            State::Start | State::RequestBody(_) | State::Cut(_) | State::Ended => false,
        };
        if reached_the_backend_unseen {
            self.missed();
        }
    }
}

fn passed(report: &Report) -> &'static str {
    match report.scanned {
        Scanned::Skipped(_) => "skipped",
        Scanned::Full if report.matches.is_empty() => "clean",
        Scanned::Full => "reported",
    }
}

/// Whether Envoy is configured to hold request bodies whole. That has to be its configuration and not only what an override asks
/// for: one that is not allowed is ignored in silence, and the body would pass. Versions that do not say are believed.
fn keeps_bodies(message: &ProcessingRequest) -> bool {
    match &message.protocol_config {
        Some(protocol) => protocol.request_body_mode() == BodySendMode::Buffered,
        None => true,
    }
}

fn mode(request_body: BodySendMode, response_headers: HeaderSendMode) -> ProcessingMode {
    ProcessingMode {
        request_header_mode: HeaderSendMode::Send.into(),
        response_header_mode: response_headers.into(),
        request_body_mode: request_body.into(),
        response_body_mode: BodySendMode::None.into(),
        request_trailer_mode: HeaderSendMode::Skip.into(),
        response_trailer_mode: HeaderSendMode::Skip.into(),
    }
}

#[cfg(test)]
mod tests;

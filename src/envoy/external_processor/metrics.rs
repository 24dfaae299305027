//! What is counted of guards.

use std::fmt;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::wire::Request;

type Labels<const N: usize> = [(&'static str, String); N];

/// Counters of the processor. Clones count together. Labels are names of the settings and of fixed sets.
#[derive(Clone, Default)]
pub struct GuardMetrics {
    open: Gauge,
    messages: Family<[(&'static str, &'static str); 1], Counter>,
    bytes: Family<[(&'static str, &'static str); 1], Counter>,
    bodies: Family<Labels<3>, Counter>,
    matches: Family<Labels<4>, Counter>,
    refusals: Family<Labels<2>, Counter>,
    missed: Family<Labels<1>, Counter>,
}

/// Which way a body goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Request,
    Response,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl GuardMetrics {
    /// Adds `latchkey_guard_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_guard_streams",
            "Requests that the processor has open",
            self.open.clone(),
        );
        registry.register(
            "latchkey_guard_messages",
            "Messages that Envoy sent to the processor, by kind",
            self.messages.clone(),
        );
        registry.register(
            "latchkey_guard_body_bytes",
            "Bytes of bodies that Envoy sent to the processor, by direction",
            self.bytes.clone(),
        );
        registry.register(
            "latchkey_guard_bodies",
            "Guarded bodies by route, direction and what came of them",
            self.bodies.clone(),
        );
        registry.register(
            "latchkey_guard_matches",
            "Matches by route, direction, rule and what the guard does with one",
            self.matches.clone(),
        );
        registry.register(
            "latchkey_guard_refusals",
            "Answers of the processor in place of the backend's, by route and code",
            self.refusals.clone(),
        );
        registry.register(
            "latchkey_guard_missed",
            "Guarded requests that reached the backend, and whose response the guard did not see to its end, by route",
            self.missed.clone(),
        );
    }

    pub(super) fn opened(&self) {
        self.open.inc();
    }

    pub(super) fn closed(&self) {
        self.open.dec();
    }

    /// Counts a message and the bytes of its body.
    pub(super) fn received(&self, request: &Request) {
        let (kind, body) = match request {
            Request::RequestHeaders(_) => ("request_headers", None),
            Request::ResponseHeaders(_) => ("response_headers", None),
            Request::RequestBody(body) => ("request_body", Some((Direction::Request, body.body.len()))),
            Request::ResponseBody(body) => ("response_body", Some((Direction::Response, body.body.len()))),
            Request::RequestTrailers(_) => ("request_trailers", None),
            Request::ResponseTrailers(_) => ("response_trailers", None),
        };
        self.messages.get_or_create(&[("kind", kind)]).inc();
        if let Some((direction, length)) = body {
            self.bytes
                .get_or_create(&[("direction", direction.name())])
                .inc_by(length as u64);
        }
    }

    /// Counts a body that was judged; `result` is one of a fixed set.
    pub(super) fn judged(&self, route: &str, direction: Direction, result: &'static str) {
        self.bodies
            .get_or_create(&[
                ("route", route.to_owned()),
                ("direction", direction.name().to_owned()),
                ("result", result.to_owned()),
            ])
            .inc();
    }

    /// Counts matches of one rule in one body.
    pub(super) fn matched(
        &self,
        route: &str,
        direction: Direction,
        rule: &'static str,
        action: &'static str,
        times: u32,
    ) {
        self.matches
            .get_or_create(&[
                ("route", route.to_owned()),
                ("direction", direction.name().to_owned()),
                ("rule", rule.to_owned()),
                ("action", action.to_owned()),
            ])
            .inc_by(times.into());
    }

    pub(super) fn refused(&self, route: &str, code: &str) {
        self.refusals
            .get_or_create(&[("route", route.to_owned()), ("code", code.to_owned())])
            .inc();
    }

    /// Returns how many there were on this route so far.
    pub(super) fn missed(&self, route: &str) -> u64 {
        let before = self.missed.get_or_create(&[("route", route.to_owned())]).inc();
        before + 1
    }
}

impl fmt::Debug for GuardMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardMetrics").finish_non_exhaustive()
    }
}

//! The guard: what goes into an AI backend, and what comes out of it. Pure: no I/O, no clock, no async, no gRPC.
//!
//! A [`CompiledGuard`] is made from its settings once, and answers for every body of its routes:
//!
//! - [`RequestGuard::process`] takes a whole request body and says whether it goes on unchanged, goes on rewritten, or is
//!   refused.
//! - [`ResponseGuard::reading`] says from a response's headers whether its body is wanted whole or as a stream.
//!   [`ResponseGuard::scan`] judges a whole body, [`ResponseGuard::stream`] one that passes piece by piece.
//!
//! Each answer carries a [`Report`]: which rules matched (never the matched text), whether the body was scanned at all, its
//! characters, and the tokens that an AI answer says it used. What was not scanned is never called clean.
//!
//! Everything here runs in linear time and bounded memory, whatever the body: [`Rules`] keeps a few small automata instead of
//! backtracking, JSON is walked without recursion, and decompression stops at a bound.

mod answer;
mod content;
mod context;
mod form;
mod inflate;
mod json;
mod refusal;
mod report;
mod request;
mod response;
mod rules;
mod stream;

use crate::config::Guard;

pub use self::refusal::Refusal;
pub use self::report::{Matches, Report, Rule, Scanned, TokenUsage, Unscanned};
pub use self::request::{Caller, RequestAction, RequestBody, RequestGuard, RequestVerdict};
pub use self::response::{Reading, ResponseBody, ResponseGuard, ResponseVerdict};
pub use self::rules::{Rules, Sanitized};
pub use self::stream::{Cut, Forward, StreamEnd, StreamScanner, StreamStep};

/// A guard, ready to judge bodies.
#[derive(Debug)]
pub struct CompiledGuard {
    /// The rules for requests; `None`: request bodies are not looked at.
    pub request: Option<RequestGuard>,
    /// The rules for responses; `None`: response bodies are not looked at.
    pub response: Option<ResponseGuard>,
}

impl CompiledGuard {
    /// Makes it from its settings.
    pub fn compile(settings: &Guard) -> Self {
        Self {
            request: settings.request.as_ref().map(RequestGuard::compile),
            response: settings.response.as_ref().map(ResponseGuard::compile),
        }
    }
}

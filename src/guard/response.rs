//! What comes out of an AI backend.

use super::content::{Kind, kind};
use super::refusal::Refusal;
use super::report::{Report, Rule, Scanned, Unscanned};
use super::rules::Rules;
use super::stream::StreamScanner;
use crate::config::{GuardResponse, OnMatch, OnUnscanned};

/// The guard's rules for responses.
#[derive(Debug)]
pub struct ResponseGuard {
    rules: Rules,
    on_match: OnMatch,
    on_unscanned: OnUnscanned,
    max_chars: usize,
}

/// A whole response body, and what came with it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseBody<'a> {
    /// The header `content-type`, as it came; `None` if there is none.
    pub content_type: Option<&'a str>,
    /// The header `content-encoding`, as it came.
    pub content_encoding: Option<&'a str>,
    /// The bytes.
    pub body: &'a [u8],
}

/// How a response body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Whole, for [`ResponseGuard::scan`]; also where it cannot be scanned and so is refused or passed by rule.
    Whole,
    /// Piece by piece as it comes, with [`ResponseGuard::stream`].
    Stream,
}

/// What becomes of a whole response body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseVerdict {
    /// What was found.
    pub report: Report,
    /// Why it does not reach the caller; `None` if it goes on as it came.
    pub refused: Option<Refusal>,
}

impl ResponseGuard {
    /// Makes it from its settings.
    pub fn compile(settings: &GuardResponse) -> Self {
        Self {
            rules: Rules::new(settings.handlers),
            on_match: settings.on_match,
            on_unscanned: settings.on_unscanned,
            max_chars: settings.max_chars.get(),
        }
    }

    /// How to read a body with these headers.
    ///
    /// `has_length` says whether the response has a `content-length`: text without one may be an answer that is still being
    /// written.
    pub fn reading(
        &self,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        has_length: bool,
    ) -> Reading {
        match kind(content_type) {
            _ if content_encoding.is_some() => Reading::Whole,
            Ok(Kind::EventStream | Kind::JsonLines) => Reading::Stream,
            Ok(Kind::Text) if !has_length => Reading::Stream,
            Ok(Kind::Text | Kind::Json | Kind::Form) | Err(_) => Reading::Whole,
        }
    }

    /// Begins to scan a body that comes in pieces. `content_type` is what [`Self::reading`] said [`Reading::Stream`] to.
    pub fn stream(&self, content_type: Option<&str>) -> StreamScanner {
        let _ = content_type;
        StreamScanner::new(self.rules, self.on_match, self.max_chars)
    }

    /// Judges a whole body. An empty one, as of 204 and 304, is clean.
    pub fn scan(&self, response: &ResponseBody<'_>) -> ResponseVerdict {
        if response.body.is_empty() {
            return ResponseVerdict {
                report: Report::clean(),
                refused: None,
            };
        }
        match kind(response.content_type) {
            Ok(Kind::Text) if response.content_encoding.is_none() => match std::str::from_utf8(response.body)
            {
                Ok(text) => self.text(text),
                Err(_) => self.unscanned(Unscanned::InvalidUtf8),
            },
            Ok(_) => self.unscanned(Unscanned::ContentType),
            Err(why) => self.unscanned(why),
        }
    }

    fn text(&self, text: &str) -> ResponseVerdict {
        let mut report = Report {
            matches: self.rules.validate(text),
            scanned: Scanned::Full,
            chars: text.chars().count(),
            tokens: None,
        };
        let is_too_long = report.chars > self.max_chars;
        if is_too_long {
            report.matches.add(Rule::TooLong);
        }
        let refused = match self.on_match {
            OnMatch::Report => None,
            _ if report.matches.is_harmful() => Some(Refusal::HarmfulOutput),
            OnMatch::Sanitize | OnMatch::Reject => is_too_long.then_some(Refusal::OutputTooLong),
        };
        ResponseVerdict { report, refused }
    }

    fn unscanned(&self, why: Unscanned) -> ResponseVerdict {
        let refused = match self.on_unscanned {
            OnUnscanned::Reject => Some(Refusal::UnscannedOutput(why)),
            OnUnscanned::Pass => None,
        };
        ResponseVerdict {
            report: Report::skipped(why),
            refused,
        }
    }
}

//! What comes out of an AI backend.

#[cfg(test)]
mod tests;

use super::answer::Texts;
use super::content::{Kind, kind};
use super::inflate;
use super::json::Fields;
use super::refusal::Refusal;
use super::report::{Report, Unscanned};
use super::rules::Rules;
use super::stream::{Framing, StreamScanner, StreamSettings};
use crate::config::{GuardResponse, OnMatch, OnUnscanned};

/// The guard's rules for responses.
#[derive(Debug)]
pub struct ResponseGuard {
    rules: Rules,
    fields: Fields,
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
            fields: Fields::compile(&settings.fields),
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
            _ if !inflate::is_identity(content_encoding) => Reading::Whole,
            Ok(Kind::EventStream | Kind::JsonLines) => Reading::Stream,
            Ok(Kind::Text) if !has_length => Reading::Stream,
            Ok(Kind::Text | Kind::Json | Kind::Form) | Err(_) => Reading::Whole,
        }
    }

    /// Begins to scan a body that comes in pieces, and that [`Self::reading`] said [`Reading::Stream`] to. Every text of it is
    /// scanned, since the fields of the settings name those of a whole body.
    pub fn stream(&self, content_type: Option<&str>) -> StreamScanner {
        let framing = match kind(content_type) {
            Ok(Kind::EventStream) => Framing::Events,
            Ok(Kind::JsonLines) => Framing::JsonLines,
            Ok(Kind::Text | Kind::Json | Kind::Form) | Err(_) => Framing::Text,
        };
        let settings = StreamSettings {
            rules: self.rules,
            on_match: self.on_match,
            on_unscanned: self.on_unscanned,
            max_chars: self.max_chars,
        };
        StreamScanner::new(framing, settings)
    }

    /// Judges a whole body. An empty one, as of 204 and 304, is clean.
    pub fn scan(&self, response: &ResponseBody<'_>) -> ResponseVerdict {
        self.read(response).unwrap_or_else(|why| {
            let refused = match self.on_unscanned {
                OnUnscanned::Reject => Some(Refusal::UnscannedOutput(why)),
                OnUnscanned::Pass => None,
            };
            ResponseVerdict {
                report: Report::skipped(why),
                refused,
            }
        })
    }

    fn read(&self, response: &ResponseBody<'_>) -> Result<ResponseVerdict, Unscanned> {
        if response.body.is_empty() {
            return Ok(ResponseVerdict {
                report: Report::clean(),
                refused: None,
            });
        }
        let kind = kind(response.content_type)?;
        let body = inflate::identity(response.body, response.content_encoding)?;
        if matches!(kind, Kind::EventStream | Kind::JsonLines) {
            let mut scanner = self.stream(response.content_type);
            let cut = scanner.push(&body).cut;
            let end = scanner.finish();
            let refused = cut.or(end.cut).map(|cut| cut.refusal);
            return Ok(ResponseVerdict {
                report: end.report,
                refused,
            });
        }
        let body = std::str::from_utf8(&body).map_err(|_| Unscanned::InvalidUtf8)?;
        let mut texts = Texts::new(self.rules);
        match kind {
            Kind::Json => texts.whole(body, &self.fields)?,
            Kind::Text => text(body, &mut texts)?,
            Kind::Form | Kind::EventStream | Kind::JsonLines => return Err(Unscanned::ContentType),
        }
        texts.finish();
        Ok(self.judge(&texts))
    }

    fn judge(&self, texts: &Texts) -> ResponseVerdict {
        let refused = match self.on_match {
            OnMatch::Report => None,
            OnMatch::Sanitize | OnMatch::Reject if texts.is_harmful() => Some(Refusal::HarmfulOutput),
            OnMatch::Sanitize | OnMatch::Reject => {
                (texts.longest() > self.max_chars).then_some(Refusal::OutputTooLong)
            }
        };
        ResponseVerdict {
            report: texts.report(self.max_chars),
            refused,
        }
    }
}

/// Text, which some read as JSON whatever the type says.
fn text(body: &str, texts: &mut Texts) -> Result<(), Unscanned> {
    if body.trim_start().starts_with(['{', '[', '"']) {
        match texts.whole(body, &Fields::everything()) {
            Err(Unscanned::InvalidJson) => {}
            scanned => return scanned,
        }
    }
    texts.alone(body);
    Ok(())
}

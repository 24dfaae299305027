//! What goes into an AI backend.

use std::borrow::Cow;

use super::content::{Kind, kind};
use super::refusal::Refusal;
use super::report::{Report, Rule, Scanned, Unscanned};
use super::rules::Rules;
use crate::config::{GuardRequest, OnMatch, OnUnscanned, PromptContext};

/// The guard's rules for requests.
#[derive(Debug)]
pub struct RequestGuard {
    rules: Rules,
    on_match: OnMatch,
    on_unscanned: OnUnscanned,
    max_chars: usize,
    context: PromptContext,
}

/// A whole request body, and what came with it.
#[derive(Clone, Copy, Debug)]
pub struct RequestBody<'a> {
    /// The header `content-type`, as it came; `None` if there is none. Several are joined by commas, as Envoy does.
    pub content_type: Option<&'a str>,
    /// The header `content-encoding`, as it came.
    pub content_encoding: Option<&'a str>,
    /// The bytes.
    pub body: &'a [u8],
    /// Who asks: for the prompt context.
    pub caller: Caller<'a>,
}

/// Who asks, as the check found out. Never from anything that the caller can write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// `org:…` or `user:…`; empty if nobody is known, as on a route with optional authentication.
    pub context_owner: &'a str,
    /// The organization.
    pub org_code: Option<&'a str>,
    /// The user.
    pub user_id: Option<&'a str>,
    /// The key's id.
    pub key_id: &'a str,
    /// The key's scopes, with spaces between them.
    pub scopes: &'a str,
    /// The route's name.
    pub route: &'a str,
}

/// What becomes of a request body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestVerdict {
    /// What was found.
    pub report: Report,
    /// What to do.
    pub action: RequestAction,
}

/// What to do with a request body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestAction {
    /// It goes on as it came.
    Unchanged,
    /// This body goes on in its place. It has no content encoding: the header `content-encoding`, if there was one, has to go.
    Rewritten(Vec<u8>),
    /// It goes nowhere.
    Refused(Refusal),
}

impl RequestGuard {
    /// Makes it from its settings.
    pub fn compile(settings: &GuardRequest) -> Self {
        Self {
            rules: Rules::new(settings.handlers),
            on_match: settings.on_match,
            on_unscanned: settings.on_unscanned,
            max_chars: settings.max_chars.get(),
            context: settings.context,
        }
    }

    /// How the backend learns the context owner.
    pub fn context(&self) -> PromptContext {
        self.context
    }

    /// Judges a whole body.
    pub fn process(&self, request: &RequestBody<'_>) -> RequestVerdict {
        if request.body.is_empty() {
            return unchanged(Report::clean());
        }
        match kind(request.content_type) {
            Ok(Kind::Text) if request.content_encoding.is_none() => match std::str::from_utf8(request.body) {
                Ok(text) => self.text(text),
                Err(_) => self.unscanned(Unscanned::InvalidUtf8),
            },
            Ok(_) => self.unscanned(Unscanned::ContentType),
            Err(why) => self.unscanned(why),
        }
    }

    fn text(&self, text: &str) -> RequestVerdict {
        let sanitized = self.rules.sanitize(text);
        let mut report = Report {
            matches: sanitized.matches,
            scanned: Scanned::Full,
            chars: sanitized.text.chars().count(),
            tokens: None,
        };
        if report.chars > self.max_chars {
            report.matches.add(Rule::TooLong);
        }
        let action = match self.on_match {
            OnMatch::Report => RequestAction::Unchanged,
            _ if report.chars > self.max_chars => RequestAction::Refused(Refusal::InputTooLong),
            OnMatch::Reject if report.matches.is_harmful() => RequestAction::Refused(Refusal::HarmfulInput),
            OnMatch::Reject => RequestAction::Unchanged,
            OnMatch::Sanitize => match sanitized.text {
                Cow::Borrowed(_) => RequestAction::Unchanged,
                Cow::Owned(text) => RequestAction::Rewritten(text.into_bytes()),
            },
        };
        RequestVerdict { report, action }
    }

    fn unscanned(&self, why: Unscanned) -> RequestVerdict {
        let action = match self.on_unscanned {
            OnUnscanned::Reject => RequestAction::Refused(Refusal::UnscannedInput(why)),
            OnUnscanned::Pass => RequestAction::Unchanged,
        };
        RequestVerdict {
            report: Report::skipped(why),
            action,
        }
    }
}

fn unchanged(report: Report) -> RequestVerdict {
    RequestVerdict {
        report,
        action: RequestAction::Unchanged,
    }
}

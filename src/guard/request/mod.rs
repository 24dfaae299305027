//! What goes into an AI backend.

mod fields;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::content::{Kind, kind};
use super::context::Template;
use super::form;
use super::inflate;
use super::json::Fields;
use super::refusal::Refusal;
use super::report::{Report, Rule, Unscanned};
use super::rules::Rules;
use crate::config::{GuardRequest, OnMatch, OnUnscanned, PromptContext};

/// The guard's rules for requests.
#[derive(Debug)]
pub struct RequestGuard {
    rules: Rules,
    fields: Fields,
    on_match: OnMatch,
    on_unscanned: OnUnscanned,
    max_chars: usize,
    context: PromptContext,
    /// The prompt context, if there is one.
    template: Option<Template>,
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

/// One text of a body on its way through the rules.
struct Treated<'t> {
    text: Cow<'t, str>,
    is_changed: bool,
}

impl RequestGuard {
    /// Makes it from its settings.
    pub fn compile(settings: &GuardRequest) -> Self {
        let is_prompt = settings.context == PromptContext::Prompt;
        Self {
            rules: Rules::new(settings.handlers),
            fields: Fields::compile(&settings.fields),
            on_match: settings.on_match,
            on_unscanned: settings.on_unscanned,
            max_chars: settings.max_chars.get(),
            context: settings.context,
            template: is_prompt.then(|| Template::compile(settings.context_template.as_deref())),
        }
    }

    /// How the backend learns the context owner.
    pub fn context(&self) -> PromptContext {
        self.context
    }

    /// Judges a whole body. An empty one is clean.
    pub fn process(&self, request: &RequestBody<'_>) -> RequestVerdict {
        let mut report = Report::clean();
        let action = match self.read(request, &mut report) {
            Ok(rewritten) => self.judge(rewritten, &mut report),
            Err(why) => {
                report = Report::skipped(why);
                match self.on_unscanned {
                    OnUnscanned::Reject => RequestAction::Refused(Refusal::UnscannedInput(why)),
                    OnUnscanned::Pass => RequestAction::Unchanged,
                }
            }
        };
        RequestVerdict { report, action }
    }

    /// Scans the body. Returns it rewritten, if something of it changes.
    fn read(&self, request: &RequestBody<'_>, report: &mut Report) -> Result<Option<String>, Unscanned> {
        if request.body.is_empty() {
            return Ok(None);
        }
        let kind = kind(request.content_type)?;
        let body = inflate::identity(request.body, request.content_encoding)?;
        let body = std::str::from_utf8(&body).map_err(|_| Unscanned::InvalidUtf8)?;
        match kind {
            Kind::Json => self.json(body, &request.caller, report),
            Kind::Form => self.form(body, &request.caller, report),
            Kind::Text => self.text(body, &request.caller, report),
            Kind::JsonLines | Kind::EventStream => Err(Unscanned::ContentType),
        }
    }

    fn judge(&self, rewritten: Option<String>, report: &mut Report) -> RequestAction {
        let is_too_long = report.chars > self.max_chars;
        if is_too_long {
            report.matches.add(Rule::TooLong);
        }
        match self.on_match {
            OnMatch::Reject if report.matches.is_harmful() => RequestAction::Refused(Refusal::HarmfulInput),
            OnMatch::Sanitize | OnMatch::Reject if is_too_long => {
                RequestAction::Refused(Refusal::InputTooLong)
            }
            OnMatch::Sanitize | OnMatch::Reject | OnMatch::Report => rewritten
                .map_or(RequestAction::Unchanged, |text| {
                    RequestAction::Rewritten(text.into_bytes())
                }),
        }
    }

    /// One text of the caller's, which the rules apply to.
    fn treat<'t>(&self, text: Cow<'t, str>, report: &mut Report) -> Treated<'t> {
        let mut treated = Treated {
            text,
            is_changed: false,
        };
        if self.on_match == OnMatch::Sanitize {
            let sanitized = self.rules.sanitize(&treated.text);
            report.matches.merge(&sanitized.matches);
            if let Cow::Owned(text) = sanitized.text {
                treated = Treated {
                    text: Cow::Owned(text),
                    is_changed: true,
                };
            }
        } else {
            report.matches.merge(&self.rules.validate(&treated.text));
        }
        report.chars += treated.text.chars().count();
        self.neutralize(treated, report)
    }

    /// One text of the caller's, whichever, since none may imitate the prompt context.
    fn neutralize<'t>(&self, treated: Treated<'t>, report: &mut Report) -> Treated<'t> {
        let Some(template) = &self.template else {
            return treated;
        };
        let (neutralized, count) = template.neutralize(&treated.text);
        for _ in 0..count {
            report.matches.add(Rule::OwnerLine);
        }
        match neutralized {
            Cow::Owned(text) => Treated {
                text: Cow::Owned(text),
                is_changed: true,
            },
            Cow::Borrowed(_) => treated,
        }
    }

    fn text(
        &self,
        body: &str,
        caller: &Caller<'_>,
        report: &mut Report,
    ) -> Result<Option<String>, Unscanned> {
        let rewritten = self.text_or_json(body, report)?;
        let Some(template) = &self.template else {
            return Ok(rewritten);
        };
        let text = rewritten.as_deref().unwrap_or(body);
        Ok(Some(template.wrap(caller, text)))
    }

    /// Some backends read JSON whatever the type says. What is JSON is read as such, so that nothing hides in its escapes; also
    /// what becomes JSON when something is removed.
    fn text_or_json(&self, body: &str, report: &mut Report) -> Result<Option<String>, Unscanned> {
        if may_be_json(body) {
            match self.text_as_json(body, report) {
                Err(Unscanned::InvalidJson) => *report = Report::clean(),
                read => return read,
            }
        }
        let treated = self.treat(Cow::Borrowed(body), report);
        if !treated.is_changed {
            return Ok(None);
        }
        let text = treated.text.into_owned();
        let mut again = Report::clean();
        match self.text_as_json(&text, &mut again) {
            Err(Unscanned::InvalidJson) => Ok(Some(text)),
            Err(why) => Err(why),
            Ok(rewritten) => {
                report.matches.merge(&again.matches);
                Ok(rewritten.or(Some(text)))
            }
        }
    }

    fn form(
        &self,
        body: &str,
        caller: &Caller<'_>,
        report: &mut Report,
    ) -> Result<Option<String>, Unscanned> {
        let mut texts = Vec::new();
        let mut is_found = self.fields.is_everything();
        for pair in form::pairs(body)? {
            let field = self.fields.form_field(&pair.name);
            is_found |= field.is_some();
            let (from, to) = (pair.from, pair.to);
            let plain = Treated {
                text: pair.value,
                is_changed: false,
            };
            let treated = match field {
                Some(_) => self.treat(plain.text, report),
                None => self.neutralize(plain, report),
            };
            texts.push(fields::Text {
                from,
                to,
                field,
                treated,
            });
        }
        if !is_found {
            return Err(Unscanned::NoField);
        }
        if let Some(template) = &self.template {
            fields::wrap(&mut texts, template, caller)?;
        }
        Ok(fields::rewrite(body, &texts, None, form::write_value))
    }
}

fn may_be_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"'])
}

//! JSON bodies: selected texts are sanitized where they stand, and the prompt context is put in.

use super::super::json::{Fields, Scalar, Selection, Step, Text, Visitor, walk, write_text};
use super::super::report::{Report, Unscanned};
use super::fields::{self, Insertion};
use super::{Caller, RequestGuard, Treated};

impl RequestGuard {
    pub(super) fn json(
        &self,
        body: &str,
        caller: &Caller<'_>,
        report: &mut Report,
    ) -> Result<Option<String>, Unscanned> {
        let (mut texts, messages) = self.json_texts(&self.fields, body, report)?;
        let Some(template) = &self.template else {
            return Ok(fields::rewrite(body, &texts, None, write_text));
        };
        let insertion = messages.map(|messages| {
            let mut text = String::from(r#"{"role":"system","content":""#);
            write_text(&template.alone(caller), &mut text);
            text.push_str(if messages.is_empty { r#""}"# } else { r#""},"# });
            Insertion {
                at: messages.at,
                text,
            }
        });
        if insertion.is_none() {
            fields::wrap(&mut texts, template, caller)?;
        }
        Ok(fields::rewrite(body, &texts, insertion, write_text))
    }

    /// A body that is JSON although its type says text: every text of it is scanned, none is wrapped.
    pub(super) fn text_as_json(&self, body: &str, report: &mut Report) -> Result<Option<String>, Unscanned> {
        let (texts, _) = self.json_texts(&Fields::everything(), body, report)?;
        Ok(fields::rewrite(body, &texts, None, write_text))
    }

    fn json_texts<'t>(
        &self,
        selected: &Fields,
        body: &'t str,
        report: &mut Report,
    ) -> Result<(Vec<fields::Text<'t>>, Option<Messages>), Unscanned> {
        let mut collector = Collector::new(selected, self.template.is_some());
        walk(body, &mut collector)?;
        if !collector.is_found {
            return Err(Unscanned::NoField);
        }
        let texts = collector.texts.into_iter().map(|(text, field)| {
            let plain = Treated {
                text: text.decode(),
                is_changed: false,
            };
            let treated = match field {
                Some(_) => self.treat(plain.text, report),
                None => self.neutralize(plain, report),
            };
            fields::Text {
                from: text.at,
                to: text.at + text.raw.len(),
                field,
                treated,
            }
        });
        Ok((texts.collect(), collector.messages))
    }
}

/// Collects the texts of a body that something may be done to.
struct Collector<'f, 't> {
    fields: &'f Fields,
    /// Whether texts that no field selects are wanted as well.
    wants_all: bool,
    stack: Vec<Selection>,
    /// Each with the number of the field that selected it.
    texts: Vec<(Text<'t>, Option<usize>)>,
    is_found: bool,
    messages: Option<Messages>,
}

/// The array `messages` of the body itself.
struct Messages {
    /// Behind its bracket.
    at: usize,
    is_empty: bool,
    is_closed: bool,
}

impl<'f, 't> Collector<'f, 't> {
    fn new(fields: &'f Fields, wants_all: bool) -> Self {
        Self {
            fields,
            wants_all,
            stack: Vec::new(),
            texts: Vec::new(),
            is_found: fields.is_everything(),
            messages: None,
        }
    }

    fn select(&mut self, step: Step<'_>, has_values: bool) -> Selection {
        let selection = match self.stack.last() {
            None => self.fields.root(),
            Some(&parent) => self.fields.step(parent, step, has_values),
        };
        self.is_found |= selection.is_selected;
        selection
    }

    /// A value begins: is it the first one of `messages`?
    fn note_message(&mut self, step: Step<'_>) {
        if self.stack.len() == 2
            && step == Step::Element(0)
            && let Some(messages) = &mut self.messages
            && !messages.is_closed
        {
            messages.is_empty = false;
        }
    }
}

impl<'t> Visitor<'t> for Collector<'_, 't> {
    fn enter(&mut self, step: Step<'_>, is_array: bool, at: usize) {
        self.note_message(step);
        if self.stack.len() == 1 && step == Step::Key("messages") && is_array {
            self.messages = Some(Messages {
                at: at + 1,
                is_empty: true,
                is_closed: false,
            });
        }
        let selection = self.select(step, true);
        self.stack.push(selection);
    }

    fn leave(&mut self) {
        self.stack.pop();
        if self.stack.len() == 1
            && let Some(messages) = &mut self.messages
        {
            messages.is_closed = true;
        }
    }

    fn scalar(&mut self, step: Step<'_>, scalar: Scalar<'t>) {
        self.note_message(step);
        let selection = self.select(step, false);
        if let Scalar::Text(text) = scalar
            && (selection.is_selected || self.wants_all)
        {
            let field = selection.is_selected.then(|| selection.field.unwrap_or(0));
            self.texts.push((text, field));
        }
    }
}

//! Rules for what goes into an AI backend and what comes out of it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::super::reader::{Fields, Reader, did_you_mean, quoted};
use super::super::settings::{
    CONTEXT_PLACEHOLDERS, Guard, GuardRequest, GuardResponse, Handlers, OnMatch, OnUnscanned, PromptContext,
};
use super::super::tree::Node;
use super::{all, optional};

const ON_UNSCANNED: [(&str, OnUnscanned); 2] = [("reject", OnUnscanned::Reject), ("pass", OnUnscanned::Pass)];
const HANDLERS: [(&str, Handlers); 2] = [("known", Handlers::Known), ("any", Handlers::Any)];

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<BTreeMap<Box<str>, Guard>> {
    let entries = reader.named(node, "guards", 1000)?;
    let guards = all(entries.iter().map(|entry| {
        let is_name = reader.is_name(&entry.name, &entry.place, "the name of a guard");
        let guard = guard(reader, &entry.node)?;
        is_name.then(|| (entry.name.as_str().into(), guard))
    }))?;
    Some(guards.into_iter().collect())
}

fn guard(reader: &mut Reader, node: &Node) -> Option<Guard> {
    let fields = reader.fields(node, "guard", &["request", "response"])?;
    let request = optional(fields.get("request"), |node| request(reader, node));
    let response = optional(fields.get("response"), |node| response(reader, node));
    let guard = Guard {
        request: request?,
        response: response?,
    };
    if guard.request.is_none() && guard.response.is_none() {
        reader.mistake(&node.place, "a guard has `request`, `response` or both");
        return None;
    }
    Some(guard)
}

fn request(reader: &mut Reader, node: &Node) -> Option<GuardRequest> {
    const CONTEXT: [(&str, PromptContext); 3] = [
        ("header", PromptContext::Header),
        ("prompt", PromptContext::Prompt),
        ("none", PromptContext::None),
    ];
    const ON_MATCH: [(&str, OnMatch); 3] = [
        ("sanitize", OnMatch::Sanitize),
        ("reject", OnMatch::Reject),
        ("report", OnMatch::Report),
    ];
    let known = [
        "fields",
        "on_match",
        "on_unscanned",
        "max_chars",
        "context",
        "context_template",
        "handlers",
    ];
    let fields = reader.fields(node, "the guard's request", &known)?;
    let scanned = fields
        .require(reader, "fields")
        .and_then(|node| scanned(reader, node));
    let on_match = optional(fields.get("on_match"), |node| reader.choice(node, &ON_MATCH));
    let on_unscanned = optional(fields.get("on_unscanned"), |node| {
        reader.choice(node, &ON_UNSCANNED)
    });
    let max_chars = max_chars(reader, &fields, 10_000);
    let context = optional(fields.get("context"), |node| reader.choice(node, &CONTEXT));
    let context_template = optional(fields.get("context_template"), |node| template(reader, node));
    let handlers = optional(fields.get("handlers"), |node| reader.choice(node, &HANDLERS));
    Some(GuardRequest {
        fields: scanned?,
        on_match: on_match?.unwrap_or(OnMatch::Sanitize),
        on_unscanned: on_unscanned?.unwrap_or(OnUnscanned::Reject),
        max_chars: max_chars?,
        context: context?.unwrap_or(PromptContext::Header),
        context_template: context_template?,
        handlers: handlers?.unwrap_or_default(),
    })
}

fn response(reader: &mut Reader, node: &Node) -> Option<GuardResponse> {
    let known = ["fields", "on_match", "on_unscanned", "max_chars", "handlers"];
    let fields = reader.fields(node, "the guard's response", &known)?;
    let scanned = fields
        .require(reader, "fields")
        .and_then(|node| scanned(reader, node));
    let on_match = optional(fields.get("on_match"), |node| response_match(reader, node));
    let on_unscanned = optional(fields.get("on_unscanned"), |node| {
        reader.choice(node, &ON_UNSCANNED)
    });
    let max_chars = max_chars(reader, &fields, 50_000);
    let handlers = optional(fields.get("handlers"), |node| reader.choice(node, &HANDLERS));
    Some(GuardResponse {
        fields: scanned?,
        on_match: on_match?.unwrap_or(OnMatch::Reject),
        on_unscanned: on_unscanned?.unwrap_or(OnUnscanned::Reject),
        max_chars: max_chars?,
        handlers: handlers?.unwrap_or_default(),
    })
}

fn response_match(reader: &mut Reader, node: &Node) -> Option<OnMatch> {
    if reader.text(node)? == "sanitize" {
        reader.mistake(
            &node.place,
            "a response is not sanitized, only refused or reported: reject or report",
        );
        return None;
    }
    reader.choice(node, &[("reject", OnMatch::Reject), ("report", OnMatch::Report)])
}

fn max_chars(reader: &mut Reader, fields: &Fields<'_>, default: u32) -> Option<NonZeroUsize> {
    let number = optional(fields.get("max_chars"), |node| {
        reader.whole(node, 1..=100_000_000)
    })?;
    NonZeroUsize::new(usize::try_from(number.unwrap_or(default)).ok()?)
}

/// More than one line is its purpose, so line ends are no fault here.
fn template(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let is_control = |char: char| char.is_control() && char != '\n' && char != '\t';
    if text.trim().is_empty() || text.len() > 8192 || text.contains(is_control) {
        reader.mistake(
            &node.place,
            "a template is a text of at most 8192 bytes, without control characters",
        );
        return None;
    }
    if let Some(name) = unknown_placeholder(text) {
        reader.mistake(
            &node.place,
            format!(
                "nothing is known as {}{}",
                quoted(name),
                did_you_mean(name, CONTEXT_PLACEHOLDERS)
            ),
        );
        return None;
    }
    if !text.contains("{context_owner}") {
        reader.mistake(
            &node.place,
            "the template does not say whose data it is about: it needs {context_owner}",
        );
        return None;
    }
    Some(text.into())
}

/// The first `{name}` that stands for nothing; other braces are text.
fn unknown_placeholder(template: &str) -> Option<&str> {
    let names = template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'));
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    names
        .map(|(name, _)| name)
        .find(|name| is_name(name) && !CONTEXT_PLACEHOLDERS.contains(name))
}

fn scanned(reader: &mut Reader, node: &Node) -> Option<Vec<Box<str>>> {
    let items = reader.list(node, "JSON fields", 100)?;
    if items.is_empty() {
        reader.mistake(
            &node.place,
            "no field would be scanned; give at least one, or [\"*\"] for every text",
        );
        return None;
    }
    all(items.iter().map(|item| {
        let text = reader.text(item)?;
        if is_field(text) {
            return Some(text.into());
        }
        reader.mistake(
            &item.place,
            format!(
                "expected a JSON field such as input, messages[*].content or *; found {}",
                quoted(text)
            ),
        );
        None
    }))
}

/// `*`, or names with dots between them, each of which may be followed by `[*]`.
fn is_field(text: &str) -> bool {
    let is_name = |part: &str| {
        let name = part.trim_end_matches("[*]");
        !name.is_empty() && !name.contains(|char: char| char.is_control() || "[]*\" ".contains(char))
    };
    text == "*" || (text.len() <= 256 && text.split('.').all(is_name))
}

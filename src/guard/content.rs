//! What kind of body the headers announce.

use super::report::Unscanned;

/// How a body is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Json,
    JsonLines,
    EventStream,
    Text,
    Form,
}

/// Reads a content type. Strict, since whoever reads it otherwise would read another body than the one that was scanned: one
/// type, and parameters that are told apart only by `;`.
///
/// # Errors
///
/// When the body could not be read by the type, or is in another character set than UTF-8.
pub(super) fn kind(content_type: Option<&str>) -> Result<Kind, Unscanned> {
    let written = content_type.ok_or(Unscanned::ContentType)?;
    let (essence, parameters) = written.split_once(';').unwrap_or((written, ""));
    let essence = essence.trim_matches([' ', '\t']).to_ascii_lowercase();
    let (family, subtype) = essence.split_once('/').ok_or(Unscanned::ContentType)?;
    if !is_token(family) || !is_token(subtype) {
        return Err(Unscanned::ContentType);
    }
    let kind = match (family, subtype) {
        ("text", "event-stream") => Kind::EventStream,
        (
            "application" | "text",
            "x-ndjson" | "ndjson" | "jsonl" | "x-jsonlines" | "json-lines" | "jsonlines",
        ) => Kind::JsonLines,
        ("application" | "text", "json") => Kind::Json,
        (_, subtype) if subtype.ends_with("+json") => Kind::Json,
        ("application", "x-www-form-urlencoded") => Kind::Form,
        ("text", _) => Kind::Text,
        _ => return Err(Unscanned::ContentType),
    };
    for parameter in parameters.split(';') {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if !name.trim().eq_ignore_ascii_case("charset") {
            continue;
        }
        let charset = value.trim().trim_matches('"');
        // ASCII is UTF-8 already; whoever reads other bytes as something else finds no markup in them.
        let is_utf8 = ["utf-8", "utf8", "us-ascii", "ascii"]
            .iter()
            .any(|known| charset.eq_ignore_ascii_case(known));
        if !is_utf8 {
            return Err(Unscanned::Charset);
        }
    }
    Ok(kind)
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-'*%`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_how_a_body_is_read() {
        for (written, expected) in [
            ("application/json", Ok(Kind::Json)),
            ("Application/JSON ; charset=UTF-8", Ok(Kind::Json)),
            ("application/problem+json", Ok(Kind::Json)),
            ("application/json; charset=\"utf-8\"", Ok(Kind::Json)),
            ("application/json; charset=utf-16", Err(Unscanned::Charset)),
            ("application/json; x=1; CHARSET=utf-7", Err(Unscanned::Charset)),
            ("application/json, text/plain", Err(Unscanned::ContentType)),
            ("text/plain", Ok(Kind::Text)),
            ("text/html; charset=utf-8", Ok(Kind::Text)),
            ("text/event-stream", Ok(Kind::EventStream)),
            ("application/x-ndjson", Ok(Kind::JsonLines)),
            ("application/x-www-form-urlencoded", Ok(Kind::Form)),
            ("multipart/form-data; boundary=x", Err(Unscanned::ContentType)),
            ("application/octet-stream", Err(Unscanned::ContentType)),
            ("json", Err(Unscanned::ContentType)),
            ("application/js on", Err(Unscanned::ContentType)),
            ("", Err(Unscanned::ContentType)),
        ] {
            assert_eq!(kind(Some(written)), expected, "{written:?}");
        }
        assert_eq!(kind(None), Err(Unscanned::ContentType));
    }
}

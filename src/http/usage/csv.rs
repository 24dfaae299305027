//! Rows as CSV, for spreadsheets: RFC 4180.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::Serialize;

use super::super::error::ApiError;

/// Whether a caller prefers CSV over JSON.
pub(super) fn wants_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| {
        let mut kinds = accept
            .split(',')
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.find(|kind| matches!(*kind, "text/csv" | "application/json" | "*/*")) == Some("text/csv")
    })
}

/// Where the rows after these are, since CSV has no place to say so: RFC 8288, relative to what was asked for.
pub(super) fn link(uri: &Uri, parameter: &str, next: Option<&str>) -> Option<HeaderValue> {
    let others = uri.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && name != parameter
    });
    let mut target: String = others.flat_map(|pair| [pair, "&"]).collect();
    // An id may have any character of the name of an Envoy in it.
    let mut value = String::new();
    for byte in next?.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    target += &format!("{parameter}={value}");
    HeaderValue::try_from(format!("<?{target}>; rel=\"next\"")).ok()
}

/// RFC 4180, with a line of names. Only columns that a row has.
pub(super) fn csv<T: Serialize>(rows: &[T], next: Option<HeaderValue>) -> Result<Response, ApiError> {
    let broken =
        |error: serde_json::Error| ApiError::Internal(format!("a row has no columns: {error}").into());
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let serde_json::Value::Object(columns) = serde_json::to_value(row).map_err(broken)? else {
            return Err(ApiError::Internal("a row has no columns".into()));
        };
        if number == 0 {
            text += &columns.keys().cloned().collect::<Vec<_>>().join(",");
            text += "\r\n";
        }
        let cells: Vec<String> = columns.values().map(cell).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// A text that a spreadsheet would take for a formula is given as a text: a path is chosen by whoever calls.
fn quoted(text: &str) -> String {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sums;
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_never_formulas() {
        for (text, cell) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("-1,2", "\"'-1,2\""),
            ("", ""),
        ] {
            assert_eq!(quoted(text), cell, "{text}");
        }
    }

    #[test]
    fn csv_says_in_a_header_where_it_goes_on() {
        for (target, parameter, next, expected) in [
            ("/api/v1/usage", "offset", "50", "<?offset=50>; rel=\"next\""),
            (
                "/api/v1/usage?offset=50&group_by=key,day&&page_size=50",
                "offset",
                "100",
                "<?group_by=key,day&page_size=50&offset=100>; rel=\"next\"",
            ),
            (
                "/api/v1/usage/events?starting_after=x&failed=true",
                "starting_after",
                "7_a node>/1/2",
                "<?failed=true&starting_after=7_a%20node%3E%2F1%2F2>; rel=\"next\"",
            ),
        ] {
            let uri = Uri::from_static(target);
            let next = link(&uri, parameter, Some(next)).unwrap();
            assert_eq!(csv::<Sums>(&[], Some(next)).unwrap().headers()["link"], expected);
            assert_eq!(link(&uri, parameter, None), None);
        }
        assert!(!csv::<Sums>(&[], None).unwrap().headers().contains_key("link"));
    }

    #[test]
    fn csv_is_for_who_prefers_it() {
        for (accept, csv) in [
            ("text/csv", true),
            ("text/csv, application/json", true),
            ("application/json, text/csv", false),
            ("*/*", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_csv(&headers), csv, "{accept}");
        }
        assert!(!wants_csv(&HeaderMap::new()));
    }
}

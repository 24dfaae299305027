//! Headers and their values.

use std::io::Write;
use std::time::Duration;

use super::wire::Writer;
use crate::authorizer::Outcome;
use crate::config::Scope;
use crate::limits::NamedLimit;

/// A `HeaderValueOption` that overwrites. Both ways of saying so are needed: of request headers Envoy heeds `append` only, of
/// the others `append_action`, whose default appends. The bytes must be UTF-8.
pub(super) fn header(to: &mut Writer, field: u32, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    const HEADER: u32 = 1;
    const APPEND: u32 = 2;
    const APPEND_ACTION: u32 = 3;
    const OVERWRITE_IF_EXISTS_OR_ADD: u32 = 2;

    to.message(field, |option| {
        option.message(HEADER, |header| {
            header.text(1, name);
            header.message(2, |text| value(text.raw()));
        });
        // A BoolValue without fields: false.
        option.message(APPEND, |_| {});
        option.number(APPEND_ACTION, OVERWRITE_IF_EXISTS_OR_ADD);
    });
}

/// Text of which every byte outside visible ASCII, and `%` itself, is percent-encoded: no two texts share one value, and none
/// can end a header line.
pub(super) fn percent_encode(to: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'%' => to.extend_from_slice(b"%25"),
            b'!'..=b'~' => to.push(byte),
            _ => to.extend_from_slice(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
}

/// The scopes, separated by spaces; a scope has none itself.
pub(super) fn scope_list(to: &mut Vec<u8>, scopes: &[Scope]) {
    for (place, scope) in scopes.iter().enumerate() {
        if place > 0 {
            to.push(b' ');
        }
        percent_encode(to, scope.as_str());
    }
}

/// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), if a limit was counted.
pub(super) fn rate_limit_headers(to: &mut Writer, field: u32, outcome: &Outcome<'_>) {
    let Some((limit, verdict)) = &outcome.limit else {
        return;
    };
    header(to, field, "ratelimit", |value| {
        limit_name(value, limit);
        print(
            value,
            format_args!(
                ";r={};t={}",
                verdict.remaining,
                whole_seconds(verdict.reset_after)
            ),
        );
    });
    header(to, field, "ratelimit-policy", |value| {
        limit_name(value, limit);
        print(
            value,
            format_args!(";q={};w={}", limit.rule.limit, whole_seconds(limit.rule.window)),
        );
    });
}

/// The name as a string of a structured field (RFC 9651 §3.3.3), which holds ASCII only.
fn limit_name(to: &mut Vec<u8>, limit: &NamedLimit) {
    to.push(b'"');
    for piece in limit.name.split_inclusive(['"', '\\']) {
        match piece.as_bytes() {
            [plain @ .., quoted @ (b'"' | b'\\')] => {
                percent_encode(to, std::str::from_utf8(plain).unwrap_or_default());
                to.extend_from_slice(&[b'\\', *quoted]);
            }
            _ => percent_encode(to, piece),
        }
    }
    to.push(b'"');
}

/// Seconds, rounded up: who waits that long has waited long enough.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

pub(super) fn print(to: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a Vec takes every byte");
}

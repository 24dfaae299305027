//! Times as they are written: RFC 3339.

use std::time::{Duration, UNIX_EPOCH};

/// humantime prints years of four digits, and panics beyond.
const YEAR_9999_MS: u64 = 253_402_300_799_000;

/// In UTC, to the second.
pub(crate) fn written(at_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at_ms.min(YEAR_9999_MS));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Milliseconds since the Unix epoch. With `Z`, or with an offset such as `+02:00`.
pub(crate) fn read(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let (local, offset_ms) = match bytes {
        [.., b'Z' | b'z'] => (&text[..text.len() - 1], 0),
        [.., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let two = |a: &u8, b: &u8| {
                (a.is_ascii_digit() && b.is_ascii_digit())
                    .then(|| i64::from(a - b'0') * 10 + i64::from(b - b'0'))
            };
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60_000;
            (
                &text[..text.len() - 6],
                if *sign == b'+' { offset } else { -offset },
            )
        }
        _ => return None,
    };
    if !local.is_ascii() || !matches!(local.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let at = humantime::parse_rfc3339(&format!("{}T{}Z", &local[..10], &local[11..])).ok()?;
    let at_ms = i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    u64::try_from(at_ms - offset_ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        for (text, at_ms) in [
            ("2026-01-05T09:00:00Z", Some(1_767_603_600_000)),
            ("2026-01-05t09:00:00z", Some(1_767_603_600_000)),
            ("2026-01-05T11:00:00+02:00", Some(1_767_603_600_000)),
            ("2026-01-05T03:30:00.5-05:30", Some(1_767_603_600_500)),
            ("2026-01-05T09:00:00", None),
            ("2026-01-05T09:00:00+11", None),
            ("2026-01-05 09:00:00Z", None),
            ("2026-13-05T09:00:00Z", None),
            ("1969-01-05T09:00:00Z", None),
            ("2026-01-05T09:00:00+24:00", None),
            ("2026-01-05T09:00:0\u{e9}Z", None),
            ("\u{e9}+02:00", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(read(text), at_ms, "{text}");
        }
        assert_eq!(written(1_767_603_600_500), "2026-01-05T09:00:00Z");
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59Z");
    }
}

//! Form bodies: `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use super::report::Unscanned;

/// One `name=value` of a form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pair<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) value: Cow<'t, str>,
    /// Where the value stands, as written; both are its end if the pair has no `=`.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Reads the pairs of a form.
///
/// # Errors
///
/// When a name or a value is not percent-encoded UTF-8.
pub(super) fn pairs(body: &str) -> Result<Vec<Pair<'_>>, Unscanned> {
    let mut at = 0;
    let mut pairs = Vec::new();
    for written in body.split('&') {
        let to = at + written.len();
        let (name, value) = written.split_once('=').unwrap_or((written, ""));
        pairs.push(Pair {
            name: decode(name)?,
            value: decode(value)?,
            from: to - value.len(),
            to,
        });
        at = to + 1;
    }
    Ok(pairs)
}

fn decode(written: &str) -> Result<Cow<'_, str>, Unscanned> {
    if !written.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(written));
    }
    let mut decoded = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let high = digit().ok_or(Unscanned::InvalidForm)?;
                let low = digit().ok_or(Unscanned::InvalidForm)?;
                u8::try_from(high * 16 + low).map_err(|_| Unscanned::InvalidForm)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Unscanned::InvalidForm)
}

/// Writes a value as a browser does: letters, digits and `*-._` as they are, a space as `+`, the rest percent-encoded.
pub(super) fn write_value(value: &str, output: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b' ' => output.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) => output.push(char::from(byte)),
            _ => output.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_know_what_they_say_and_where_they_stand() {
        let body = "input=a%20b+c&x&y=1=2&%C3%A9=%e2%82%ac";
        let read: Vec<_> = pairs(body)
            .unwrap()
            .into_iter()
            .map(|pair| {
                (
                    pair.name.into_owned(),
                    pair.value.into_owned(),
                    body[pair.from..pair.to].to_owned(),
                )
            })
            .collect();
        let expected = [
            ("input", "a b c", "a%20b+c"),
            ("x", "", ""),
            ("y", "1=2", "1=2"),
            ("é", "€", "%e2%82%ac"),
        ];
        assert_eq!(
            read,
            expected.map(|(name, value, written)| (name.into(), value.into(), written.into()))
        );
    }

    #[test]
    fn what_is_not_percent_encoded_utf_8_is_refused() {
        for body in ["input=%", "input=%4", "input=%zz", "%ff=1", "input=%c3%28"] {
            assert_eq!(pairs(body), Err(Unscanned::InvalidForm), "{body}");
        }
    }

    #[test]
    fn a_written_value_reads_back() {
        let mut written = String::new();
        write_value("a b&c=é+%;\n\"", &mut written);
        assert_eq!(decode(&written).unwrap(), "a b&c=é+%;\n\"");
        assert!(
            written
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+%".contains(&byte))
        );
    }
}

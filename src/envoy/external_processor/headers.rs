//! Headers as the processor receives them.

use crate::envoy::messages::envoy::service::ext_proc::v3::HttpHeaders;

/// Reads the headers of one message. Names are in lower case, as Envoy has them.
pub(super) struct Headers<'m>(&'m HttpHeaders);

impl<'m> Headers<'m> {
    pub(super) fn of(message: &'m HttpHeaders) -> Self {
        Self(message)
    }

    /// Every value under this name, in order. Envoy sends `raw_value`; `value` is older.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'m [u8]> {
        self.0
            .headers
            .iter()
            .flat_map(|map| &map.headers)
            .filter(move |header| header.key.eq_ignore_ascii_case(name))
            .map(|header| match &header.raw_value[..] {
                [] => header.value.as_bytes(),
                raw => raw,
            })
    }

    /// The value, if the header is there. Where it comes more than once, all of them with commas between, as HTTP joins them
    /// (RFC 9110 §5.3): what then is no single type or coding is taken for none that can be read.
    pub(super) fn joined(&self, name: &str) -> Option<Box<str>> {
        let mut values = self.all(name);
        let mut joined = values.next()?.to_vec();
        for value in values {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(String::from_utf8_lossy(&joined).trim().into())
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.all(":status").next()?)
            .ok()?
            .parse()
            .ok()
    }

    /// `x-request-id`, if it came once and may be echoed.
    pub(super) fn request_id(&self) -> Option<&'m str> {
        let mut values = self.all("x-request-id");
        let id = values.next()?;
        match values.next() {
            Some(_) => None,
            None => crate::decision::speakable_id(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::request_headers;
    use super::super::wire::Request;
    use super::*;

    fn read<T>(pairs: &[(&str, &str)], read: impl Fn(&Headers<'_>) -> T) -> T {
        let Request::RequestHeaders(headers) = request_headers(pairs, false) else {
            unreachable!("made as such");
        };
        read(&Headers::of(&headers))
    }

    #[test]
    fn a_header_that_comes_twice_is_joined() {
        let pairs = [
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ];
        assert_eq!(
            read(&pairs, |headers| headers.joined("content-type")).as_deref(),
            Some("application/json, text/plain")
        );
        assert_eq!(read(&[], |headers| headers.joined("content-type")), None);
    }

    #[test]
    fn only_a_harmless_request_id_is_echoed() {
        for (pairs, id) in [
            (&[("x-request-id", "a-1")][..], Some("a-1")),
            (&[("x-request-id", "a\"b")], None),
            (&[("x-request-id", "a"), ("x-request-id", "b")], None),
            (&[], None),
        ] {
            assert_eq!(
                read(pairs, |headers| headers.request_id().map(str::to_owned)).as_deref(),
                id
            );
        }
    }

    #[test]
    fn an_older_value_is_read_too() {
        let mut headers = HttpHeaders::default();
        let old = crate::envoy::messages::envoy::config::core::v3::HeaderValue {
            key: ":status".into(),
            value: "204".into(),
            raw_value: Vec::new(),
        };
        headers.headers.get_or_insert_default().headers.push(old);
        assert_eq!(Headers::of(&headers).status(), Some(204));
    }
}

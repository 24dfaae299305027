//! The bearer token of a request (RFC 6750 §2.1), read strictly.
//!
//! Length and characters are checked before anything else is done with it. Two `Authorization` headers, or another scheme, are
//! errors and never "no token": who meant to show something must not be served as somebody who did not.

use std::fmt;

use http::{HeaderMap, header};

use super::AuthError;

/// The longest bearer token, in bytes. JWTs of identity providers have up to a few kilobytes.
const LONGEST_BYTES: usize = 8192;

/// A bearer token: 1 to [`LONGEST_BYTES`] characters of `b64token`. Has no `Display`, and its `Debug` shows nothing of it.
pub(super) struct Bearer<'h>(&'h str);

impl<'h> Bearer<'h> {
    /// The one of a request. `Ok(None)`: there is no `Authorization` header.
    pub(super) fn of(headers: &'h HeaderMap) -> Result<Option<Self>, AuthError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(AuthError::Malformed);
        }
        match value.to_str().ok().and_then(token) {
            Some(token) => Ok(Some(Self(token))),
            None => Err(AuthError::Malformed),
        }
    }

    /// The token, for the one who must hash or verify it.
    pub(super) fn expose(&self) -> &'h str {
        self.0
    }
}

/// The scheme in any case, one or more spaces, then `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn token(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let token = rest.trim_matches(' ');
    let body = token.trim_end_matches('=');
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    (!body.is_empty() && token.len() <= LONGEST_BYTES && body.bytes().all(good)).then_some(token)
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn read(values: &[&[u8]]) -> Result<Option<String>, AuthError> {
        let headers = headers(values);
        Bearer::of(&headers).map(|bearer| bearer.map(|bearer| bearer.expose().to_owned()))
    }

    #[test]
    fn a_bearer_is_one_token_of_the_right_characters() {
        for (value, token) in [
            ("Bearer abc", "abc"),
            ("bearer abc", "abc"),
            ("BEARER abc", "abc"),
            ("Bearer   abc  ", "abc"),
            ("Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ] {
            assert_eq!(read(&[value.as_bytes()]), Ok(Some(token.to_owned())), "{value:?}");
        }
    }

    #[test]
    fn what_is_no_bearer_is_an_error_and_not_nobody() {
        let long = format!("Bearer {}", "a".repeat(LONGEST_BYTES + 1));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer ==",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a=b",
            "Bearer\ta",
            "Bearer \"a\"",
            "Basic dXNlcjpwdw==",
            "abc",
            "Bearerabc",
            "Bearer caf\u{e9}",
            &long,
        ] {
            assert_eq!(read(&[value.as_bytes()]), Err(AuthError::Malformed), "{value:?}");
        }
        assert_eq!(read(&[b"Bearer \xff"]), Err(AuthError::Malformed));
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(AuthError::Malformed));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn the_longest_bearer_passes_and_none_shows_itself() {
        let longest = "a".repeat(LONGEST_BYTES);
        assert_eq!(read(&[format!("Bearer {longest}").as_bytes()]), Ok(Some(longest)));
        let headers = headers(&[b"Bearer secret"]);
        assert_eq!(format!("{:?}", Bearer::of(&headers)), "Ok(Some(Bearer(..)))");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_either_is_refused_or_comes_out_as_it_was(value in "[ -~\u{80}-\u{ff}]{0,60}") {
            let sent = format!("Bearer {value}");
            match read(&[sent.as_bytes()]) {
                Ok(Some(token)) => {
                    prop_assert_eq!(token.as_str(), value.trim_matches(' '));
                    prop_assert!(token.bytes().all(|byte| byte.is_ascii_graphic() && !b",;\"\\".contains(&byte)));
                }
                other => prop_assert_eq!(other, Err(AuthError::Malformed)),
            }
        }
    }
}

//! What a verified JWT says, and whether it is meant for us, now.

use serde::Deserialize;
use serde_json::Value;

/// How far the clocks of an issuer and of this machine may be apart, in seconds.
pub(super) const LEEWAY_SECONDS: f64 = 30.0;

/// The claims that matter (RFC 7519 §4.1, RFC 9068 §2.2).
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: Option<String>,
    pub(super) sub: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) azp: Option<String>,
    aud: Option<Value>,
    exp: Option<f64>,
    nbf: Option<f64>,
    cnf: Option<Value>,
    scope: Option<Value>,
    scp: Option<Value>,
    scopes: Option<Value>,
    permissions: Option<Value>,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// `iss`, if one is expected.
    pub(super) issuer: Option<&'a str>,
    /// One of `aud`.
    pub(super) audience: &'a str,
    /// The lower-case types that `typ` may be; `None` stands for its absence.
    pub(super) types: &'a [Option<&'a str>],
}

/// The types of access tokens: issuers write `JWT`, or what RFC 9068 §2.1 wants, or nothing.
pub(super) const ACCESS_TOKEN_TYPES: &[Option<&str>] =
    &[None, Some("jwt"), Some("at+jwt"), Some("application/at+jwt")];

impl Claims {
    /// The claims, if they are what is expected now. `now`: seconds since the Unix epoch.
    ///
    /// A token that is bound to a key of its sender (`cnf`) is refused: nobody here would look for the proof.
    pub(super) fn accepted(
        json: &[u8],
        typ: Option<&str>,
        expected: &Expected<'_>,
        now: f64,
    ) -> Option<Self> {
        let typ = typ.map(str::to_ascii_lowercase);
        let claims: Self = serde_json::from_slice(json).ok()?;
        let in_time = claims
            .exp
            .is_some_and(|exp| exp.is_finite() && now < exp + LEEWAY_SECONDS)
            && claims
                .nbf
                .is_none_or(|nbf| nbf.is_finite() && nbf - LEEWAY_SECONDS <= now);
        let for_us = words(claims.aud.as_ref(), false).any(|aud| aud == expected.audience);
        let from_them = expected
            .issuer
            .is_none_or(|issuer| claims.iss.as_deref() == Some(issuer));
        let is_typed = expected.types.contains(&typ.as_deref());
        (in_time && for_us && from_them && is_typed && claims.cnf.is_none()).then_some(claims)
    }

    /// Everything that it allows: issuers name the claim differently, and write one text or a list.
    pub(super) fn permissions(&self) -> Vec<Box<str>> {
        [&self.scope, &self.scp, &self.scopes, &self.permissions]
            .into_iter()
            .flat_map(|claim| words(claim.as_ref(), true))
            .map(Into::into)
            .collect()
    }

    /// Who it is about, for the audit log.
    pub(super) fn subject(&self) -> &str {
        [&self.sub, &self.client_id, &self.azp]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty())
            .map_or("unknown", String::as_str)
    }
}

/// The texts of a claim: one, or a list of them; `split` takes one text apart at spaces. Any other value says nothing.
fn words(claim: Option<&Value>, split: bool) -> impl Iterator<Item = &str> {
    let (one, list) = match claim {
        Some(Value::String(text)) => (Some(text.as_str()), &[][..]),
        Some(Value::Array(list)) => (None, list.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter()
        .flat_map(move |text| text.split(move |char| split && char == ' '))
        .chain(list.iter().filter_map(Value::as_str))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: f64 = 1_800_000_000.0;
    const EXPECTED: Expected<'static> = Expected {
        issuer: Some("https://issuer.example"),
        audience: "latchkey",
        types: ACCESS_TOKEN_TYPES,
    };

    fn good() -> Value {
        json!({"iss": "https://issuer.example", "aud": ["x", "latchkey"], "exp": NOW + 60.0, "sub": "machine"})
    }

    /// The claims of `good` with some replaced; `null` takes one away.
    fn with(changes: Value) -> Vec<u8> {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        serde_json::to_vec(&claims).unwrap()
    }

    fn is_accepted(json: &[u8], typ: Option<&str>) -> bool {
        Claims::accepted(json, typ, &EXPECTED, NOW).is_some()
    }

    #[test]
    fn a_token_is_accepted_from_its_issuer_for_us_and_in_its_time() {
        for (changes, expected) in [
            (json!({}), true),
            (json!({"aud": "latchkey"}), true),
            (json!({"aud": "other"}), false),
            (json!({"aud": "latchkey other"}), false),
            (json!({"aud": []}), false),
            (json!({"aud": {"latchkey": true}}), false),
            (json!({"aud": null}), false),
            (json!({"iss": "https://issuer.example/"}), false),
            (json!({"iss": ["https://issuer.example"]}), false),
            (json!({"iss": null}), false),
            (json!({"exp": NOW}), true),
            (json!({"exp": NOW - 29.0}), true),
            (json!({"exp": NOW - 30.0}), false),
            (json!({"exp": (NOW - 3600.0) as i64}), false),
            (json!({"exp": "1900000000"}), false),
            (json!({"exp": null}), false),
            (json!({"exp": 1e300}), true),
            (json!({"nbf": NOW + 30.0}), true),
            (json!({"nbf": NOW + 31.0}), false),
            (json!({"nbf": "soon"}), false),
            (json!({"cnf": {"jkt": "abc"}}), false),
            (json!({"unknown": [1, 2]}), true),
        ] {
            assert_eq!(is_accepted(&with(changes.clone()), None), expected, "{changes}");
        }
        for json in [
            "",
            "null",
            "[]",
            "{",
            "{\"exp\": 1e999}",
            "{\"aud\":\"latchkey\",\"aud\":\"latchkey\"}",
        ] {
            assert!(!is_accepted(json.as_bytes(), None), "{json}");
        }
    }

    #[test]
    fn other_kinds_of_jwt_are_no_access_tokens() {
        for (typ, expected) in [
            (None, true),
            (Some("JWT"), true),
            (Some("at+jwt"), true),
            (Some("application/at+JWT"), true),
            (Some("logout+jwt"), false),
            (Some("latchkey-assertion+jwt"), false),
            (Some(""), false),
        ] {
            assert_eq!(is_accepted(&with(json!({})), typ), expected, "{typ:?}");
        }
    }

    #[test]
    fn permissions_come_from_any_of_four_claims_as_text_or_list() {
        for (changes, expected) in [
            (
                json!({"scope": "read:api_keys create:api_keys"}),
                vec!["read:api_keys", "create:api_keys"],
            ),
            (json!({"scope": ["read:api_keys"]}), vec!["read:api_keys"]),
            (json!({"scp": ["read:api_keys", 7, null]}), vec!["read:api_keys"]),
            (
                json!({"scopes": "read:apis", "permissions": ["read:usage"]}),
                vec!["read:apis", "read:usage"],
            ),
            (json!({"permissions": {"read:usage": true}}), vec![]),
            (json!({"scope": "  "}), vec![]),
            // A list is a list: what it holds is not taken apart.
            (
                json!({"scp": ["read:apis read:usage"]}),
                vec!["read:apis read:usage"],
            ),
            (json!({}), vec![]),
        ] {
            let claims = Claims::accepted(&with(changes.clone()), None, &EXPECTED, NOW).unwrap();
            let found = claims.permissions();
            assert_eq!(
                found.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
                expected,
                "{changes}"
            );
        }
    }

    #[test]
    fn the_subject_is_a_name_if_the_token_has_any() {
        for (changes, expected) in [
            (json!({}), "machine"),
            (json!({"sub": "", "azp": "app"}), "app"),
            (
                json!({"sub": null, "client_id": "client", "azp": "app"}),
                "client",
            ),
            (json!({"sub": null}), "unknown"),
        ] {
            let claims = Claims::accepted(&with(changes.clone()), None, &EXPECTED, NOW).unwrap();
            assert_eq!(claims.subject(), expected, "{changes}");
        }
    }
}

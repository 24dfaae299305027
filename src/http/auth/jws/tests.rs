//! Which signatures are believed.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{Pair, encoded, set, unsigned};
use super::*;

fn key_of(jwk: Value) -> PublicKey {
    PublicKey::of_set(&set(&[jwk])).unwrap().remove(0)
}

fn verifies(token: &str, key: &PublicKey) -> bool {
    Unverified::of(token).is_some_and(|token| token.verify(key).is_some())
}

#[test]
fn each_algorithm_verifies_with_the_keys_that_fit_it_and_no_others() {
    let pairs = [
        (
            Pair::rsa(),
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        (Pair::p256(), &["ES256"]),
        (Pair::p384(), &["ES384"]),
        (Pair::ed25519(), &["EdDSA"]),
    ];
    let all: Vec<&str> = pairs
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    for (pair, fitting) in &pairs {
        let key = key_of(pair.jwk("k"));
        for algorithm in &all {
            let token = pair.jwt(&json!({"alg": algorithm, "kid": "k"}), &json!({"sub": "x"}));
            assert_eq!(verifies(&token, &key), fitting.contains(algorithm), "{algorithm}");
        }
        let stranger = key_of(match pair {
            Pair::Rsa(_) | Pair::P384(_) => Pair::p256().jwk("k"),
            Pair::P256(_) => Pair::p256().jwk("k"),
            Pair::Ed25519(_) => Pair::ed25519().jwk("k"),
        });
        let token = pair.jwt(&json!({"alg": fitting[0], "kid": "k"}), &json!({"sub": "x"}));
        assert!(!verifies(&token, &stranger), "{}", fitting[0]);
    }
}

/// RFC 7515 appendices A.2 and A.3, RFC 8037 appendix A.4.
#[test]
fn the_examples_of_the_standards_verify() {
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const A2_KEY: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const A3_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const A4_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let a3_key = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let a4_key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (name, key, token) in [
        (
            "A.2",
            json!({"kty": "RSA", "n": A2_KEY, "e": "AQAB"}),
            format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{A2_SIGNATURE}"),
        ),
        (
            "A.3",
            a3_key,
            format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{A3_SIGNATURE}"),
        ),
        ("A.4", a4_key, A4_TOKEN.to_owned()),
    ] {
        assert!(verifies(&token, &key_of(key)), "{name}");
    }
}

#[test]
fn no_header_can_choose_no_signature_or_a_shared_secret() {
    let pair = Pair::rsa();
    let (key, claims) = (key_of(pair.jwk("k")), json!({"sub": "x"}));
    for algorithm in [
        "none", "None", "NONE", "", "HS256", "HS384", "HS512", "rs256", "RS1", "ES256K", "ES512", "RSA-OAEP",
    ] {
        let header = json!({"alg": algorithm, "kid": "k"});
        for signature in ["", "AAAA"] {
            let token = format!("{}.{signature}", unsigned(&header, &claims));
            assert!(Unverified::of(&token).is_none(), "{algorithm}");
        }
        assert!(!verifies(&pair.jwt(&header, &claims), &key), "{algorithm}");
    }
    // The public key as the secret of an HMAC, in the three spellings that confused verifiers have taken.
    let jwk = pair.jwk("k");
    let modulus = decode(jwk["n"].as_str().unwrap()).unwrap();
    for secret in [
        jwk["n"].as_str().unwrap().as_bytes(),
        &modulus,
        jwk.to_string().as_bytes(),
    ] {
        let signed = unsigned(&json!({"alg": "HS256", "kid": "k"}), &claims);
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let token = format!(
            "{signed}.{}",
            encoded(ring::hmac::sign(&secret, signed.as_bytes()).as_ref())
        );
        assert!(!verifies(&token, &key));
    }
}

#[test]
fn what_is_no_compact_jwt_is_nothing() {
    let pair = Pair::ed25519();
    let good = pair.jwt(&json!({"alg": "EdDSA"}), &json!({}));
    let key = key_of(pair.jwk("k"));
    assert!(verifies(&good, &key));
    let parts: Vec<&str> = good.split('.').collect();
    let header = |header: Value| pair.jwt(&header, &json!({}));
    for token in [
        String::new(),
        "..".into(),
        "...".into(),
        parts[..2].join("."),
        format!("{good}."),
        format!(".{good}"),
        format!("{}.{}.{}.{}", parts[0], parts[1], parts[1], parts[2]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{} .{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", encoded(b"[]"), parts[1], parts[2]),
        format!(
            "{}.{}.{}",
            encoded(b"{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\"}"),
            parts[1],
            parts[2]
        ),
        header(json!({"alg": "EdDSA", "crit": ["exp"]})),
        header(json!({"alg": "EdDSA", "crit": ["b64"], "b64": false})),
        header(json!({"alg": "EdDSA", "kid": 7})),
        header(json!({"alg": ["EdDSA"]})),
        header(json!({"typ": "JWT"})),
        format!("{}.{}.{}", parts[0], "A".repeat(LONGEST_TOKEN), parts[2]),
    ] {
        assert!(!verifies(&token, &key), "{token}");
    }
    // A key that came with the token is not looked at.
    let own =
        header(json!({"alg": "EdDSA", "jwk": pair.jwk("k"), "jku": "https://evil.example", "x5c": ["AA=="]}));
    assert!(!verifies(&own, &key_of(Pair::ed25519().jwk("k"))));
}

#[test]
fn of_a_set_only_keys_that_verify_signatures_are_taken() {
    let (rsa, p256) = (Pair::rsa().jwk("k"), Pair::p256().jwk("k"));
    let changed = |jwk: &Value, changes: Value| {
        let mut jwk = jwk.clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    for (jwk, taken) in [
        (rsa.clone(), true),
        (
            changed(&rsa, json!({"use": "sig", "key_ops": ["verify"], "alg": "PS256"})),
            true,
        ),
        (changed(&rsa, json!({"use": "enc"})), false),
        (changed(&rsa, json!({"key_ops": ["encrypt"]})), false),
        (changed(&rsa, json!({"alg": "HS256"})), false),
        (changed(&rsa, json!({"alg": "RSA-OAEP"})), false),
        (changed(&rsa, json!({"alg": "ES256"})), false),
        (changed(&rsa, json!({"n": "!"})), false),
        (changed(&rsa, json!({"n": null})), false),
        (p256.clone(), true),
        (changed(&p256, json!({"crv": "P-521"})), false),
        (changed(&p256, json!({"crv": "P-384"})), false),
        (changed(&p256, json!({"x": "AA"})), false),
        (json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k"}), false),
        (
            json!({"kty": "OKP", "crv": "X25519", "x": encoded(&[1; 32])}),
            false,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&[1; 31])}),
            false,
        ),
        (json!("key"), false),
    ] {
        // A bad key does not spoil the good ones beside it.
        let keys = PublicKey::of_set(&set(&[jwk.clone(), p256.clone()])).unwrap();
        assert_eq!(keys.len(), 1 + usize::from(taken), "{jwk}");
    }
    for no_set in ["", "[]", "{}", "{\"keys\": {}}", "<html>", "null"] {
        assert!(PublicKey::of_set(no_set.as_bytes()).is_none(), "{no_set}");
    }
    let many = vec![p256; 100];
    assert_eq!(PublicKey::of_set(&set(&many)).unwrap().len(), MOST_KEYS);
}

#[test]
fn short_rsa_keys_verify_nothing_and_zeros_in_front_do_not_matter() {
    let pair = Pair::rsa();
    let token = pair.jwt(&json!({"alg": "RS256"}), &json!({}));
    let mut jwk = pair.jwk("k");
    let n = decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = encoded(&[&[0, 0][..], &n].concat()).into();
    assert!(verifies(&token, &key_of(jwk.clone())));
    jwk["n"] = encoded(&n[..128]).into();
    assert!(!verifies(&token, &key_of(jwk)));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(token in "[ -~]{0,200}") {
        let _ = Unverified::of(&token);
        let _ = PublicKey::of_set(token.as_bytes());
    }

    #[test]
    fn one_changed_byte_is_always_noticed(at in 0_usize..1000, to in any::<u8>()) {
        let pair = Pair::ed25519();
        let claims = json!({"sub": "x"});
        let token = pair.jwt(&json!({"alg": "EdDSA", "kid": "k"}), &claims);
        let mut bytes = token.clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to && to.is_ascii());
        bytes[at] = to;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(!verifies(&changed, &key_of(pair.jwk("k"))), "{changed}");
    }
}

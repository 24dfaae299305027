//! Signatures of JWTs: the compact form of RFC 7515, verified with *ring*.
//!
//! An algorithm is a value of [`Algorithm`], or there is none: `none` and the HMACs are not in it, so no header can choose them.
//! The key says which algorithms fit it, and the header only picks among those; a public RSA key is never taken for a secret.
//!
//! This is written out, because what a JWT library would add here is a process-wide registry of cryptography and a clock of
//! its own; the decisions (which algorithms, which claims) would still be ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest token, in bytes.
pub(super) const LONGEST_TOKEN: usize = 8192;
/// Most keys of a set that are looked at.
const MOST_KEYS: usize = 64;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The header of a token. Other parameters do not matter, unless `crit` says that they must.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    crit: Option<Value>,
}

/// A token that was taken apart. Nothing in it is to be believed before [`Self::verify`].
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    pub(super) header: Header,
    signed: &'t str,
    payload: &'t str,
    signature: Vec<u8>,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart; `None` when it is no JWT that could be good.
    pub(super) fn of(token: &'t str) -> Option<Self> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        // RFC 7515 §4.1.11: who does not understand a critical parameter must refuse; this understands none.
        if header.crit.is_some() || payload.contains('.') {
            return None;
        }
        Some(Self {
            header,
            signed,
            payload,
            signature: decode(signature)?,
        })
    }

    /// The claims as bytes of JSON, if this key has signed them.
    pub(super) fn verify(&self, key: &PublicKey) -> Option<Vec<u8>> {
        if key.verifies(self.header.alg, self.signed.as_bytes(), &self.signature) {
            decode(self.payload)
        } else {
            None
        }
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// A public key that verifies signatures.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    kid: Option<Box<str>>,
    /// The only algorithm it is for, if its set says so.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key as a JWK Set has it (RFC 7517 §4).
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublicKey {
    /// The keys of a JWK Set that can verify signatures; `None` when it is no JWK Set. A key that is none of those
    /// is passed over, as RFC 7517 §5 wants.
    pub(super) fn of_set(set: &[u8]) -> Option<Vec<Self>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(set).ok()?;
        let jwks = set.keys.into_iter().take(MOST_KEYS);
        Some(
            jwks.filter_map(|jwk| Self::of_jwk(&serde_json::from_value(jwk).ok()?))
                .collect(),
        )
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if jwk.used_for.as_deref().is_some_and(|used_for| used_for != "sig")
            || jwk.key_ops.as_ref().is_some_and(|ops| !verifies(ops))
        {
            return None;
        }
        let part = |part: &Option<String>| decode(part.as_deref()?);
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: number(part(&jwk.n)?),
                e: number(part(&jwk.e)?),
            },
            ("EC", Some("P-256")) => Material::P256(point(&part(&jwk.x)?, &part(&jwk.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&part(&jwk.x)?, &part(&jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(part(&jwk.x).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let key = Self {
            kid: jwk.kid.as_deref().map(Into::into),
            only: match &jwk.alg {
                Some(alg) => Some(serde_json::from_value(alg.as_str().into()).ok()?),
                None => None,
            },
            material,
        };
        key.only
            .is_none_or(|only| key.scheme(only).is_some())
            .then_some(key)
    }

    /// A key of our own: an uncompressed point of P-256.
    pub(super) fn p256(kid: &str, point: &[u8]) -> Self {
        Self {
            kid: Some(kid.into()),
            only: Some(Algorithm::Es256),
            material: Material::P256(point.into()),
        }
    }

    /// A key of our own of Ed25519.
    pub(super) fn ed25519(kid: &str, key: &[u8]) -> Self {
        Self {
            kid: Some(kid.into()),
            only: Some(Algorithm::EdDsa),
            material: Material::Ed25519(key.into()),
        }
    }

    /// Its id.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether signatures of this algorithm can be its own.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.scheme(algorithm).is_some()
    }

    fn scheme(&self, algorithm: Algorithm) -> Option<Scheme> {
        if self.only.is_some_and(|only| only != algorithm) {
            return None;
        }
        // ring: RSA keys of 2048 to 8192 bits; ECDSA signatures of fixed length, as RFC 7518 §3.4 has them.
        Some(match (&self.material, algorithm) {
            (Material::Rsa { .. }, Algorithm::Rs256) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Material::Rsa { .. }, Algorithm::Rs384) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Material::Rsa { .. }, Algorithm::Rs512) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Material::Rsa { .. }, Algorithm::Ps256) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Material::Rsa { .. }, Algorithm::Ps384) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Material::Rsa { .. }, Algorithm::Ps512) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Material::P256(_), Algorithm::Es256) => Scheme::Curve(&signature::ECDSA_P256_SHA256_FIXED),
            (Material::P384(_), Algorithm::Es384) => Scheme::Curve(&signature::ECDSA_P384_SHA384_FIXED),
            (Material::Ed25519(_), Algorithm::EdDsa) => Scheme::Curve(&signature::ED25519),
            _ => return None,
        })
    }

    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match (self.scheme(algorithm), &self.material) {
            (Some(Scheme::Rsa(parameters)), Material::Rsa { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
            (
                Some(Scheme::Curve(parameters)),
                Material::P256(key) | Material::P384(key) | Material::Ed25519(key),
            ) => UnparsedPublicKey::new(parameters, key).verify(signed, signature),
            _ => return false,
        };
        verified.is_ok()
    }
}

enum Scheme {
    Rsa(&'static signature::RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

/// A big-endian number without zeros in front; some issuers write them, and ring refuses them.
fn number(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes[zeros..].to_vec()
}

fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests;

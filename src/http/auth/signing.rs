//! The keys that sign the tokens of our own machine clients.
//!
//! They are PKCS#8 files in one folder, the same on every replica: ES256 (P-256) or EdDSA (Ed25519). The file whose name comes
//! last signs; all of them verify. So a key is rotated by adding a file, and removing the old one after the lifetime of
//! a token. A replica that meets a key id that it does not know reads the folder again, so no order of restarts matters.
//!
//! A key id is `lk-` and the thumbprint of the key (RFC 7638): every replica finds the same one without a word.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::first_token::create_exclusively;
use super::jws::{Algorithm, PublicKey};
use super::secret_file::{self, SecretFileError};

/// The file that is made in an empty folder.
const FIRST_FILE: &str = "0001.pem";
/// What our key ids begin with, so that the key of an identity provider's token is not looked for here.
pub(super) const KID_PREFIX: &str = "lk-";
/// Most files of a folder that are read.
const MOST_KEYS: usize = 64;
/// The least time between two readings of the folder.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a reading is waited for: the folder may be on a file system of the network.
const DEADLINE: Duration = Duration::from_secs(2);

/// The signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningKeysError {
    /// The folder cannot be read, or the first key cannot be written into it.
    #[error("the folder of signing keys {}: {cause}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file in it cannot be read.
    #[error("signing key {0}")]
    File(#[from] SecretFileError),
    /// A file in it holds no key that can sign.
    #[error("signing key {} is no PKCS#8 private key of P-256 or Ed25519 in PEM", .0.display())]
    NoKey(PathBuf),
    /// No key could be made.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// The signing keys of this replica.
pub(super) struct SigningKeys {
    folder: PathBuf,
    keys: ArcSwap<Vec<SigningKey>>,
    /// When the folder was last read. Held while it is read, so that one thread at most hangs with its file system.
    last_read: Arc<Mutex<Instant>>,
}

/// A key pair and its public half.
struct SigningKey {
    kid: Box<str>,
    pair: Pair,
    public: PublicKey,
    jwk: Value,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: Algorithm,
    kid: &'a str,
}

impl SigningKeys {
    /// Reads a folder; makes it, and a first key in it, if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, SigningKeysError> {
        let failed = |cause| SigningKeysError::Folder {
            path: folder.into(),
            cause,
        };
        if !folder.try_exists().map_err(failed)? {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let mut keys = read(folder)?;
        if keys.is_empty() {
            create_exclusively(&folder.join(FIRST_FILE), new_key()?.as_bytes()).map_err(failed)?;
            keys = read(folder)?;
            info!(folder = %folder.display(), "a first signing key was made");
        }
        Ok(Self {
            folder: folder.into(),
            keys: ArcSwap::from_pointee(keys),
            last_read: Arc::new(Mutex::new(Instant::now())),
        })
    }

    /// The public key with this id. For one that is not known the folder is read again, at most once in [`PAUSE`].
    pub(super) async fn find(self: &Arc<Self>, kid: &str) -> Option<PublicKey> {
        if let Some(key) = self.known(kid) {
            return Some(key);
        }
        self.refresh().await;
        self.known(kid)
    }

    fn known(&self, kid: &str) -> Option<PublicKey> {
        let keys = self.keys.load();
        keys.iter()
            .find(|key| *key.kid == *kid)
            .map(|key| key.public.clone())
    }

    /// Reads the folder again, unless that was done a moment ago.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let keys = Arc::clone(self);
        let reading = async move {
            let mut last_read = Arc::clone(&keys.last_read).lock_owned().await;
            if last_read.elapsed() < PAUSE {
                return Ok(());
            }
            tokio::task::spawn_blocking(move || {
                keys.read_again();
                *last_read = Instant::now();
            })
            .await
        };
        if !matches!(timeout(DEADLINE, reading).await, Ok(Ok(()))) {
            warn!("the folder of signing keys does not answer; the keys that are known stay");
        }
    }

    fn read_again(&self) {
        match read(&self.folder) {
            Ok(keys) if keys.is_empty() => {
                warn!("the folder of signing keys is empty; the keys that are known stay");
            }
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => warn!(%error, "the signing keys cannot be read again; those that are known stay"),
        }
    }

    /// A token of this type with these claims, signed by the newest key.
    pub(super) fn sign(&self, typ: &str, claims: &Value) -> Result<String, SigningKeysError> {
        let keys = self.keys.load();
        // `open` saw to it that there is one, and an empty folder replaces nothing.
        let key = keys.last().ok_or(SigningKeysError::NoRandomness)?;
        let header = Header {
            typ,
            alg: key.pair.algorithm(),
            kid: &key.kid,
        };
        let header = serde_json::to_vec(&header).expect("three texts are JSON");
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encoded(&header), encoded(claims.to_string().as_bytes()));
        let signature = key
            .pair
            .sign(signed.as_bytes())
            .ok_or(SigningKeysError::NoRandomness)?;
        Ok(format!("{signed}.{}", encoded(&signature)))
    }

    /// The public halves as a JWK Set (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        let jwks: Vec<Value> = self.keys.load().iter().map(|key| key.jwk.clone()).collect();
        json!({ "keys": jwks })
    }
}

impl Pair {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Nothing: the operating system gave no random bytes.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::P256(pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
            Self::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl SigningKey {
    fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let der = der.secret_pkcs8_der();
        let (p256, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pair = EcdsaKeyPair::from_pkcs8(p256, der, &random)
            .map(Pair::P256)
            .or_else(|_| {
                // OpenSSL writes PKCS#8 without the public half; ring computes it then.
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519)
            });
        Some(Self::of_pair(pair.ok()?))
    }

    fn of_pair(pair: Pair) -> Self {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // What a thumbprint is taken of: the members of RFC 7638 §3.2 and RFC 8037 §2, in their order and without a space.
        let (bytes, thumbprint_of) = match &pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref().to_vec();
                // 0x04 and two coordinates of 32 bytes.
                let (x, y) = point[1..].split_at(32);
                let (x, y) = (encoded(x), encoded(y));
                let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                (point, members)
            }
            Pair::Ed25519(pair) => {
                let key = pair.public_key().as_ref().to_vec();
                let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encoded(&key));
                (key, members)
            }
        };
        let kid: Box<str> = format!("{KID_PREFIX}{}", encoded(&Sha256::digest(&thumbprint_of))).into();
        let mut jwk: Value = serde_json::from_str(&thumbprint_of).expect("words and base64url are JSON");
        jwk["kid"] = (*kid).into();
        jwk["use"] = "sig".into();
        jwk["alg"] = json!(pair.algorithm());
        let public = match pair {
            Pair::P256(_) => PublicKey::p256(&kid, &bytes),
            Pair::Ed25519(_) => PublicKey::ed25519(&kid, &bytes),
        };
        Self {
            kid,
            pair,
            public,
            jwk,
        }
    }
}

/// The keys of a folder in the order of their names. Files that do not end in `.pem` are none.
fn read(folder: &Path) -> Result<Vec<SigningKey>, SigningKeysError> {
    let failed = |cause| SigningKeysError::Folder {
        path: folder.into(),
        cause,
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    if files.len() > MOST_KEYS {
        warn!(
            keys = files.len(),
            "only the last {MOST_KEYS} signing keys are used"
        );
        files.drain(..files.len() - MOST_KEYS);
    }
    files
        .into_iter()
        .map(|file| {
            let pem = secret_file::read_bytes(&file)?;
            SigningKey::of_pem(&pem).ok_or(SigningKeysError::NoKey(file))
        })
        .collect()
}

/// A new private key of P-256 in PEM: of the two algorithms the one that more libraries know.
fn new_key() -> Result<Zeroizing<String>, SigningKeysError> {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| SigningKeysError::NoRandomness)?;
    let body = Zeroizing::new(STANDARD.encode(made.as_ref()));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + 128));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<Box<str>> = self.keys.load().iter().map(|key| key.kid.clone()).collect();
        f.debug_struct("SigningKeys")
            .field("kids", &kids)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::jws::Unverified;
    use super::*;

    const P256: &str = include_str!("testdata/openssl-p256.pem");
    const ED25519: &str = include_str!("testdata/openssl-ed25519.pem");

    fn verifies(token: &str, keys: &SigningKeys) -> bool {
        let token = Unverified::of(token).unwrap();
        // As a stranger would do it, who has the set only.
        let set = PublicKey::of_set(keys.jwks().to_string().as_bytes()).unwrap();
        let key = set.iter().find(|key| key.kid() == token.header.kid.as_deref());
        key.is_some_and(|key| token.verify(key).is_some())
    }

    #[test]
    fn a_first_key_is_made_that_only_its_owner_can_read_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("signing");
        let keys = SigningKeys::open(&path).unwrap();
        let token = keys.sign("at+jwt", &json!({"sub": "x"})).unwrap();
        assert!(verifies(&token, &keys));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(FIRST_FILE))), (0o700, 0o600));
        let again = SigningKeys::open(&path).unwrap();
        assert_eq!(again.jwks(), keys.jwks());
        assert!(!keys.jwks().to_string().contains("\"d\""));
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }

    #[tokio::test]
    async fn a_key_that_is_added_signs_and_the_old_one_goes_on_verifying() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("0001.pem"), P256).unwrap();
        fs::write(folder.path().join("README"), "not a key").unwrap();
        let (here, there) = (
            SigningKeys::open(folder.path()).unwrap(),
            SigningKeys::open(folder.path()).unwrap(),
        );
        let (here, there) = (Arc::new(here), Arc::new(there));
        let old = here.sign("at+jwt", &json!({})).unwrap();
        assert_eq!(Unverified::of(&old).unwrap().header.alg, Algorithm::Es256);

        fs::write(folder.path().join("0002.pem"), ED25519).unwrap();
        let wait = || tokio::time::sleep(PAUSE + Duration::from_millis(50));
        wait().await;
        here.refresh().await;
        let new = here.sign("at+jwt", &json!({})).unwrap();
        let header = Unverified::of(&new).unwrap().header;
        assert_eq!(header.alg, Algorithm::EdDsa);
        assert!(verifies(&old, &here) && verifies(&new, &here));
        // The other replica has not read it yet, and does when it meets it.
        assert!(there.find(header.kid.as_deref().unwrap()).await.is_some());
        assert!(verifies(&old, &there) && verifies(&new, &there));

        fs::remove_file(folder.path().join("0001.pem")).unwrap();
        wait().await;
        here.refresh().await;
        assert!(!verifies(&old, &here) && verifies(&new, &here));

        // What cannot be read changes nothing.
        fs::write(folder.path().join("0003.pem"), "half a key").unwrap();
        wait().await;
        here.refresh().await;
        assert!(verifies(&new, &here));
    }

    #[test]
    fn a_file_that_is_no_key_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for bad in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "secret-garbage",
        ] {
            fs::write(folder.path().join("key.pem"), bad).unwrap();
            let error = SigningKeys::open(folder.path()).unwrap_err().to_string();
            assert!(
                error.contains("key.pem is no PKCS#8") && !error.contains("garbage"),
                "{error}"
            );
        }
    }
}

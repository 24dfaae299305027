//! Machine clients: who they are, the tokens that they get, and what those allow.
//!
//! A token is a JWT of the type `at+jwt` (RFC 9068) that a key of ours has signed, for the audience [`AUDIENCE`]. It counts for
//! as long as it says, and only while its client is in the settings and has the permission there. Other tokens that the same
//! keys may sign are of another type and for another audience, and are none of these.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::claims::{Claims, Expected};
use super::first_token::beside;
use super::jws::Unverified;
use super::principal::Principal;
use super::secret_file::{self, SecretFileError};
use super::signing::{SigningKeys, SigningKeysError};
use super::tokens::SHORTEST;
use crate::config::{ClientSecret, Management, ManagementClient, StoreUrl};

/// What every token of a machine client is for, beside the audience that its client asked for.
const AUDIENCE: &str = "latchkey:management";
/// The type of those tokens.
const TYPE: &str = "at+jwt";
/// How long a token counts.
pub(super) const LIFETIME: Duration = Duration::from_secs(900);

/// The machine clients of the settings, and the keys that sign their tokens.
pub(super) struct Machines {
    clients: HashMap<Box<str>, Client>,
    keys: Option<Arc<SigningKeys>>,
}

/// A machine client of the settings.
pub(super) struct Client {
    id: Box<str>,
    secret_digest: [u8; 32],
    permissions: Vec<Box<str>>,
}

/// The machine clients cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachinesError {
    /// The secret of a client cannot be read.
    #[error("machine client {id:?}: {cause}")]
    Secret {
        /// The client.
        id: Box<str>,
        /// Why.
        cause: SecretFileError,
    },
    /// The keys that sign tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] SigningKeysError),
    /// With PostgreSQL there may be other replicas, and they must have the same keys.
    #[error(
        "`management.clients` with PostgreSQL as the store needs `management.signing_keys.dir`, the same on every replica"
    )]
    NoFolder,
}

/// A token was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It asks for more than it has.
    TooMuch,
    /// It cannot be signed.
    NoKey,
}

/// What a machine client gets.
pub(super) struct Issued {
    pub(super) token: String,
    /// The permissions in it, with spaces between them.
    pub(super) scope: String,
}

/// What a machine client asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The origin that it called.
    pub(super) issuer: &'a str,
    /// The audiences that it named.
    pub(super) audiences: &'a [&'a str],
    /// The permissions that it named; none stands for all that it has.
    pub(super) scopes: &'a [&'a str],
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
}

impl Machines {
    /// Reads the secrets of the clients and the keys that sign. The keys are made, if there are none, where there are clients
    /// or the settings name their folder.
    pub(super) fn open(management: &Management, store: &StoreUrl) -> Result<Self, MachinesError> {
        let mut clients = HashMap::with_capacity(management.clients.len());
        for client in &management.clients {
            clients.insert(
                client.id.clone(),
                Client {
                    id: client.id.clone(),
                    secret_digest: digest_of(client)?,
                    permissions: client.permissions.clone(),
                },
            );
        }
        let keys = match folder(management, store)? {
            Some(folder) => Some(Arc::new(SigningKeys::open(&folder)?)),
            None => None,
        };
        Ok(Self { clients, keys })
    }

    /// A token for a client that has shown itself.
    pub(super) async fn issue(&self, client: &Client, wanted: Wanted<'_>) -> Result<Issued, Refusal> {
        let permissions: Vec<&str> = if wanted.scopes.is_empty() {
            client.permissions.iter().map(AsRef::as_ref).collect()
        } else {
            wanted.scopes.to_vec()
        };
        if permissions.iter().any(|permission| !client.may(permission)) {
            return Err(Refusal::TooMuch);
        }
        let scope = permissions.join(" ");
        let audiences: Vec<&str> = wanted.audiences.iter().copied().chain([AUDIENCE]).collect();
        let mut id_of_token = [0; 16];
        getrandom::fill(&mut id_of_token).map_err(|_| Refusal::NoKey)?;
        let claims = json!({
            "iss": wanted.issuer,
            "sub": client.id,
            "client_id": client.id,
            "azp": client.id,
            "aud": audiences,
            "iat": wanted.now,
            "exp": wanted.now + LIFETIME.as_secs(),
            "jti": URL_SAFE_NO_PAD.encode(id_of_token),
            "scope": scope,
        });
        let keys = self.keys.as_ref().ok_or(Refusal::NoKey)?;
        // A key that was added since should sign.
        keys.refresh().await;
        let token = keys.sign(TYPE, &claims).map_err(|_| Refusal::NoKey)?;
        Ok(Issued { token, scope })
    }

    /// The client with this id and one of these secrets. An unknown one takes the same path as one with a wrong secret.
    pub(super) fn client(&self, id: &str, secrets: &[&str]) -> Option<&Client> {
        let client = self.clients.get(id);
        let expected = client.map_or([0; 32], |client| client.secret_digest);
        let mut is_right = subtle::Choice::from(0);
        for secret in secrets {
            let presented: [u8; 32] = Sha256::digest(secret).into();
            is_right |= presented.ct_eq(&expected);
        }
        client.filter(|_| is_right.into())
    }

    /// Who holds this token; `None` when it is none of ours, or not good any more. `now`: seconds since the Unix epoch.
    pub(super) async fn holder_of(&self, token: &Unverified<'_>, now: f64) -> Option<Principal> {
        let expected = Expected {
            issuer: None,
            audience: AUDIENCE,
            types: &[Some(TYPE)],
        };
        let header = &token.header;
        let key = self.keys.as_ref()?.find(header.kid.as_deref()?).await?;
        let claims = token.verify(&key)?;
        let claims = Claims::accepted(&claims, header.typ.as_deref(), &expected, now)?;
        let id = claims.client_id.as_deref()?;
        let client = self.clients.get(id)?;
        let permissions = claims
            .permissions()
            .into_iter()
            .filter(|permission| client.may(permission));
        Some(Principal::client(id, permissions.collect()))
    }

    /// The public keys, for whoever verifies.
    pub(super) async fn jwks(&self) -> Value {
        match &self.keys {
            Some(keys) => {
                keys.refresh().await;
                keys.jwks()
            }
            None => json!({"keys": []}),
        }
    }

    /// Whether a key id is of the kind that our keys have.
    pub(super) fn is_own_kid(kid: &str) -> bool {
        kid.starts_with(super::signing::KID_PREFIX)
    }
}

impl Client {
    fn may(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| **held == *permission)
    }
}

fn digest_of(client: &ManagementClient) -> Result<[u8; 32], MachinesError> {
    match &client.secret {
        ClientSecret::Sha256(digest) => Ok(*digest),
        ClientSecret::File(path) => match secret_file::read(path, SHORTEST) {
            Ok(secret) => Ok(Sha256::digest(&*secret).into()),
            Err(cause) => Err(MachinesError::Secret {
                id: client.id.clone(),
                cause,
            }),
        },
    }
}

/// The folder of the signing keys: what the settings say, else beside the SQLite store.
fn folder(management: &Management, store: &StoreUrl) -> Result<Option<PathBuf>, MachinesError> {
    let beside_store = |store: &Path| beside(store, ".signing-keys");
    match (&management.signing_keys_dir, store) {
        (Some(folder), _) => Ok(Some(folder.clone())),
        (None, _) if management.clients.is_empty() => Ok(None),
        (None, StoreUrl::Sqlite(store)) => Ok(Some(beside_store(store))),
        (None, StoreUrl::Postgres(_)) => Err(MachinesError::NoFolder),
    }
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&Box<str>> = self.clients.keys().collect();
        f.debug_struct("Machines")
            .field("clients", &ids)
            .finish_non_exhaustive()
    }
}

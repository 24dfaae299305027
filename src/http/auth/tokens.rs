//! Static management tokens: files that are read, of which only digests stay in memory.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tracing::info;

use super::bearer::Bearer;
use super::first_token::{self, FirstTokenError};
use super::principal::Principal;
use super::secret_file::{self, SecretFileError};
use crate::config::{ALL_PERMISSIONS, ManagementToken};

/// The shortest token, in characters.
pub(super) const SHORTEST: usize = 16;

/// The static tokens.
pub(super) struct StaticTokens {
    tokens: Vec<Token>,
}

struct Token {
    digest: [u8; 32],
    holder: Principal,
}

/// A static token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokensError {
    /// Its file cannot.
    #[error("management token {name:?}: {cause}")]
    File {
        /// Its name.
        name: Box<str>,
        /// Why.
        cause: SecretFileError,
    },
    /// Two names, and one token: the audit log could not tell who it was.
    #[error("the management tokens {0:?} and {1:?} are the same")]
    Same(Box<str>, Box<str>),
    /// There is no token at all, and none can be made.
    #[error(transparent)]
    First(#[from] FirstTokenError),
}

impl StaticTokens {
    /// Reads the files of all tokens.
    pub(super) fn read(tokens: &[ManagementToken]) -> Result<Self, TokensError> {
        let mut read: Vec<Token> = Vec::with_capacity(tokens.len());
        for token in tokens {
            let name = &token.name;
            let secret =
                secret_file::read(&token.token_file, SHORTEST).map_err(|cause| TokensError::File {
                    name: name.clone(),
                    cause,
                })?;
            let digest = digest_of(&secret);
            if let Some(same) = read.iter().position(|other| other.digest == digest) {
                return Err(TokensError::Same(tokens[same].name.clone(), name.clone()));
            }
            let permissions = Arc::new(token.permissions.iter().cloned().collect());
            read.push(Token {
                digest,
                holder: Principal::token(name, permissions),
            });
        }
        Ok(Self { tokens: read })
    }

    /// The one token of this file, which may do everything; it is made if it is not there.
    pub(super) fn first(path: &Path) -> Result<Self, TokensError> {
        let secret = first_token::read_or_create(path)?;
        info!(path = %path.display(), "no management token is configured; the first one is in this file");
        let permissions: BTreeSet<Box<str>> = ALL_PERMISSIONS
            .iter()
            .map(|&permission| permission.into())
            .collect();
        Ok(Self {
            tokens: vec![Token {
                digest: digest_of(&secret),
                holder: Principal::token("first", Arc::new(permissions)),
            }],
        })
    }

    /// Who holds this token. Looks at every token, whichever it is.
    pub(super) fn holder_of(&self, bearer: &Bearer<'_>) -> Option<Principal> {
        let presented = digest_of(bearer.expose());
        let mut found = u32::MAX;
        for (at, token) in (0_u32..).zip(&self.tokens) {
            let same: Choice = token.digest.ct_eq(&presented);
            found.conditional_assign(&at, same);
        }
        self.tokens.get(found as usize).map(|token| token.holder.clone())
    }
}

fn digest_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: HashSet<&str> = self.tokens.iter().map(|token| token.holder.name()).collect();
        f.debug_struct("StaticTokens").field("names", &names).finish()
    }
}

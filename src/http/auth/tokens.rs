//! Static management tokens: files that are read, of which only digests stay in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::bearer::Bearer;
use super::first_token::{self, FirstTokenError};
use super::principal::Principal;
use super::secret_file::{self, SecretFileError};
use crate::config::{ALL_PERMISSIONS, FileWatch, ManagementToken};

/// The shortest token, in characters.
pub(super) const SHORTEST: usize = 16;

/// The static tokens.
pub(super) struct StaticTokens {
    /// What the settings say; empty for the first token.
    settings: Vec<ManagementToken>,
    tokens: ArcSwap<Vec<Token>>,
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
    pub(super) fn open(settings: &[ManagementToken]) -> Result<Self, TokensError> {
        Ok(Self {
            settings: settings.into(),
            tokens: ArcSwap::from_pointee(read(settings)?),
        })
    }

    /// The one token of this file, which may do everything; it is made if it is not there.
    pub(super) fn first(path: &Path) -> Result<Self, TokensError> {
        let secret = first_token::read_or_create(path)?;
        info!(path = %path.display(), "no management token is configured; the first one is in this file");
        let permissions: BTreeSet<Box<str>> = ALL_PERMISSIONS
            .iter()
            .map(|&permission| permission.into())
            .collect();
        let first = Token {
            digest: digest_of(&secret),
            holder: Principal::token("first", Arc::new(permissions)),
        };
        Ok(Self {
            settings: Vec::new(),
            tokens: ArcSwap::from_pointee(vec![first]),
        })
    }

    /// Reads the files again whenever one of them changes, until `stop`. What cannot be read changes nothing.
    pub(super) async fn keep_up(self: Arc<Self>, stop: CancellationToken) {
        let files = self.settings.iter().map(|token| token.token_file.clone());
        let mut watch = FileWatch::new(files);
        // Once at the beginning: a file may have changed between the start and the watch.
        loop {
            let tokens = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || tokens.read_again()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error!(%error, "the management tokens stay as they were"),
                // The runtime is about to end.
                Err(_) => return,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = watch.changed() => {}
            }
        }
    }

    fn read_again(&self) -> Result<(), TokensError> {
        if self.settings.is_empty() {
            return Ok(());
        }
        let tokens = read(&self.settings)?;
        let digests =
            |tokens: &[Token]| -> Vec<[u8; 32]> { tokens.iter().map(|token| token.digest).collect() };
        if digests(&tokens) != digests(&self.tokens.load()) {
            self.tokens.store(Arc::new(tokens));
            info!("the management tokens were read again");
        }
        Ok(())
    }

    /// Who holds this token. Looks at every token, whichever it is.
    pub(super) fn holder_of(&self, bearer: &Bearer<'_>) -> Option<Principal> {
        let presented = digest_of(bearer.expose());
        let tokens = self.tokens.load();
        let mut found = u32::MAX;
        for (at, token) in (0_u32..).zip(tokens.iter()) {
            let same: Choice = token.digest.ct_eq(&presented);
            found.conditional_assign(&at, same);
        }
        tokens.get(found as usize).map(|token| token.holder.clone())
    }
}

fn read(settings: &[ManagementToken]) -> Result<Vec<Token>, TokensError> {
    let mut read: Vec<Token> = Vec::with_capacity(settings.len());
    for ManagementToken {
        name,
        token_file,
        permissions,
    } in settings
    {
        let secret = secret_file::read(token_file, SHORTEST).map_err(|cause| TokensError::File {
            name: name.clone(),
            cause,
        })?;
        let digest = digest_of(&secret);
        if let Some(same) = read.iter().position(|other| other.digest == digest) {
            return Err(TokensError::Same(settings[same].name.clone(), name.clone()));
        }
        let permissions = Arc::new(permissions.iter().cloned().collect());
        let holder = Principal::token(name, permissions);
        read.push(Token { digest, holder });
    }
    Ok(read)
}

fn digest_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens.load();
        let names: Vec<&str> = tokens.iter().map(|token| token.holder.name()).collect();
        f.debug_struct("StaticTokens").field("names", &names).finish()
    }
}

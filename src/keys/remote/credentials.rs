//! How Latchkey shows itself to a verify endpoint: not at all, with the bearer of a file, or as an OAuth client.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;
use reqwest::Client;
use sha2::{Digest, Sha256};

use super::super::source::KeySourceError;
use super::file;
use super::token::Tokens;
use crate::config::{Remote, RemoteAuth};
use crate::outbound::RemoteMetrics;

/// How we show ourselves.
#[derive(Debug)]
pub(super) enum Credentials {
    Nothing,
    File(PathBuf),
    Client(Box<Tokens>),
}

/// Tells credentials apart without being them. All tokens of one client are one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CredentialsId(pub(super) [u8; 32]);

impl fmt::Debug for CredentialsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsId(..)")
    }
}

/// What goes with one call.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: Option<HeaderValue>,
    pub(super) id: CredentialsId,
}

impl Credentials {
    pub(super) fn new(settings: &Remote, client: &Client, metrics: &RemoteMetrics) -> Self {
        match &settings.auth {
            None => Self::Nothing,
            Some(RemoteAuth::Bearer { bearer_file }) => Self::File(bearer_file.clone()),
            Some(RemoteAuth::Client(oauth)) => Self::Client(Box::new(Tokens::new(
                oauth,
                client.clone(),
                settings.timeout,
                metrics,
            ))),
        }
    }

    /// What to send now. A file is read each time, so that a new bearer in it counts at once.
    pub(super) async fn bearer(&self) -> Result<Bearer, KeySourceError> {
        match self {
            Self::Nothing => Ok(Bearer {
                header: None,
                id: CredentialsId([0; 32]),
            }),
            Self::File(path) => {
                let token = file::line(path).await?;
                Ok(Bearer {
                    id: CredentialsId(Sha256::digest(token.as_bytes()).into()),
                    header: Some(header(&token)?),
                })
            }
            Self::Client(tokens) => Ok(client_bearer(tokens.current().await?)),
        }
    }

    /// Another one than `refused`, if there can be one.
    pub(super) async fn renewed(&self, refused: &Bearer) -> Result<Option<Bearer>, KeySourceError> {
        match self {
            Self::Nothing | Self::File(_) => Ok(None),
            Self::Client(tokens) => {
                let renewed = tokens.other_than(refused.header.as_ref()).await?;
                Ok(renewed.map(client_bearer))
            }
        }
    }
}

fn client_bearer(header: HeaderValue) -> Bearer {
    Bearer {
        header: Some(header),
        id: CredentialsId([1; 32]),
    }
}

/// The header for a token.
pub(super) fn header(token: &str) -> Result<HeaderValue, KeySourceError> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| KeySourceError::Failed("a bearer has characters that no header can have".into()))?;
    header.set_sensitive(true);
    Ok(header)
}

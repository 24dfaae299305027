//! Asks a running server, as Envoy would.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::explain::Answer;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// How long a connection, and then an answer, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a server.
pub(super) struct Server {
    client: Grpc<Channel>,
    address: String,
}

impl Server {
    /// Connects to `host:port` or `unix:/path`, without TLS.
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let uri = match address.strip_prefix("unix:") {
            Some(path) => format!("unix://{}", path.trim_start_matches("//")),
            None if address.contains("://") && !address.starts_with("http://") => {
                bail!("--server {address}: expected host:port or unix:/path; TLS is not spoken here")
            }
            None => format!("http://{}", address.trim_start_matches("http://")),
        };
        let endpoint = Endpoint::from_shared(uri)
            .with_context(|| format!("--server {address}: no address"))?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        let channel = endpoint
            .connect()
            .await
            .with_context(|| format!("no connection to the server at {address}"))?;
        Ok(Self {
            client: Grpc::new(channel),
            address: address.into(),
        })
    }

    /// Sends an encoded `CheckRequest`.
    pub(super) async fn check(&mut self, message: Bytes) -> anyhow::Result<Answer> {
        let answered = async {
            self.client
                .ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PathAndQuery::from_static(CHECK);
            self.client
                .unary(tonic::Request::new(message), path, RawCodec)
                .await
        };
        let response = tokio::time::timeout(PATIENCE, answered).await.with_context(|| {
            format!(
                "the server at {} did not answer within {PATIENCE:?}",
                self.address
            )
        })?;
        let response = response.map_err(|status| {
            anyhow::anyhow!(
                "the server at {} refused the question: {:?}, {}",
                self.address,
                status.code(),
                status.message()
            )
        })?;
        Answer::read(response.get_ref()).with_context(|| format!("the server at {}", self.address))
    }
}

/// Messages as they are: what is asked may be no UTF-8, which generated messages could not hold.
#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

//! gRPC's framing of messages: a flag, a length, the message
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::{Bytes, BytesMut};
use tonic::Status;

/// Bytes before a message.
pub(super) const PREFIX: usize = 5;

/// The largest request. Envoy sends bodies only when told to, and then as much as it is told to.
pub(super) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Gathers the one message of a unary call from the pieces that arrive.
#[derive(Default)]
pub(super) struct Gathered {
    /// The first piece, and most often the only one: kept as it is.
    first: Bytes,
    /// Everything, once there is a second piece.
    joined: BytesMut,
}

impl Gathered {
    /// Takes the next piece. Fails as soon as it is known that the message cannot be accepted, so memory is bounded.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), Status> {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = piece;
        } else {
            if self.joined.is_empty() {
                self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.joined.extend_from_slice(&piece);
        }
        let so_far = if self.joined.is_empty() {
            &self.first[..]
        } else {
            &self.joined[..]
        };
        if let Some(length) = announced(so_far)?
            && so_far.len() > PREFIX + length
        {
            return Err(Status::invalid_argument("more than one message"));
        }
        Ok(())
    }

    /// The message, once everything has arrived.
    pub(super) fn finish(self) -> Result<Bytes, Status> {
        let mut framed = if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        };
        match announced(&framed)? {
            Some(length) if framed.len() == PREFIX + length => Ok(framed.split_off(PREFIX)),
            _ => Err(Status::invalid_argument("the message is truncated")),
        }
    }
}

/// The length in a prefix; `None` while the prefix is not complete.
fn announced(framed: &[u8]) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = framed.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [flag, length @ ..] = *prefix;
    match flag {
        0 => {}
        1 => return Err(Status::unimplemented("compressed messages are not supported")),
        _ => return Err(Status::invalid_argument("the message has an invalid flag")),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(Status::resource_exhausted("the message is larger than 4 MiB"));
    }
    Ok(Some(length))
}

/// Writes the prefix of the message that fills the rest of `framed`, into the place kept for it.
pub(super) fn close(framed: &mut [u8]) {
    if let Some((prefix, message)) = framed.split_first_chunk_mut::<PREFIX>() {
        let length = u32::try_from(message.len()).expect("an answer is far smaller than 4 GiB");
        let [b0, b1, b2, b3] = length.to_be_bytes();
        *prefix = [0, b0, b1, b2, b3];
    }
}

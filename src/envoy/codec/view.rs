//! A `CheckRequest` as the decision reads it.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use super::wire::{Fields, Malformed, Span};
use crate::decision::RequestView;

/// Headers in one request. Envoy takes 100 from a caller unless told otherwise; beyond this the request is refused.
pub(super) const MAX_HEADERS: usize = 10_000;

/// Room for the headers of most requests, so that their list is allocated once.
const USUAL_HEADERS: usize = 32;

/// A `CheckRequest`: its bytes, and where in them the fields are that a decision needs.
///
/// Reads what prost reads, with the same result, but for four things:
/// - text need not be UTF-8, since a caller's header bytes are what they are;
/// - fields that no decision needs are skipped without a look inside, so that faults in them are not noticed;
/// - a name that is twice in the map `headers` is shown twice, not only its last value: two credentials stay two;
/// - a request without `attributes.request.http`, or with more than 10,000 headers, is malformed.
pub struct CheckView {
    message: Bytes,
    method: Span,
    target: Span,
    host: Span,
    peer: Peer,
    headers: Vec<Header>,
    has_map: bool,
}

/// The last `source.address` of the message.
#[derive(Clone, Copy, Default)]
struct Peer {
    /// `socket_address.address`; empty while there is none.
    address: Span,
}

#[derive(Clone, Copy, Default)]
struct Header {
    name: Span,
    value: Span,
}

impl CheckView {
    /// Reads an encoded `CheckRequest`. Nothing is copied.
    pub fn read(message: Bytes) -> Result<Self, Malformed> {
        let whole = Span::whole(&message)?;
        let mut found = Found::default();
        let mut fields = Fields::of(&message, whole);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                found.attributes(&message, value.bytes()?)?;
            }
        }
        if !found.http {
            return Err(Malformed::NoHttp);
        }
        let Found {
            method,
            target,
            host,
            peer,
            headers,
            has_map,
            ..
        } = found;
        Ok(Self {
            message,
            method,
            target,
            host,
            peer,
            headers,
            has_map,
        })
    }
}

impl RequestView for CheckView {
    fn method(&self) -> &[u8] {
        self.method.of(&self.message)
    }

    fn target(&self) -> &[u8] {
        self.target.of(&self.message)
    }

    /// `path` is a string, so Envoy has put `!` for what is no UTF-8 there. The pseudo header in `header_map` has the bytes.
    fn is_target_exact(&self) -> bool {
        !self.has_map
            && self
                .headers()
                .any(|(name, value)| name == b":path" && value == self.target())
    }

    fn host(&self) -> &[u8] {
        self.host.of(&self.message)
    }

    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers
            .iter()
            .map(|header| (header.name.of(&self.message), header.value.of(&self.message)))
    }

    fn peer_address(&self) -> Option<IpAddr> {
        std::str::from_utf8(self.peer.address.of(&self.message))
            .ok()?
            .parse()
            .ok()
    }
}

/// Shows nothing that the caller sent: among it is the credential.
impl fmt::Debug for CheckView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckView")
            .field("bytes", &self.message.len())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// What was found so far. A message that comes twice merges, as protocol buffers want it: each part adds to what is there, and
/// of a scalar the last one holds.
#[derive(Default)]
struct Found {
    http: bool,
    method: Span,
    target: Span,
    host: Span,
    peer: Peer,
    headers: Vec<Header>,
    /// The map `headers` is there.
    has_map: bool,
}

impl Found {
    /// `AttributeContext`
    fn attributes(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.source(message, value.bytes()?)?,
                4 => self.request(message, value.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `AttributeContext.Peer`
    fn source(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.peer.address(message, value.bytes()?)?;
            }
        }
        Ok(())
    }

    /// `AttributeContext.Request`
    fn request(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            if number == 2 {
                self.http = true;
                self.http_request(message, value.bytes()?)?;
            }
        }
        Ok(())
    }

    /// `AttributeContext.HttpRequest`. Envoy fills `headers` or, with `encode_raw_headers`, `header_map`; both are read.
    fn http_request(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => self.method = value.bytes()?,
                3 => self.map_entry(message, value.bytes()?)?,
                4 => self.target = value.bytes()?,
                5 => self.host = value.bytes()?,
                13 => self.header_map(message, value.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// An entry of the map `headers`.
    fn map_entry(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        self.has_map = true;
        let mut header = Header::default();
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => header.name = value.bytes()?,
                2 => header.value = value.bytes()?,
                _ => {}
            }
        }
        self.push(header)
    }

    /// `HeaderMap`
    fn header_map(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.header_value(message, value.bytes()?)?;
            }
        }
        Ok(())
    }

    /// `HeaderValue`: `raw_value` if it is there, else `value`.
    fn header_value(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut header = Header::default();
        let mut raw_value = Span::default();
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => header.name = value.bytes()?,
                2 => header.value = value.bytes()?,
                3 => raw_value = value.bytes()?,
                _ => {}
            }
        }
        if !raw_value.is_empty() {
            header.value = raw_value;
        }
        self.push(header)
    }

    fn push(&mut self, header: Header) -> Result<(), Malformed> {
        if self.headers.len() == MAX_HEADERS {
            return Err(Malformed::TooManyHeaders);
        }
        if self.headers.capacity() == 0 {
            self.headers.reserve(USUAL_HEADERS);
        }
        self.headers.push(header);
        Ok(())
    }
}

impl Peer {
    /// `Address`, a oneof: another kind of address takes the place of a socket address, the same kind merges.
    fn address(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.socket_address(message, value.bytes()?)?,
                2 | 3 => {
                    value.bytes()?;
                    self.address = Span::default();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `SocketAddress`
    fn socket_address(&mut self, message: &[u8], span: Span) -> Result<(), Malformed> {
        let mut fields = Fields::of(message, span);
        while let Some((number, value)) = fields.next()? {
            if number == 2 {
                self.address = value.bytes()?;
            }
        }
        Ok(())
    }
}

//! Reads access log entries where they lie.
//!
//! Text that a caller sent need not be UTF-8, and one such entry must not cost the others of its batch, so the entries are read
//! here and not by prost. What is not needed is skipped without a look inside.

use std::time::Duration;

use bytes::Bytes;

use crate::envoy::codec::Malformed;
use crate::envoy::codec::wire::{Fields, Span, Value};
use crate::usage::{DecisionId, Event, EventId, MAX_TEXT_BYTES, cut};

/// The namespace of what a check says of its request.
const CHECK_METADATA: &[u8] = b"envoy.filters.http.ext_authz";
/// The namespace of what the guard says.
const GUARD_METADATA: &[u8] = b"latchkey";

/// `AccessLogType.DownstreamEnd`
const END_OF_REQUEST: u64 = 6;

/// Longest id of a key or an owner, in bytes.
const MAX_ID_BYTES: usize = 256;

/// What a message of the stream holds.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Requests that have ended.
    pub(super) events: Vec<Event>,
    /// Entries of connections, which are not requests.
    pub(super) tcp_entries: u64,
    /// Entries that do not tell of the end of a request.
    pub(super) other_entries: u64,
    /// Entries that make no sense.
    pub(super) malformed_entries: u64,
}

/// Reads a `StreamAccessLogsMessage`. `node` is the id that Envoy gave in the first message of the stream, and is
/// remembered here; `now_ms` is the latest time that an entry may claim.
pub(super) fn read(message: &Bytes, node: &mut Box<str>, now_ms: u64) -> Result<Batch, Malformed> {
    let mut batch = Batch::default();
    // Twice: the identifier may stand behind the entries.
    each(message, Span::whole(message)?, |number, value| {
        if number == 1 {
            each(message, value.bytes()?, |number, value| {
                if number == 1 {
                    each(message, value.bytes()?, |number, value| {
                        if number == 1 {
                            *node = text(message, value, MAX_ID_BYTES)?;
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    each(message, Span::whole(message)?, |number, value| match number {
        2 => each(message, value.bytes()?, |number, value| {
            if number == 1 {
                batch.add(message, value, node, now_ms);
            }
            Ok(())
        }),
        3 => each(message, value.bytes()?, |number, _| {
            batch.tcp_entries += u64::from(number == 1);
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(batch)
}

impl Batch {
    fn add(&mut self, message: &Bytes, entry: Value, node: &str, now_ms: u64) {
        let mut found = Entry::default();
        match entry.bytes().and_then(|span| found.read(message, span)) {
            Ok(()) if found.kind == END_OF_REQUEST => self.events.push(found.into_event(node, now_ms)),
            Ok(()) => self.other_entries += 1,
            Err(_) => self.malformed_entries += 1,
        }
    }
}

/// What was found of one entry.
#[derive(Default)]
struct Entry {
    kind: u64,
    started: Option<Duration>,
    to_last_byte: Option<Duration>,
    lasted: Option<Duration>,
    peer_port: u16,
    direct_peer_port: Option<u16>,
    flags: Vec<&'static str>,
    method: u64,
    path: Box<str>,
    status: u16,
    details: Box<str>,
    input_bytes: u64,
    response_bytes: u64,
    check: CheckMetadata,
    guard: GuardMetadata,
}

#[derive(Default)]
struct CheckMetadata {
    decision_id: Option<DecisionId>,
    key_id: Box<str>,
    key_name: Box<str>,
    org_code: Box<str>,
    user_id: Box<str>,
    route: Box<str>,
    outcome: Box<str>,
    reason: Box<str>,
}

#[derive(Default)]
struct GuardMetadata {
    verdict: Box<str>,
    input_chars: Option<u64>,
    response_chars: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Entry {
    /// `HTTPAccessLogEntry`
    fn read(&mut self, message: &[u8], entry: Span) -> Result<(), Malformed> {
        each(message, entry, |number, value| match number {
            1 => self.common(message, value.bytes()?),
            3 => self.request(message, value.bytes()?),
            4 => self.response(message, value.bytes()?),
            _ => Ok(()),
        })
    }

    /// `AccessLogCommon`
    fn common(&mut self, message: &[u8], common: Span) -> Result<(), Malformed> {
        each(message, common, |number, value| {
            match number {
                2 => self.peer_port = port(message, value.bytes()?)?.unwrap_or_default(),
                5 => self.started = Some(time(message, value.bytes()?)?),
                12 => self.to_last_byte = Some(time(message, value.bytes()?)?),
                16 => self.response_flags(message, value.bytes()?)?,
                17 => self.metadata(message, value.bytes()?)?,
                20 => self.direct_peer_port = port(message, value.bytes()?)?,
                23 => self.lasted = Some(time(message, value.bytes()?)?),
                33 => self.kind = value.number()?,
                _ => {}
            }
            Ok(())
        })
    }

    /// `ResponseFlags`
    fn response_flags(&mut self, message: &[u8], flags: Span) -> Result<(), Malformed> {
        each(message, flags, |number, value| {
            let is_set = match value {
                Value::Number(number) => number != 0,
                Value::Bytes(_) => true,
                Value::Other => false,
            };
            if let (true, Some(flag)) = (is_set, short_flag(number))
                && !self.flags.contains(&flag)
            {
                self.flags.push(flag);
            }
            Ok(())
        })
    }

    /// `Metadata`: of `filter_metadata` the namespaces that are ours.
    fn metadata(&mut self, message: &[u8], metadata: Span) -> Result<(), Malformed> {
        each(message, metadata, |number, value| {
            if number != 1 {
                return Ok(());
            }
            let (namespace, fields) = map_entry(message, value.bytes()?)?;
            let Some(fields) = fields else {
                return Ok(());
            };
            match namespace.of(message) {
                CHECK_METADATA => each_field(message, fields, |name, value| self.check.set(name, &value)),
                GUARD_METADATA => each_field(message, fields, |name, value| self.guard.set(name, &value)),
                _ => Ok(()),
            }
        })
    }

    /// `HTTPRequestProperties`
    fn request(&mut self, message: &[u8], request: Span) -> Result<(), Malformed> {
        each(message, request, |number, value| {
            match number {
                1 => self.method = value.number()?,
                5 => {
                    let target = value.bytes()?.of(message);
                    // The query may hold anything, a key among it.
                    let end = target
                        .iter()
                        .position(|byte| *byte == b'?')
                        .unwrap_or(target.len());
                    self.path = lossy(&target[..end], MAX_TEXT_BYTES);
                }
                12 => self.input_bytes = value.number()?,
                _ => {}
            }
            Ok(())
        })
    }

    /// `HTTPResponseProperties`
    fn response(&mut self, message: &[u8], response: Span) -> Result<(), Malformed> {
        each(message, response, |number, value| {
            match number {
                1 => each(message, value.bytes()?, |number, value| {
                    if number == 1 {
                        self.status = u16::try_from(value.number()?).unwrap_or_default();
                    }
                    Ok(())
                })?,
                3 => self.response_bytes = value.number()?,
                6 => self.details = text(message, value, MAX_TEXT_BYTES)?,
                _ => {}
            }
            Ok(())
        })
    }

    fn into_event(self, node: &str, now_ms: u64) -> Event {
        let started = self.started.unwrap_or(Duration::from_millis(now_ms));
        let id = match self.check.decision_id {
            Some(id) => EventId::of_decision(id),
            None => {
                let port = self.direct_peer_port.unwrap_or(self.peer_port);
                EventId::of_request(node, started.as_nanos(), port)
            }
        };
        let lasted = self.to_last_byte.or(self.lasted).unwrap_or_default();
        let (check, guard) = (self.check, self.guard);
        Event {
            id,
            // A clock that is ahead must not write into hours that have not come.
            at_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX).min(now_ms),
            key_id: check.key_id,
            key_name: check.key_name,
            org_code: check.org_code,
            user_id: check.user_id,
            route: check.route,
            method: method(self.method).into(),
            path: self.path,
            status: self.status,
            outcome: check.outcome,
            reason: check.reason,
            flags: self.flags.join(",").into(),
            details: self.details,
            guard: guard.verdict,
            input_bytes: bounded(self.input_bytes),
            response_bytes: bounded(self.response_bytes),
            input_chars: guard.input_chars,
            response_chars: guard.response_chars,
            input_tokens: guard.input_tokens,
            output_tokens: guard.output_tokens,
            total_tokens: guard.total_tokens,
            duration_us: bounded(u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}

/// A scalar of a `google.protobuf.Value`.
enum Scalar<'m> {
    Text(&'m [u8]),
    Number(f64),
}

impl Scalar<'_> {
    fn text(&self, most: usize) -> Box<str> {
        match self {
            Self::Text(bytes) => lossy(bytes, most),
            Self::Number(_) => Box::default(),
        }
    }

    /// A count; a number below zero, with a fraction, or of over 32 bits is none. An answer of a backend says its tokens as it
    /// likes, and a few huge ones must not make a sum too large for the store, which would then take no event any more.
    fn count(&self) -> Option<u64> {
        const MOST: f64 = u32::MAX as f64;
        match self {
            Self::Number(number) if (0.0..=MOST).contains(number) && number.fract() == 0.0 => {
                Some(*number as u64)
            }
            _ => None,
        }
    }
}

impl CheckMetadata {
    fn set(&mut self, name: &[u8], value: &Scalar<'_>) {
        match name {
            b"decision_id" => {
                self.decision_id = match value {
                    Scalar::Text(text) => DecisionId::parse(text),
                    Scalar::Number(_) => None,
                }
            }
            b"key_id" => self.key_id = value.text(MAX_ID_BYTES),
            b"key_name" => self.key_name = value.text(MAX_TEXT_BYTES),
            b"org_code" => self.org_code = value.text(MAX_ID_BYTES),
            b"user_id" => self.user_id = value.text(MAX_ID_BYTES),
            b"route" => self.route = value.text(MAX_ID_BYTES),
            b"outcome" => self.outcome = value.text(MAX_ID_BYTES),
            b"reason" => self.reason = value.text(MAX_ID_BYTES),
            _ => {}
        }
    }
}

impl GuardMetadata {
    fn set(&mut self, name: &[u8], value: &Scalar<'_>) {
        match name {
            b"guard" => self.verdict = value.text(MAX_ID_BYTES),
            b"chars_in" => self.input_chars = value.count(),
            b"chars_out" => self.response_chars = value.count(),
            b"tokens_in" => self.input_tokens = value.count(),
            b"tokens_out" => self.output_tokens = value.count(),
            b"tokens" => self.total_tokens = value.count(),
            _ => {}
        }
    }
}

/// Calls `take` for each field of the message at `span`.
fn each(
    message: &[u8],
    span: Span,
    mut take: impl FnMut(u32, Value) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Fields::of(message, span);
    while let Some((number, value)) = fields.next()? {
        take(number, value)?;
    }
    Ok(())
}

/// Key and value of an entry of a map whose values are messages.
fn map_entry(message: &[u8], entry: Span) -> Result<(Span, Option<Span>), Malformed> {
    let (mut key, mut value_at) = (Span::default(), None);
    each(message, entry, |number, value| {
        match number {
            1 => key = value.bytes()?,
            2 => value_at = Some(value.bytes()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value_at))
}

/// The texts and numbers of a `google.protobuf.Struct`.
fn each_field<'m>(
    message: &'m [u8],
    fields: Span,
    mut take: impl FnMut(&'m [u8], Scalar<'m>),
) -> Result<(), Malformed> {
    each(message, fields, |number, value| {
        if number != 1 {
            return Ok(());
        }
        let (name, value) = map_entry(message, value.bytes()?)?;
        let Some(value) = value else {
            return Ok(());
        };
        each(message, value, |kind, value| {
            match kind {
                2 => take(name.of(message), Scalar::Number(f64::from_bits(value.number()?))),
                3 => take(name.of(message), Scalar::Text(value.bytes()?.of(message))),
                _ => {}
            }
            Ok(())
        })
    })
}

/// `Timestamp` or `Duration`; what is below zero counts as zero.
fn time(message: &[u8], span: Span) -> Result<Duration, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    each(message, span, |number, value| {
        match number {
            1 => seconds = value.number()?,
            2 => nanos = value.number()?,
            _ => {}
        }
        Ok(())
    })?;
    // Both are signed: a negative one is a huge number here.
    let (seconds, nanos) = (i64::try_from(seconds), u32::try_from(nanos));
    Ok(match (seconds.map(u64::try_from), nanos) {
        (Ok(Ok(seconds)), Ok(nanos)) if nanos < 1_000_000_000 => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    })
}

/// `Address.socket_address.port_value`
fn port(message: &[u8], address: Span) -> Result<Option<u16>, Malformed> {
    let mut port = None;
    each(message, address, |number, value| {
        if number == 1 {
            each(message, value.bytes()?, |number, value| {
                if number == 3 {
                    port = u16::try_from(value.number()?).ok();
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(port)
}

fn text(message: &[u8], value: Value, most: usize) -> Result<Box<str>, Malformed> {
    Ok(lossy(value.bytes()?.of(message), most))
}

/// Text that may not be UTF-8, at most `most` bytes.
fn lossy(bytes: &[u8], most: usize) -> Box<str> {
    let bytes = &bytes[..bytes.len().min(most)];
    cut(&String::from_utf8_lossy(bytes), most).into()
}

/// Sums of these must fit into the store's signed integers for a long time.
fn bounded(number: u64) -> u64 {
    number.min(1 << 50)
}

/// `RequestMethod`; empty for one that has no number.
fn method(number: u64) -> &'static str {
    const METHODS: [&str; 10] = [
        "", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    usize::try_from(number)
        .ok()
        .and_then(|number| METHODS.get(number))
        .copied()
        .unwrap_or_default()
}

/// The short form of a flag, as Envoy's `%RESPONSE_FLAGS%` writes it, by its field number in `ResponseFlags`.
fn short_flag(number: u32) -> Option<&'static str> {
    const FLAGS: [&str; 28] = [
        "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX",
        "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DR",
    ];
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    FLAGS.get(place).copied()
}

#[cfg(test)]
mod tests;

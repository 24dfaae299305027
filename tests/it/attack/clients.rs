//! Clients that send what no library would: HTTP/1.1 as bytes, HTTP/2 as frames written by hand. What comes back is read to its
//! end and no further: what a request led to is seen at the upstream.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::corpus::{Protocol, Trick};

/// Also how long an answer that never comes is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a further answer on one connection is waited for.
const MORE: Duration = Duration::from_millis(30);

/// A request of the corpus.
pub(super) struct Request<'c> {
    pub(super) target: &'c [u8],
    pub(super) trick: &'c Trick,
    /// Lines that come before those of the trick: who sends it, and the key.
    pub(super) own: &'c [(&'static str, String)],
}

/// Sends requests over one protocol, one after the other.
pub(super) struct Client {
    address: SocketAddr,
    protocol: Protocol,
    connection: Option<BufReader<TcpStream>>,
    last_stream: u32,
}

impl Client {
    pub(super) fn new(address: SocketAddr, protocol: Protocol) -> Self {
        Self {
            address,
            protocol,
            connection: None,
            last_stream: 0,
        }
    }

    /// Sends one request and waits until it is answered, or refused with the connection.
    pub(super) fn send(&mut self, request: &Request<'_>) {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.connect(),
        };
        let is_usable = match self.protocol {
            Protocol::Http1 => exchange(&mut connection, request),
            Protocol::Http2 => {
                self.last_stream += 2;
                // The numbers of streams are used up after a while.
                exchange_frames(&mut connection, request, self.last_stream - 1)
                    .map(|usable| usable && self.last_stream < 100_000)
            }
        };
        // That Envoy closes on what it does not like is an answer.
        if is_usable.unwrap_or(false) {
            self.connection = Some(connection);
        }
    }

    fn connect(&mut self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("Envoy listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        let mut connection = BufReader::new(stream);
        if self.protocol == Protocol::Http2 {
            self.last_stream = 0;
            connection
                .get_mut()
                .write_all(&preface())
                .expect("a new connection takes bytes");
        }
        connection
    }
}

/// The request as HTTP/1.1 has it.
fn message(request: &Request<'_>) -> Vec<u8> {
    let trick = request.trick;
    let mut bytes = [
        &trick.method()[..],
        b" ",
        &trick.absolute(),
        request.target,
        b" HTTP/1.1\r\n",
    ]
    .concat();
    let mut line = |parts: &[&[u8]]| {
        bytes.extend_from_slice(&parts.concat());
        bytes.extend_from_slice(b"\r\n");
    };
    if let Some(host) = trick.host() {
        line(&[b"Host: ", &host]);
    }
    for (name, value) in request.own {
        line(&[name.as_bytes(), b": ", value.as_bytes()]);
    }
    for text in trick.lines() {
        line(&[&text]);
    }
    let (body, trailers) = (trick.body().unwrap_or_default(), trick.trailers());
    if trick.raw {
        line(&[]);
        bytes.extend_from_slice(&body);
    } else if !trailers.is_empty() {
        line(&[b"Transfer-Encoding: chunked\r\n"]);
        line(&[b"2\r\n{}\r\n0"]);
        for text in trailers {
            line(&[&text]);
        }
        line(&[]);
    } else {
        if !body.is_empty() {
            line(&[b"Content-Length: ", body.len().to_string().as_bytes()]);
        }
        line(&[]);
        bytes.extend_from_slice(&body);
    }
    bytes
}

/// Whether the connection can be used again.
fn exchange(connection: &mut BufReader<TcpStream>, request: &Request<'_>) -> io::Result<bool> {
    connection.get_mut().write_all(&message(request))?;
    let bodyless = request.trick.method() == b"HEAD";
    let usable = loop {
        let (status, usable) = answer(connection, bodyless)?;
        if status != 100 {
            break usable;
        }
    };
    if request.trick.raw {
        // What is behind the request may be one more.
        connection.get_ref().set_read_timeout(Some(MORE))?;
        answer(connection, false)?;
        return Ok(false);
    }
    Ok(usable)
}

/// Reads one answer: its status, and whether another can follow.
fn answer(connection: &mut BufReader<TcpStream>, bodyless: bool) -> io::Result<(u16, bool)> {
    let start = line(connection)?;
    let status = start.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| io::Error::other("no status"))?;
    let (mut length, mut usable) = (0, true);
    loop {
        let line = line(connection)?.to_ascii_lowercase();
        match line.split_once(':') {
            None => break,
            Some(("content-length", value)) => length = value.trim().parse().map_err(io::Error::other)?,
            Some(("connection" | "transfer-encoding" | "upgrade", _)) => usable = false,
            Some(_) => {}
        }
    }
    if usable && !bodyless {
        io::copy(&mut connection.take(length), &mut io::sink())?;
    }
    Ok((status, usable))
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if connection.take(65536).read_until(b'\n', &mut bytes)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Kinds and flags of frames (RFC 9113 §6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;

    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

fn write_frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("the corpus fits into frames");
    to.extend_from_slice(&length.to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// The beginning of a connection, with room for answers that nobody acknowledges.
fn preface() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    let room: u32 = 1 << 30;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let setting = [&INITIAL_WINDOW_SIZE[..], &room.to_be_bytes()].concat();
    write_frame(&mut bytes, frame::SETTINGS, 0, 0, &setting);
    write_frame(&mut bytes, frame::WINDOW_UPDATE, 0, 0, &room.to_be_bytes());
    bytes
}

/// One field, literal and never indexed, without Huffman's code (RFC 7541 §6.2.3).
fn write_field(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    to.push(0x10);
    for text in [name, value] {
        write_length(to, text.len());
        to.extend_from_slice(text);
    }
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn write_length(to: &mut Vec<u8>, length: usize) {
    let byte = |number: usize| u8::try_from(number).expect("masked");
    if length < 127 {
        to.push(byte(length));
        return;
    }
    to.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        to.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    to.push(byte(rest));
}

/// A header line as a field.
fn write_line(to: &mut Vec<u8>, line: &[u8], as_is: bool) {
    // The colon of a pseudo header field is no separator.
    let colon = line.iter().skip(1).position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.map_or(line.len(), |at| at + 1));
    let name = if as_is {
        name.to_vec()
    } else {
        name.to_ascii_lowercase()
    };
    let value = value.strip_prefix(b":").unwrap_or(value);
    write_field(to, &name, value.strip_prefix(b" ").unwrap_or(value));
}

fn frames(request: &Request<'_>, stream: u32) -> Vec<u8> {
    let trick = request.trick;
    let mut fields = Vec::new();
    write_field(&mut fields, b":method", &trick.method());
    write_field(&mut fields, b":scheme", b"http");
    if let Some(host) = trick.host() {
        write_field(&mut fields, b":authority", &host);
    }
    write_field(&mut fields, b":path", request.target);
    for line in trick.pseudo() {
        write_line(&mut fields, &line, true);
    }
    for (name, value) in request.own {
        write_field(&mut fields, name.as_bytes(), value.as_bytes());
    }
    for line in trick.lines() {
        write_line(&mut fields, &line, trick.as_is);
    }
    let (body, trailers) = (trick.body(), trick.trailers());
    let mut bytes = Vec::new();
    let ends = |is_end: bool| if is_end { frame::END_STREAM } else { 0 };
    let flags = frame::END_HEADERS | ends(body.is_none() && trailers.is_empty());
    write_frame(&mut bytes, frame::HEADERS, flags, stream, &fields);
    if body.is_some() || !trailers.is_empty() {
        let body = body.unwrap_or_else(|| b"{}".to_vec());
        write_frame(&mut bytes, frame::DATA, ends(trailers.is_empty()), stream, &body);
    }
    if !trailers.is_empty() {
        let mut fields = Vec::new();
        for line in trailers {
            write_line(&mut fields, &line, false);
        }
        let flags = frame::END_HEADERS | frame::END_STREAM;
        write_frame(&mut bytes, frame::HEADERS, flags, stream, &fields);
    }
    bytes
}

/// Whether the connection can be used again.
fn exchange_frames(
    connection: &mut BufReader<TcpStream>,
    request: &Request<'_>,
    stream: u32,
) -> io::Result<bool> {
    connection.get_mut().write_all(&frames(request, stream))?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, number @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        connection.read_exact(&mut payload)?;
        let is_ours = u32::from_be_bytes(number) == stream;
        let mut reply = Vec::new();
        match kind {
            frame::SETTINGS if flags & frame::ACK == 0 => {
                write_frame(&mut reply, frame::SETTINGS, frame::ACK, 0, &[]);
            }
            frame::PING if flags & frame::ACK == 0 => {
                write_frame(&mut reply, frame::PING, frame::ACK, 0, &payload);
            }
            frame::GOAWAY => return Ok(false),
            frame::RESET if is_ours => return Ok(true),
            frame::HEADERS | frame::DATA if is_ours && flags & frame::END_STREAM != 0 => return Ok(true),
            _ => {}
        }
        connection.get_mut().write_all(&reply)?;
    }
}

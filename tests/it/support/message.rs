//! HTTP/1.1 messages, read as they are on the wire.

use std::io::{self, BufRead, Read};

const LONGEST_LINE: u64 = 256 * 1024;

/// A request or a response.
pub(crate) struct Message {
    pub(crate) start_line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }
}

/// Reads one message; `None` when the peer has ended the connection before it. A `bodyless` one has headers only, whatever they say.
pub(super) fn read(from: &mut impl BufRead, bodyless: impl Fn(&str) -> bool) -> io::Result<Option<Message>> {
    let Some(start_line) = line(from)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other("a header without colon"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let is_bodyless = bodyless(&start_line);
    let mut message = Message {
        start_line,
        headers,
        body: Vec::new(),
    };
    if !is_bodyless {
        message.body = body(from, &message)?;
    }
    Ok(Some(message))
}

fn body(from: &mut impl BufRead, head: &Message) -> io::Result<Vec<u8>> {
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return chunked(from);
    }
    let length = match head.header("content-length") {
        Some(value) => value.parse().map_err(io::Error::other)?,
        None => 0,
    };
    exactly(from, length)
}

fn chunked(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(from)? {
        body.extend(chunk);
    }
    Ok(body)
}

/// The next chunk of a body; `None` after the last one and its trailers.
pub(super) fn chunk(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let size = size.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
    if size == 0 {
        while line(from)?.is_some_and(|trailer| !trailer.is_empty()) {}
        return Ok(None);
    }
    let chunk = exactly(from, size)?;
    line(from)?;
    Ok(Some(chunk))
}

fn exactly(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if from.take(LONGEST_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    while matches!(bytes.last(), Some(b'\r' | b'\n')) {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

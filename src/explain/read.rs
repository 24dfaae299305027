//! Reads described requests: one of a file, one a line, or as a part of something larger.
//!
//! A text stands for its UTF-8 bytes; any other bytes are `{hex: 2f61ff}`.

use std::net::IpAddr;

use super::request::Request;
use crate::config::reader::{Fields, Reader};
use crate::config::tree::{self, Node, Value};

/// Fields of a described request.
pub(crate) const REQUEST_FIELDS: [&str; 6] = ["method", "path", "host", "headers", "peer", "bare"];

/// The most headers of one request.
const MAX_HEADERS: usize = 10_000;

/// Reads a file that describes one request, in YAML or JSON. Mistakes are lines that begin with `name`.
pub(crate) fn single_request(name: &str, text: &str) -> Result<Request, Vec<String>> {
    let root = tree::parse(text)
        .map_err(|error| vec![format!("{}: {}", error.place.in_file(name), error.message)])?;
    let mut reader = Reader::default();
    match (request(&mut reader, &root), reader.is_clean()) {
        (Some(request), true) => Ok(request),
        _ => Err(reader.into_lines(name)),
    }
}

/// Reads a file that describes a request in each line. Empty lines are nothing.
pub(crate) fn requests_of_lines(name: &str, text: &str) -> Result<Vec<Request>, Vec<String>> {
    let (mut requests, mut mistakes) = (Vec::new(), Vec::new());
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        // The reader counts lines of what it is given, which is one.
        let place = format!("{name}, line {}", at + 1);
        match single_request(&place, line) {
            Ok(request) => requests.push(request),
            Err(lines) => mistakes.extend(lines),
        }
    }
    if mistakes.is_empty() {
        Ok(requests)
    } else {
        Err(mistakes)
    }
}

fn request(reader: &mut Reader, node: &Node) -> Option<Request> {
    let fields = reader.fields(node, "the request", &REQUEST_FIELDS)?;
    request_fields(reader, &fields)
}

/// Reads a request of the fields of a map that may have others too.
pub(crate) fn request_fields(reader: &mut Reader, fields: &Fields<'_>) -> Option<Request> {
    let target = fields
        .require(reader, "path")
        .and_then(|node| bytes(reader, node));
    let mut optional = |name: &str| match fields.get(name) {
        Some(node) => bytes(reader, node).map(Some),
        None => Some(None),
    };
    let (method, host) = (optional("method"), optional("host"));
    let headers = fields
        .get("headers")
        .map_or(Some(Vec::new()), |node| headers(reader, node));
    let peer = fields.get("peer").map_or(Some(None), |node| {
        reader.parsed::<Peer>(node).map(|peer| Some(peer.0))
    });
    let bare = fields
        .get("bare")
        .map_or(Some(false), |node| reader.boolean(node));
    let plain = Request::new(target?);
    Some(Request {
        method: method?.unwrap_or(plain.method),
        host: host?.unwrap_or(plain.host),
        headers: headers?,
        peer: peer?.unwrap_or(plain.peer),
        bare: bare?,
        target: plain.target,
    })
}

/// An address, or `unknown`.
struct Peer(Option<IpAddr>);

impl std::str::FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unknown" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| "expected an IP address, or unknown")
    }
}

/// A map of names to a value or a list of values, or a list of `[name, value]`.
fn headers(reader: &mut Reader, node: &Node) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    if let Value::Map(entries) = &node.value {
        reader.named(node, "headers", MAX_HEADERS)?;
        let mut headers = Vec::new();
        let mut is_good = true;
        for entry in entries {
            let values = match &entry.node.value {
                Value::List(values) => values.iter().collect(),
                _ => vec![&entry.node],
            };
            for value in values {
                match bytes(reader, value) {
                    Some(value) => headers.push((entry.name.clone().into_bytes(), value)),
                    None => is_good = false,
                }
            }
        }
        return is_good.then_some(headers);
    }
    let pairs = reader.list(node, "headers, or a map of them", MAX_HEADERS)?;
    let read: Vec<Option<_>> = pairs.iter().map(|pair| header_pair(reader, pair)).collect();
    read.into_iter().collect()
}

fn header_pair(reader: &mut Reader, node: &Node) -> Option<(Vec<u8>, Vec<u8>)> {
    let Value::List(pair) = &node.value else {
        reader.mistake(&node.place, "expected [name, value]");
        return None;
    };
    let [name, value] = &**pair else {
        reader.mistake(&node.place, "expected [name, value]");
        return None;
    };
    let (name, value) = (bytes(reader, name), bytes(reader, value));
    Some((name?, value?))
}

/// A text, or `{hex: …}`.
fn bytes(reader: &mut Reader, node: &Node) -> Option<Vec<u8>> {
    if !matches!(node.value, Value::Map(_)) {
        return reader.text(node).map(|text| text.as_bytes().to_vec());
    }
    let fields = reader.fields(node, "bytes", &["hex"])?;
    let node = fields.require(reader, "hex")?;
    let text = reader.text(node)?;
    let decoded = unhex(text);
    if decoded.is_none() {
        reader.mistake(&node.place, "expected pairs of hexadecimal digits");
    }
    decoded
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_in_every_spelling() {
        let text = r#"{"method": "POST", "path": {"hex": "2f61ff"}, "headers": [["X-A", "b"], ["x-a", {"hex": "00"}]],
            "peer": "2001:db8::1", "host": "e.com", "bare": true}"#;
        let read = single_request("r.json", text).unwrap();
        let expected = Request {
            method: b"POST".into(),
            target: b"/a\xff".into(),
            host: b"e.com".into(),
            headers: vec![(b"X-A".into(), b"b".into()), (b"x-a".into(), vec![0])],
            peer: Some("2001:db8::1".parse().unwrap()),
            bare: true,
        };
        assert_eq!(read, expected);
        let map = single_request(
            "r.yaml",
            "path: \"/a\\0\"\nheaders: {x: [a, b], y: c}\npeer: unknown\n",
        )
        .unwrap();
        assert_eq!(map.target, b"/a\0");
        assert_eq!(map.headers.len(), 3);
        assert_eq!(map.peer, None);
        assert_eq!(map.method, b"GET");
    }

    #[test]
    fn mistakes_say_where_they_are() {
        for (text, expected) in [
            ("{}", "r:1:1: missing field `path` in the request"),
            (
                "{path: /, metod: GET}",
                "r:1:11: unknown field `metod` in the request; did you mean \"method\"?",
            ),
            (
                "{path: {hex: 2ff}}",
                "r:1:14: expected pairs of hexadecimal digits",
            ),
            ("{path: /, headers: [[a]]}", "r:1:21: expected [name, value]"),
            (
                "{path: /, peer: here}",
                "r:1:17: expected an IP address, or unknown, found \"here\"",
            ),
        ] {
            assert_eq!(single_request("r", text).unwrap_err(), [expected], "{text}");
        }
        assert_eq!(
            requests_of_lines("r", "{path: /}\n\n{path: 1}\n").unwrap_err(),
            ["r, line 3:1:8: expected a text, found a number; put it in quotes"]
        );
    }
}

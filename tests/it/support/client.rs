//! A client that sends exactly the bytes it is given.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::message::{self, Message};

const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps one connection alive, and opens another after the peer has closed it.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    pub(crate) fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers)
    }

    pub(crate) fn post(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("POST", target, headers)
    }

    /// One request; a POST has a small JSON body. There is a `host` header unless `headers` have one.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.try_request(method, target, headers)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        let body = if method == "POST" {
            r#"{"message":"hello"}"#
        } else {
            ""
        };
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += "host: api.example.com\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
        }
        self.exchange(format!("{text}\r\n{body}").as_bytes(), method == "HEAD")
    }

    /// A request with this body.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.exchange(&with_body(method, target, headers, body), method == "HEAD")
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// The same on a connection of its own, whose response is read piece by piece.
    pub(crate) fn open(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Pieces {
        let begin = || -> io::Result<Pieces> {
            let mut connection = self.connect()?;
            connection
                .get_mut()
                .write_all(&with_body(method, target, headers, body))?;
            let head = message::read(&mut connection, |_| true)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let head = Response::of(head)?;
            Ok(Pieces { head, connection })
        };
        begin().unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// Sends these bytes, reads one response.
    fn exchange(&mut self, bytes: &[u8], headers_only: bool) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        connection.get_mut().write_all(bytes)?;
        let bodyless = |status_line: &str| {
            let status = status_line.split(' ').nth(1);
            headers_only || matches!(status, Some("204" | "304"))
        };
        let message = message::read(&mut connection, bodyless)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let response = Response::of(message)?;
        if !response.header("connection").eq_ignore_ascii_case("close") {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

fn with_body(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: api.example.com\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

/// A chunked response, piece by piece.
pub(crate) struct Pieces {
    /// Its status and headers.
    pub(crate) head: Response,
    connection: BufReader<TcpStream>,
}

impl Pieces {
    /// The next chunk; `None` at the end, an error where the response was cut.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        message::chunk(&mut self.connection)
    }

    /// Everything up to the end, and whether that was the end of the response and no cut.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Ok(Some(chunk)) => all.extend(chunk),
                Ok(None) => return (all, true),
                Err(_) => return (all, false),
            }
        }
    }
}

/// A response; from the echo backend it says what the backend saw.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    fn of(message: Message) -> io::Result<Self> {
        let status = message.start_line.split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok());
        Ok(Self {
            status: status.ok_or_else(|| io::Error::other("no status"))?,
            headers: message.headers,
            body: String::from_utf8_lossy(&message.body).into_owned(),
        })
    }

    /// The header's value; empty if it is not there. Twice is a fault.
    pub(crate) fn header(&self, name: &str) -> &str {
        let named = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        let mut found = self.headers.iter().filter(named);
        let value = found.next().map_or("", |(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} comes twice in {self:?}");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The `code` of an error body; empty without one.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The request headers that the echo backend saw, names in lower case.
    pub(crate) fn seen_headers(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 200, "{self:?}");
        let headers: Vec<(String, String)> =
            serde_json::from_value(self.json()["headers"].clone()).expect("the backend echoes headers");
        let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
        headers.into_iter().map(lower).collect()
    }

    /// Every value that the backend saw under this very name.
    pub(crate) fn seen(&self, name: &str) -> Vec<String> {
        let named = self.seen_headers().into_iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value).collect()
    }
}

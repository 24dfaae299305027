//! A request as somebody describes it, and as Envoy would show it.

use std::net::IpAddr;

use bytes::Bytes;

use crate::config::CredentialPlace;
use crate::envoy::Question;

/// A described request. All bytes are taken as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method.
    pub method: Vec<u8>,
    /// The request target with its query.
    pub target: Vec<u8>,
    /// The host.
    pub host: Vec<u8>,
    /// Names and values in the order in which they are sent.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The direct peer of Envoy.
    pub peer: Option<IpAddr>,
    /// Nothing is added to the headers: they are exactly what Envoy shows.
    pub bare: bool,
}

impl Request {
    /// `GET` of a target at `localhost`, from 127.0.0.1.
    pub fn new(target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: b"GET".into(),
            target: target.into(),
            host: b"localhost".into(),
            headers: Vec::new(),
            peer: Some([127, 0, 0, 1].into()),
            bare: false,
        }
    }

    /// Puts a key at this place; as a bearer, where no place is known.
    pub fn carry(&mut self, key: &[u8], place: Option<&CredentialPlace>) {
        match place {
            Some(CredentialPlace::Header { name, scheme: None }) => {
                self.headers.push((name.as_str().into(), key.into()));
            }
            Some(CredentialPlace::Header {
                name,
                scheme: Some(scheme),
            }) => self.carry_with_scheme(name.as_str(), scheme, key),
            Some(CredentialPlace::Query { name }) => self.carry_in_query(name, key),
            None => self.carry_with_scheme("authorization", "Bearer", key),
        }
    }

    fn carry_with_scheme(&mut self, name: &str, scheme: &str, key: &[u8]) {
        let value = [scheme.as_bytes(), b" ", key].concat();
        self.headers.push((name.into(), value));
    }

    fn carry_in_query(&mut self, name: &str, key: &[u8]) {
        let begin = if self.target.contains(&b'?') { b'&' } else { b'?' };
        self.target.push(begin);
        self.target.extend_from_slice(name.as_bytes());
        self.target.push(b'=');
        for &byte in key {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.target.push(byte);
            } else {
                self.target.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }

    /// The encoded `CheckRequest`. Unless the request is bare, names are in lower case and the headers that Envoy adds to every
    /// request are there.
    pub fn encode(&self) -> Bytes {
        let shown = if self.bare {
            self.headers.clone()
        } else {
            self.as_envoy_shows_it()
        };
        let question = Question {
            method: &self.method,
            target: &self.target,
            host: &self.host,
            headers: &shown,
            peer: self.peer,
        };
        question.encode()
    }

    fn as_envoy_shows_it(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let own: Vec<(Vec<u8>, Vec<u8>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let always: [(&[u8], &[u8]); 6] = [
            (b":method", &self.method),
            (b":path", &self.target),
            (b":authority", &self.host),
            (b":scheme", b"http"),
            (b"x-forwarded-proto", b"http"),
            (b"x-request-id", b"latchkey-check"),
        ];
        let missing = always
            .into_iter()
            .filter(|(name, _)| own.iter().all(|(known, _)| known != name));
        let mut shown: Vec<(Vec<u8>, Vec<u8>)> = missing
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        shown.extend(own);
        shown
    }
}

//! Writes the question that Envoy asks, for whoever wants to ask it without an Envoy.
//!
//! What goes in may be any bytes, as what comes from a caller may be: headers are written as Envoy writes them with
//! `encode_raw_headers`, one by one and byte for byte.

use std::net::IpAddr;

use bytes::Bytes;

use super::answer::wire::Writer;

/// Fields of `CheckRequest` and of what is in it.
mod field {
    pub(super) const ATTRIBUTES: u32 = 1;
    pub(super) const SOURCE: u32 = 1;
    pub(super) const REQUEST: u32 = 4;
    pub(super) const PEER_ADDRESS: u32 = 1;
    pub(super) const SOCKET_ADDRESS: u32 = 1;
    pub(super) const ADDRESS: u32 = 2;
    pub(super) const HTTP: u32 = 2;
    pub(super) const METHOD: u32 = 2;
    pub(super) const PATH: u32 = 4;
    pub(super) const HOST: u32 = 5;
    pub(super) const HEADER_MAP: u32 = 13;
    pub(super) const HEADERS: u32 = 1;
    pub(super) const KEY: u32 = 1;
    pub(super) const RAW_VALUE: u32 = 3;
}

/// What Envoy tells of a request.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The request target with its query.
    pub target: &'a [u8],
    /// `:authority` or `Host`.
    pub host: &'a [u8],
    /// Names in lower case and values, pseudo headers among them.
    pub headers: &'a [(Vec<u8>, Vec<u8>)],
    /// The direct peer of Envoy.
    pub peer: Option<IpAddr>,
}

impl Question<'_> {
    /// The encoded `CheckRequest`.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::after(Vec::new());
        writer.message(field::ATTRIBUTES, |attributes| {
            if let Some(peer) = self.peer {
                attributes.message(field::SOURCE, |source| {
                    source.message(field::PEER_ADDRESS, |address| {
                        address.message(field::SOCKET_ADDRESS, |socket| {
                            socket.text(field::ADDRESS, &peer.to_string());
                        });
                    });
                });
            }
            attributes.message(field::REQUEST, |request| {
                request.message(field::HTTP, |http| self.http(http));
            });
        });
        writer.into_bytes().into()
    }

    fn http(&self, http: &mut Writer) {
        bytes(http, field::METHOD, self.method);
        bytes(http, field::PATH, self.target);
        bytes(http, field::HOST, self.host);
        http.message(field::HEADER_MAP, |map| {
            for (name, value) in self.headers {
                map.message(field::HEADERS, |header| {
                    bytes(header, field::KEY, name);
                    bytes(header, field::RAW_VALUE, value);
                });
            }
        });
    }
}

fn bytes(to: &mut Writer, field: u32, bytes: &[u8]) {
    to.message(field, |text| text.raw().extend_from_slice(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::decision::RequestView;
    use crate::envoy::CheckView;
    use crate::envoy::messages::envoy::service::auth::v3::CheckRequest;

    #[test]
    fn the_generated_messages_read_what_was_written() {
        let headers = [(b":path".to_vec(), b"/a".to_vec()), (b"x".to_vec(), vec![0xff])];
        let question = Question {
            method: b"POST",
            target: b"/a?b",
            host: b"example.com",
            headers: &headers,
            peer: Some([192, 0, 2, 1].into()),
        };
        let read = CheckRequest::decode(question.encode()).expect("a CheckRequest");
        let http = read
            .attributes
            .and_then(|attributes| attributes.request)
            .and_then(|request| request.http)
            .expect("a request");
        assert_eq!(
            (&*http.method, &*http.path, &*http.host),
            ("POST", "/a?b", "example.com")
        );
        let map = http.header_map.expect("headers").headers;
        assert_eq!(map[0].key, ":path");
        assert_eq!(map[1].raw_value, [0xff]);
    }

    proptest! {
        #[test]
        fn the_decision_reads_the_very_bytes(
            [method, target, host] in any::<[Vec<u8>; 3]>(),
            headers in proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 0..8),
            peer in any::<Option<IpAddr>>(),
        ) {
            let question = Question { method: &method, target: &target, host: &host, headers: &headers, peer };
            let view = CheckView::read(question.encode()).expect("a question");
            prop_assert_eq!(view.method(), &*method);
            prop_assert_eq!(view.target(), &*target);
            prop_assert_eq!(view.host(), &*host);
            prop_assert_eq!(view.peer_address(), peer);
            let shown: Vec<_> = view.headers().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(shown, headers);
        }
    }
}

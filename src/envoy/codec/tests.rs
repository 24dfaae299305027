//! The view of a check request, held against the generated decoder.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::view::MAX_HEADERS;
use super::{CheckView, Malformed};
use crate::decision::RequestView;
use crate::envoy::messages::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, Pipe, SocketAddress, address,
};
use crate::envoy::messages::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use crate::envoy::messages::envoy::service::auth::v3::{AttributeContext, CheckRequest};

fn request(http: HttpRequest) -> CheckRequest {
    let request = Request {
        http: Some(http),
        time: None,
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(request),
            ..Default::default()
        }),
    }
}

fn read(message: &CheckRequest) -> Result<CheckView, Malformed> {
    CheckView::read(message.encode_to_vec().into())
}

/// What a decision sees: of a name that is twice in the map only its last value, as prost has it.
#[derive(Debug, PartialEq)]
struct Seen {
    method: Vec<u8>,
    target: Vec<u8>,
    host: Vec<u8>,
    peer: Option<IpAddr>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

fn seen(view: &CheckView) -> Seen {
    let mut headers: Vec<_> = view
        .headers()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    headers.sort();
    Seen {
        method: view.method().to_vec(),
        target: view.target().to_vec(),
        host: view.host().to_vec(),
        peer: view.peer_address(),
        headers,
    }
}

fn seen_by_prost(message: &CheckRequest) -> Option<Seen> {
    let attributes = message.attributes.as_ref()?;
    let http = attributes.request.as_ref()?.http.as_ref()?;
    let peer = attributes
        .source
        .as_ref()
        .and_then(|source| source.address.as_ref()?.address.as_ref());
    let peer = match peer {
        Some(address::Address::SocketAddress(socket)) => socket.address.parse().ok(),
        _ => None,
    };
    let listed = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let raw = !header.raw_value.is_empty();
        let value = if raw {
            header.raw_value.clone()
        } else {
            header.value.clone().into_bytes()
        };
        (header.key.clone().into_bytes(), value)
    });
    let mapped = http
        .headers
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()));
    let mut headers: Vec<_> = mapped.chain(listed).collect();
    headers.sort();
    Some(Seen {
        method: http.method.clone().into_bytes(),
        target: http.path.clone().into_bytes(),
        host: http.host.clone().into_bytes(),
        peer,
        headers,
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z-]{0,12}", "\\PC{0,12}", "[a-z]{130}"]
}

fn any_address() -> impl Strategy<Value = Address> {
    let ip = prop_oneof![any::<IpAddr>().prop_map(|ip| ip.to_string()), text()];
    let socket = (ip, any::<u16>()).prop_map(|(address, port)| {
        let port_specifier = Some(
            crate::envoy::messages::envoy::config::core::v3::socket_address::PortSpecifier::PortValue(
                port.into(),
            ),
        );
        address::Address::SocketAddress(SocketAddress {
            address,
            port_specifier,
            ..Default::default()
        })
    });
    let pipe = text().prop_map(|path| address::Address::Pipe(Pipe { path, mode: 0o600 }));
    option::of(prop_oneof![3 => socket, 1 => pipe]).prop_map(|address| Address { address })
}

fn any_peer() -> impl Strategy<Value = Peer> {
    (option::of(any_address()), text(), btree_map(text(), text(), 0..3)).prop_map(
        |(address, service, labels)| Peer {
            address,
            service,
            labels,
            principal: String::new(),
            certificate: String::new(),
        },
    )
}

fn any_http() -> impl Strategy<Value = HttpRequest> {
    let header = (text(), text(), vec(any::<u8>(), 0..12)).prop_map(|(key, value, raw_value)| HeaderValue {
        key,
        value,
        raw_value,
    });
    (
        (text(), text(), text(), text()),
        btree_map(text(), text(), 0..6),
        option::of(vec(header, 0..6).prop_map(|headers| HeaderMap { headers })),
        (any::<i64>(), vec(any::<u8>(), 0..40)),
    )
        .prop_map(
            |((method, path, host, protocol), headers, header_map, (size, raw_body))| HttpRequest {
                method,
                path,
                host,
                protocol,
                headers,
                header_map,
                size,
                raw_body,
                ..Default::default()
            },
        )
}

fn any_request() -> impl Strategy<Value = CheckRequest> {
    let time = any::<i64>().prop_map(|seconds| prost_types::Timestamp { seconds, nanos: 7 });
    let request = (option::of(any_http()), option::of(time)).prop_map(|(http, time)| Request { http, time });
    let attributes = (
        option::of(any_peer()),
        option::of(any_peer()),
        option::of(request),
        btree_map(text(), text(), 0..3),
    )
        .prop_map(
            |(source, destination, request, context_extensions)| AttributeContext {
                source,
                destination,
                request,
                context_extensions,
                ..Default::default()
            },
        );
    option::of(attributes).prop_map(|attributes| CheckRequest { attributes })
}

/// Whether the view and prost say the same of these bytes, but for the differences that [`CheckView`] names.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let view = CheckView::read(Bytes::copy_from_slice(bytes));
    match (CheckRequest::decode(bytes), view) {
        (Ok(message), Ok(view)) => {
            let mut ours = seen(&view);
            let theirs = seen_by_prost(&message);
            if theirs
                .as_ref()
                .is_some_and(|theirs| theirs.headers.len() < ours.headers.len())
            {
                // A name twice in the map: prost has the last value only, and the view all of them.
                let theirs = theirs
                    .as_ref()
                    .map(|theirs| &theirs.headers[..])
                    .unwrap_or_default();
                ours.headers.retain(|header| theirs.contains(header));
                ours.headers.dedup();
            }
            prop_assert_eq!(Some(ours), theirs);
        }
        (Ok(message), Err(Malformed::NoHttp)) => prop_assert_eq!(seen_by_prost(&message), None),
        (Ok(_), Err(malformed)) => prop_assert!(false, "only the view refuses: {malformed}"),
        // Text that is not UTF-8, or a fault in a field that nobody needs; or both refuse.
        (Err(_), _) => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_view_agrees_with_prost(message in any_request()) {
        match read(&message) {
            Ok(view) => prop_assert_eq!(Some(seen(&view)), seen_by_prost(&message)),
            Err(malformed) => {
                prop_assert_eq!(malformed, Malformed::NoHttp);
                prop_assert_eq!(seen_by_prost(&message), None);
            }
        }
    }

    #[test]
    fn messages_that_come_twice_merge_as_in_prost(first in any_request(), second in any_request()) {
        let mut bytes = first.encode_to_vec();
        bytes.extend(second.encode_to_vec());
        agree(&bytes)?;
    }

    #[test]
    fn damaged_requests_are_read_as_prost_reads_them(
        message in any_request(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message.encode_to_vec();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn truncated_requests_are_read_as_prost_reads_them(message in any_request(), cut in any::<prop::sample::Index>()) {
        let bytes = message.encode_to_vec();
        agree(&bytes[..cut.index(bytes.len() + 1)])?;
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..64)) {
        agree(&bytes)?;
    }

    /// Bytes that look more like fields than random ones do.
    #[test]
    fn no_fields_make_it_panic(bytes in vec(prop_oneof![Just(10u8), Just(18), Just(26), Just(34), Just(106), 0u8..16, any::<u8>()], 0..48)) {
        agree(&bytes)?;
    }
}

/// `bytes` as a length-delimited field.
fn delimited(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![field << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut encoded);
    encoded.extend_from_slice(bytes);
    encoded
}

/// A request whose `HttpRequest` is these bytes.
fn with_http(http: &[u8]) -> Bytes {
    delimited(1, &delimited(4, &delimited(2, http))).into()
}

#[test]
fn malformed_requests_are_refused() {
    let deep_groups = [vec![0x2b; 200], vec![0x2c; 200]].concat();
    for (bytes, malformed) in [
        (Bytes::new(), Malformed::NoHttp),
        (delimited(1, b"").into(), Malformed::NoHttp),
        (delimited(1, &delimited(4, b"")).into(), Malformed::NoHttp),
        (Bytes::from_static(b"\x0a\x05abc"), Malformed::Truncated),
        (Bytes::from_static(b"\x0a"), Malformed::Truncated),
        (Bytes::from_static(b"\x0a\xff"), Malformed::Truncated),
        (
            Bytes::from_static(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            Malformed::Truncated,
        ),
        (
            Bytes::from_static(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            Malformed::Overlong,
        ),
        (Bytes::from_static(&[0x80; 12]), Malformed::Overlong),
        (Bytes::from_static(b"\x00\x00"), Malformed::Key),
        (Bytes::from_static(b"\x0e"), Malformed::Key),
        (Bytes::from_static(b"\x08\x01"), Malformed::WrongType),
        (with_http(b"\x10\x01"), Malformed::WrongType),
        (with_http(b"\x18\x01"), Malformed::WrongType),
        (with_http(b"\x23\x24"), Malformed::WrongType),
        (with_http(b"\x69\0\0\0\0\0\0\0\0"), Malformed::WrongType),
        (with_http(b"\x2c"), Malformed::Group),
        (with_http(b"\x7b\x84\x01"), Malformed::Group),
        (with_http(b"\x7b"), Malformed::Truncated),
        (deep_groups.into(), Malformed::Group),
    ] {
        let shown = format!("{bytes:?}");
        assert_eq!(CheckView::read(bytes).err(), Some(malformed), "{shown}");
    }
}

#[test]
fn unknown_fields_of_every_kind_are_skipped() {
    let unknown = [
        &b"\xf8\x07\x96\x01"[..],                    // 127, a number
        b"\xf9\x07\x01\x02\x03\x04\x05\x06\x07\x08", // 64 bits
        b"\xfd\x07\x01\x02\x03\x04",                 // 32 bits
        b"\xfa\x07\x03abc",                          // bytes
        b"\xfb\x07\x08\x01\xfb\x06\xfc\x06\xfc\x07", // a group in a group
        b"\x12\x03GET",
    ]
    .concat();
    let view = CheckView::read(with_http(&unknown)).unwrap();
    assert_eq!(view.method(), b"GET");
}

#[test]
fn an_empty_http_request_is_read_and_left_to_the_decision() {
    let view = CheckView::read(with_http(b"")).unwrap();
    assert_eq!(
        (view.method(), view.target(), view.host()),
        (&b""[..], &b""[..], &b""[..])
    );
    assert_eq!(view.headers().count(), 0);
    assert_eq!(view.peer_address(), None);
}

#[test]
fn header_bytes_need_not_be_utf_8() {
    let entry = [delimited(1, b"x-\xff"), delimited(2, b"\xfe\0\xc3")].concat();
    let raw = [
        delimited(1, b"x-raw"),
        delimited(2, b"text"),
        delimited(3, b"\x80"),
    ]
    .concat();
    let http = [
        delimited(3, &entry),
        delimited(13, &delimited(1, &raw)),
        delimited(4, b"/\xff"),
    ]
    .concat();
    let view = CheckView::read(with_http(&http)).unwrap();
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(
        headers,
        [(&b"x-\xff"[..], &b"\xfe\0\xc3"[..]), (b"x-raw", b"\x80")]
    );
    assert_eq!(view.target(), b"/\xff");
}

#[test]
fn a_name_twice_in_the_map_is_shown_twice() {
    let entry = |value: &[u8]| delimited(3, &[delimited(1, b"authorization"), delimited(2, value)].concat());
    let view = CheckView::read(with_http(&[entry(b"one"), entry(b"two")].concat())).unwrap();
    let values: Vec<_> = view.headers().map(|(_, value)| value).collect();
    assert_eq!(values, [b"one", b"two"]);
}

#[test]
fn the_map_and_the_list_of_headers_are_both_read() {
    let header = HeaderValue {
        key: "b".into(),
        value: "2".into(),
        raw_value: Vec::new(),
    };
    let view = read(&request(HttpRequest {
        headers: BTreeMap::from([("a".into(), "1".into())]),
        header_map: Some(HeaderMap {
            headers: vec![header],
        }),
        ..Default::default()
    }))
    .unwrap();
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(headers, [(&b"a"[..], &b"1"[..]), (b"b", b"2")]);
}

#[test]
fn only_raw_headers_tell_the_bytes_of_the_target() {
    let entry = [delimited(1, b":path"), delimited(2, b"/a!")].concat();
    let raw = |value: &[u8]| {
        let header = [delimited(1, b":path"), delimited(3, value)].concat();
        delimited(13, &delimited(1, &header))
    };
    let target = delimited(4, b"/a!");
    for (parts, expected) in [
        (vec![raw(b"/a!")], true),
        (vec![raw(b"/a\xff")], false),
        (vec![raw(b"/a\xff"), raw(b"/b")], false),
        (vec![delimited(3, &entry)], false),
        (vec![delimited(3, &entry), raw(b"/a!")], false),
        (vec![], false),
    ] {
        let http = [target.clone(), parts.concat()].concat();
        let view = CheckView::read(with_http(&http)).unwrap();
        assert_eq!(view.is_target_exact(), expected, "{}", http.escape_ascii());
    }
}

#[test]
fn ten_thousand_headers_are_read_and_one_more_is_refused() {
    let with = |count: usize| {
        let headers = (0..count)
            .map(|number| (format!("x-{number}"), "value".into()))
            .collect();
        read(&request(HttpRequest {
            headers,
            ..Default::default()
        }))
    };
    assert_eq!(with(MAX_HEADERS).unwrap().headers().count(), MAX_HEADERS);
    assert_eq!(with(MAX_HEADERS + 1).err(), Some(Malformed::TooManyHeaders));
}

#[test]
fn a_header_of_a_megabyte_is_read_where_it_lies() {
    let long = "x".repeat(1024 * 1024);
    let headers = BTreeMap::from([("x-long".into(), long.clone())]);
    let bytes = Bytes::from(
        request(HttpRequest {
            headers,
            ..Default::default()
        })
        .encode_to_vec(),
    );
    let view = CheckView::read(bytes.clone()).unwrap();
    let (_, value) = view.headers().next().unwrap();
    assert_eq!(value, long.as_bytes());
    assert!(
        bytes.as_ptr_range().contains(&value.as_ptr()),
        "the value was copied"
    );
}

#[test]
fn debug_shows_nothing_of_the_request() {
    let headers = BTreeMap::from([("authorization".into(), "Bearer lk_secret".into())]);
    let view = read(&request(HttpRequest {
        headers,
        path: "/?api_key=lk_secret".into(),
        ..Default::default()
    }));
    assert!(!format!("{:?}", view.unwrap()).contains("secret"));
}

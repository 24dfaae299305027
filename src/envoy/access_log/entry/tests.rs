//! Entries as Envoy sends them, made by prost and read by hand; and what no Envoy would send.

use proptest::prelude::*;
use prost::Message as _;
use prost_types::value::Kind;

use super::*;
use crate::envoy::messages::envoy::config::core::v3::{
    Address, Metadata, Node, SocketAddress, address, socket_address,
};
use crate::envoy::messages::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties, ResponseFlags,
    TcpAccessLogEntry, response_flags,
};
use crate::envoy::messages::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use crate::envoy::messages::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries, TcpAccessLogEntries,
};

const NOW_MS: u64 = 1_800_000_000_000;

fn text(text: &str) -> Kind {
    Kind::StringValue(text.into())
}

fn metadata(namespaces: &[(&str, &[(&str, Kind)])]) -> Metadata {
    let fields = |fields: &[(&str, Kind)]| prost_types::Struct {
        fields: fields
            .iter()
            .map(|(name, kind)| {
                let kind = Some(kind.clone());
                ((*name).to_owned(), prost_types::Value { kind })
            })
            .collect(),
    };
    Metadata {
        filter_metadata: namespaces
            .iter()
            .map(|(name, given)| ((*name).to_owned(), fields(given)))
            .collect(),
        ..Metadata::default()
    }
}

fn address(port: u32) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "192.0.2.1".into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })),
    }
}

fn decision() -> DecisionId {
    DecisionId::parse("01c9c38000000005e507db448321208357b8b64bc14d7579".as_bytes()).unwrap()
}

fn whole() -> HttpAccessLogEntry {
    let check = [
        ("decision_id", text(&decision().to_string())),
        ("key_id", text("api_key_1")),
        ("key_name", text("Acme")),
        ("org_code", text("org_acme")),
        ("user_id", text("user_1")),
        ("route", text("chat")),
        ("outcome", text("allow")),
        ("reason", text("key")),
        ("request_started_ms", Kind::NumberValue(1.0)),
        ("nested", Kind::StructValue(prost_types::Struct::default())),
    ];
    let guard = [
        ("guard", text("ok")),
        ("chars_in", Kind::NumberValue(12.0)),
        ("chars_out", Kind::NumberValue(0.5)),
        ("tokens", Kind::NumberValue(7.0)),
        ("tokens_out", text("7")),
    ];
    HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            downstream_remote_address: Some(address(1)),
            downstream_direct_remote_address: Some(address(4242)),
            start_time: Some(prost_types::Timestamp {
                seconds: 1_799_999_999,
                nanos: 123_456_789,
            }),
            duration: Some(prost_types::Duration { seconds: 9, nanos: 0 }),
            time_to_last_downstream_tx_byte: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000,
            }),
            response_flags: Some(ResponseFlags {
                upstream_connection_failure: true,
                unauthorized_details: Some(response_flags::Unauthorized::default()),
                upstream_retry_limit_exceeded: true,
                ..ResponseFlags::default()
            }),
            metadata: Some(metadata(&[
                ("envoy.filters.http.ext_authz", &check),
                ("latchkey", &guard),
                ("somebody.else", &[("key_id", text("forged"))]),
            ])),
            stream_id: "chosen-by-the-caller".into(),
            access_log_type: 6,
            ..AccessLogCommon::default()
        }),
        request: Some(HttpRequestProperties {
            request_method: 3,
            path: "/ai/chat?api_key=lk_secret".into(),
            request_body_bytes: 100,
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(200),
            response_body_bytes: 1000,
            response_code_details: "via_upstream".into(),
        }),
    }
}

fn message(entries: Vec<HttpAccessLogEntry>) -> Bytes {
    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(Node {
                id: "edge-1".into(),
                ..Node::default()
            }),
            log_name: "ingress".into(),
        }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: entries })),
    };
    message.encode_to_vec().into()
}

fn read_all(message: &Bytes) -> Batch {
    read(message, &mut Box::default(), NOW_MS).unwrap()
}

fn only(entry: HttpAccessLogEntry) -> Event {
    let batch = read_all(&message(vec![entry]));
    assert_eq!(
        (batch.events.len(), batch.malformed_entries, batch.other_entries),
        (1, 0, 0)
    );
    batch.events.into_iter().next().unwrap()
}

#[test]
fn everything_that_is_wanted_of_an_entry_is_read() {
    let expected = Event {
        id: EventId::of_decision(decision()),
        at_ms: 1_799_999_999_123,
        key_id: "api_key_1".into(),
        key_name: "Acme".into(),
        org_code: "org_acme".into(),
        user_id: "user_1".into(),
        route: "chat".into(),
        method: "POST".into(),
        path: "/ai/chat".into(),
        status: 200,
        outcome: "allow".into(),
        reason: "key".into(),
        flags: "UF,UAEX,URX".into(),
        details: "via_upstream".into(),
        guard: "ok".into(),
        input_bytes: 100,
        response_bytes: 1000,
        input_chars: Some(12),
        response_chars: None,
        input_tokens: None,
        output_tokens: None,
        total_tokens: Some(7),
        duration_us: 1_000_500,
    };
    assert_eq!(only(whole()), expected);
}

#[test]
fn an_entry_without_a_check_is_named_by_what_no_caller_chooses() {
    let mut entry = whole();
    entry.common_properties.as_mut().unwrap().metadata = None;
    let event = only(entry.clone());
    assert_eq!(event.id.as_str(), "edge-1/1799999999123456789/4242");
    assert_eq!((&*event.key_id, &*event.route, &*event.outcome), ("", "", ""));

    // The node is told once a stream.
    let mut node = "edge-9".into();
    let later = StreamAccessLogsMessage {
        identifier: None,
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries {
            log_entry: vec![entry],
        })),
    };
    let batch = read(&later.encode_to_vec().into(), &mut node, NOW_MS).unwrap();
    assert!(batch.events[0].id.as_str().starts_with("edge-9/"));
}

#[test]
fn only_the_end_of_a_request_counts() {
    for kind in [0, 4, 5, 7, 9, 10] {
        let mut entry = whole();
        entry.common_properties.as_mut().unwrap().access_log_type = kind;
        let batch = read_all(&message(vec![entry, whole()]));
        assert_eq!((batch.events.len(), batch.other_entries), (1, 1), "{kind}");
    }
    let tcp = StreamAccessLogsMessage {
        identifier: None,
        log_entries: Some(LogEntries::TcpLogs(TcpAccessLogEntries {
            log_entry: vec![TcpAccessLogEntry::default(); 3],
        })),
    };
    let batch = read_all(&tcp.encode_to_vec().into());
    assert_eq!((batch.events.len(), batch.tcp_entries), (0, 3));
}

#[test]
fn strange_values_are_bounded() {
    let mut entry = whole();
    let common = entry.common_properties.as_mut().unwrap();
    common.start_time = Some(prost_types::Timestamp {
        seconds: 1 << 40,
        nanos: -1,
    });
    common.time_to_last_downstream_tx_byte = Some(prost_types::Duration {
        seconds: -5,
        nanos: 0,
    });
    let request = entry.request.as_mut().unwrap();
    request.path = format!("/{}", "ä".repeat(1_000_000));
    request.request_method = 77;
    request.request_body_bytes = u64::MAX;
    entry.response.as_mut().unwrap().response_code = Some(100_000);
    let event = only(entry);
    assert!(event.at_ms <= NOW_MS);
    assert_eq!((event.duration_us, event.status, &*event.method), (0, 0, ""));
    assert!(event.path.len() <= MAX_TEXT_BYTES && event.path.starts_with("/ä"));
    assert_eq!(event.input_bytes, 1 << 50);
}

#[test]
fn a_count_is_as_large_as_any_real_one_and_no_larger() {
    for (number, count) in [
        (0.0, Some(0)),
        (4_294_967_295.0, Some(4_294_967_295)),
        (4_294_967_296.0, None),
        // A backend says this of its own answer, and a thousand of these are too many for a column of 64 bits.
        (9_007_199_254_740_992.0, None),
        (-1.0, None),
        (0.5, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
    ] {
        let mut entry = whole();
        let tokens = [("tokens", Kind::NumberValue(number))];
        entry.common_properties.as_mut().unwrap().metadata = Some(metadata(&[("latchkey", &tokens)]));
        assert_eq!(only(entry).total_tokens, count, "{number}");
    }
}

#[test]
fn a_flag_that_is_set_again_and_again_is_told_once() {
    // `response_flags` of `common_properties`, with `upstream_connection_failure: true` a thousand times.
    let flags = [6 << 3, 1].repeat(1_000);
    let mut found = Entry::default();
    found
        .response_flags(&flags, Span::whole(&flags).unwrap())
        .unwrap();
    assert_eq!(found.flags, ["UF"]);
}

#[test]
fn an_empty_entry_is_no_event_and_an_entry_of_nothing_but_its_kind_is_one() {
    let batch = read_all(&message(vec![HttpAccessLogEntry::default()]));
    assert_eq!((batch.events.len(), batch.other_entries), (0, 1));
    let event = only(HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            access_log_type: 6,
            ..AccessLogCommon::default()
        }),
        ..HttpAccessLogEntry::default()
    });
    assert_eq!((event.at_ms, event.status), (NOW_MS, 0));
}

/// A message whose only entry is `bytes`.
fn around(bytes: &[u8]) -> Bytes {
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend_from_slice(bytes);
        field
    };
    field(2, &field(1, bytes)).into()
}

#[test]
fn one_entry_that_makes_no_sense_costs_no_other() {
    let good = message(vec![whole()]);
    let both = [&around(&[0xff, 0xff])[..], &good].concat();
    let batch = read_all(&both.into());
    assert_eq!((batch.events.len(), batch.malformed_entries), (1, 1));
}

#[test]
fn text_that_is_not_utf_8_is_read_all_the_same() {
    let mut bytes = whole().encode_to_vec();
    let place = bytes.windows(8).position(|eight| eight == b"/ai/chat").unwrap();
    bytes[place + 4] = 0xff;
    let batch = read_all(&around(&bytes));
    assert_eq!(&*batch.events[0].path, "/ai/\u{fffd}hat");
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes.clone().into(), &mut Box::default(), NOW_MS);
        let _ = read(&around(&bytes), &mut Box::default(), NOW_MS);
    }

    #[test]
    fn a_whole_message_that_is_damaged_never_panics(place in 0usize..400, byte in any::<u8>()) {
        let mut bytes = message(vec![whole()]).to_vec();
        let place = place % bytes.len();
        bytes[place] = byte;
        let _ = read(&bytes.into(), &mut Box::default(), NOW_MS);
    }
}

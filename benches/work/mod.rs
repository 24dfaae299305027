//! What is measured: each piece of a check, beside what a service would use that does it in the usual way.
//!
//! The same pieces run under Criterion (`benches/check.rs`: time) and under callgrind (`benches/instructions.rs`: instructions).

mod input;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use latchkey::decision::{Next, Policy, Reading, read};
use latchkey::envoy::messages::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use latchkey::envoy::{CheckView, write_answer};
use prost::Message;

/// Numbers of routes that a table is measured with.
const ROUTES: [usize; 3] = [10, 1_000, 10_000];

/// Paths that a table is asked for in turn.
const PATHS: usize = 1_024;

/// One thing to measure: its group, its name in there, and what does it once.
pub(crate) struct Piece {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnMut()>,
}

fn piece(group: &'static str, name: impl Into<String>, run: impl FnMut() + 'static) -> Piece {
    Piece {
        group,
        name: name.into(),
        run: Box::new(run),
    }
}

/// All of them.
pub(crate) fn pieces() -> Vec<Piece> {
    let mut pieces = decode();
    pieces.extend(decide());
    pieces.extend(write());
    pieces.extend(ROUTES.into_iter().flat_map(routes));
    pieces
}

/// Reading a request of 14 headers.
fn decode() -> Vec<Piece> {
    let message = input::request();
    let same = message.clone();
    vec![
        piece("decode", "latchkey", move || {
            black_box(CheckView::read(black_box(message.clone())).expect("a good message"));
        }),
        piece("decode", "prost", move || {
            black_box(CheckRequest::decode(black_box(same.clone())).expect("a good message"));
        }),
    ]
}

/// From the request to the decision, with a key that is known. There is no other way of doing it to compare with.
fn decide() -> Vec<Piece> {
    let policy = input::policy(1);
    let view = view();
    let record = Arc::new(input::record());
    vec![piece("decide", "latchkey", move || {
        let Reading { facts, next } = read(&policy, black_box(&view));
        let Next::Verify(candidate) = next else {
            panic!("the request has a key");
        };
        let admitted = candidate.identify(Some(Arc::clone(&record)), 1);
        black_box((facts, admitted.expect("a good key").decide()));
    })]
}

/// An allow with tenant headers, removals, limit headers and metadata. Prost is given the message ready made; a service would
/// have to make it first.
fn write() -> Vec<Piece> {
    let policy: &'static Policy = Box::leak(Box::new(input::policy(1)));
    let outcome = input::allow(policy, Box::leak(Box::new(view())));
    let encoded = write_answer(policy, &outcome, Vec::new());
    let message = CheckResponse::decode(&encoded[..]).expect("a good answer");
    let room = encoded.len();
    vec![
        piece("write", "latchkey", move || {
            let buffer = Vec::with_capacity(room);
            black_box(write_answer(policy, black_box(&outcome), buffer));
        }),
        piece("write", "prost", move || {
            let mut buffer = Vec::with_capacity(room);
            black_box(&message).encode(&mut buffer).expect("there is room");
            black_box(buffer);
        }),
    ]
}

/// Finding a route by host, path and method, another one each time; beside a hash map that has every path as it is, and so
/// knows no pattern, host, method or twin.
fn routes(count: usize) -> Vec<Piece> {
    let policy = Arc::new(input::policy(count));
    let find = |name: &str, path: fn(usize) -> String, is_there: bool| {
        let (policy, paths, mut at) = (Arc::clone(&policy), spread(count, path), 0);
        piece("routes", format!("{name}/{count}"), move || {
            at = (at + 1) % PATHS;
            let found = policy
                .routes()
                .choose("api.example.com", black_box(&paths[at]), b"POST");
            assert_eq!(black_box(found).is_ok(), is_there);
        })
    };
    let map: HashMap<Vec<u8>, usize> = (0..count)
        .map(|number| (input::exact_path(number).into_bytes(), number))
        .collect();
    let (paths, mut at) = (spread(count, input::exact_path), 0);
    vec![
        find("exact", input::exact_path, true),
        find("pattern", input::path_of_a_pattern, true),
        find("none", |number| format!("/v2/nowhere{number}/at/all"), false),
        piece("routes", format!("hash_map/{count}"), move || {
            at = (at + 1) % PATHS;
            assert!(black_box(map.get(black_box(&paths[at]))).is_some());
        }),
    ]
}

/// Paths from all over a table, in an order that no cache foresees; small tables repeat theirs, so that every size is asked with
/// as many.
fn spread(count: usize, path: fn(usize) -> String) -> Vec<Vec<u8>> {
    let path = |at: usize| path(at * 7919 % count).into_bytes();
    (0..PATHS).map(path).collect()
}

fn view() -> CheckView {
    CheckView::read(input::request()).expect("a good message")
}

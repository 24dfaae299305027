//! A hostile corpus against the whole: each target and each trick, over HTTP/1.1 and HTTP/2, through Envoy with and without
//! normalization, to upstreams that read what arrives in three styles. Nothing may reach a resource that its key may not have,
//! and no forged identity may reach any upstream.
//!
//! `make test` sends every target as it is, and every trick to some of them; `make attack` sends the whole product.

mod clients;
mod corpus;
mod planted;
mod readings;
mod run;
mod upstream;

use self::corpus::{targets, tricks};
use self::run::{Attack, FRONTS, Setting};

/// Targets that each trick is done to in `make test`: one of each kind of place.
const TRICKED: [&str; 10] = [
    "/public/index.html",
    "/healthz",
    "/optional/x",
    "/chats",
    "/chats/7",
    "/files/a/b.txt",
    "/anything/else",
    "/admin",
    "/other/thing",
    "/public/../admin",
];

/// Set by `make attack`.
const WHOLE: &str = "LATCHKEY_ATTACK";

#[test]
fn no_request_gets_past() {
    let (targets, tricks) = (targets(), tricks());
    let is_whole = std::env::var_os(WHOLE).is_some_and(|value| value == "whole");
    let mut pairs = Vec::new();
    for (place, target) in targets.iter().enumerate() {
        let is_tricked = is_whole || TRICKED.iter().any(|wanted| wanted.as_bytes() == target.bytes());
        let many = if is_tricked { tricks.len() } else { 1 };
        pairs.extend((0..many).map(|trick| (place, trick)));
    }
    assert!(
        pairs.len() >= targets.len() + TRICKED.len() * (tricks.len() - 1),
        "a tricked target is no longer there"
    );

    let setting = Setting::new();
    let latchkey = setting.home.start("latchkey");
    let attack = Attack::new(&setting, &targets, &tricks);
    let report = attack.run(&FRONTS, latchkey.grpc, &pairs);
    println!("{report}");
    assert!(report.bypasses.is_empty(), "{}", report.bypasses.join("\n"));
    // Were nothing let through, nothing would have been tried.
    assert!(report.arrived * 20 > report.sent, "{report}");
}

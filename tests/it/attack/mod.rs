//! A hostile corpus against the whole: each target and each trick, over HTTP/1.1 and HTTP/2, through Envoy with and without
//! normalization, to upstreams that read what arrives in three styles. Nothing may reach a resource that its key may not have,
//! and no forged identity may reach any upstream.
//!
//! `make test` sends every target as it is, and every trick to some of them; `make attack` sends the whole product.

mod agreement;
mod clients;
mod corpus;
mod planted;
mod readings;
mod run;
mod upstream;

use self::corpus::{Target, Trick, targets, tricks};
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

/// Places of targets and tricks: every target as it is, and every trick on [`TRICKED`].
fn usual_pairs(targets: &[Target], tricks: &[Trick]) -> Vec<(usize, usize)> {
    let is_tricked = |target: &Target| TRICKED.iter().any(|wanted| wanted.as_bytes() == target.bytes());
    let many = |target: &Target| if is_tricked(target) { tricks.len() } else { 1 };
    let pairs: Vec<(usize, usize)> = targets
        .iter()
        .enumerate()
        .flat_map(|(place, target)| (0..many(target)).map(move |trick| (place, trick)))
        .collect();
    let expected = targets.len() + TRICKED.len() * (tricks.len() - 1);
    assert_eq!(pairs.len(), expected, "a tricked target is no longer there");
    pairs
}

fn all_pairs(targets: &[Target], tricks: &[Trick]) -> Vec<(usize, usize)> {
    let tricks = tricks.len();
    (0..targets.len())
        .flat_map(|target| (0..tricks).map(move |trick| (target, trick)))
        .collect()
}

#[test]
fn no_request_gets_past() {
    let (targets, tricks) = (targets(), tricks());
    let is_whole = std::env::var_os(WHOLE).is_some_and(|value| value == "whole");
    let pairs = if is_whole {
        all_pairs(&targets, &tricks)
    } else {
        usual_pairs(&targets, &tricks)
    };

    let setting = Setting::new();
    let latchkey = setting.home.start("latchkey");
    let attack = Attack::new(&setting, &targets, &tricks);
    let report = attack.run(&FRONTS, latchkey.grpc, &pairs);
    println!("{report}");
    assert!(report.bypasses.is_empty(), "{}", report.bypasses.join("\n"));
    // Were nothing let through, nothing would have been tried.
    assert!(report.arrived * 20 > report.sent, "{report}");
}

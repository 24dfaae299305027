//! Sends the product of targets, tricks, senders and protocols through one Envoy after another, many at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::clients::{Client, Request};
use super::corpus::{Protocol, Target, Trick};
use super::upstream::{ROW, SENDER, Sender, Separators, Upstream};
use crate::support::{Envoy, Home, Key, Shape};

/// Connections at once.
const CALLERS: usize = 16;

/// A way in.
pub(super) struct Front {
    name: &'static str,
    shape: Shape,
    replaced: &'static [(&'static str, &'static str)],
    /// What the upstreams behind it make of names: where Envoy shows a chosen list of headers only, Latchkey cannot know all
    /// spellings.
    separators: Separators,
}

const UNDERSCORES: (&str, &str) = (
    "headers_with_underscores_action: REJECT_REQUEST",
    "headers_with_underscores_action: ALLOW",
);
/// Envoy drops the trailers of HTTP/1.1 unless told otherwise. And it waits a second before it closes on what it does not like.
const TRAILERS_IN: (&str, &str) = (
    "stat_prefix: ingress",
    "stat_prefix: ingress\n          delayed_close_timeout: 0.01s\n          http_protocol_options: {enable_trailers: true}",
);
const TRAILERS_OUT: (&str, &str) = (
    "- name: backend\n    type: STATIC",
    "- name: backend\n    type: STATIC\n    typed_extension_protocol_options:\n      \
     envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
     \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
     explicit_http_config: {http_protocol_options: {enable_trailers: true}}",
);

/// Off, all that Envoy does to a target.
const NORMALIZE: [(&str, &str); 3] = [
    ("normalize_path: true", "normalize_path: false"),
    ("merge_slashes: true", "merge_slashes: false"),
    (
        "path_with_escaped_slashes_action: REJECT_REQUEST",
        "path_with_escaped_slashes_action: KEEP_UNCHANGED",
    ),
];

pub(super) const FRONTS: [Front; 4] = [
    Front {
        name: "full, normalizing",
        shape: Shape::Full,
        replaced: &[UNDERSCORES, TRAILERS_IN, TRAILERS_OUT],
        separators: Separators::Any,
    },
    Front {
        name: "full, targets as they come",
        shape: Shape::Full,
        replaced: &[
            UNDERSCORES,
            TRAILERS_IN,
            TRAILERS_OUT,
            NORMALIZE[0],
            NORMALIZE[1],
            NORMALIZE[2],
        ],
        separators: Separators::Any,
    },
    Front {
        name: "like Istio's, targets as they come",
        shape: Shape::Istio,
        replaced: &[
            (
                "stat_prefix: outbound_0.0.0.0_8080",
                "stat_prefix: outbound_0.0.0.0_8080\n          delayed_close_timeout: 0.01s",
            ),
            ("normalize_path: true", "normalize_path: false"),
        ],
        separators: Separators::Any,
    },
    Front {
        name: "like Envoy Gateway's, normalizing",
        shape: Shape::EnvoyGateway,
        replaced: &[
            UNDERSCORES,
            (
                "stat_prefix: http-10080",
                "stat_prefix: http-10080\n          delayed_close_timeout: 0.01s",
            ),
        ],
        separators: Separators::Usual,
    },
];

/// For a check service that is not all of Latchkey: without the guard, which would ask it too.
pub(super) const WITHOUT_GUARD: [Front; 1] = [Front {
    name: "like Istio's without a guard, targets as they come",
    shape: Shape::Istio,
    replaced: &[
        ("normalize_path: true", "normalize_path: false"),
        (
            "- name: latchkey-guard",
            "- name: latchkey-guard\n            disabled: true",
        ),
    ],
    separators: Separators::Any,
}];

/// The same, with every header to the byte.
pub(super) const RAW_WITHOUT_GUARD: [Front; 1] = [Front {
    name: "full without a guard, targets as they come",
    shape: Shape::Full,
    replaced: &[
        UNDERSCORES,
        TRAILERS_IN,
        NORMALIZE[0],
        NORMALIZE[1],
        NORMALIZE[2],
        (
            "- name: envoy.filters.http.ext_proc",
            "- name: envoy.filters.http.ext_proc\n            disabled: true",
        ),
    ],
    separators: Separators::Any,
}];

/// Whose requests are sent: nobody's, those of two keys with little, and of one for another API.
const SENDERS: [&str; 4] = ["nobody", "organization", "user", "other"];
const LITTLE: [&str; 3] = ["read:any", "read:chats", "read:files"];

/// A store with keys.
pub(super) struct Setting {
    pub(super) home: Home,
    keys: BTreeMap<&'static str, Key>,
}

impl Setting {
    pub(super) fn new() -> Self {
        let home = Home::of(include_str!("latchkey.yaml"));
        let key = |api: &str, scopes: &[&'static str], owner: &[&str]| {
            let mut args = vec!["--api", api];
            args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
            args.extend(owner);
            home.create_key(&args)
        };
        let keys = BTreeMap::from([
            ("organization", key("api_ai", &LITTLE, &["--org", "org_acme"])),
            ("user", key("api_ai", &LITTLE, &["--user", "user_42"])),
            (
                "other",
                key("api_other", &["read:other"], &["--org", "org_other"]),
            ),
            (
                "administrator",
                key(
                    "api_ai",
                    &["admin:all"],
                    &["--org", "org_acme", "--user", "user_1"],
                ),
            ),
        ]);
        Self { home, keys }
    }

    /// The lines of a sender's requests.
    fn lines(&self, sender: &str, row: &str) -> Vec<(&'static str, String)> {
        let mut lines = vec![(SENDER, sender.to_owned()), (ROW, row.to_owned())];
        if let Some(key) = self.keys.get(sender) {
            lines.push(("authorization", key.bearer()));
        }
        lines
    }
}

/// What came of it.
pub(super) struct Report {
    pub(super) sent: usize,
    pub(super) arrived: usize,
    pub(super) bypasses: Vec<String>,
    targets: usize,
    tricks: usize,
    fronts: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests ({} targets, {} tricks, {} senders, 2 protocols, {} fronts); {} arrived, each read in 3 styles; {} bypasses",
            self.sent,
            self.targets,
            self.tricks,
            SENDERS.len(),
            self.fronts,
            self.arrived,
            self.bypasses.len()
        )
    }
}

/// The corpus, ready to be thrown.
pub(super) struct Attack<'c> {
    setting: &'c Setting,
    targets: Vec<Vec<u8>>,
    tricks: &'c [Trick],
}

impl<'c> Attack<'c> {
    pub(super) fn new(setting: &'c Setting, targets: &[Target], tricks: &'c [Trick]) -> Self {
        Self {
            setting,
            targets: targets.iter().map(Target::bytes).collect(),
            tricks,
        }
    }

    /// Sends these pairs of target and trick through each front.
    pub(super) fn run(&self, fronts: &[Front], latchkey: SocketAddr, pairs: &[(usize, usize)]) -> Report {
        let mut report = Report {
            sent: 0,
            arrived: 0,
            bypasses: Vec::new(),
            targets: self.targets.len(),
            tricks: self.tricks.len(),
            fronts: fronts.len(),
        };
        for front in fronts {
            let upstream = Upstream::start(front.separators);
            let envoy = Envoy::start_in(front.shape, &[latchkey], upstream.address, front.replaced);
            upstream.know(&self.senders(&envoy, &upstream));
            report.sent += self.send(&envoy, pairs);
            report.arrived += upstream.arrivals();
            let bypasses = upstream.bypasses();
            report
                .bypasses
                .extend(bypasses.iter().map(|bypass| format!("{}: {bypass}", front.name)));
        }
        report
    }

    /// What each sender may, and is: each resource is there for whom it is for, and each key is told with its owner.
    fn senders(&self, envoy: &Envoy, upstream: &Upstream) -> BTreeMap<String, Sender> {
        let mut senders = BTreeMap::new();
        for (name, target, scopes, owner) in [
            ("nobody", "/public/x", &[][..], None),
            ("organization", "/chats", &LITTLE, Some("org:org_acme")),
            ("user", "/files/x", &LITTLE, Some("user:user_42")),
            ("other", "/other/x", &["read:other"], Some("org:org_other")),
            ("administrator", "/admin", &["admin:all"], Some("org:org_acme")),
        ] {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                Client::new(envoy.listener, protocol).send(&Request {
                    target: target.as_bytes(),
                    trick: &Trick::none(),
                    own: &self.setting.lines(name, "control"),
                });
                let identity = upstream.last_identity();
                assert_eq!(
                    identity.get("x-auth-context-owner").map(String::as_str),
                    owner,
                    "{protocol:?}: {name} is not told at {target}"
                );
                let scopes = scopes.iter().copied().collect();
                senders.insert(name.to_owned(), Sender { scopes, identity });
            }
        }
        senders
    }

    fn send(&self, envoy: &Envoy, pairs: &[(usize, usize)]) -> usize {
        let (next, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let call = || {
            let mut clients = [Protocol::Http1, Protocol::Http2].map(|protocol| {
                let client = Client::new(envoy.listener, protocol);
                (protocol, client)
            });
            while let Some(&(target, trick)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                for sender in SENDERS {
                    let own = self.setting.lines(sender, &format!("{target}.{trick}"));
                    let trick = &self.tricks[trick];
                    let request = Request {
                        target: &self.targets[target],
                        trick,
                        own: &own,
                    };
                    for (protocol, client) in &mut clients {
                        if trick.is_for(*protocol) {
                            client.send(&request);
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(call);
            }
        });
        sent.into_inner()
    }
}

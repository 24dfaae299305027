//! Keys of another server, which is well, slow, silent, wrong, flapping or busy by turns, through the real Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Backend, Behaviour, CLIENT_SECRET, Chaos, Client, Envoy, Guard, Home, Latchkey, START, Verifier,
    documented, in_repository, run, valid, wait_for,
};

/// Far more than any answer may take; the deadline of a check is under a second.
const HANGS: Duration = Duration::from_secs(5);
/// Past the `ttl` of the tests that have a short one.
const PAST_TTL: Duration = Duration::from_millis(400);

struct Stand {
    // Envoy goes first, so that it never sees the others gone.
    envoy: Envoy,
    latchkey: Latchkey,
    backend: Backend,
    home: Home,
}

impl Stand {
    /// A server whose keys are known at this address. `keys` is for more of `keys`, `top` for settings beside it.
    fn start(verifier: SocketAddr, source: &str, keys: &str, top: &str, replaced: &[(&str, &str)]) -> Self {
        let settings = format!(
            "keys:\n  source: {source}\n  remote: {{verify_url: 'http://{verifier}/verify', timeout: 300ms}}\n{keys}{top}drain: {{"
        );
        let all = [&[("drain: {", settings.as_str())], replaced].concat();
        let home = Home::with(&all);
        let (latchkey, backend) = (home.start("latchkey"), Backend::start());
        let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[]);
        Self {
            envoy,
            latchkey,
            backend,
            home,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.envoy.listener)
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = Client::new(self.latchkey.ops).get("/metrics", &[]).body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"));
        value.trim().parse().expect("a number")
    }
}

/// Status and code of a request with this key, and how long it took.
fn ask(client: &mut Client, key: &str) -> (u16, String, Duration) {
    let began = Instant::now();
    let answer = client.post("/ai/support", &[("authorization", &format!("Bearer {key}"))]);
    if answer.status == 503 {
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }
    (answer.status, answer.code(), began.elapsed())
}

/// Asks until the key passes. On a busy machine the first answer of the remote may come too late for its request.
fn get_in(client: &mut Client, key: &str) {
    wait_for(key, START, || (ask(client, key).0 == 200).then_some(()));
}

fn good(id: &str) -> serde_json::Value {
    valid(id, Some("org_acme"), &["read:ai_chats"])
}

#[test]
fn known_keys_go_on_and_unknown_ones_wait_while_the_remote_is_in_trouble() {
    let verifier = Verifier::start();
    let line = Chaos::before(verifier.address);
    let cache = "  cache: {ttl: 200ms, negative_ttl: 100ms, stale_if_error: 1h}\n";
    let deadline = "check_deadline: 800ms\n";
    let stand = Stand::start(
        line.address,
        "remote",
        cache,
        deadline,
        &[("level: trace", "level: info")],
    );
    let mut client = stand.client();
    verifier.add("k_live_known", good("api_key_known"));
    get_in(&mut client, "k_live_known");

    let says = |status, headers: &[(&'static str, &'static str)], body: &str| {
        Behaviour::Says(status, headers.to_vec(), body.into())
    };
    let (mut slowest, mut waiting, mut cached) = (Duration::ZERO, 0, 0);
    let behaviours: [(&str, Option<Behaviour>); 13] = [
        ("silent", Some(Behaviour::Silent)),
        ("slow", Some(Behaviour::Slow(Duration::from_secs(2)))),
        ("down", Some(says(500, &[], "oh"))),
        ("a page", Some(says(200, &[], "<html>Log in</html>"))),
        (
            "wrong fields",
            Some(says(200, &[], r#"{"valid": true, "org_code": "org_evil"}"#)),
        ),
        (
            "wrong types",
            Some(says(200, &[], r#"{"is_valid": "true", "org_code": "org_evil"}"#)),
        ),
        ("forbidden", Some(says(403, &[], r#"{"errors": []}"#))),
        ("busy", Some(says(503, &[("retry-after", "1")], "{}"))),
        (
            "rate limiting",
            Some(says(429, &[("ratelimit-reset", "1")], "{}")),
        ),
        ("flapping", Some(Behaviour::Flapping)),
        ("cut", None),
        ("a slow line", None),
        ("a black hole", None),
    ];
    for (number, (name, behaviour)) in behaviours.into_iter().enumerate() {
        let flaps = matches!(behaviour, Some(Behaviour::Flapping));
        match behaviour {
            Some(behaviour) => verifier.behave(behaviour),
            None if name == "cut" => line.cut(),
            None if name == "a slow line" => line.slow(Duration::from_secs(1)),
            None => line.black_hole(),
        }
        // Past its ttl the known key is asked for in vain, and goes on.
        let end = Instant::now() + PAST_TTL;
        while Instant::now() < end {
            let (status, code, took) = ask(&mut client, "k_live_known");
            assert_eq!((status, code.as_str()), (200, ""), "{name}");
            assert!(took < HANGS, "{name}: {took:?}");
            cached += 1;
        }
        for kind in ["good", "bad"] {
            let key = format!("k_live_{kind}_{number}");
            if kind == "good" {
                verifier.add(&key, good(&key));
            }
            let before = stand.backend.requests();
            let (status, code, took) = ask(&mut client, &key);
            assert!(took < HANGS, "{name}: {took:?}");
            slowest = slowest.max(took);
            waiting += usize::from(status == 503);
            match (flaps, kind, status) {
                (true, "good", 200) | (true, "bad", 401) => continue,
                _ => assert_eq!(
                    (status, code.as_str()),
                    (503, "KEY_SOURCE_UNAVAILABLE"),
                    "{name}: {key}"
                ),
            }
            assert_eq!(stand.backend.requests(), before, "{name}");
        }
        verifier.behave(Behaviour::Well);
        line.heal();
        let fresh = format!("k_live_fresh_{number}");
        verifier.add(&fresh, good(&fresh));
        get_in(&mut client, &fresh);
        let none = format!("k_live_none_{number}");
        let status = wait_for(name, START, || {
            let (status, _, _) = ask(&mut client, &none);
            (status != 503).then_some(status)
        });
        assert_eq!(status, 401, "{name}");
    }
    println!(
        "13 troubles: {cached} requests with a known key, all 200; {waiting} with unknown ones, all 503, the slowest after {slowest:?}"
    );

    // Valid and nobody's: never an allow, also for a key that was somebody's before.
    verifier.add(
        "k_live_nobodys",
        valid("api_key_nobodys", None, &["read:ai_chats"]),
    );
    let (status, code, _) = ask(&mut client, "k_live_nobodys");
    assert_eq!((status, code.as_str()), (403, "TRUSTED_CONTEXT_REQUIRED"));
    verifier.add("k_live_known", valid("api_key_known", None, &["read:ai_chats"]));
    wait_for("the news that nobody owns it", START, || {
        (ask(&mut client, "k_live_known").1 == "TRUSTED_CONTEXT_REQUIRED").then_some(())
    });
    // Twice it was asked for.
    assert!(stand.metric(r#"latchkey_remote_breaker_opened_total{endpoint="verify"}"#) >= 2.0);
}

#[test]
fn a_herd_that_wants_one_key_makes_one_call() {
    const HERD: usize = 40;
    let verifier = Verifier::start();
    verifier.add("k_live_herd", good("api_key_herd"));
    verifier.behave(Behaviour::Slow(Duration::from_millis(300)));
    let settings = [
        ("timeout: 300ms", "timeout: 20s"),
        ("level: trace", "level: info"),
    ];
    let stand = Stand::start(verifier.address, "remote", "", "check_deadline: 20s\n", &settings);
    let together = std::sync::Barrier::new(HERD);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let herd: Vec<_> = (0..HERD)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = stand.client();
                    together.wait();
                    ask(&mut client, "k_live_herd").0
                })
            })
            .collect();
        herd.into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    assert_eq!(statuses, [200; HERD]);
    assert_eq!(verifier.asked("k_live_herd"), 1);
}

#[test]
fn a_flood_of_unknown_keys_makes_few_calls_at_once_and_evicts_no_known_key() {
    const KNOWN: usize = 20;
    const FLOOD: usize = 600;
    const FLOODERS: usize = 12;
    let verifier = Verifier::start();
    // As many as fit, so that one more would evict one of them.
    let keys =
        "  max_in_flight: 8\n  cache: {ttl: 1h, max_keys: 20, max_unknown_keys: 100, negative_ttl: 1h}\n";
    let top = "client_address: {x_forwarded_for: 2}\n";
    let settings = [("level: trace", "level: info"), ("timeout: 300ms", "timeout: 5s")];
    let stand = Stand::start(verifier.address, "remote", keys, top, &settings);
    let mut client = stand.client();
    let known: Vec<String> = (0..KNOWN)
        .map(|number| format!("k_live_known_{number}"))
        .collect();
    for key in &known {
        verifier.add(key, good(key));
        get_in(&mut client, key);
    }
    verifier.behave(Behaviour::Slow(Duration::from_millis(20)));

    let next = AtomicUsize::new(0);
    let flood = |from: &(dyn Fn(usize) -> String + Sync)| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flooders: Vec<_> = (0..FLOODERS)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut client, mut answers) =
                            (stand.client(), BTreeMap::<(u16, String), usize>::new());
                        for _ in 0..FLOOD / 2 / FLOODERS {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            let (bearer, from) = (format!("Bearer k_live_flood_{number}"), from(number));
                            let headers = [
                                ("authorization", bearer.as_str()),
                                ("x-forwarded-for", from.as_str()),
                            ];
                            let answer = client.post("/ai/support", &headers);
                            *answers.entry((answer.status, answer.code())).or_default() += 1;
                        }
                        answers
                    })
                })
                .collect();
            let caller = scope.spawn(|| {
                let (mut client, mut requests) = (stand.client(), 0);
                while !over.load(Ordering::Relaxed) {
                    for key in &known {
                        assert_eq!(ask(&mut client, key).0, 200, "{key}");
                        requests += 1;
                    }
                }
                requests
            });
            let answers: Vec<_> = flooders.into_iter().map(|one| one.join()).collect();
            over.store(true, Ordering::Relaxed);
            let requests: usize = caller.join().expect("known keys pass");
            assert!(requests > 0);
            for ((status, code), _) in answers.into_iter().flat_map(|one| one.expect("answers")) {
                assert!(matches!(status, 401 | 429 | 503), "{status} {code}");
            }
        });
    };
    flood(&|_| "198.51.100.7".into());
    let of_one_address = verifier.most_at_once();
    assert!(of_one_address <= 2, "a quarter of 8: {of_one_address}");
    flood(&|number| format!("198.51.{}.{}", number / 250, number % 250));
    let of_all = verifier.most_at_once();
    assert!((3..=8).contains(&of_all), "{of_all}");
    for key in &known {
        assert_eq!(verifier.asked(key), 1, "{key} was forgotten");
    }
    assert_eq!(
        stand.metric(r#"latchkey_key_cache_evictions_total{kind="known"}"#),
        0.0
    );
    assert_eq!(stand.metric(r#"latchkey_key_cache_entries{kind="known"}"#), 20.0);
    assert!(stand.metric(r#"latchkey_key_cache_entries{kind="unknown"}"#) <= 100.0);
    let calls = verifier.calls() - KNOWN;
    println!(
        "{FLOOD} unknown keys: {calls} calls, at most {of_one_address} at once of one address and {of_all} of all; 0 of {KNOWN} known keys evicted"
    );
}

#[test]
fn own_keys_stay_here_and_foreign_ones_never_touch_the_store() {
    let verifier = Verifier::start();
    let stand = Stand::start(verifier.address, "store_then_remote", "", "", &[]);
    let mut client = stand.client();
    verifier.add("k_live_foreign", good("api_key_foreign"));
    let own = stand.home.chat_key();
    get_in(&mut client, &own.key);
    get_in(&mut client, "k_live_foreign");
    for (key, is_sent) in [
        (crate::e2e_abuse::well_formed_key(7), false),
        (format!("{}x", own.key), false),
        ("lk_".into(), false),
        ("lk_live_foreign".into(), false),
        ("sk_live_foreign".into(), true),
    ] {
        let (status, code, _) = ask(&mut client, &key);
        assert_eq!((status, code.as_str()), (401, "INVALID_API_KEY"), "{key}");
        assert_eq!(verifier.asked(&key), usize::from(is_sent), "{key}");
    }
    assert_eq!(verifier.asked(&own.key), 0);
    stand.home.revoke(&own);
    wait_for("the revocation", START, || {
        (ask(&mut client, &own.key).0 == 401).then_some(())
    });
    // At trace level, with everything that the HTTP client says.
    let log = fs::read_to_string(stand.home.path().join("latchkey.log")).expect("a log");
    assert!(log.contains("\"level\":\"TRACE\""));
    for key in [own.key.as_str(), "k_live_foreign", "sk_live_foreign"] {
        assert!(!log.contains(key), "{key} is in the log");
    }
}

#[test]
fn an_oauth_client_verifies_keys_and_its_secret_is_nowhere() {
    let verifier = Verifier::start();
    verifier.guard(Guard::Tokens(3600.0));
    verifier.add("k_live_foreign", good("api_key_foreign"));
    let auth = format!(
        "timeout: 300ms, auth: {{client_id: client, client_secret_file: secret, token_url: 'http://{}/token', audience: 'https://keys.example.com'}}",
        verifier.address
    );
    let settings = format!(
        "keys: {{source: remote, remote: {{verify_url: 'http://{}/verify', {auth}}}}}\ndrain: {{",
        verifier.address
    );
    let home = Home::with(&[("drain: {", &settings)]);
    fs::write(home.path().join("secret"), CLIENT_SECRET).expect("a file");
    let (latchkey, backend) = (home.start("latchkey"), Backend::start());
    let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[]);
    let mut client = Client::new(envoy.listener);
    wait_for("the first token", START, || {
        (ask(&mut client, "k_live_foreign").0 == 200).then_some(())
    });
    assert_eq!(ask(&mut client, "k_live_other").0, 401);
    assert_eq!(verifier.granted(), 1);
    let log = fs::read_to_string(home.path().join("latchkey.log")).expect("a log");
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    for secret in [CLIENT_SECRET, "token-0", "k_live_foreign", "k_live_other"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
    }
}

#[test]
fn a_revocation_at_the_remote_counts_after_the_ttl() {
    let verifier = Verifier::start();
    verifier.add("k_live_known", good("api_key_known"));
    let cache = "  cache: {ttl: 500ms}\n";
    let stand = Stand::start(verifier.address, "remote", cache, "", &[]);
    let mut client = stand.client();
    get_in(&mut client, "k_live_known");
    verifier.add(
        "k_live_known",
        json!({"is_valid": false, "key_id": "api_key_known", "status": "revoked"}),
    );
    wait_for("the revocation", START, || {
        let (status, code, _) = ask(&mut client, "k_live_known");
        (status != 200).then(|| assert_eq!((status, code.as_str()), (401, "INVALID_API_KEY")))
    });
    assert!(verifier.asked("k_live_known") >= 2);
}

#[test]
fn keys_of_another_server_do_not_depend_on_the_store_here() {
    let verifier = Verifier::start();
    verifier.add("k_live_known", good("api_key_known"));
    let stand = Stand::start(verifier.address, "remote", "", "", &[]);
    let mut client = stand.client();
    get_in(&mut client, "k_live_known");
    fs::remove_file(stand.home.path().join("latchkey.db")).expect("the store is there");
    // A server that watched its store for this would doubt what it knows within a moment, and ask each second.
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        assert_eq!(ask(&mut client, "k_live_known").0, 200);
    }
    assert_eq!(verifier.asked("k_live_known"), 1);
}

#[test]
fn check_asks_the_remote_as_a_server_does() {
    let verifier = Verifier::start();
    verifier.add("k_live_known", good("api_key_known"));
    let settings = format!(
        "keys: {{source: remote, remote: {{verify_url: 'http://{}/verify'}}}}\ndrain: {{",
        verifier.address
    );
    let home = Home::with(&[("drain: {", &settings)]);
    for (key, code) in [("k_live_known", 0), ("k_live_other", 3)] {
        let mut command = home.command("check");
        command
            .args(["--method", "POST", "--path", "/ai/support"])
            .env("LATCHKEY_KEY", key);
        let finished = run(&mut command);
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_eq!(verifier.asked(key), 1);
        assert!(!format!("{finished:?}").contains(key), "{finished:?}");
    }
    assert!(!home.path().join("latchkey.db").exists(), "no store is made");
}

#[test]
fn the_documented_settings_are_good() {
    let page = fs::read_to_string(in_repository("docs/remote-source.md")).expect("the page");
    let block = documented(&page, "yaml", "verify_url:");
    let home = Home::with(&[("drain: {", &format!("{block}drain: {{"))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    let finished = run(command.env_clear().args(["config", "check"]).arg(home.config()));
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
}

#[test]
fn a_known_key_does_not_outlive_stale_if_error() {
    let verifier = Verifier::start();
    let line = Chaos::before(verifier.address);
    verifier.add("k_live_known", good("api_key_known"));
    let cache = "  cache: {ttl: 200ms, stale_if_error: 800ms}\n";
    let stand = Stand::start(line.address, "remote", cache, "", &[]);
    let mut client = stand.client();
    get_in(&mut client, "k_live_known");
    line.cut();
    let (status, code) = wait_for("the end of what is remembered", START, || {
        let (status, code, _) = ask(&mut client, "k_live_known");
        (status != 200).then_some((status, code))
    });
    assert_eq!((status, code.as_str()), (503, "KEY_SOURCE_UNAVAILABLE"));
    line.heal();
    wait_for("the line", START, || {
        (ask(&mut client, "k_live_known").0 == 200).then_some(())
    });
}

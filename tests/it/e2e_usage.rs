//! Usage, from the access log of a real Envoy to the API: nothing is lost, nothing counts twice.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Backend, Client, Envoy, Home, Key, Latchkey, Shape, Stack, in_each_shape, run, wait_for,
};

/// How long usage may take to arrive. Envoy as Istio and Envoy Gateway configure it flushes every second.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Requests of the test that counts; `USAGE_REQUESTS` chooses another number.
const REQUESTS: usize = 1_000;
const CLIENTS: usize = 4;

/// Asks the usage API.
struct Usage {
    client: Client,
    bearer: String,
}

impl Usage {
    fn of(home: &Home, latchkey: &Latchkey) -> Self {
        let token = fs::read_to_string(home.path().join("latchkey.db.management-token"));
        Self {
            client: Client::new(latchkey.http),
            bearer: format!("Bearer {}", token.expect("a first token").trim()),
        }
    }

    fn get(&mut self, target: &str) -> Value {
        let answer = self.client.get(target, &[("authorization", &self.bearer)]);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        answer.json()
    }

    fn rows(&mut self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/usage?page_size=500&{query}"));
        assert_eq!(answer["has_more"], false);
        answer["usage"].as_array().expect("a list").clone()
    }

    fn requests(&mut self, query: &str) -> u64 {
        let count = |row: &Value| row["requests"].as_u64().expect("a count");
        self.rows(query).iter().map(count).sum()
    }

    /// Waits until so many requests have arrived, and no more.
    fn until(&mut self, requests: u64) {
        wait_for("usage", ARRIVAL, || (self.requests("") >= requests).then_some(()));
        assert_eq!(self.requests(""), requests);
    }

    fn events(&mut self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/usage/events?{query}"));
        answer["events"].as_array().expect("a list").clone()
    }
}

fn send(client: &mut Client, key: Option<&Key>, method: &str, target: &str, more: &[(&str, &str)]) -> u16 {
    let bearer = key.map(Key::bearer);
    let mut headers = more.to_vec();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    client.request(method, target, &headers).status
}

in_each_shape!(
    every_request_counts_once_by_key_and_by_status,
    the_lines_of_the_guide_are_logged
);

/// What a client has got, by key and status.
type Tally = BTreeMap<(String, u64), u64>;

fn every_request_counts_once_by_key_and_by_status(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let requests = match std::env::var("USAGE_REQUESTS") {
        Ok(number) => number.parse().expect("USAGE_REQUESTS is a number"),
        Err(_) => REQUESTS,
    };
    let keys = [
        stack.home.ai_key(&["read:ai_chats"], &["--org", "org_acme"]),
        stack.home.ai_key(&["read:ai_chats"], &["--user", "user_1"]),
        stack.home.ai_key(&["write:ai_chat"], &["--org", "org_acme"]),
    ];
    let mine = |client: usize| {
        let mut connection = stack.client();
        let mut tally = Tally::new();
        for number in (client..requests).step_by(CLIENTS) {
            let key = &keys[number % keys.len()];
            let sent = match number % 20 {
                0 => (None, "POST", "/ai/support"),
                1 => (Some(key), "GET", "/nothing/here"),
                2 => (None, "GET", "/healthz"),
                3 => (Some(key), "POST", "/ai/chat"),
                _ => (Some(key), "POST", "/ai/support"),
            };
            let status = send(&mut connection, sent.0, sent.1, sent.2, &[]);
            let id = sent.0.map_or("", |key| &key.id).to_owned();
            *tally.entry((id, u64::from(status))).or_default() += 1;
        }
        tally
    };
    let sent = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || mine(client)))
            .collect();
        let mut sum = Tally::new();
        for client in clients {
            for (what, count) in client.join().expect("a client ends well") {
                *sum.entry(what).or_default() += count;
            }
        }
        sum
    });
    assert!(sent.len() >= 8, "allowed, and refused in several ways: {sent:?}");

    let mut usage = Usage::of(&stack.home, &stack.latchkey);
    usage.until(requests as u64);
    let mut told = Tally::new();
    for row in usage.rows("group_by=key,status") {
        let number = |name: &str| row[name].as_u64().expect("a number");
        let key = row["key_id"].as_str().expect("a text").to_owned();
        told.insert((key, number("status")), number("requests"));
    }
    assert_eq!(told, sent);

    let table = run(stack.home.command("usage").args(["--by", "key,status"])).output();
    let json = run(stack
        .home
        .command("usage")
        .args(["--by", "key,status", "--output", "json"]))
    .output();
    let json: Value = serde_json::from_str(&json).expect("usage prints JSON");
    let shown: u64 = json["usage"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["requests"].as_u64())
        .sum();
    assert_eq!(
        (shown, table.lines().count()),
        (requests as u64, 1 + sent.len()),
        "{table}"
    );
    let of_key: u64 = sent
        .iter()
        .filter(|((id, _), _)| *id == keys[0].id)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(usage.requests(&format!("key_id={}", keys[0].id)), of_key);
    let owners = usage.rows("group_by=owner&status=200");
    assert!(
        owners
            .iter()
            .any(|row| row["org_code"] == "org_acme" && row["requests"].as_u64() > Some(0))
    );
    assert!(
        owners
            .iter()
            .any(|row| row["user_id"] == "user_1" && row["duration_ms_p99"].as_f64() > Some(0.0))
    );
    assert_eq!(
        stack
            .latchkey
            .metric(r#"latchkey_usage_events_total{result="dropped"}"#),
        0.0
    );
}

/// Lines with this message.
fn lines(latchkey: &Latchkey, message: &str) -> Vec<Value> {
    latchkey
        .logged()
        .into_iter()
        .filter(|line| line["message"] == message)
        .collect()
}

fn the_lines_of_the_guide_are_logged(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let key = stack.home.ai_key(&["read:ai_chats"], &["--org", "org_acme"]);
    let mut client = stack.client();
    let mut usage = Usage::of(&stack.home, &stack.latchkey);
    assert_eq!(
        send(&mut client, Some(&key), "POST", "/ai/support?q=secret", &[]),
        200
    );
    assert_eq!(send(&mut client, Some(&key), "POST", "/ai/chat", &[]), 403);
    assert_eq!(
        send(
            &mut client,
            Some(&key),
            "POST",
            "/ai/support",
            &[("x-backend-status", "502")]
        ),
        502
    );
    usage.until(3);

    let made = lines(&stack.latchkey, "AI usage");
    let by_status = |status: u64| {
        made.iter()
            .find(|line| line["status"] == status)
            .expect("a line")
            .clone()
    };
    for (status, endpoint) in [(200, "/ai/support"), (403, "/ai/chat"), (502, "/ai/support")] {
        let line = by_status(status);
        assert_eq!(line["api_key"], key.id, "{line}");
        assert_eq!(line["organization"], "org_acme", "{line}");
        assert_eq!(line["endpoint"], endpoint, "{line}");
        assert!(
            line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')),
            "{line}"
        );
    }
    assert_eq!(by_status(200)["input_length"], r#"{"message":"hello"}"#.len());
    assert!(by_status(200)["response_length"].as_u64() > Some(0));
    assert_eq!(by_status(403)["reason"], "insufficient_scope");

    let failed = lines(&stack.latchkey, "AI request failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (&failed[0]["organization"], &failed[0]["endpoint"]),
        (&"org_acme".into(), &"/ai/support".into())
    );
    assert_eq!(failed[0]["status"], 502);
    let everything = format!("{:?}", stack.latchkey.logged());
    assert!(!everything.contains(&key.key), "the key was logged");
    assert!(!everything.contains("q=secret"), "a query was logged");

    let events = usage.events("failed=true");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["key_id"], &events[0]["status"]),
        (&key.id.as_str().into(), &502.into())
    );
}

#[test]
fn slow_requests_are_warned_of_once_each() {
    let home = Home::with(&[("telemetry:", "usage: {slow_after: 400ms}\ntelemetry:")]);
    let stack = Stack::over(home, &[]);
    let key = stack.home.chat_key();
    let mut client = stack.client();
    for delay in ["1", "600"] {
        let status = send(
            &mut client,
            Some(&key),
            "POST",
            "/ai/support",
            &[("x-backend-delay-ms", delay)],
        );
        assert_eq!(status, 200);
    }
    Usage::of(&stack.home, &stack.latchkey).until(2);
    let slow = lines(&stack.latchkey, "Slow AI response");
    // A crowded machine may make the quick one slow as well; the slow one is there once.
    let of_the_slow: Vec<_> = slow
        .iter()
        .filter(|line| line["duration"].as_u64() >= Some(600))
        .collect();
    assert_eq!(of_the_slow.len(), 1, "{slow:?}");
    assert_eq!(of_the_slow[0]["threshold"], 400);
    assert_eq!(of_the_slow[0]["organization"], "org_acme");
    assert!(lines(&stack.latchkey, "AI request failed").is_empty());
}

#[test]
fn a_request_id_that_a_caller_chooses_again_and_again_is_no_name() {
    const TIMES: u64 = 1_000;
    let stack = Stack::over(
        Home::new(),
        &[(
            "          use_remote_address: true",
            "          use_remote_address: false",
        )],
    );
    let key = stack.home.chat_key();
    let mut client = stack.client();
    for _ in 0..TIMES {
        let status = send(
            &mut client,
            Some(&key),
            "POST",
            "/ai/support",
            &[("x-request-id", "the-same")],
        );
        assert_eq!(status, 200);
    }
    let mut usage = Usage::of(&stack.home, &stack.latchkey);
    usage.until(TIMES);
    assert_eq!(usage.requests(&format!("key_id={}", key.id)), TIMES);
}

#[test]
fn a_store_that_is_away_costs_no_request() {
    let stack = Stack::start();
    let key = stack.home.chat_key();
    let mut client = stack.client();
    let mut usage = Usage::of(&stack.home, &stack.latchkey);
    let mut sent = 0;
    let mut send_some = |number: u64| {
        for _ in 0..number {
            assert_eq!(send(&mut client, Some(&key), "POST", "/ai/support", &[]), 200);
            sent += 1;
        }
        sent
    };
    let before = send_some(100);
    usage.until(before);

    // Another process holds the file's write lock.
    let held = stack.home.path().join("held");
    let mut lock = Command::new("python3");
    lock.args(["-c", LOCK])
        .arg(stack.home.path().join("latchkey.db"))
        .arg(&held);
    let lock = crate::support::Process::spawn(&mut lock);
    wait_for("the lock", crate::support::START, || held.exists().then_some(()));
    let spooled = || {
        stack
            .latchkey
            .metric(r#"latchkey_usage_events_total{result="spooled"}"#)
    };
    let mut all = before;
    let outage = Instant::now();
    while spooled() < 100.0 {
        all = send_some(20);
        assert!(outage.elapsed() < ARRIVAL, "nothing was spooled");
    }
    assert!(usage.requests("") < all);
    drop(lock);
    usage.until(all);
    assert_eq!(
        stack
            .latchkey
            .metric(r#"latchkey_usage_events_total{result="dropped"}"#),
        0.0
    );
    assert_eq!(stack.latchkey.metric("latchkey_usage_spool_bytes"), 0.0);
}

const LOCK: &str = "
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
held.execute('BEGIN IMMEDIATE')
open(sys.argv[2], 'w').close()
time.sleep(120)
";

#[test]
fn a_server_that_is_killed_loses_no_more_than_its_last_moment() {
    const PACE: Duration = Duration::from_millis(5);
    let home = Home::new();
    let backend = Backend::start();
    let mut first = home.start("first");
    let envoy = Envoy::start(&[first.grpc], backend.address, &[]);
    let key = home.chat_key();
    let mut client = Client::new(envoy.listener);
    let mut times = Vec::new();
    for _ in 0..600 {
        assert_eq!(send(&mut client, Some(&key), "POST", "/ai/support", &[]), 200);
        times.push(Instant::now());
        thread::sleep(PACE);
    }
    let address = first.grpc.to_string();
    first.process.kill();
    let killed = Instant::now();
    let second = home.start_with("second", &[("LATCHKEY__LISTEN__GRPC", &address)]);
    // What Envoy holds (half a second) and what a batch waits for (a quarter) may be lost, and what is under way between.
    let exposed = times
        .iter()
        .filter(|sent| killed - **sent < Duration::from_secs(1))
        .count();
    let mut usage = Usage::of(&home, &second);
    let least = (times.len() - exposed) as u64;
    wait_for("usage", ARRIVAL, || (usage.requests("") >= least).then_some(()));
    assert!(usage.requests("") <= times.len() as u64);
    let unclean = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("the last stop was unclean"))
    };
    assert!(second.logged().iter().any(unclean));
}

#[test]
fn a_server_that_is_told_to_stop_writes_everything() {
    let stack = Stack::start();
    let key = stack.home.chat_key();
    let mut client = stack.client();
    for _ in 0..50 {
        assert_eq!(send(&mut client, Some(&key), "POST", "/ai/support", &[]), 200);
    }
    let Stack {
        envoy,
        mut latchkey,
        home,
        backend: _backend,
    } = stack;
    // Envoy flushes every half second, and the server goes on taking entries for as long as it settles.
    let address = latchkey.grpc.to_string();
    latchkey.process.terminate();
    assert!(latchkey.process.wait(Duration::from_secs(20)).success());
    let next = home.start_with("next", &[("LATCHKEY__LISTEN__GRPC", &address)]);
    Usage::of(&home, &next).until(50);
    let logged = format!("{:?}", next.logged());
    assert!(!logged.contains("unclean"), "{logged}");
    drop(envoy);
}

#[test]
fn a_query_that_makes_no_sense_names_its_parameter() {
    let stack = Stack::start();
    let mut usage = Usage::of(&stack.home, &stack.latchkey);
    for (query, name) in [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("group_by=week", "group_by"),
        ("status=abc", "status"),
        ("status=1000", "status"),
        ("page_size=0", "page_size"),
        ("page_size=x", "page_size"),
        ("offset=99999999", "offset"),
    ] {
        let answer = usage.client.get(
            &format!("/api/v1/usage?{query}"),
            &[("authorization", &usage.bearer)],
        );
        assert_eq!(answer.status, 400, "{query}");
        let message = answer.json()["errors"][0]["message"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(message.starts_with(name), "{query}: {message}");
    }
    for query in ["failed=maybe", "starting_after=nowhere"] {
        let answer = usage.client.get(
            &format!("/api/v1/usage/events?{query}"),
            &[("authorization", &usage.bearer)],
        );
        assert_eq!(answer.status, 400, "{query}");
    }
    for bearer in [None, Some("Bearer lk_mgmt_wrong")] {
        let headers: Vec<_> = bearer
            .map(|bearer| ("authorization", bearer))
            .into_iter()
            .collect();
        assert_eq!(usage.client.get("/api/v1/usage", &headers).status, 401);
    }
    let accept = ("accept", "text/csv");
    let answer = usage.client.get(
        "/api/v1/usage?from=2026-01-01",
        &[("authorization", &usage.bearer), accept],
    );
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/csv; charset=utf-8; header=present")
    );
}

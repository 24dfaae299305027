//! What a hostile caller, a leaked key and a curious operator can do.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Home, Shape, Stack, UNAUTHENTICATED, in_each_shape, wait_for};

in_each_shape!(
    an_address_that_tries_keys_is_limited_and_its_good_key_is_not,
    a_key_that_is_revoked_beside_the_server_is_denied_within_a_second,
    a_key_is_nowhere_but_with_its_caller,
);

const BAD_KEYS: u64 = 10_000;
const ATTACKERS: u64 = 4;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key of the documented form, with the right checksum, that no store knows; each seed has its own.
pub(crate) fn well_formed_key(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let random: String = (0..43)
        .map(|_| {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            character(state)
        })
        .collect();
    let mut checksum = u64::from(crc32fast::hash(random.as_bytes()));
    let mut digits = [' '; 6];
    for digit in digits.iter_mut().rev() {
        *digit = character(checksum);
        checksum /= 62;
    }
    format!("lk_{random}{}", String::from_iter(digits))
}

fn character(number: u64) -> char {
    let place = usize::try_from(number % 62).expect("below 62");
    char::from(ALPHABET[place])
}

/// Of every four: two that are not looked up, one that no place takes for a key of ours, and one that must be looked up.
fn bad_key(number: u64) -> String {
    match number % 4 {
        0 => format!("garbage-{number}"),
        1 => format!("lk_{number:049}"),
        2 => format!("sk_live_{number:x}"),
        _ => well_formed_key(number),
    }
}

fn an_address_that_tries_keys_is_limited_and_its_good_key_is_not(shape: Shape) {
    // At trace level the log would cost more than the requests.
    let stack = Stack::with(Home::with(&[("level: trace", "level: info")]), shape, &[]);
    let good = stack.home.chat_key().bearer();
    let over = AtomicBool::new(false);
    let ask = |client: &mut Client, bearer: &str| client.post("/ai/support", &[("authorization", bearer)]);
    assert_eq!(ask(&mut stack.client(), &good).status, 200);

    let (answers, good_answers) = thread::scope(|scope| {
        let attack = |attacker: u64| {
            let (mut client, mut answers) = (stack.client(), BTreeMap::<(u16, String), usize>::new());
            for number in (attacker..BAD_KEYS).step_by(ATTACKERS as usize) {
                let answer = ask(&mut client, &format!("Bearer {}", bad_key(number)));
                *answers.entry((answer.status, answer.code())).or_default() += 1;
            }
            answers
        };
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|attacker| scope.spawn(move || attack(attacker)))
            .collect();
        let good_caller = scope.spawn(|| {
            let (mut client, mut statuses) = (stack.client(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                statuses.push(ask(&mut client, &good).status);
                thread::sleep(Duration::from_millis(20));
            }
            statuses
        });
        let mut answers = BTreeMap::<(u16, String), usize>::new();
        let ended: Vec<_> = attackers.into_iter().map(|attacker| attacker.join()).collect();
        over.store(true, Ordering::Relaxed);
        for (answer, count) in ended
            .into_iter()
            .flat_map(|counts| counts.expect("every request is answered"))
        {
            *answers.entry(answer).or_default() += count;
        }
        (
            answers,
            good_caller.join().expect("every good request is answered"),
        )
    });

    let count = |status: u16, code: &str| answers.get(&(status, code.to_owned())).copied().unwrap_or(0);
    let (invalid, limited) = (count(401, "INVALID_API_KEY"), count(429, "BAD_KEYS_LIMITED"));
    assert_eq!(
        u64::try_from(invalid + limited).ok(),
        Some(BAD_KEYS),
        "{answers:?}"
    );
    // A window may end meanwhile, and give one or two back.
    assert!(
        (UNAUTHENTICATED..=UNAUTHENTICATED + 3).contains(&invalid),
        "{answers:?}"
    );
    assert!(
        good_answers.iter().all(|status| *status == 200),
        "{good_answers:?}"
    );
    assert!(!good_answers.is_empty());

    let mut client = stack.client();
    assert_eq!(
        ask(&mut client, &good).status,
        200,
        "a good key is never refused for its address"
    );
    let unseen = stack.home.chat_key().bearer();
    assert_eq!(
        ask(&mut client, &unseen).status,
        200,
        "nor one that was never seen"
    );
    let limited = ask(&mut client, "Bearer garbage");
    assert_eq!(limited.status, 429);
    assert_eq!(limited.json()["error"], "Too many bad keys");
    assert!(!limited.header("retry-after").is_empty(), "{limited:?}");
}

fn a_key_that_is_revoked_beside_the_server_is_denied_within_a_second(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let (key, other) = (stack.home.chat_key(), stack.home.chat_key());
    let mut client = stack.client();
    let mut ask = |bearer: &str| client.post("/ai/support", &[("authorization", bearer)]);
    // Both are in the cache, the other one is to stay usable.
    for bearer in [key.bearer(), other.bearer(), key.bearer()] {
        assert_eq!(ask(&bearer).status, 200);
    }
    stack.home.revoke(&key);
    wait_for("the denial of a revoked key", Duration::from_secs(1), || {
        let answer = ask(&key.bearer());
        (answer.status != 200).then(|| assert_eq!((answer.status, &*answer.code()), (401, "INVALID_API_KEY")))
    });
    for _ in 0..10 {
        assert_eq!(ask(&key.bearer()).status, 401, "it stays denied");
        assert_eq!(ask(&other.bearer()).status, 200);
    }
}

fn a_key_is_nowhere_but_with_its_caller(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let (good, revoked) = (stack.home.chat_key(), stack.home.chat_key());
    let (malformed, unknown) = ("lk_this-is-nearly-a-key", well_formed_key(77));
    let mut client = stack.client();
    let mut ask = |target: &str, key: &str| {
        client.post(target, &[("authorization", &format!("Bearer {key}"))]);
        client.post(target, &[("x-api-key", key)]);
    };
    ask("/ai/support", &revoked.key);
    stack.home.revoke(&revoked);
    for target in [
        "/ai/support",
        "/ai/chat",
        "/ai/analytics",
        "/nowhere",
        "/healthz",
        "/ai/support;x",
    ] {
        for key in [&good.key, &revoked.key, &unknown, malformed] {
            ask(target, key);
        }
    }
    for _ in 0..6 {
        ask("/ai/chat", &good.key); // over its limit
    }
    // Where it does not belong, it must not be written down either.
    client.get(&format!("/ai/support?api_key={}", good.key), &[]);

    let metrics = Client::new(stack.latchkey.ops).get("/metrics", &[]);
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("latchkey_"), "{}", metrics.body);
    let mut written = vec![("/metrics".to_owned(), metrics.body.into_bytes())];
    for entry in fs::read_dir(stack.home.path()).expect("the home can be listed") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        written.push((name, fs::read(&path).expect("a file")));
    }
    let named = |name: &str| written.iter().find(|(other, _)| other == name);
    let (_, store) = named("latchkey.db").expect("the store");
    assert!(store.starts_with(b"SQLite format 3\0"));
    let (_, log) = named("latchkey.log").expect("the log");
    assert!(contains(log, b"\"level\":\"TRACE\""), "the log is at trace level");

    for key in [good.key.as_str(), &revoked.key, &unknown, malformed] {
        let secret = key.trim_start_matches("lk_");
        for (place, bytes) in &written {
            assert!(!contains(bytes, secret.as_bytes()), "a key is in {place}");
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

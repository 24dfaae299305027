//! Answers that come as a stream, through the guard and the real Envoy.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::ai::{ANSWER, PAUSE, ai, guarded, guarded_home_with, metric};
use crate::support::{Pieces, Shape, Stack, wait_for};

const LONG: Duration = Duration::from_secs(10);

fn events(stack: &Stack, target: &str, key: &str, pause: &str, body: &str) -> Pieces {
    let headers = [
        ("authorization", key),
        (ANSWER, "text/event-stream"),
        (PAUSE, pause),
    ];
    let pieces = stack.client().open("POST", target, &headers, body.as_bytes());
    assert_eq!(pieces.head.status, 200, "{:?}", pieces.head);
    pieces
}

#[test]
fn the_first_event_comes_before_the_second_was_written() {
    let (stack, key) = guarded(Shape::Full, &[]);
    let interval = Duration::from_secs(2);
    let pause = interval.as_millis().to_string();
    let first = |target: &str| {
        let started = Instant::now();
        let mut pieces = events(&stack, target, &key, &pause, "data: one\n\ndata: two\n\n");
        let event = pieces.next().expect("an event").expect("not the end");
        assert_eq!(event, b"data: one\n\n");
        started.elapsed()
    };
    let (plain, through_the_guard) = (first("/g/none"), first("/g/out"));
    println!("first event: {plain:?} without a guard, {through_the_guard:?} with one");
    assert!(through_the_guard < interval, "{through_the_guard:?}");
}

#[test]
fn ten_megabytes_take_little_memory() {
    let (stack, key) = guarded(Shape::Full, &[]);
    let event = format!("data: {}\n\n", "x".repeat(1000));
    let length = |times: usize| {
        let times = times.to_string();
        let headers = [
            ("authorization", key.as_str()),
            (ANSWER, "text/event-stream"),
            ("x-repeat", times.as_str()),
        ];
        let mut pieces = stack.client().open("POST", "/g/long", &headers, event.as_bytes());
        let (mut length, mut is_whole) = (0, false);
        while let Ok(piece) = pieces.next() {
            let Some(piece) = piece else {
                is_whole = true;
                break;
            };
            length += piece.len();
        }
        assert!(is_whole);
        length
    };
    let peak = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", stack.latchkey.process.id()));
        let status = status.expect("the server runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .expect("its peak");
        line.split_whitespace()
            .nth(1)
            .and_then(|kilobytes| kilobytes.parse().ok())
            .expect("a number")
    };
    // What a stream needs once is there after the first ones: buffers, and what the allocator keeps.
    for _ in 0..3 {
        assert_eq!(length(10_000), 10_000 * event.len());
    }
    let before = peak();
    assert_eq!(length(30_000), 30_000 * event.len());
    let grown = peak() - before;
    println!("30 MB of events: peak memory grew by {grown} kB from {before} kB");
    // Two thirds of what passed: the rest is the noise of buffers and of the allocator.
    assert!(grown < 20_000, "{grown} kB");
}

#[test]
fn a_caller_that_goes_away_ends_the_work() {
    let (stack, key) = guarded(Shape::Full, &[]);
    let body = "data: one\n\n".repeat(1000);
    let mut pieces = events(&stack, "/g/out", &key, "50", &body);
    pieces.next().expect("an event").expect("not the end");
    assert_eq!(metric(&stack, "latchkey_guard_streams"), 1);
    drop(pieces);
    wait_for("the end of the stream", LONG, || {
        (metric(&stack, "latchkey_guard_streams") == 0).then_some(())
    });
    let missed = metric(&stack, r#"latchkey_guard_missed_total{route="out"}"#);
    assert_eq!(missed, 0, "what the caller got was seen");
}

#[test]
fn an_event_in_pieces_and_a_pattern_across_events_hide_nothing() {
    let (stack, key) = guarded(Shape::Full, &[]);
    let delta = |text: &str| {
        let event = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        format!("data: {event}\n\n")
    };
    let body: String = ["fine ", "<", "scr", "ipt", ">alert(1)"].map(delta).concat();
    let (text, _) = events(&stack, "/g/out", &key, "20", &body).rest();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("fine") && text.contains("event: error"), "{text}");
    assert!(!text.contains("alert"), "{text}");
}

#[test]
fn tokens_of_a_stream_and_of_an_answer_are_read() {
    let (stack, key) = guarded(Shape::Full, &[]);
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    let body = format!("data: {usage}\n\ndata: [DONE]\n\n");
    let (text, is_whole) = events(&stack, "/g/out", &key, "0", &body).rest();
    assert!(is_whole);
    assert_eq!(
        String::from_utf8_lossy(&text),
        body,
        "and nothing of it is changed"
    );
}

#[test]
fn a_drain_does_not_wait_for_a_stream_longer_than_its_grace() {
    let home = guarded_home_with(&[(
        "drain: {settle: 3s, grace: 5s}",
        "drain: {settle: 100ms, grace: 1s}",
    )]);
    let mut stack = Stack::before(ai(), home, Shape::Full, &[]);
    let key = stack.home.chat_key().bearer();
    let body = "data: one\n\n".repeat(600);
    let mut pieces = events(&stack, "/g/out", &key, "100", &body);
    pieces.next().expect("an event").expect("not the end");
    stack.latchkey.process.terminate();
    let status = stack.latchkey.process.wait(LONG);
    assert!(status.success(), "{status}");
    let (text, is_whole) = pieces.rest();
    assert!(!is_whole, "no event passes that nobody saw: {} bytes", text.len());
}

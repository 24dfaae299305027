//! Calls to servers that are well, slow, broken, busy or hostile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::client;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A server that says this text to each connection, and counts them. After an empty text it closes without a word.
async fn raw(answers: &'static [&'static str]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let count = counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await.unwrap();
            let answer = answers.get(count).or(answers.last()).unwrap();
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

struct Caller {
    endpoint: Endpoint,
    url: String,
    metrics: RemoteMetrics,
}

impl Caller {
    fn new(address: SocketAddr, limit: Duration) -> Self {
        let url = format!("http://{address}/verify?token=sesame");
        let metrics = RemoteMetrics::default();
        let client = client(&[&url], None).unwrap();
        Self {
            endpoint: Endpoint::new("verify", client, limit, &metrics),
            url,
            metrics,
        }
    }

    async fn call(&self) -> Result<(u16, String), CallError> {
        let read = |answer: Answer| {
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            Ok((answer.status.as_u16(), text))
        };
        self.endpoint
            .call(|client| client.post(&self.url).body("sesame"), read)
            .await
    }

    #[track_caller]
    fn has(&self, line: &str) {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let metrics = crate::telemetry::render(&registry).unwrap();
        assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nconnection: close\r\nretry-after: 20\r\ncontent-length: 2\r\n\r\nno";
const LIMITED: &str =
    "HTTP/1.1 429 Slow\r\nconnection: close\r\nRateLimit-Reset: 7\r\ncontent-length: 2\r\n\r\nno";
const BROKEN: &str = "HTTP/1.1 502 Gone\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const ELSEWHERE: &str =
    "HTTP/1.1 307 There\r\nconnection: close\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_call_is_made_again_once_where_that_is_safe() {
    for first in ["", BROKEN, "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf"] {
        let answers: &'static [&'static str] = Vec::leak(vec![first, OK]);
        let (address, asked) = raw(answers).await;
        let caller = Caller::new(address, LIMIT);
        assert_eq!(caller.call().await, Ok((200, "ok".into())), "{first:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        caller.has(r#"latchkey_remote_retries_total{endpoint="verify"} 1"#);
        caller.has(r#"latchkey_remote_calls_total{endpoint="verify",result="ok"} 1"#);
    }
    let (address, asked) = raw(&[""]).await;
    let error = Caller::new(address, LIMIT).call().await.unwrap_err();
    assert!(matches!(error, CallError::Broken(_)), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once and not more");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_it_is_left_alone() {
    for (answer, status, wish, label) in [(BUSY, 503, 20, "status"), (LIMITED, 429, 7, "rate_limited")] {
        let answers: &'static [&'static str] = Vec::leak(vec![answer]);
        let (address, asked) = raw(answers).await;
        let caller = Caller::new(address, LIMIT);
        let wish = Duration::from_secs(wish);
        let retry_after = Some(wish);
        assert_eq!(
            caller.call().await,
            Err(CallError::TryLater { status, retry_after })
        );
        let Err(CallError::NotAsked(pause)) = caller.call().await else {
            panic!("it was asked");
        };
        assert!(
            pause <= wish && pause > wish - Duration::from_secs(5),
            "{pause:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        for line in [
            &format!(r#"latchkey_remote_calls_total{{endpoint="verify",result="{label}"}} 1"#),
            r#"latchkey_remote_calls_total{endpoint="verify",result="not_asked"} 1"#,
            r#"latchkey_remote_breaker_open{endpoint="verify"} 1"#,
            r#"latchkey_remote_breaker_opened_total{endpoint="verify"} 1"#,
        ] {
            caller.has(line);
        }
    }
}

#[tokio::test]
async fn the_end_of_a_quota_beside_a_fault_is_no_wish_to_be_left_alone() {
    const FAULT: &str =
        "HTTP/1.1 502 Gone\r\nconnection: close\r\nRateLimit-Reset: 900\r\ncontent-length: 0\r\n\r\n";
    let (address, asked) = raw(&[FAULT, FAULT, OK]).await;
    let caller = Caller::new(address, LIMIT);
    let retry_after = None;
    assert_eq!(
        caller.call().await,
        Err(CallError::TryLater {
            status: 502,
            retry_after
        })
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it was tried again");
    assert_eq!(caller.call().await, Ok((200, "ok".into())));
    caller.has(r#"latchkey_remote_breaker_opened_total{endpoint="verify"} 0"#);
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_asked_again() {
    let (address, asked) = raw(&[
        BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, OK,
    ])
    .await;
    let caller = Caller::new(address, LIMIT);
    for _ in 0..5 {
        let error = caller.call().await.unwrap_err();
        assert!(
            matches!(error, CallError::TryLater { status: 502, .. }),
            "{error:?}"
        );
    }
    assert!(matches!(caller.call().await, Err(CallError::NotAsked(_))));
    assert_eq!(asked.load(Ordering::SeqCst), 10, "five calls of two tries");
    let end = Instant::now() + LIMIT;
    while caller.call().await.is_err() {
        assert!(Instant::now() < end, "it is never asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 11);
    caller.has(r#"latchkey_remote_breaker_open{endpoint="verify"} 0"#);
}

#[tokio::test]
async fn a_silent_endpoint_costs_the_limit_and_no_second_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_millis(200);
    let caller = Caller::new(listener.local_addr().unwrap(), limit);
    assert_eq!(caller.call().await, Err(CallError::Timeout(limit)));
    caller.has(r#"latchkey_remote_retries_total{endpoint="verify"} 0"#);
    caller.has(r#"latchkey_remote_calls_total{endpoint="verify",result="timeout"} 1"#);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (address, _) = raw(&[ELSEWHERE]).await;
    assert_eq!(Caller::new(address, LIMIT).call().await, Ok((307, String::new())));
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let long = || async { "x".repeat(MOST_BYTES + 1) };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/verify", post(long))).await });
    let error = Caller::new(address, LIMIT).call().await.unwrap_err();
    assert_eq!(error, CallError::Malformed("it is too long"));
}

#[tokio::test]
async fn errors_say_why_and_show_neither_url_nor_body() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = Caller::new(address, LIMIT).call().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot connect: Connection refused (os error 111)"
    );
    assert!(!format!("{error:?}").contains("sesame"));
}

//! What happens while an issuer answers, is silent, or talks nonsense.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join_all, pending};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{advance, sleep};

use super::super::testing::{Pair, set};
use super::*;

const TRY_AGAIN: AuthError = AuthError::Unavailable {
    retry_after: PAUSE_AFTER_FAILURE,
};

/// What the issuer does next; the last one again and again.
#[derive(Clone)]
enum Turn {
    Serve(Vec<u8>),
    Fail,
    Hang,
}

struct Issuer {
    keys: IssuerKeys,
    asked: Arc<AtomicUsize>,
    turns: Arc<Mutex<VecDeque<Turn>>>,
}

impl Issuer {
    fn new(turns: &[Turn]) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let turns = Arc::new(Mutex::new(turns.iter().cloned().collect::<VecDeque<_>>()));
        let (count, left) = (Arc::clone(&asked), Arc::clone(&turns));
        let fetch: Fetch = Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let mut left = left.lock().unwrap();
            let turn = if left.len() > 1 {
                left.pop_front()
            } else {
                left.front().cloned()
            };
            Box::pin(async move {
                // As slow as a network.
                sleep(Duration::from_millis(5)).await;
                match turn.unwrap() {
                    Turn::Serve(bytes) => PublicKey::of_set(&bytes).ok_or(CallError::Malformed("no set")),
                    Turn::Fail => Err(CallError::Unusable("status")),
                    Turn::Hang => pending().await,
                }
            })
        });
        Self {
            keys: IssuerKeys::new(fetch),
            asked,
            turns,
        }
    }

    fn then(&self, turn: Turn) {
        *self.turns.lock().unwrap() = [turn].into();
    }

    /// Whether the key is known; an error as it is.
    async fn find(&self, kid: &str) -> Result<bool, AuthError> {
        self.keys
            .find(Some(kid), Algorithm::EdDsa)
            .await
            .map(|key| key.is_some())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serving(kids: &[&str]) -> Turn {
    let jwks: Vec<_> = kids.iter().map(|kid| Pair::ed25519().jwk(kid)).collect();
    Turn::Serve(set(&jwks))
}

#[tokio::test(start_paused = true)]
async fn a_herd_is_one_fetch_and_then_none() {
    let issuer = Issuer::new(&[serving(&["a"])]);
    let found = join_all((0..50).map(|_| issuer.find("a"))).await;
    assert!(found.iter().all(|found| *found == Ok(true)));
    advance(FRESH_FOR - Duration::from_secs(1)).await;
    assert_eq!(issuer.find("a").await, Ok(true));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_id_is_asked_for_but_not_over_and_over() {
    let issuer = Issuer::new(&[serving(&["a"])]);
    assert_eq!(issuer.find("a").await, Ok(true));
    issuer.then(serving(&["a", "b"]));
    for _ in 0..100 {
        assert_eq!(issuer.find("b").await, Ok(false));
    }
    assert_eq!(issuer.asked(), 1);
    advance(PAUSE).await;
    assert_eq!(issuer.find("b").await, Ok(true));
    assert_eq!(issuer.find("c").await, Ok(false));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn known_keys_are_used_while_the_issuer_is_silent_and_no_longer_than_the_bound() {
    let issuer = Issuer::new(&[serving(&["a"]), Turn::Fail, Turn::Hang]);
    assert_eq!(issuer.find("a").await, Ok(true));
    while issuer.keys.inner.known.load().as_ref().unwrap().since.elapsed() < USED_FOR {
        assert_eq!(issuer.find("a").await, Ok(true));
        advance(Duration::from_secs(60)).await;
    }
    assert!(issuer.asked() > 10, "{}", issuer.asked());
    assert_eq!(issuer.find("a").await, Err(TRY_AGAIN));
    issuer.then(serving(&["a"]));
    advance(PAUSE_AFTER_FAILURE).await;
    assert_eq!(issuer.find("a").await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_is_never_an_allow_and_nobody_waits_for_long() {
    for bad in [Turn::Fail, Turn::Hang, Turn::Serve(b"<html>down</html>".to_vec())] {
        let issuer = Issuer::new(&[bad]);
        let began = Instant::now();
        let found = join_all((0..20).map(|_| issuer.find("a"))).await;
        assert!(found.iter().all(|found| *found == Err(TRY_AGAIN)), "{found:?}");
        assert_eq!(issuer.find("a").await, Err(TRY_AGAIN));
        assert!(began.elapsed() <= DEADLINE + Duration::from_millis(10));
        assert_eq!(issuer.asked(), 1);
        // It comes back.
        issuer.then(serving(&["a"]));
        advance(PAUSE_AFTER_FAILURE).await;
        assert_eq!(issuer.find("a").await, Ok(true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_the_one_who_began_it_leaves() {
    let issuer = Issuer::new(&[serving(&["a"])]);
    // Polled once, then dropped.
    assert!(issuer.find("a").now_or_never().is_none());
    assert_eq!(issuer.find("a").await, Ok(true));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_forgotten_with_the_next_set() {
    let issuer = Issuer::new(&[serving(&["a", "b"])]);
    assert_eq!(issuer.find("a").await, Ok(true));
    issuer.then(Turn::Serve(set(&[])));
    advance(FRESH_FOR).await;
    // Due: used once more, while it is asked for.
    assert_eq!(issuer.find("a").await, Ok(true));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(issuer.find("a").await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_key_id_is_matched_only_where_there_is_one_choice() {
    let both = set(&[Pair::ed25519().jwk("a"), Pair::rsa().jwk("r")]);
    let issuer = Issuer::new(&[Turn::Serve(both), serving(&["a", "b"])]);
    assert!(issuer.keys.find(None, Algorithm::EdDsa).await.unwrap().is_some());
    assert!(issuer.keys.find(None, Algorithm::Ps256).await.unwrap().is_some());
    advance(PAUSE).await;
    assert!(issuer.keys.find(None, Algorithm::Es256).await.unwrap().is_none());
    assert!(issuer.keys.find(None, Algorithm::EdDsa).await.unwrap().is_none());
}

/// A server on loopback that answers every connection with these bytes and then stays silent, with the connection open.
async fn server(answer: Vec<u8>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                pending::<()>().await;
            });
        }
    });
    Ok(address)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn over_http_a_set_is_read_and_anything_else_is_an_error() {
    let good = set(&[Pair::ed25519().jwk("a")]);
    let huge = vec![b' '; 1 << 20];
    for (bytes, expected) in [
        (answer("200 OK", &good), None),
        (
            answer("302 Found\r\nlocation: http://127.0.0.1:1/", b""),
            Some("status is not 200"),
        ),
        (answer("500 Oh", &good), Some("status 500")),
        (answer("200 OK", &huge), Some("too long")),
        (b"nonsense\r\n\r\n".to_vec(), Some("the connection broke")),
    ] {
        let address = server(bytes).await.unwrap();
        let fetch = over_http(&format!("http://{address}/jwks"), &RemoteMetrics::default()).unwrap();
        match (fetch().await, expected) {
            (Ok(keys), None) => assert_eq!(keys.len(), 1),
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.contains(expected), "{error}");
                assert!(!error.contains(&address.to_string()), "{error}");
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn over_http_a_server_that_says_half_is_given_up() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\"".to_vec();
    let address = server(half).await.unwrap();
    let keys = IssuerKeys::new(over_http(&format!("http://{address}/"), &RemoteMetrics::default()).unwrap());
    assert_eq!(
        keys.find(Some("a"), Algorithm::EdDsa).await.err(),
        Some(TRY_AGAIN)
    );
}

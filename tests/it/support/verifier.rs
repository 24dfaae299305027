//! A verify endpoint in the hands of a test: it can be well, slow, silent, wrong, flapping or busy, and it counts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::oneshot;

pub(crate) const CLIENT_SECRET: &str = "the-secret-of-a-client";

/// How the endpoint answers.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// By its keys.
    Well,
    /// By its keys, and late.
    Slow(Duration),
    /// Never.
    Silent,
    /// The same to everyone: status, headers, body.
    Says(u16, Vec<(&'static str, &'static str)>, String),
    /// Every other time with 500.
    Flapping,
}

/// Who may ask.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// Everyone.
    Open,
    /// Whoever has this bearer.
    Bearer(String),
    /// Whoever has a token of the token endpoint, which lives for so many seconds by what it says.
    Tokens(f64),
}

/// Ends with its value.
pub(crate) struct Verifier {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    guard: Mutex<Guard>,
    /// What an unknown key is answered with.
    unknown: Mutex<(u16, Value)>,
    keys: Mutex<HashMap<String, Value>>,
    asked: Mutex<HashMap<String, usize>>,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    tokens: Mutex<Vec<String>>,
    granted: AtomicUsize,
}

/// The answer to a good key of this organization.
pub(crate) fn valid(id: &str, org_code: Option<&str>, scopes: &[&str]) -> Value {
    json!({
        "code": "API_KEY_VERIFIED",
        "message": "API key verified",
        "is_valid": true,
        "key_id": id,
        "status": "active",
        "scopes": scopes,
        "org_code": org_code,
        "user_id": null,
        "last_verified_on": "2026-01-05T09:00:00+11",
        "verification_count": 7,
        "more": {"than": ["is", "known"]},
    })
}

impl Verifier {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Well),
            guard: Mutex::new(Guard::Open),
            unknown: Mutex::new((
                200,
                json!({"code": "API_KEY_INVALID", "is_valid": false, "scopes": []}),
            )),
            keys: Mutex::default(),
            asked: Mutex::default(),
            calls: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            tokens: Mutex::default(),
            granted: AtomicUsize::new(0),
        });
        let (told, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new()
            .route("/verify", post(verify))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                told.send(listener.local_addr().expect("a bound address"))
                    .expect("the test waits");
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: address.recv().expect("it starts"),
            shared,
            _stop: stop,
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("no panic") = behaviour;
    }

    pub(crate) fn guard(&self, guard: Guard) {
        *self.shared.guard.lock().expect("no panic") = guard;
    }

    /// What unknown keys are answered with from now on.
    pub(crate) fn answer_unknown(&self, status: u16, body: Value) {
        *self.shared.unknown.lock().expect("no panic") = (status, body);
    }

    /// Lets it know a key.
    pub(crate) fn add(&self, key: &str, answer: Value) {
        self.shared
            .keys
            .lock()
            .expect("no panic")
            .insert(key.to_owned(), answer);
    }

    /// Times that it was asked about this key.
    pub(crate) fn asked(&self, key: &str) -> usize {
        self.shared
            .asked
            .lock()
            .expect("no panic")
            .get(key)
            .copied()
            .unwrap_or(0)
    }

    /// Calls of the verify endpoint so far.
    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// The most calls that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }

    /// Tokens granted so far.
    pub(crate) fn granted(&self) -> usize {
        self.shared.granted.load(Ordering::SeqCst)
    }

    /// Ends all tokens, before their time.
    pub(crate) fn end_tokens(&self) {
        self.shared.tokens.lock().expect("no panic").clear();
    }
}

/// Counts down when the call ends, also when its caller has gone.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn verify(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(question): Json<Value>,
) -> Response {
    let call = shared.calls.fetch_add(1, Ordering::SeqCst);
    let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    let _under_way = UnderWay(Arc::clone(&shared));
    shared.most_at_once.fetch_max(now, Ordering::SeqCst);
    let key = question["api_key"].as_str().unwrap_or_default().to_owned();
    *shared
        .asked
        .lock()
        .expect("no panic")
        .entry(key.clone())
        .or_default() += 1;
    let behaviour = shared.behaviour.lock().expect("no panic").clone();
    match behaviour {
        Behaviour::Well => {}
        Behaviour::Slow(time) => tokio::time::sleep(time).await,
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Says(status, headers, body) => return says(status, &headers, body),
        Behaviour::Flapping if call % 2 == 0 => return says(500, &[], "oh".into()),
        Behaviour::Flapping => {}
    }
    if !shared.lets_in(&headers) {
        let body =
            json!({"errors": [{"code": "UNAUTHORIZED", "message": "Access token is invalid or expired"}]});
        return says(401, &[], body.to_string());
    }
    let known = shared.keys.lock().expect("no panic").get(&key).cloned();
    match known {
        Some(answer) => says(200, &[], answer.to_string()),
        None => {
            let (status, body) = shared.unknown.lock().expect("no panic").clone();
            says(status, &[], body.to_string())
        }
    }
}

fn says(status: u16, headers: &[(&'static str, &'static str)], body: String) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, [("content-type", "application/json")], body).into_response();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(*name, value.parse().expect("a header value"));
    }
    response
}

impl Shared {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
        let sent = sent
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        match &*self.guard.lock().expect("no panic") {
            Guard::Open => true,
            Guard::Bearer(bearer) => bearer == sent,
            Guard::Tokens(_) => self
                .tokens
                .lock()
                .expect("no panic")
                .iter()
                .any(|token| token == sent),
        }
    }
}

async fn token(State(shared): State<Arc<Shared>>, Form(form): Form<HashMap<String, String>>) -> Response {
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let is_client = is("grant_type", "client_credentials")
        && is("client_id", "client")
        && is("client_secret", CLIENT_SECRET)
        && is("audience", "https://keys.example.com");
    if !is_client {
        return says(401, &[], json!({"error": "invalid_client"}).to_string());
    }
    let number = shared.granted.fetch_add(1, Ordering::SeqCst);
    let token = format!("token-{number}");
    shared.tokens.lock().expect("no panic").push(token.clone());
    let life = match &*shared.guard.lock().expect("no panic") {
        Guard::Tokens(life) => *life,
        Guard::Open | Guard::Bearer(_) => 3600.0,
    };
    let granted =
        json!({"access_token": token, "token_type": "bearer", "expires_in": life, "scope": "read:api_keys"});
    says(200, &[], granted.to_string())
}

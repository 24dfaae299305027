//! An AI backend to stand behind Envoy: it answers with what it received, so that a demo and the tests can see what got
//! through. A JSON body with `"stream": true` is answered with server-sent events, as AI APIs do; one with `"misbehave": true` with
//! what no AI should say.
//!
//! It believes every header that it is given. That is the point: whatever must not reach a backend has to be kept from it.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::request::Parts;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Json, Response};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;

/// The most that a body may have, in bytes; more than any proxy in front would buffer.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Between two events of a stream: long enough to see whether someone in the middle holds them back.
const EVENT_INTERVAL: Duration = Duration::from_millis(20);

/// What a page that shows it would run.
const HARMFUL: &str = "Sure! <script>steal(document.cookie)</script>";

/// An AI backend that echoes what it receives
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to write the address that was bound
    #[arg(long)]
    address_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    if let Some(file) = &args.address_file {
        write_whole(file, &address.to_string())?;
    }
    println!("backend listens on {address}");
    let app = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    axum::serve(listener, app).await?;
    Ok(())
}

/// Writes `text` in a way that no reader sees half of it.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, file)
}

async fn answer(request: Parts, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let wants = |what: &str| asked[what] == Value::Bool(true);
    let received = if wants("misbehave") {
        json!({"answer": HARMFUL})
    } else {
        received(&request, &body)
    };
    if wants("stream") {
        stream(&received).into_response()
    } else {
        Json(received).into_response()
    }
}

/// What arrived. Header values and the body are text for people: bytes that are no UTF-8 become U+FFFD.
fn received(request: &Parts, body: &Bytes) -> Value {
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    json!({
        "method": request.method.as_str(),
        "path": request.uri.path(),
        "query": request.uri.query(),
        "headers": headers,
        "body_length": body.len(),
        "body": String::from_utf8_lossy(body),
    })
}

/// What arrived as the first event, then an answer word by word, then the end as AI APIs mark it.
fn stream(received: &Value) -> Sse<impl tokio_stream::Stream<Item = Result<Event, Infallible>> + use<>> {
    let words = ["Hello", " from", " the", " backend"].map(|word| json!({"delta": word}));
    let events = std::iter::once(received.to_string())
        .chain(words.map(|word| word.to_string()))
        .chain(["[DONE]".to_owned()])
        .collect::<Vec<_>>();
    Sse::new(tokio_stream::iter(events).then(async |data| {
        tokio::time::sleep(EVENT_INTERVAL).await;
        Ok(Event::default().data(data))
    }))
}

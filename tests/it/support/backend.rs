//! A backend that answers with what it received, or as a test says.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::message::{self, Message};

/// What a request asks of it: `x-backend-delay-ms` to wait, `x-backend-status` to answer so.
///
/// Ends with its value; its connections end with Envoy's.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Backend {
    /// One that answers with what it received.
    pub(crate) fn start() -> Self {
        Self::answering(|request, to| to.write_all(&echo(request)))
    }

    /// One that answers each request by writing to its connection, whole messages or piece by piece.
    pub(crate) fn answering(
        answer: impl Fn(&Message, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (requests, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
                thread::spawn(move || {
                    // A connection that breaks is seen by the client behind Envoy.
                    let _ = serve(&connection, &counter, &*answer);
                });
            }
        });
        Self {
            address,
            requests,
            stop,
        }
    }

    /// Requests that came so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    connection: &TcpStream,
    requests: &AtomicUsize,
    answer: &dyn Fn(&Message, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    while let Some(request) = message::read(&mut reader, |_| false)? {
        requests.fetch_add(1, Ordering::Relaxed);
        if let Some(delay) = request.header("x-backend-delay-ms") {
            thread::sleep(Duration::from_millis(delay.parse().map_err(io::Error::other)?));
        }
        answer(&request, &mut writer)?;
    }
    Ok(())
}

/// The whole response that says what was received.
pub(crate) fn echo(request: &Message) -> Vec<u8> {
    let mut words = request.start_line.split(' ');
    let (method, path) = (words.next(), words.next());
    let seen = json!({
        "method": method,
        "path": path,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    })
    .to_string();
    let length = seen.len();
    let status = request.header("x-backend-status").unwrap_or("200");
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let body = if method == Some("HEAD") { "" } else { &seen };
    [head.as_bytes(), body.as_bytes()].concat()
}

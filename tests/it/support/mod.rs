//! What the end-to-end tests stand on: real processes, each owned by one test, and raw HTTP/1.1, so that a test says exactly which
//! bytes it sends.

pub(crate) mod ai;
mod authority;
mod backend;
mod chaos;
pub(crate) mod check_proxy;
mod client;
mod envoy;
mod latchkey;
mod message;
mod node;
mod process;
mod tls;
#[expect(dead_code, reason = "the tests of the source itself use the rest of it")]
mod verifier;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use authority::{Authority, Pair};
pub(crate) use backend::{Backend, echo};
pub(crate) use chaos::Chaos;
pub(crate) use client::{Client, Pieces, Response};
pub(crate) use envoy::{Envoy, Shape, in_each_shape};
pub(crate) use latchkey::{CHATS, Home, Key, Latchkey, UNAUTHENTICATED};
pub(crate) use message::Message;
pub(crate) use node::{node, npm_folder};
pub(crate) use process::{Finished, Process, buf, run, run_for};
pub(crate) use tls::TlsClient;
pub(crate) use verifier::{Behaviour, CLIENT_SECRET, Guard, Verifier, valid};

/// How long anything may take to start.
pub(crate) const START: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// One Latchkey, one Envoy, one backend.
pub(crate) struct Stack {
    // Envoy goes first, so that it never sees the others gone.
    pub(crate) envoy: Envoy,
    pub(crate) latchkey: Latchkey,
    pub(crate) backend: Backend,
    pub(crate) home: Home,
}

impl Stack {
    pub(crate) fn start() -> Self {
        Self::in_shape(Shape::Full)
    }

    pub(crate) fn in_shape(shape: Shape) -> Self {
        Self::with(Home::new(), shape, &[])
    }

    /// With texts of Envoy's configuration replaced; each must be there.
    pub(crate) fn over(home: Home, replaced: &[(&str, &str)]) -> Self {
        Self::with(home, Shape::Full, replaced)
    }

    pub(crate) fn with(home: Home, shape: Shape, replaced: &[(&str, &str)]) -> Self {
        Self::before(Backend::start(), home, shape, replaced)
    }

    /// Before this backend.
    pub(crate) fn before(backend: Backend, home: Home, shape: Shape, replaced: &[(&str, &str)]) -> Self {
        let latchkey = home.start("latchkey");
        let envoy = Envoy::start_in(shape, &[latchkey.grpc], backend.address, replaced);
        Self {
            envoy,
            latchkey,
            backend,
            home,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.envoy.listener)
    }
}

/// Polls until `probe` has something; panics after `limit`, with what was waited for.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::sleep(POLL);
    }
}

/// A path inside the repository.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of the code block in this language that holds `needle`.
pub(crate) fn documented(page: &str, language: &str, needle: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = page
        .split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let found = blocks.find(|block| block.contains(needle));
    found
        .unwrap_or_else(|| panic!("no {language} block with {needle}"))
        .to_owned()
}

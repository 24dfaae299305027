//! A TCP proxy that can be cut, swallow everything, be slow, and heal: what lies between a server and what it depends on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What happens to what is sent through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Healthy,
    /// Connections are closed, open ones and new ones.
    Cut,
    /// Connections are accepted, and nothing moves, in neither direction.
    BlackHole,
    /// Everything moves, each piece so much later.
    Slow(Duration),
    /// The proxy has ended.
    Over,
}

/// Ends with its value, and with it every connection.
pub(crate) struct Chaos {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    line: Line,
    open: Vec<TcpStream>,
}

impl Chaos {
    /// A healthy line to `target`.
    pub(crate) fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                line: Line::Healthy,
                open: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for incoming in listener.incoming().map_while(Result::ok) {
                if accepting.state().line == Line::Over {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.carry(&incoming, target));
            }
        });
        Self { address, shared }
    }

    /// Closes every connection, and each new one at once.
    pub(crate) fn cut(&self) {
        self.shared.become_(Line::Cut);
    }

    /// Accepts, and lets nothing through. What was sent arrives when it is healed.
    pub(crate) fn black_hole(&self) {
        self.shared.become_(Line::BlackHole);
    }

    /// Lets each piece through so much later.
    pub(crate) fn slow(&self, by: Duration) {
        self.shared.become_(Line::Slow(by));
    }

    /// As it was at first.
    pub(crate) fn heal(&self) {
        self.shared.become_(Line::Healthy);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.shared.become_(Line::Over);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the proxy panics")
    }

    fn become_(&self, line: Line) {
        let mut state = self.state();
        state.line = line;
        if matches!(line, Line::Cut | Line::Over) {
            for connection in state.open.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    /// Waits while nothing moves; `None` when the line is cut.
    fn delay(&self) -> Option<Duration> {
        let waiting = |state: &mut State| state.line == Line::BlackHole;
        let state = self.changed.wait_while(self.state(), waiting);
        match state.expect("no thread of the proxy panics").line {
            Line::Healthy | Line::BlackHole => Some(Duration::ZERO),
            Line::Slow(by) => Some(by),
            Line::Cut | Line::Over => None,
        }
    }

    /// Remembers a connection, to be cut with the others; `false` when the line is cut already.
    fn keep(&self, connection: &TcpStream) -> bool {
        let mut state = self.state();
        if matches!(state.line, Line::Cut | Line::Over) {
            return false;
        }
        state.open.extend(connection.try_clone());
        true
    }

    fn carry(self: Arc<Self>, here: &TcpStream, target: SocketAddr) {
        if !self.keep(here) || self.delay().is_none() {
            return;
        }
        let Ok(there) = TcpStream::connect(target) else {
            return;
        };
        if !self.keep(&there) {
            return;
        }
        let both = [here, &there].map(TcpStream::try_clone);
        let [Ok(from), Ok(to)] = both else { return };
        let back = Arc::clone(&self);
        let answers = thread::spawn(move || back.pump(&to, &from));
        self.pump(here, &there);
        let _ = answers.join();
    }

    /// Moves bytes one way until either side ends.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut piece = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let Some(delay) = self.delay() else { break };
            thread::sleep(delay);
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

//! One acceptor a listener: it hands each new connection to the lane with the fewest.
//!
//! Envoy opens few connections and keeps them, so where a connection goes decides the load for hours. The kernel's own ways to
//! share a port hash the addresses, and would often put all of them on one lane.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connection::{Accepted, Seat, Socket};
use super::listener::Listener;
use super::tls::Tls;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One end of a way to a lane.
#[derive(Clone, Debug)]
pub(super) struct Door {
    to: mpsc::Sender<Accepted>,
    open: Arc<AtomicUsize>,
    seats: usize,
}

impl Door {
    /// A way to a lane that serves at most `seats` connections at a time.
    pub(super) fn new(seats: usize) -> (Self, mpsc::Receiver<Accepted>) {
        let (to, accepted) = mpsc::channel(seats);
        (
            Self {
                to,
                open: Arc::default(),
                seats,
            },
            accepted,
        )
    }

    /// The connections that the lane has now.
    pub(super) fn open(&self) -> &Arc<AtomicUsize> {
        &self.open
    }
}

/// Where a connection could not go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NotSeated {
    /// Every lane has as many as it may.
    Full,
    /// The lane is no more.
    Gone,
}

fn seat(doors: &[Door], tls: Option<&Arc<Tls>>, socket: Socket) -> Result<(), NotSeated> {
    let door = doors
        .iter()
        .min_by_key(|door| door.open.load(Ordering::Relaxed))
        .ok_or(NotSeated::Gone)?;
    if door.open.load(Ordering::Relaxed) >= door.seats {
        return Err(NotSeated::Full);
    }
    let accepted = Accepted {
        socket,
        seat: Seat::take(&door.open),
        tls: tls.cloned(),
    };
    door.to.try_send(accepted).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => NotSeated::Full,
        mpsc::error::TrySendError::Closed(_) => NotSeated::Gone,
    })
}

/// Accepts until `stop`. Ends early only with an error: when a lane is gone. The handshake of `tls` is left to the lane.
pub(super) async fn accept(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    doors: Vec<Door>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut refused: u64 = 0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted.map(|socket| seat(&doors, tls.as_ref(), socket)) {
            Ok(Ok(())) => pause = FIRST_PAUSE,
            Ok(Err(NotSeated::Full)) => {
                refused += 1;
                // At powers of two, so that a flood of connections is no flood of lines.
                if refused.is_power_of_two() {
                    warn!(refused, "a connection was refused: every lane is full");
                }
            }
            Ok(Err(NotSeated::Gone)) if stop.is_cancelled() => return Ok(()),
            Ok(Err(NotSeated::Gone)) => anyhow::bail!("a lane takes no more connections"),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // No descriptor or no memory: the connection waits in the backlog, and trying at once would only spin.
                warn!(%error, ?pause, "cannot accept connections");
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether only the connection failed that was to be accepted, and the next one may be fine: accept(2).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput};
    // EINVAL comes from TCP_NODELAY on a connection that its peer has reset already.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn socket() -> Socket {
        Socket::Unix(UnixStream::pair().unwrap().0)
    }

    fn open(doors: &[Door]) -> Vec<usize> {
        doors
            .iter()
            .map(|door| door.open.load(Ordering::Relaxed))
            .collect()
    }

    #[test]
    fn a_connection_goes_to_the_lane_with_the_fewest() {
        let (doors, mut lanes): (Vec<_>, Vec<_>) = (0..3).map(|_| Door::new(8)).unzip();
        for _ in 0..6 {
            seat(&doors, None, socket()).unwrap();
        }
        assert_eq!(open(&doors), [2, 2, 2]);
        drop(lanes[1].try_recv().unwrap());
        assert_eq!(open(&doors), [2, 1, 2]);
        seat(&doors, None, socket()).unwrap();
        assert_eq!(open(&doors), [2, 2, 2]);
    }

    #[test]
    fn a_full_server_refuses_and_a_lost_lane_is_an_error() {
        let (door, lane) = Door::new(1);
        let doors = [door];
        seat(&doors, None, socket()).unwrap();
        assert_eq!(seat(&doors, None, socket()), Err(NotSeated::Full));
        drop(lane);
        assert_eq!(seat(&doors, None, socket()), Err(NotSeated::Gone));
        assert_eq!(open(&doors), [0], "the seat is given back");
    }

    #[test]
    fn no_descriptor_left_is_no_fault_of_one_connection() {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        for code in [ENFILE, EMFILE] {
            assert!(
                !is_of_one_connection(&io::Error::from_raw_os_error(code)),
                "{code}"
            );
        }
        assert!(is_of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    }
}

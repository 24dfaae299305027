//! From an accepted socket to what tonic serves.
//!
//! A socket is accepted on one runtime and served on another, so it travels as a socket of the standard library, which belongs
//! to no reactor. [`Accepted::open`] is where it becomes a connection, inside the lane that serves it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::server::Connected;

/// A socket outside of any reactor; non-blocking.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A place among the open connections of a lane; given back on drop.
#[derive(Debug)]
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seat {
    pub(super) fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket on its way to the lane that has a seat for it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) seat: Seat,
}

impl Accepted {
    /// Makes the connection. Call it on the runtime that will serve it.
    pub(super) fn open(self) -> io::Result<Connection> {
        let stream = match self.socket {
            Socket::Tcp(socket) => Stream::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Stream::Unix(UnixStream::from_std(socket)?),
        };
        Ok(Connection {
            stream,
            _seat: self.seat,
        })
    }
}

/// What a lane reads from and writes to.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    _seat: Seat,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the same method on whichever stream it is.
macro_rules! on_stream {
    ($connection:expr, $stream:ident => $call:expr) => {
        match &mut $connection.get_mut().stream {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }

    /// h2 sends every DATA frame of 256 bytes or more in a system call of its own when the socket says it is vectored, and
    /// gathers frames below 1,024 bytes when it is not. That halves the CPU time of a check.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_says_that_it_is_not_vectored() {
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        unix.set_nonblocking(true).unwrap();
        let open = Arc::default();
        let unix = Accepted {
            socket: Socket::Unix(unix),
            seat: Seat::take(&open),
        }
        .open()
        .unwrap();
        assert!(!unix.is_write_vectored());

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = Accepted {
            socket: Socket::Tcp(tcp),
            seat: Seat::take(&open),
        }
        .open()
        .unwrap();
        assert!(!tcp.is_write_vectored());
        assert_eq!(open.load(Ordering::Relaxed), 2);
        drop((unix, tcp));
        assert_eq!(open.load(Ordering::Relaxed), 0, "seats are given back");
    }
}

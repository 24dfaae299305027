//! From an accepted socket to what tonic serves.
//!
//! A socket is accepted on one runtime and served on another, so it travels as a socket of the standard library, which belongs
//! to no reactor. [`Accepted::open`] is where it becomes a connection, inside the lane that serves it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::tls::Tls;
use crate::http::Peer;

/// How long a peer may take to say anything: one that says nothing must not keep its seat, nor hold up a drain.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// A socket outside of any reactor; non-blocking.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Who is at the other end. One that has gone already has no address.
    fn peer(&self) -> Peer {
        Peer(match self {
            Self::Tcp(socket) => socket.peer_addr().ok().map(|address| address.ip().to_canonical()),
            Self::Unix(_) => None,
        })
    }
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
    /// What the peer has to shake hands with first.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Accepted {
    /// Makes the connection, which a listener with TLS does after the handshake only. Call it on the runtime that will serve it.
    pub(super) async fn open(self) -> io::Result<Connection> {
        let peer = self.socket.peer();
        let plain = match self.socket {
            Socket::Tcp(socket) => Plain::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Plain::Unix(UnixStream::from_std(socket)?),
        };
        let stream = match self.tls {
            None => Stream::Plain(plain),
            Some(tls) => Stream::Tls(Box::new(tls.accept(plain).await?)),
        };
        Ok(Connection {
            stream,
            peer,
            first_byte: Some(Box::pin(sleep(FIRST_BYTE))),
            _seat: self.seat,
        })
    }
}

/// What a lane reads from and writes to.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Until something was read.
    first_byte: Option<Pin<Box<Sleep>>>,
    _seat: Seat,
}

#[derive(Debug)]
enum Stream {
    Plain(Plain),
    Tls(Box<TlsStream<Plain>>),
}

#[derive(Debug)]
enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the same method on whichever of two streams it is.
macro_rules! on_stream {
    ($on:expr, $first:path | $second:path, $stream:ident => $call:expr) => {
        match $on {
            $first(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            $second(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let connection = self.get_mut();
        let read = on_stream!(&mut connection.stream, Stream::Plain | Stream::Tls, stream => stream.poll_read(cx, into));
        if let Some(limit) = &mut connection.first_byte {
            if into.filled().len() > before {
                connection.first_byte = None;
            } else if read.is_pending() && limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(&mut self.get_mut().stream, Stream::Plain | Stream::Tls, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.get_mut().stream, Stream::Plain | Stream::Tls, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.get_mut().stream, Stream::Plain | Stream::Tls, stream => stream.poll_shutdown(cx))
    }

    /// h2 sends every DATA frame of 256 bytes or more in a system call of its own when the socket says it is vectored, and
    /// gathers frames below 1,024 bytes when it is not. That halves the CPU time of a check.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), Self::Tcp | Self::Unix, stream => stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), Self::Tcp | Self::Unix, stream => stream.poll_write(cx, bytes))
    }

    /// For TLS, which gathers its records.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), Self::Tcp | Self::Unix, stream => stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), Self::Tcp | Self::Unix, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), Self::Tcp | Self::Unix, stream => stream.poll_shutdown(cx))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_loses_its_connection() {
        use tokio::io::AsyncReadExt;

        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        unix.set_nonblocking(true).unwrap();
        let accepted = Accepted {
            socket: Socket::Unix(unix),
            seat: Seat::take(&Arc::default()),
            tls: None,
        };
        let error = accepted.open().await.unwrap().read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_says_that_it_is_not_vectored() {
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        unix.set_nonblocking(true).unwrap();
        let open = Arc::default();
        let unix = Accepted {
            socket: Socket::Unix(unix),
            seat: Seat::take(&open),
            tls: None,
        }
        .open()
        .await
        .unwrap();
        assert!(!unix.is_write_vectored());

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = Accepted {
            socket: Socket::Tcp(tcp),
            seat: Seat::take(&open),
            tls: None,
        }
        .open()
        .await
        .unwrap();
        assert!(!tcp.is_write_vectored());
        assert_eq!(open.load(Ordering::Relaxed), 2);
        drop((unix, tcp));
        assert_eq!(open.load(Ordering::Relaxed), 0, "seats are given back");
    }
}

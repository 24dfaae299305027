//! Sockets that listen: TCP and Unix.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::connection::Socket;
use crate::config::ListenAddress;

/// How long a Unix socket that is in the way gets to prove that someone serves it.
const ANSWER_OF_A_LIVE_SOCKET: Duration = Duration::from_secs(1);

/// A setting whose address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: cannot listen on {address}")]
pub struct BindError {
    /// The setting, such as `listen.grpc`.
    pub setting: &'static str,
    /// What it says.
    pub address: ListenAddress,
    /// What the system says.
    pub source: io::Error,
}

/// A bound socket. Nothing is accepted before [`Self::accept`].
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    pub(super) async fn bind(setting: &'static str, address: &ListenAddress) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path).await,
        };
        bound.map_err(|source| BindError {
            setting,
            address: address.clone(),
            source,
        })
    }

    /// The address that was bound, with the port that the system chose for port 0.
    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }

    /// The next connection, outside of any reactor. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                socket.into_std().map(Socket::Tcp)
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                socket.into_std().map(Socket::Unix)
            }
        }
    }
}

/// The file of a Unix socket of ours; removed on drop, unless another process has put its own there since.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let device_and_inode = device_and_inode(path)?;
        Ok(Self {
            path: path.to_owned(),
            device_and_inode,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if device_and_inode(&self.path).is_ok_and(|there| there == self.device_and_inode) {
            // What is left behind is found dead and removed by the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_dead_socket(path).await?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    Ok(Listener::Unix(listener, SocketFile::at(path)?))
}

/// Removes the socket file that a process left behind when it died. Anything else is not ours to remove.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match tokio::time::timeout(ANSWER_OF_A_LIVE_SOCKET, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(Err(error)) => Err(error),
        // A listener too busy to answer lives, too.
        Ok(Ok(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves this socket",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that `main` prints.
    fn line(error: BindError) -> String {
        format!("{:#}", anyhow::Error::new(error))
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_setting() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ListenAddress::Tcp(taken.local_addr().unwrap());
        let error = line(Listener::bind("listen.ops", &address).await.unwrap_err());
        assert!(
            error.starts_with(&format!("listen.ops: cannot listen on {address}: ")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_socket_file_is_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grpc.sock");
        let listener = Listener::bind("listen.grpc", &ListenAddress::Unix(path.clone()))
            .await
            .unwrap();
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grpc.sock");
        let address = ListenAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its file, as a killed process does
        let listener = Listener::bind("listen.grpc", &address).await.unwrap();
        let error = line(Listener::bind("listen.grpc", &address).await.unwrap_err());
        assert_eq!(
            error.matches("another process serves this socket").count(),
            1,
            "{error}"
        );
        assert!(path.exists());
        drop(listener);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "dear diary").unwrap();
        let error = line(
            Listener::bind("listen.grpc", &ListenAddress::Unix(path.clone()))
                .await
                .unwrap_err(),
        );
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary");
    }

    #[tokio::test]
    async fn a_socket_file_of_another_process_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grpc.sock");
        let listener = Listener::bind("listen.grpc", &ListenAddress::Unix(path.clone()))
            .await
            .unwrap();
        let other = folder.path().join("other.sock");
        let _other = std::os::unix::net::UnixListener::bind(&other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        drop(listener);
        assert!(path.exists());
    }
}

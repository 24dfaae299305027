//! Handshakes in memory, with authorities made for each test.

use std::fs;
use std::path::Path;

use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

use self::authority::{Authority, Pair};
use super::*;

#[path = "../../../tests/it/support/authority.rs"]
mod authority;

const YEAR: i32 = 4000;

/// Files in a folder of the test's.
struct Listener {
    folder: TempDir,
    files: TlsFiles,
    metrics: TlsMetrics,
}

impl Listener {
    fn new(server: &Pair, clients: Option<&Authority>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [cert_file, key_file] = server.write(folder.path(), "server");
        let client_ca_file = clients.map(|authority| {
            let path = folder.path().join("clients.crt");
            fs::write(&path, authority.pem()).unwrap();
            path
        });
        Self {
            folder,
            files: TlsFiles {
                cert_file,
                key_file,
                client_ca_file,
            },
            metrics: TlsMetrics::default(),
        }
    }

    fn open(&self, protocols: &'static [&'static [u8]]) -> Result<Tls, TlsError> {
        Tls::open("grpc", &self.files, protocols, &self.metrics)
    }

    fn renew(&self, server: &Pair) {
        server.write(self.folder.path(), "server");
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        crate::telemetry::render(&registry).unwrap()
    }
}

fn connector(trusted: &Authority, identity: Option<&Pair>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let pem = trusted.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Both ends of a handshake, and a byte from server to client: in TLS 1.3 only that tells a client that it was taken.
async fn meet(
    tls: &Tls,
    connector: &TlsConnector,
) -> (
    io::Result<TlsStream<DuplexStream>>,
    io::Result<ClientStream<DuplexStream>>,
) {
    let (here, there) = duplex(64 * 1024);
    let serve = async {
        let mut stream = tls.accept(here).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let connect = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, there).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(serve, connect)
}

fn presented(stream: &ClientStream<DuplexStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

#[tokio::test]
async fn each_listener_offers_its_protocols() {
    let authority = Authority::new();
    let listener = Listener::new(&authority.server(YEAR), None);
    for (offered, asked, agreed) in [
        (H2, &["h2"][..], Some(Some("h2"))),
        (H2, &[], Some(None)),
        (H2, &["http/1.1"], None),
        (H2_AND_HTTP_1, &["http/1.1", "h2"], Some(Some("h2"))),
        (H2_AND_HTTP_1, &["http/1.1"], Some(Some("http/1.1"))),
        (H2_AND_HTTP_1, &[], Some(None)),
        (H2_AND_HTTP_1, &["h3"], None),
    ] {
        let tls = listener.open(offered).unwrap();
        let (served, _client) = meet(&tls, &connector(&authority, None, asked)).await;
        let found = served.ok().map(|stream| {
            let protocol = stream.get_ref().1.alpn_protocol();
            protocol.map(|name| String::from_utf8(name.to_vec()).unwrap())
        });
        assert_eq!(
            found,
            agreed.map(|name| name.map(str::to_owned)),
            "{offered:?} {asked:?}"
        );
    }
}

#[tokio::test]
async fn mutual_tls_takes_only_clients_that_the_authority_signed() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let listener = Listener::new(&authority.server(YEAR), Some(&authority));
    let tls = listener.open(H2).unwrap();
    for (identity, taken) in [
        (None, false),
        (Some(strangers.client()), false),
        // Signed by the right one, and for another purpose.
        (Some(authority.server(YEAR)), false),
        (Some(authority.client()), true),
    ] {
        let (served, connected) = meet(&tls, &connector(&authority, identity.as_ref(), &["h2"])).await;
        assert_eq!((served.is_ok(), connected.is_ok()), (taken, taken));
    }
    let metrics = listener.metrics();
    for line in [
        r#"latchkey_tls_handshakes_total{listener="grpc",result="ok"} 1"#,
        r#"latchkey_tls_handshakes_total{listener="grpc",result="failed"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_client_of_an_authority_that_was_removed_cannot_resume_its_session() {
    let (authority, next) = (Authority::new(), Authority::new());
    let listener = Listener::new(&authority.server(YEAR), Some(&authority));
    let tls = listener.open(H2).unwrap();
    let client = connector(&authority, Some(&authority.client()), &["h2"]);
    let kind = |stream: &ClientStream<DuplexStream>| stream.get_ref().1.handshake_kind();
    let first = meet(&tls, &client).await.1.unwrap();
    assert_eq!(kind(&first), Some(HandshakeKind::Full));
    let second = meet(&tls, &client).await.1.unwrap();
    assert_eq!(kind(&second), Some(HandshakeKind::Resumed));
    fs::write(listener.folder.path().join("clients.crt"), next.pem()).unwrap();
    tls.reload().unwrap();
    let (served, connected) = meet(&tls, &client).await;
    assert!(served.is_err() && connected.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_its_end_is_told() {
    let authority = Authority::new();
    let (old, new) = (authority.server(YEAR), authority.server(YEAR + 1));
    let listener = Listener::new(&old, None);
    let tls = listener.open(H2).unwrap();
    let connector = connector(&authority, None, &["h2"]);
    let before = meet(&tls, &connector).await.1.unwrap();
    assert_eq!(presented(&before), der(&old));
    listener.renew(&new);
    tls.reload().unwrap();
    let after = meet(&tls, &connector).await.1.unwrap();
    assert_eq!(presented(&after), der(&new));
    let metrics = listener.metrics();
    for line in [
        r#"latchkey_tls_reloads_total{listener="grpc",result="ok"} 1"#,
        r#"latchkey_tls_certificate_not_after_timestamp_seconds{listener="grpc"} 64123660800.0"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_change_nothing() {
    type Damage = fn(&Path, &Authority);
    let damages: [(Damage, &str); 9] = [
        (
            |path, _| fs::remove_file(path.join("server.crt")).unwrap(),
            "cannot read $/server.crt: No such file or directory (os error 2)",
        ),
        (
            |path, _| fs::remove_file(path.join("server.key")).unwrap(),
            "cannot read $/server.key: No such file or directory (os error 2)",
        ),
        (
            |path, _| fs::remove_file(path.join("clients.crt")).unwrap(),
            "cannot read $/clients.crt: No such file or directory (os error 2)",
        ),
        (
            |path, _| fs::write(path.join("server.crt"), "hello").unwrap(),
            "$/server.crt holds no certificate in PEM form",
        ),
        (
            |path, _| fs::write(path.join("server.key"), "").unwrap(),
            "$/server.key holds no private key in PEM form",
        ),
        (
            |path, authority| fs::write(path.join("server.key"), authority.client().key).unwrap(),
            "the key in $/server.key does not belong to the certificate in $/server.crt",
        ),
        (
            |path, authority| drop(authority.server(2001).write(path, "server")),
            "the certificate in $/server.crt has expired",
        ),
        (
            |path, authority| {
                // The first line of the body, as a write that stopped halfway leaves it.
                let pem = authority.server(YEAR).certificate;
                let half: Vec<&str> = pem
                    .lines()
                    .take(2)
                    .chain(["-----END CERTIFICATE-----\n"])
                    .collect();
                fs::write(path.join("server.crt"), half.join("\n")).unwrap();
            },
            "$/server.crt cannot be used: invalid peer certificate: BadEncoding",
        ),
        (
            |path, _| {
                fs::write(
                    path.join("clients.crt"),
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                )
                .unwrap()
            },
            "$/clients.crt cannot be used: invalid peer certificate: BadEncoding",
        ),
    ];
    let authority = Authority::new();
    let server = authority.server(YEAR);
    let identity = authority.client();
    let connector = connector(&authority, Some(&identity), &["h2"]);
    for (damage, expected) in damages {
        let listener = Listener::new(&server, Some(&authority));
        let tls = listener.open(H2).unwrap();
        damage(listener.folder.path(), &authority);
        let folder = listener.folder.path().display().to_string();
        let told = |error: TlsError| format!("{:#}", anyhow::Error::new(error)).replace(&folder, "$");
        assert_eq!(told(tls.reload().unwrap_err()), expected);
        assert_eq!(told(listener.open(H2).unwrap_err()), expected, "at the start");
        let client = meet(&tls, &connector).await.1.unwrap();
        assert_eq!(presented(&client), der(&server), "{expected}");
        let line = r#"latchkey_tls_reloads_total{listener="grpc",result="failed"} 1"#;
        assert!(listener.metrics().contains(line), "{expected}");
    }
}

#[tokio::test]
async fn a_file_that_hangs_holds_up_nobody_else() {
    const HANGS: Duration = Duration::from_secs(20);
    let listener = Listener::new(&Authority::new().server(YEAR), None);
    let tls = Arc::new(listener.open(H2).unwrap());
    let (vitals, stop) = (Vitals::new(), CancellationToken::new());
    watch::spawn(tls, FileWatch::new(listener.files.all().cloned()), &vitals, &stop);
    // A pipe: whoever reads it waits for its writer.
    let pipe = listener.files.key_file.clone();
    fs::remove_file(&pipe).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let (is_read, reading) = tokio::sync::oneshot::channel();
    let (goes_on, going_on) = std::sync::mpsc::channel();
    let writer = tokio::task::spawn_blocking(move || {
        let writer = fs::OpenOptions::new().write(true).open(pipe).unwrap();
        is_read.send(()).unwrap();
        let goes_on = going_on.recv_timeout(HANGS).is_ok();
        drop(writer);
        goes_on
    });
    reading.await.unwrap();
    goes_on.send(()).unwrap();
    assert!(writer.await.unwrap(), "the runtime waited for the file");
    stop.cancel();
    vitals.join(HANGS).await;
}

#[tokio::test]
async fn plaintext_is_closed_without_an_answer() {
    let listener = Listener::new(&Authority::new().server(YEAR), None);
    let tls = listener.open(H2_AND_HTTP_1).unwrap();
    for said in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let (here, mut there) = duplex(1024);
        there.write_all(said).await.unwrap();
        assert!(tls.accept(here).await.is_err());
        let mut answer = Vec::new();
        there.read_to_end(&mut answer).await.unwrap();
        // An alert (21) at most: RFC 8446 §5.1.
        assert!(
            answer.is_empty() || (answer[0] == 21 && answer.len() == 7),
            "{answer:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_go_on_is_given_up() {
    let listener = Listener::new(&Authority::new().server(YEAR), None);
    let tls = listener.open(H2).unwrap();
    let (here, mut there) = duplex(1024);
    // The head of a record that never comes.
    there.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(
        tls.accept(here).await.unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    assert_eq!(began.elapsed(), HANDSHAKE);
    let line = r#"latchkey_tls_handshakes_total{listener="grpc",result="timeout"} 1"#;
    assert!(listener.metrics().contains(line));
}

#[tokio::test]
async fn a_connection_with_tls_is_not_vectored_and_a_unix_socket_can_have_it() {
    use super::super::connection::{Accepted, Seat, Socket};

    let authority = Authority::new();
    let listener = Listener::new(&authority.server(YEAR), None);
    let tls = Arc::new(listener.open(H2).unwrap());
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    for socket in [&here, &there] {
        socket.set_nonblocking(true).unwrap();
    }
    let open = Arc::default();
    let accepted = Accepted {
        socket: Socket::Unix(here),
        seat: Seat::take(&open),
        tls: Some(tls),
    };
    let there = tokio::net::UnixStream::from_std(there).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = connector(&authority, None, &["h2"]);
    let (served, connected) = tokio::join!(accepted.open(), connector.connect(name, there));
    let (mut served, mut connected) = (served.unwrap(), connected.unwrap());
    assert!(!served.is_write_vectored());
    connected.write_all(b"ping").await.unwrap();
    let mut heard = [0; 4];
    served.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, *b"ping");
    served.shutdown().await.unwrap();
    assert_eq!(connected.read(&mut heard).await.unwrap(), 0);
}

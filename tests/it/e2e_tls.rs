//! TLS and mutual TLS: who gets in, what is renewed under load, and whether the documented commands work.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{
    Authority, Backend, Client, Envoy, Home, Latchkey, Pair, START, TlsClient, documented, in_repository,
    run, wait_for,
};

const YEAR: i32 = 4000;
const MUTUAL: &str = "{cert_file: server.crt, key_file: server.key, client_ca_file: clients.crt}";
/// The place in Envoy's configuration where the cluster of Latchkey gets its TLS.
const CLUSTER: &str = "    connect_timeout: 0.5s\n";
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A home whose gRPC listener has TLS.
fn home(tls: &str) -> Home {
    Home::with(&[("listen: {", &format!("listen: {{grpc_tls: {tls}, "))])
}

/// Envoy's side of mutual TLS, as `docs/tls.md` has it, with files of this folder.
fn envoy_tls(folder: &Path) -> String {
    let page = fs::read_to_string(in_repository("docs/tls.md")).expect("docs/tls.md");
    let block = documented(&page, "yaml", "transport_socket:");
    block.replace("filename: ", &format!("filename: {}/", folder.display()))
}

fn start_envoy(latchkey: &Latchkey, backend: &Backend, folder: &Path, more: &[(&str, &str)]) -> Envoy {
    let with_tls = format!("{CLUSTER}{}", envoy_tls(folder));
    let replaced = [&[(CLUSTER, with_tls.as_str())], more].concat();
    Envoy::start(&[latchkey.grpc], backend.address, &replaced)
}

fn metric(latchkey: &Latchkey, name: &str) -> f64 {
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"));
    value.trim().parse().expect("a number")
}

#[test]
fn mutual_tls_lets_the_right_envoy_ask_and_nobody_else() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let home = home(MUTUAL);
    authority.server(YEAR).write(home.path(), "server");
    fs::write(home.path().join("clients.crt"), authority.pem()).expect("a file");
    let latchkey = home.start("latchkey");
    let bearer = home.chat_key().bearer();
    let headers = [("authorization", bearer.as_str())];

    // Handshakes that never go on, more than there are lanes: they hold up nobody.
    let stalled: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(latchkey.grpc).expect("a connection"))
        .collect();
    for (identity, status) in [(authority.client(), 200), (strangers.client(), 503)] {
        let (backend, folder) = (Backend::start(), tempfile::tempdir().expect("a folder"));
        identity.write(folder.path(), "client");
        fs::write(folder.path().join("authority.crt"), authority.pem()).expect("a file");
        let envoy = start_envoy(&latchkey, &backend, folder.path(), &[]);
        let answer = Client::new(envoy.listener).post("/ai/support", &headers);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(backend.requests(), usize::from(status == 200));
    }

    drop(stalled);

    // Not through Envoy: a stranger hears nothing, whatever it says.
    for identity in [None, Some(strangers.client()), Some(authority.server(YEAR))] {
        let client = TlsClient::connect(latchkey.grpc, &authority, identity.as_ref(), "h2");
        // In TLS 1.3 a client learns of its refusal with the first read.
        let heard = client.and_then(|client| client.exchange(H2_PREFACE));
        assert!(heard.is_err(), "{heard:?}");
    }
    // Whoever speaks plaintext by mistake, Envoy among them, is not answered.
    let plain = Client::new(latchkey.grpc).try_request("GET", "/", &[]);
    assert!(plain.is_err(), "{plain:?}");
    assert!(
        metric(
            &latchkey,
            r#"latchkey_tls_handshakes_total{listener="grpc",result="failed"}"#
        ) >= 4.0
    );
}

#[test]
fn tls_alone_asks_no_client_for_a_certificate() {
    let authority = Authority::new();
    let home = home("{cert_file: server.crt, key_file: server.key}");
    authority.server(YEAR).write(home.path(), "server");
    fs::write(home.path().join("authority.crt"), authority.pem()).expect("a file");
    let (latchkey, backend) = (home.start("latchkey"), Backend::start());
    let tls: String = envoy_tls(home.path())
        .lines()
        .filter(|line| !line.contains("tls_certificates:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let with_tls = format!("{CLUSTER}{tls}");
    let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[(CLUSTER, &with_tls)]);
    let bearer = home.chat_key().bearer();
    let answer = Client::new(envoy.listener).post("/ai/support", &[("authorization", &bearer)]);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn the_key_api_has_tls_and_mutual_tls_too() {
    const TOKEN: &str = "a-management-token-of-a-test";
    /// The place in Envoy's configuration where the cluster of the backend gets its TLS.
    const BACKEND: &str = "    connect_timeout: 1s\n";
    let (authority, strangers) = (Authority::new(), Authority::new());
    for mutual in [false, true] {
        let files = if mutual {
            MUTUAL
        } else {
            "{cert_file: server.crt, key_file: server.key}"
        };
        let listen = format!("listen: {{http_tls: {files}, ");
        let tokens = "management: {tokens: [{name: test, token_file: token, permissions: ['read:apis']}]}\nroutes:\n  - {name: keys, path: '/api/v1/{*rest}', public: true}\n";
        let home = Home::with(&[("listen: {", &listen), ("routes:\n", tokens)]);
        authority.server(YEAR).write(home.path(), "server");
        let identity = authority.client();
        identity.write(home.path(), "client");
        for name in ["clients.crt", "authority.crt"] {
            fs::write(home.path().join(name), authority.pem()).expect("a file");
        }
        fs::write(home.path().join("token"), TOKEN).expect("a file");
        let latchkey = home.start("latchkey");

        let tls = envoy_tls(home.path()).replace("[h2]", "[http/1.1]");
        let with_tls = format!("{BACKEND}{tls}");
        let envoy = Envoy::start(&[latchkey.grpc], latchkey.http, &[(BACKEND, &with_tls)]);
        let bearer = format!("Bearer {TOKEN}");
        let answer = Client::new(envoy.listener).get("/api/v1/apis", &[("authorization", &bearer)]);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["apis"][0]["id"], "api_ai");

        let ask = |identity: Option<&Pair>| {
            let client = TlsClient::connect(latchkey.http, &authority, identity, "http/1.1")?;
            let request = b"GET /api/v1/apis HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            let answer = client.exchange(request)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let known = ask(Some(&identity)).expect("an answer");
        assert!(known.starts_with("HTTP/1.1 401 "), "{known}");
        for identity in [None, Some(strangers.client())] {
            let answer = ask(identity.as_ref());
            assert_eq!(answer.is_ok(), !mutual, "{answer:?}");
        }
        let plain = Client::new(latchkey.http).try_request("GET", "/api/v1/apis", &[]);
        assert!(plain.is_err(), "{plain:?}");
    }
}

/// Mounts files as Kubernetes does: through a link to a folder of this version, which is swapped in one step.
fn mount(folder: &Path, version: &str, server: &Pair) {
    let versioned = folder.join(version);
    fs::create_dir(&versioned).expect("a new folder");
    server.write(&versioned, "server");
    let unfinished = folder.join("..data_tmp");
    symlink(version, &unfinished).expect("a link");
    fs::rename(&unfinished, folder.join("..data")).expect("the link is swapped");
    for name in ["server.crt", "server.key"] {
        let link = folder.join(name);
        if !link.exists() {
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
    }
}

#[test]
fn a_certificate_is_renewed_under_load_and_no_request_fails() {
    const CALLERS: usize = 3;
    let authority = Authority::new();
    let home = home(MUTUAL);
    let (old, new) = (authority.server(YEAR), authority.server(YEAR + 1));
    mount(home.path(), "..v1", &old);
    let identity = authority.client();
    identity.write(home.path(), "client");
    for name in ["clients.crt", "authority.crt"] {
        fs::write(home.path().join(name), authority.pem()).expect("a file");
    }
    let (latchkey, backend) = (home.start("latchkey"), Backend::start());
    // Envoy would keep one connection for ever: here each serves ten requests, so that handshakes go on all the time.
    let often = "common_http_protocol_options: {max_requests_per_connection: 10}\n        explicit_http_config: {http2";
    let envoy = start_envoy(
        &latchkey,
        &backend,
        home.path(),
        &[("explicit_http_config: {http2", often)],
    );
    let bearer = home.chat_key().bearer();
    let over = AtomicBool::new(false);
    let call = || {
        let (mut client, mut answered, mut failed) = (Client::new(envoy.listener), 0, Vec::new());
        while !over.load(Ordering::Relaxed) {
            match client.try_request("POST", "/ai/support", &[("authorization", &bearer)]) {
                Ok(answer) if answer.status == 200 => answered += 1,
                other => failed.push(format!("{other:?}")),
            }
        }
        (answered, failed)
    };
    let handshakes = || {
        metric(
            &latchkey,
            r#"latchkey_tls_handshakes_total{listener="grpc",result="ok"}"#,
        )
    };
    let more_handshakes = |what: &str| {
        let before = handshakes();
        wait_for(what, START, || (handshakes() > before + 5.0).then_some(()));
    };
    let reloads = |result: &str, count: f64| {
        let name = format!(r#"latchkey_tls_reloads_total{{listener="grpc",result="{result}"}}"#);
        wait_for(&name, START, || (metric(&latchkey, &name) >= count).then_some(()));
    };
    let shown = || {
        let client = TlsClient::connect(latchkey.grpc, &authority, Some(&identity), "h2");
        client.expect("a handshake").presented()
    };

    let calls: Vec<(usize, Vec<String>)> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let story = scope.spawn(|| {
            more_handshakes("handshakes with the old certificate");
            assert_eq!(shown(), old.der());
            mount(home.path(), "..v2", &new);
            reloads("ok", 1.0);
            more_handshakes("handshakes with the new certificate");
            assert_eq!(shown(), new.der());
            let end = metric(
                &latchkey,
                r#"latchkey_tls_certificate_not_after_timestamp_seconds{listener="grpc"}"#,
            );
            assert_eq!(end, 64_123_660_800.0);

            // A renewal that went wrong halfway changes nothing.
            let mixed = Pair {
                certificate: old.certificate.clone(),
                key: new.key.clone(),
            };
            mount(home.path(), "..v3", &mixed);
            reloads("failed", 1.0);
            more_handshakes("handshakes after the bad renewal");
            assert_eq!(shown(), new.der());
            let log = fs::read_to_string(home.path().join("latchkey.log")).expect("a log");
            assert!(log.contains("the key in server.key does not belong to the certificate in server.crt"));

            mount(home.path(), "..v4", &old);
            reloads("ok", 2.0);
            more_handshakes("handshakes after the last renewal");
            assert_eq!(shown(), old.der());
        });
        let ended = story.join();
        over.store(true, Ordering::Relaxed);
        let calls = callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller counts"))
            .collect();
        ended.expect("the renewals go as told");
        calls
    });
    let answered: usize = calls.iter().map(|(answered, _)| answered).sum();
    let failed: Vec<&String> = calls.iter().flat_map(|(_, failed)| failed).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        answered + failed.len(),
        failed[0]
    );
    println!(
        "{answered} requests, {} handshakes, 3 renewals, none failed",
        handshakes()
    );
}

#[test]
fn files_that_cannot_be_used_end_the_start_and_are_named() {
    let authority = Authority::new();
    for (listener, key, told) in [
        (
            "grpc",
            Some(authority.client().key),
            "the key in server.key does not belong to the certificate in server.crt",
        ),
        ("http", None, "cannot read server.key"),
    ] {
        let home = Home::with(&[(
            "listen: {",
            &format!("listen: {{{listener}_tls: {{cert_file: server.crt, key_file: server.key}}, "),
        )]);
        let [_, key_file] = authority.server(YEAR).write(home.path(), "server");
        match key {
            Some(key) => fs::write(key_file, key).expect("a file"),
            None => fs::remove_file(key_file).expect("it is there"),
        }
        let ended = home.serve_in_vain();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let told = format!("listen.{listener}_tls: {told}");
        assert!(ended.stderr.contains(&told), "{told}: {ended:?}");
        assert!(!ended.stderr.contains("PRIVATE"), "{ended:?}");
    }
}

#[test]
fn the_documented_commands_make_mutual_tls() {
    let page = fs::read_to_string(in_repository("docs/tls.md")).expect("docs/tls.md");
    let settings = documented(&page, "yaml", "grpc_tls:");
    let settings = settings.trim_start_matches("listen:\n").trim();
    let settings = settings.strip_prefix("grpc_tls: ").expect("one listener");
    let home = home(settings);
    let script = documented(&page, "sh", "openssl");
    let made = run(Command::new("bash")
        .args(["-euc", &script])
        .current_dir(home.path()));
    made.output();

    let (latchkey, backend) = (home.start("latchkey"), Backend::start());
    let envoy = start_envoy(&latchkey, &backend, home.path(), &[]);
    let bearer = home.chat_key().bearer();
    let answer = Client::new(envoy.listener).post("/ai/support", &[("authorization", &bearer)]);
    assert_eq!(answer.status, 200, "{answer:?}");
}

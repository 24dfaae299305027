//! How the server starts, is asked by tools, and ends.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Backend, Client, Envoy, Finished, Home, Latchkey, Process, START, Shape, buf, in_each_shape, run,
    wait_for,
};

in_each_shape!(one_of_two_servers_ends_and_no_request_fails);

/// `settle` and `grace` of the test's configuration, and something for the machine.
const DRAIN: Duration = Duration::from_secs(3 + 5 + 4);
const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
const WATCH: &str = "grpc.health.v1.Health/Watch";

fn method(latchkey: &Latchkey, method: &str) -> String {
    format!("http://{}/{method}", latchkey.grpc)
}

#[test]
fn reflection_lists_the_services() {
    let latchkey = Home::new().start("latchkey");
    let url = format!("http://{}", latchkey.grpc);
    let methods = run(buf().arg("--list-methods").arg(url)).output();
    for method in [CHECK, "grpc.health.v1.Health/Check", WATCH] {
        assert!(
            methods.lines().any(|line| line == method),
            "{method} in:\n{methods}"
        );
    }
}

#[test]
fn a_tool_can_make_a_check() {
    let home = Home::new();
    let latchkey = home.start("latchkey");
    let key = home.chat_key();
    let check = |authorization: &str| -> Value {
        let http = json!({
            "method": "POST",
            "path": "/ai/support",
            "host": "api.example.com",
            "headers": {"authorization": authorization},
        });
        let source = json!({"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 40000}}});
        let request = json!({"attributes": {"source": source, "request": {"http": http}}});
        let command = &mut buf();
        command
            .args(["--data", &request.to_string()])
            .arg(method(&latchkey, CHECK));
        serde_json::from_str(&run(command).output()).expect("buf prints JSON")
    };

    let allowed = check(&key.bearer());
    assert_eq!(allowed["status"]["code"].as_i64().unwrap_or(0), 0, "{allowed}");
    let headers = allowed["okResponse"]["headers"].as_array();
    let told = headers.into_iter().flatten().find_map(|option| {
        let header = &option["header"];
        (header["key"] == "x-auth-context-owner").then(|| header["value"].clone())
    });
    assert_eq!(told, Some(json!("org:org_acme")), "{allowed}");
    assert!(!allowed.to_string().contains(&key.key));

    let denied = check("Bearer nothing");
    assert_eq!(denied["status"]["code"], 16, "{denied}");
    assert_eq!(denied["deniedResponse"]["status"]["code"], "Unauthorized");
}

#[test]
fn the_ops_listener_says_that_it_lives() {
    let latchkey = Home::new().start("latchkey");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Client::new(latchkey.ops).get(path, &[]).status, 200, "{path}");
    }
}

#[test]
fn the_http_listener_says_what_it_serves() {
    let latchkey = Home::new().start("latchkey");
    let mut client = Client::new(latchkey.http);
    let document = client.get("/openapi.json", &[]);
    assert_eq!(document.status, 200);
    assert!(
        document.json()["paths"]["/api/v1/apis"].is_object(),
        "{document:?}"
    );
    assert_eq!(client.get("/api/v1/apis", &[]).status, 401);
}

#[test]
fn a_port_in_use_is_named_and_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound address").to_string();
    for listener in ["grpc", "http", "ops"] {
        let free = format!("{listener}: '127.0.0.1:0'");
        let home = Home::with(&[(&free, &format!("{listener}: '{address}'"))]);
        let ended = home.serve_in_vain();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for named in [format!("listen.{listener}"), address.clone()] {
            assert!(ended.stderr.contains(&named), "{named}: {ended:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_opened_ends_the_start() {
    let home = Home::with(&[("/latchkey.db", "/no/such/folder/latchkey.db")]);
    let ended = home.serve_in_vain();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("/no/such/folder/latchkey.db"), "{ended:?}");
}

#[test]
fn a_configuration_with_mistakes_ends_the_start() {
    for (right, wrong, told) in [
        (
            "scopes: [read:ai_chats]}",
            "scopes: [read:ai_chat]}",
            "read:ai_chats",
        ),
        ("drain: {", "drian: {", "drain"),
        ("limit: 5,", "limit: 0,", "from 1"),
        ("routes:", "routes: [", "latchkey.yaml"),
    ] {
        let home = Home::with(&[(right, wrong)]);
        for ended in [home.serve_in_vain(), check_config(&home)] {
            assert_eq!(ended.code, Some(2), "{wrong}: {ended:?}");
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains("latchkey.yaml:"), "{wrong}: {said}");
            assert!(said.contains(told), "{wrong}: {said}");
            assert!(!said.contains("panicked"), "{wrong}: {said}");
        }
    }
    let home = Home::new();
    fs::remove_file(home.config()).expect("the configuration can be removed");
    let ended = home.serve_in_vain();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("latchkey.yaml"), "{ended:?}");
}

fn check_config(home: &Home) -> Finished {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_latchkey"));
    run(command.env_clear().args(["config", "check"]).arg(home.config()))
}

#[test]
fn a_key_of_an_unknown_api_or_scope_is_not_created() {
    let home = Home::new();
    for (wrong, told) in [
        (["--api", "api_aj", "--scope", "read:ai_chats"], "api_aj"),
        (["--api", "api_ai", "--scope", "read:ai_chat"], "read:ai_chat"),
        (["--api", "api_ai", "--scope", "read:other"], "read:other"),
    ] {
        let mut command = home.command("keys create");
        command.args(["--name", "test", "--org", "org_acme"]).args(wrong);
        let ended = run(&mut command);
        assert!(matches!(ended.code, Some(1 | 2)), "{wrong:?}: {ended:?}");
        assert!(ended.stderr.contains(told), "{wrong:?}: {ended:?}");
        assert!(!ended.stdout.contains("lk_"), "{wrong:?}: {ended:?}");
    }
}

/// What keeps a crowded machine from being taken for a drain that fails: nobody gives up on an answer because it is slow, and
/// the server settles for long enough that whoever asks for its health, once a second, has been told.
fn patient(shape: Shape) -> (Home, &'static [(&'static str, &'static str)]) {
    const HEALTH: (&str, &str) = (
        "- timeout: 1s\n      interval: 1s",
        "- timeout: 15s\n      interval: 1s",
    );
    let home = Home::with(&[(
        "drain: {settle: 3s, grace: 5s}",
        "drain: {settle: 6s, grace: 5s}\ncheck_deadline: 10s",
    )]);
    let replaced: &[_] = match shape {
        Shape::Full => &[
            HEALTH,
            ("max_interval: 1s", "max_interval: 15s"),
            (
                "so that it can still answer.\n                timeout: 1s",
                "\n                timeout: 15s",
            ),
        ],
        Shape::Istio => &[(
            "svc.cluster.local}\n                timeout: 1s",
            "svc.cluster.local}\n                timeout: 15s",
        )],
        Shape::EnvoyGateway => &[
            HEALTH,
            // That of ext_authz: the comment stands behind no other.
            (
                " timeout: 10s\n                # perRetry",
                " timeout: 15s\n                # perRetry",
            ),
            ("max_interval: 10s", "max_interval: 15s"),
        ],
    };
    (home, replaced)
}

fn one_of_two_servers_ends_and_no_request_fails(shape: Shape) {
    const CALLERS: usize = 4;
    let (home, replaced) = patient(shape);
    let (mut ending, staying) = (home.start("ending"), home.start("staying"));
    let backend = Backend::start();
    let envoy = Envoy::start_in(shape, &[ending.grpc, staying.grpc], backend.address, replaced);
    let (ready, staying_only) = (ending.ops, [staying.grpc]);
    let bearer = home.chat_key().bearer();
    let headers = [("authorization", bearer.as_str())];
    let over = AtomicBool::new(false);

    let call = || {
        let (mut client, mut answered, mut failed) = (Client::new(envoy.listener), 0, Vec::new());
        while !over.load(Ordering::Relaxed) {
            match client.try_request("POST", "/ai/support", &headers) {
                Ok(answer) if answer.status == 200 => answered += 1,
                other => failed.push(format!("{other:?}")),
            }
            // Many in a row, and not all that two cores can do: other tests run beside this one.
            thread::sleep(Duration::from_millis(2));
        }
        (answered, failed)
    };
    let (status, took, calls) = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let ended = thread::scope(|inner| {
            // A panic in here must not leave the callers running for ever.
            let ended = inner.spawn(|| {
                wait_for("checks at the server that is to end", START, || {
                    (checks(&ending) >= 20).then_some(())
                });
                let asked = Instant::now();
                ending.process.terminate();
                // Kubernetes asks too, and tells Istio. The others ask for themselves.
                wait_for("the news that it ends", START, || {
                    let answer = Client::new(ready).try_request("GET", "/readyz", &[]);
                    answer.map_or(Some(()), |answer| (answer.status != 200).then_some(()))
                });
                envoy.move_to(&staying_only);
                let status = ending.process.wait(START);
                (status, asked.elapsed())
            });
            ended.join()
        });
        let before = backend.requests();
        let last = thread::scope(|inner| {
            let last = inner.spawn(|| {
                wait_for("requests after the end", START, || {
                    (backend.requests() > before + 200).then_some(())
                });
            });
            last.join()
        });
        over.store(true, Ordering::Relaxed);
        let calls: Vec<_> = callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller counts"))
            .collect();
        last.expect("requests go on after the end");
        let (status, took) = ended.expect("the server ends in time");
        (status, took, calls)
    });

    assert_eq!(status.code(), Some(0), "a drain ends well");
    assert!(took >= Duration::from_secs(6), "it settles first: {took:?}");
    let answered: usize = calls.iter().map(|(answered, _)| answered).sum();
    let failed: Vec<&String> = calls.iter().flat_map(|(_, failed)| failed).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed, such as {:?}",
        failed.len(),
        answered + failed.len(),
        failed[0]
    );
    assert!(answered > 200, "{answered}");
    assert!(checks(&staying) > 0);
}

/// Checks that this server has answered.
fn checks(latchkey: &Latchkey) -> u64 {
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("latchkey_checks_total{"));
    let count = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    counts.filter_map(count).sum()
}

#[test]
fn an_open_watch_does_not_delay_the_end() {
    let home = Home::new();
    let mut latchkey = home.start("latchkey");
    let seen = home.path().join("watch.out");
    let (stdout, stderr) = (
        File::create(&seen).expect("a file"),
        File::create(home.path().join("watch.err")).expect("a file"),
    );
    let mut command = buf();
    command
        .args(["--data", r#"{"service":""}"#])
        .arg(method(&latchkey, WATCH));
    let mut watch = Process::spawn(command.stdout(stdout).stderr(stderr));
    let said = || fs::read_to_string(&seen).unwrap_or_default();
    wait_for("the first word of the watch", START, || {
        said().contains("\"SERVING\"").then_some(())
    });
    assert!(watch.ended().is_none(), "a watch has no end of its own");

    let asked = Instant::now();
    latchkey.process.terminate();
    wait_for("the news that it ends", Duration::from_secs(2), || {
        said().contains("\"NOT_SERVING\"").then_some(())
    });
    let status = latchkey.process.wait(DRAIN);
    assert_eq!(status.code(), Some(0));
    // A watch that had to be cut would take the whole grace of 5 s.
    assert!(
        asked.elapsed() < Duration::from_secs(3 + 4),
        "{:?}",
        asked.elapsed()
    );
    watch.wait(Duration::from_secs(5));
}

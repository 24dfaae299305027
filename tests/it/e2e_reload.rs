//! A configuration that is changed under a running server, through the real Envoy.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Envoy, Home, Latchkey, Stack, wait_for};

/// When a change must have been seen even on a machine that is busy with other things; it takes less than a second.
const SEEN: Duration = Duration::from_secs(15);
const CALLERS: usize = 4;
const REFUSED: &str = r#"latchkey_config_reloads_total{result="refused"}"#;
const APPLIED: &str = r#"latchkey_config_reloads_total{result="applied"}"#;
const UNCHANGED: &str = r#"latchkey_config_reloads_total{result="unchanged"}"#;
const IS_GOOD: &str = "latchkey_config_last_reload_successful";
/// Without a key nobody learns which routes there are.
const NO_ROUTE: u16 = 401;
/// A route, and where a further one can stand.
const ROUTE: &str = "  - {name: support,";
const NEW_ROUTE: &str = "  - {name: new, path: /new, public: true}\n  - {name: support,";

fn config(home: &Home) -> String {
    fs::read_to_string(home.config()).expect("the configuration can be read")
}

/// Changes the configuration in place; `from` must be there.
fn edit(home: &Home, from: &str, to: &str) {
    let before = config(home);
    assert!(before.contains(from), "{from} in:\n{before}");
    fs::write(home.config(), before.replacen(from, to, 1)).expect("the configuration can be written");
}

fn version(latchkey: &Latchkey) -> String {
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    let versions: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("latchkey_policy_info{version=\""))
        .collect();
    let [line] = versions[..] else {
        panic!("{versions:?}");
    };
    line.split('"').next().unwrap_or_default().to_owned()
}

fn wait_for_route(client: &mut Client, path: &str) {
    wait_for("the new route", SEEN, || {
        (client.get(path, &[]).status == 200).then_some(())
    });
}

#[test]
fn a_good_edit_is_in_force_soon_and_no_request_fails() {
    let stack = Stack::start();
    let bearer = stack.home.chat_key().bearer();
    let listener = stack.envoy.listener;
    let over = AtomicBool::new(false);
    let call = || {
        let mut client = Client::new(listener);
        let (mut answered, mut failed) = (0usize, Vec::new());
        while !over.load(Ordering::Relaxed) {
            match client.try_request("POST", "/ai/support", &[("authorization", &bearer)]) {
                Ok(response) if response.status == 200 => answered += 1,
                other => failed.push(format!("{other:?}")),
            }
        }
        (answered, failed)
    };
    let calls = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let edits = scope
            .spawn(|| {
                let mut client = stack.client();
                assert_eq!(client.get("/new", &[]).status, NO_ROUTE);
                let before = version(&stack.latchkey);
                let edited = Instant::now();
                edit(&stack.home, ROUTE, NEW_ROUTE);
                wait_for_route(&mut client, "/new");
                println!("in force after {:?}", edited.elapsed());
                assert_ne!(version(&stack.latchkey), before);
                // And away again.
                edit(&stack.home, NEW_ROUTE, ROUTE);
                wait_for("the route to go", SEEN, || {
                    (client.get("/new", &[]).status == NO_ROUTE).then_some(())
                });
                assert_eq!(version(&stack.latchkey), before);
                wait_for("enough requests to tell", SEEN, || {
                    (stack.backend.requests() > 50).then_some(())
                });
            })
            .join();
        over.store(true, Ordering::Relaxed);
        let calls: Vec<_> = callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller counts"))
            .collect();
        edits.expect("the edits are seen");
        calls
    });
    let failed: Vec<&String> = calls.iter().flat_map(|(_, failed)| failed).collect();
    assert!(
        failed.is_empty(),
        "{} failed, such as {}",
        failed.len(),
        failed[0]
    );
    let answered: usize = calls.iter().map(|(answered, _)| answered).sum();
    println!("{answered} requests answered");
    assert!(answered > 20, "{answered}");
    assert_eq!(stack.latchkey.metric(APPLIED), 2.0);
}

#[test]
fn a_bad_edit_changes_nothing_and_says_where_it_is_bad() {
    type Spoil = fn(&Home, &str);
    let bad: [(&str, Spoil, &str); 8] = [
        (
            "half written",
            |home, good| {
                let half = good.find("scopes: [read:ai_chats]}").expect("a route") + 10;
                fs::write(home.config(), &good[..half]).expect("written");
            },
            "latchkey.yaml:13:",
        ),
        (
            "empty",
            |home, _| fs::write(home.config(), "").expect("written"),
            "latchkey.yaml:1:1: ",
        ),
        (
            "a directory",
            |home, _| {
                fs::remove_file(home.config()).expect("removed");
                fs::create_dir(home.config()).expect("made");
            },
            "latchkey.yaml: is a directory",
        ),
        (
            "gone",
            |home, _| fs::remove_dir(home.config()).expect("removed"),
            "latchkey.yaml: cannot be read: No such file",
        ),
        (
            "50 MB",
            |home, good| {
                fs::write(home.config(), good).expect("written");
                let file = File::options().write(true).open(home.config()).expect("opened");
                file.set_len(50 * 1024 * 1024).expect("grown");
            },
            "latchkey.yaml: is larger than 1 MiB",
        ),
        (
            "no text",
            |home, _| fs::write(home.config(), b"routes:\n\xff\xfe").expect("written"),
            "latchkey.yaml:2: not UTF-8",
        ),
        (
            "an unknown scope",
            |home, good| {
                let bad = good.replace("scopes: [read:ai_chats]}", "scopes: [read:ai_chat]}");
                fs::write(home.config(), bad).expect("written");
            },
            "latchkey.yaml:13:79: unknown scope \"read:ai_chat\"",
        ),
        (
            "an unknown field, and a route that would be new",
            |home, good| {
                let bad = good.replace(ROUTE, NEW_ROUTE).replace("drain:", "drian:");
                fs::write(home.config(), bad).expect("written");
            },
            "latchkey.yaml:4:1: unknown field `drian`",
        ),
    ];
    let stack = Stack::start();
    let latchkey = &stack.latchkey;
    let good = config(&stack.home);
    let bearer = stack.home.chat_key().bearer();
    let mut client = stack.client();
    let before = version(latchkey);
    for (number, (name, spoil, told)) in (1u32..).zip(bad) {
        spoil(&stack.home, &good);
        wait_for(name, SEEN, || {
            (latchkey.metric(REFUSED) == f64::from(number)).then_some(())
        });
        assert_eq!(latchkey.metric(IS_GOOD), 0.0, "{name}");
        assert_eq!(version(latchkey), before, "{name}");
        let logged = latchkey.logged();
        let refusals: Vec<_> = logged
            .iter()
            .filter(|event| event["message"] == "configuration refused; what is in force stays")
            .map(|event| event["mistake"].as_str().unwrap_or_default())
            .collect();
        assert!(
            refusals.iter().any(|mistake| mistake.contains(told)),
            "{name}: {refusals:?}"
        );
        let answer = client.post("/ai/support", &[("authorization", &bearer)]);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(client.get("/new", &[]).status, NO_ROUTE, "{name}");
    }
    fs::write(stack.home.config(), &good).expect("written");
    wait_for("the good one again", SEEN, || {
        (latchkey.metric(UNCHANGED) == 1.0).then_some(())
    });
    assert_eq!((latchkey.metric(IS_GOOD), latchkey.metric(APPLIED)), (1.0, 0.0));
    edit(&stack.home, ROUTE, NEW_ROUTE);
    wait_for_route(&mut client, "/new");
}

#[test]
fn a_hang_up_reads_the_configuration_at_once_and_ends_nothing() {
    let stack = Stack::start();
    let latchkey = &stack.latchkey;
    latchkey.process.hang_up();
    wait_for("the reload", SEEN, || {
        (latchkey.metric(UNCHANGED) == 1.0).then_some(())
    });
    edit(&stack.home, ROUTE, NEW_ROUTE);
    latchkey.process.hang_up();
    wait_for_route(&mut stack.client(), "/new");
    let logged = latchkey.logged();
    let replaced = logged.iter().find(|event| event["message"] == "policy replaced");
    let replaced = replaced.expect("the reload is logged");
    assert_eq!(replaced["policy.version"], version(latchkey));
    assert_eq!(replaced["cause"], "signal");
}

#[test]
fn the_link_swap_of_kubernetes_takes_effect() {
    let home = Home::new();
    let text = config(&home);
    let in_home = |name: &str| home.path().join(name);
    for (folder, text) in [("..1", text.clone()), ("..2", text.replace(ROUTE, NEW_ROUTE))] {
        fs::create_dir(in_home(folder)).expect("a folder");
        fs::write(in_home(folder).join("latchkey.yaml"), text).expect("a file");
    }
    fs::remove_file(home.config()).expect("removed");
    symlink("..1", in_home("..data")).expect("a link");
    symlink("..data/latchkey.yaml", home.config()).expect("a link");
    let stack = Stack::over(home, &[]);
    let mut client = stack.client();
    assert_eq!(client.get("/new", &[]).status, NO_ROUTE);

    symlink("..2", stack.home.path().join("..data_tmp")).expect("a link");
    let swap = fs::rename(
        stack.home.path().join("..data_tmp"),
        stack.home.path().join("..data"),
    );
    swap.expect("the swap");
    fs::remove_dir_all(stack.home.path().join("..1")).expect("removed");
    wait_for_route(&mut client, "/new");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applied_under_the_environment() {
    let home = Home::new();
    let latchkey = home.start_with("latchkey", &[("LATCHKEY__RATE_LIMITS__SMALL__LIMIT", "2")]);
    let backend = Backend::start();
    let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[]);
    let mut client = Client::new(envoy.listener);
    let bearer = home.chat_key().bearer();
    let changed = config(&home)
        .replace("ops: '127.0.0.1:0'", "ops: '127.0.0.1:1'")
        .replace("limit: 5,", "limit: 4,")
        .replace("level: trace", "level: warn")
        .replace(
            "telemetry:",
            "keys: {prefix: other, cache: {ttl: 1s}}\ntelemetry:",
        )
        .replace(ROUTE, NEW_ROUTE);
    fs::write(home.config(), changed).expect("written");
    wait_for_route(&mut client, "/new");

    let logged = latchkey.logged();
    let named = logged.iter().find_map(|event| event["settings"].as_str());
    assert_eq!(named, Some("listen.ops, keys.prefix"));
    assert_eq!(latchkey.metric("latchkey_config_settings_awaiting_restart"), 2.0);

    let statuses = [(); 3].map(|()| client.post("/ai/chat", &[("authorization", &bearer)]).status);
    assert_eq!(statuses, [200, 200, 429], "the environment has the last word");
    let events = || {
        latchkey
            .logged()
            .iter()
            .filter(|event| event["level"] == "DEBUG")
            .count()
    };
    let before = events();
    assert_eq!(client.get("/new", &[]).status, 200);
    assert_eq!(events(), before, "the new level holds");
}

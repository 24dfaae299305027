//! `latchkey check` beside a running server: the same decision, and no key in what is shown. And its neighbours `lint` and `routes`.

use std::process::Command;

use serde_json::Value;

use crate::support::{Home, run};

fn check(home: &Home, key: Option<&str>, args: &[&str]) -> Command {
    let mut command = home.command("check");
    command.args(args);
    if let Some(key) = key {
        command.env("LATCHKEY_KEY", key);
    }
    command
}

#[test]
fn check_explains_offline_what_the_server_decides() {
    let home = Home::new();
    let (chats, reader) = (
        home.chat_key(),
        home.ai_key(&["read:ai_chats"], &["--user", "u1"]),
    );
    let server = home.start("latchkey");
    let address = server.grpc.to_string();
    for (key, path, code, reason) in [
        (Some(&chats), "/ai/chat", 0, "key"),
        (Some(&reader), "/ai/chat", 3, "insufficient_scope"),
        (Some(&chats), "/other", 3, "method_not_allowed"),
        (Some(&chats), "/ai/Chat", 3, "path_twin"),
        (Some(&chats), "/ai//chat", 3, "invalid_path"),
        (None, "/ai/chat", 3, "missing_key"),
        (None, "/healthz", 0, "public"),
    ] {
        let key = key.map(|key| &*key.key);
        let args = [
            "--method", "POST", "--path", path, "--server", &address, "--output", "json",
        ];
        let finished = run(&mut check(&home, key, &args));
        assert_eq!(finished.code, Some(code), "{path}: {}", finished.stderr);
        let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        assert_eq!(report["agree"], true, "{path}: {report:#}");
        assert_eq!(report["server"]["reason"], reason, "{path}");
        assert_eq!(report["offline"]["reason"], reason, "{path}");
        if let Some(key) = key {
            assert!(
                !finished.stdout.contains(key) && !finished.stderr.contains(key),
                "{path}"
            );
        }
    }
}

#[test]
fn check_decides_many_requests_in_one_run() {
    let home = Home::new();
    let key = home.chat_key();
    let requests = home.path().join("requests.jsonl");
    let lines = format!(
        concat!(
            r#"{{"method": "POST", "path": "/ai/chat", "headers": {{"authorization": "Bearer {key}"}}}}"#,
            "\n",
            r#"{{"method": "POST", "path": {{"hex": "2f61692f63686174ff"}}, "headers": [["x-api-key", "{key}"]]}}"#,
            "\n\n",
            r#"{{"path": "/ai/chat\u0000?{key}"}}"#,
            "\n",
        ),
        key = key.key
    );
    std::fs::write(&requests, lines).expect("the requests can be written");
    let file = requests.to_string_lossy().into_owned();
    let finished = run(&mut check(
        &home,
        None,
        &["--requests", &file, "--output", "json"],
    ));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let reasons: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON")["reason"].clone())
        .collect();
    assert_eq!(reasons, ["key", "invalid_path", "invalid_path"]);
    assert!(!finished.stdout.contains(&key.key));

    let text = run(&mut check(&home, None, &["--requests", &file]));
    assert!(text.stdout.starts_with("allow 200 key"), "{}", text.stdout);
    assert!(!text.stdout.contains(&key.key), "{}", text.stdout);

    std::fs::write(&requests, "{path: /, nonsense: 1}\n").expect("the requests can be written");
    let refused = run(&mut check(&home, None, &["--requests", &file]));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("line 1:1:11: unknown field `nonsense`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn check_makes_no_store_and_says_what_is_missing() {
    let home = Home::new();
    let store = home.path().join("latchkey.db");
    let finished = run(&mut check(&home, Some("lk_x"), &["--path", "/ai/chat"]));
    assert_eq!(finished.code, Some(3));
    assert!(
        finished.stderr.contains("is not there yet"),
        "{}",
        finished.stderr
    );
    assert!(!store.exists());
    for (args, code, says) in [
        (
            &["--path", "/", "--key-file", "gone"][..],
            1,
            "reading the key file gone",
        ),
        (
            &["--path", "/", "--server", "127.0.0.1:1"],
            1,
            "no connection to the server at 127.0.0.1:1",
        ),
        (
            &["--path", "/", "--server", "https://localhost"],
            1,
            "TLS is not spoken here",
        ),
        (&["--path", "/", "--peer", "here"], 2, "invalid IP address"),
    ] {
        let finished = run(&mut check(&home, None, args));
        assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(says), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn lint_exits_with_what_it_found() {
    let home = Home::new();
    let lint = |args: &[&str]| run(home.command("lint").args(args));
    let found = lint(&["--output", "json"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let report: Value = serde_json::from_str(&found.stdout).expect("JSON");
    let finding = &report["findings"][0];
    assert_eq!(finding["kind"], "unused_scope", "{report:#}");
    assert!(
        finding["place"]
            .as_str()
            .is_some_and(|place| place.ends_with("latchkey.yaml:9:63")),
        "{report:#}"
    );

    std::fs::write(home.config(), "routes: []\n").expect("the configuration can be written");
    let empty = lint(&[]);
    assert_eq!(empty.code, Some(1));
    assert!(
        empty
            .stdout
            .contains(":1:9: there is no route, so every request is refused"),
        "{}",
        empty.stdout
    );

    std::fs::write(home.config(), "routes: [{name: r, path: /r, public: true}]\n")
        .expect("it can be written");
    assert_eq!(lint(&[]).output(), "nothing found\n");
    std::fs::write(home.config(), "routs: []\n").expect("it can be written");
    assert_eq!(lint(&[]).code, Some(2));
}

#[test]
fn routes_are_shown_in_matching_order() {
    let home = Home::new();
    let table = run(&mut home.command("routes")).output();
    let paths: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(
        paths,
        [
            "PATH",
            "/ai/analytics",
            "/ai/chat",
            "/ai/support",
            "/healthz",
            "/other"
        ],
        "{table}"
    );
    let json = run(home.command("routes").args(["--output", "json"])).output();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["routes"][1]["scopes"]["all"][0], "write:ai_chat");
}

#[test]
fn test_exits_with_whether_every_case_holds() {
    let home = Home::new();
    let cases = home.path().join("cases.yaml");
    let test = |text: &str, args: &[&str]| {
        std::fs::write(&cases, text).expect("the cases can be written");
        run(home.command("test").arg(&cases).args(args))
    };
    let head = "keys: {k: {org: o, api: api_ai, scopes: [read:ai_chats]}}\ncases:\n";
    let good = "  - {name: good, path: /healthz, expect: {status: 200}}\n";
    let bad = "  - {name: bad, key: k, method: POST, path: /ai/chat, expect: {decision: allow}}\n";

    let all = test(&format!("{head}{good}"), &[]);
    assert_eq!(all.output(), "ok    good\n1 of 1 cases hold\n");

    let one = test(&format!("{head}{good}{bad}"), &[]);
    assert_eq!(one.code, Some(1), "{}", one.stderr);
    let shown: Vec<&str> = one.stdout.lines().map(str::trim).collect();
    assert!(
        shown[1].starts_with("FAIL  bad (") && shown[1].ends_with("cases.yaml:4:5)"),
        "{shown:?}"
    );
    assert_eq!(shown[2..5], ["decision", "- allow", "+ deny"]);
    assert!(
        shown[5].starts_with("denied at scopes: lacks `write:ai_chat`"),
        "{shown:?}"
    );

    let json = test(&format!("{head}{good}{bad}"), &["--output", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&report["passed"], &report["failed"]), (&1.into(), &1.into()));
    assert_eq!(report["cases"][1]["found"]["reason"], "insufficient_scope");
    // The made-up secret of a key is shown no more than a real one.
    assert!(!json.stdout.contains("lk_"), "{}", json.stdout);

    let wrong = test("cases: [{name: n, path: /, expct: {}}]\n", &[]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong
            .stderr
            .contains("cases.yaml:1:28: unknown field `expct` in the case"),
        "{}",
        wrong.stderr
    );
    assert_eq!(run(home.command("test").arg("gone.yaml")).code, Some(1));
}

//! What happens to callers when something is wrong in the store, through the real Envoy.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection};

use crate::support::{Key, Shape, Stack, in_each_shape, wait_for};

in_each_shape!(
    a_valid_key_that_nobody_owns_gets_nowhere,
    a_key_outside_its_networks_and_one_past_its_time_are_refused,
    a_store_that_fails_lets_known_keys_go_on_and_nobody_new_in,
);

const OWNERS: [[&str; 2]; 2] = [["--org", "org_acme"], ["--user", "user_42"]];

const SOON: Duration = Duration::from_secs(1);

/// Does something to the store that no command does, and tells the server as every change does.
fn change(stack: &Stack, sql: &'static str) {
    let url = format!("sqlite://{}", stack.home.path().join("latchkey.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("the store");
        sqlx::raw_sql(sql)
            .execute(&mut connection)
            .await
            .expect("the change");
    });
}

fn organization_and_user(stack: &Stack) -> [Key; 2] {
    OWNERS.map(|owner| stack.home.ai_key(&["read:ai_chats"], &owner))
}

fn a_valid_key_that_nobody_owns_gets_nowhere(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let mut client = stack.client();
    for owner in OWNERS {
        let bearer = stack.home.ai_key(&["read:ai_chats"], &owner).bearer();
        assert_eq!(
            client.post("/ai/support", &[("authorization", &bearer)]).status,
            200
        );
        change(
            &stack,
            "UPDATE keys SET org_code = NULL, user_id = NULL; INSERT INTO changes (digest) SELECT digest FROM keys",
        );
        let answer = wait_for("the change to be seen", SOON, || {
            let answer = client.post("/ai/support", &[("authorization", &bearer)]);
            (answer.status != 200).then_some(answer)
        });
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "TRUSTED_CONTEXT_REQUIRED")
        );
        assert_eq!(
            answer.json()["error"],
            "Trusted context required (user-level or org-level API key)"
        );
    }
}

fn a_key_outside_its_networks_and_one_past_its_time_are_refused(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let mut client = stack.client();
    for owner in OWNERS {
        let key = |limits: [&str; 2]| {
            let scope = ["--api", "api_ai", "--scope", "read:ai_chats"];
            stack
                .home
                .create_key(&[&scope[..], &owner, &limits].concat())
                .bearer()
        };
        let (elsewhere, here) = (
            key(["--allow-network", "198.51.100.0/24"]),
            key(["--allow-network", "127.0.0.0/8"]),
        );
        let answer = client.post("/ai/support", &[("authorization", &elsewhere)]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "ROUTE_NOT_ALLOWED")
        );
        assert_eq!(
            client.post("/ai/support", &[("authorization", &here)]).status,
            200
        );

        let short = key(["--expires", "5s"]);
        assert_eq!(
            client.post("/ai/support", &[("authorization", &short)]).status,
            200
        );
        let answer = wait_for("the key to expire", 10 * SOON, || {
            let answer = client.post("/ai/support", &[("authorization", &short)]);
            (answer.status != 200).then_some(answer)
        });
        assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_API_KEY"));
    }
}

fn a_store_that_fails_lets_known_keys_go_on_and_nobody_new_in(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let mut client = stack.client();
    let known = organization_and_user(&stack);
    let unknown = organization_and_user(&stack);
    for key in &known {
        assert_eq!(
            client
                .post("/ai/support", &[("authorization", &key.bearer())])
                .status,
            200
        );
    }
    change(&stack, "ALTER TABLE keys RENAME TO away");
    for key in &unknown {
        let answer = client.post("/ai/support", &[("authorization", &key.bearer())]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "KEY_SOURCE_UNAVAILABLE")
        );
        assert_eq!(answer.json()["error"], "Authorization temporarily unavailable");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }
    for key in &known {
        assert_eq!(
            client
                .post("/ai/support", &[("authorization", &key.bearer())])
                .status,
            200
        );
    }
    change(&stack, "ALTER TABLE away RENAME TO keys");
    for key in &unknown {
        wait_for("the store to be used again", SOON, || {
            let answer = client.post("/ai/support", &[("authorization", &key.bearer())]);
            (answer.status == 200).then_some(())
        });
    }
}

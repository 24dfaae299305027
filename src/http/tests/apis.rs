//! APIs and scopes.

use serde_json::json;

use super::TestApi;

#[tokio::test]
async fn apis_are_listed_by_name_with_their_scopes_on_demand() {
    let api = TestApi::start().await;
    let answer = api.ask("GET", "/api/v1/apis").await;
    assert_eq!(
        answer.body,
        json!({"code": "OK", "message": "Success", "next_token": null, "apis": [
            {"id": "api_b", "name": "Another", "audience": "https://b.example.com", "is_management_api": false},
            {"id": "api_ai", "name": "The AI", "audience": "https://ai.example.com", "is_management_api": false},
        ]})
    );
    let answer = api.ask("GET", "/api/v1/apis/?expand=scopes").await;
    assert_eq!(answer.body["apis"][1]["scopes"][0]["key"], "read:ai_chats");
}

#[tokio::test]
async fn a_scope_has_an_id_that_stays() {
    let api = TestApi::start().await;
    let scopes = api.ask("GET", "/api/v1/apis/api_ai/scopes").await.body["scopes"].clone();
    // The digest is written out, since clients may have stored it.
    assert_eq!(
        scopes[0],
        json!({"id": "api_scope_ca04f8ad4dc0fc01c03f66937ad52291", "key": "read:ai_chats", "description": ""})
    );
    for named in [scopes[0]["id"].as_str().unwrap(), "read:ai_chats"] {
        let answer = api
            .ask("GET", &format!("/api/v1/apis/api_ai/scopes/{named}"))
            .await;
        assert_eq!(answer.body["scope"], scopes[0], "{named}");
    }
    let one = api.ask("GET", "/api/v1/apis/api_ai").await;
    assert_eq!(one.body["api"]["scopes"][0]["id"], scopes[0]["id"]);
    assert_eq!(one.body["api"]["applications"], json!([]));
}

#[tokio::test]
async fn unknown_apis_and_scopes_are_404_and_neither_is_made_here() {
    let api = TestApi::start().await;
    for target in [
        "/api/v1/apis/no",
        "/api/v1/apis/no/scopes",
        "/api/v1/apis/no/scopes/x",
    ] {
        assert_eq!(
            api.ask("GET", target).await.failure(404).0,
            "API_NOT_FOUND",
            "{target}"
        );
    }
    let answer = api.ask("GET", "/api/v1/apis/api_ai/scopes/read:b").await;
    assert_eq!(answer.failure(404).0, "SCOPE_NOT_FOUND");
    for target in ["/api/v1/apis", "/api/v1/apis/api_ai/scopes"] {
        let answer = api.ask("POST", target).await;
        let (code, message) = answer.failure(403);
        assert_eq!(code, "DECLARED_IN_CONFIGURATION");
        assert!(message.contains("configuration"), "{message}");
    }
}

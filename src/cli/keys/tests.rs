//! The small things of `latchkey keys`; the whole is tested end to end.

use super::*;

#[test]
fn a_rate_limit_is_a_number_and_a_window() {
    assert_eq!(
        rate_limit("100/15m").unwrap(),
        json!({"limit": 100, "window": "15m"})
    );
    for wrong in ["100", "many/15m", "-1/15m", ""] {
        assert!(rate_limit(wrong).unwrap_err().is::<Refused>(), "{wrong}");
    }
}

#[test]
fn what_goes_into_a_path_is_encoded() {
    assert_eq!(encoded("api_key-1.~"), "api_key-1.~");
    assert_eq!(encoded("a/b?c#d e\u{e9}"), "a%2Fb%3Fc%23d%20e%C3%A9");
}

#[test]
fn what_a_server_says_cannot_speak_to_the_terminal() {
    assert_eq!(print::safe("a\x1b[2Jb\nc\u{9b}d"), "a[2Jbcd");
}

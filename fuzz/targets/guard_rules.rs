//! Any text: what is sanitized matches nothing, stays as it is a second time, and has none of the guide's patterns in it.
#![cfg_attr(fuzzing, no_main)]

use latchkey::config::Handlers;
use latchkey::guard::Rules;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for handlers in [Handlers::Known, Handlers::Any] {
        let rules = Rules::new(handlers);
        let found = rules.validate(&text);
        let once = rules.sanitize(&text);
        assert_eq!(once.matches.is_empty(), found.is_empty());
        assert_eq!(once.text == text, found.is_empty());
        assert!(rules.validate(&once.text).is_empty());
        assert_eq!(rules.sanitize(&once.text).text, once.text);
        let lower = once.text.to_ascii_lowercase();
        assert!(!lower.contains("javascript:"));
        assert!(!has_script(&lower));
        assert!(handlers == Handlers::Known || !has_handler(&lower));
    }
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// `<script\b…</script>`
fn has_script(text: &str) -> bool {
    text.match_indices("<script").any(|(at, name)| {
        let behind = &text[at + name.len()..];
        !behind.starts_with(is_word) && behind.contains("</script>")
    })
}

/// `on\w+\s*=`
fn has_handler(text: &str) -> bool {
    text.match_indices('=').any(|(at, _)| {
        let before = text[..at].trim_end_matches(|char: char| char.is_whitespace() || char == '\u{FEFF}');
        let start = before.trim_end_matches(is_word).len();
        let word = &before[start..];
        word.len() > 2 && word[..word.len() - 1].contains("on")
    })
}

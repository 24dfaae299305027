//! The rules on texts, one by one.

use proptest::prelude::*;

use super::*;
use crate::guard::Rule;

fn sanitized(handlers: Handlers, text: &str) -> String {
    Rules::new(handlers).sanitize(text).text.into_owned()
}

#[test]
fn a_match_is_removed_until_nothing_matches() {
    for (text, expected) in [
        ("hello", "hello"),
        ("a<script>alert(1)</script>b", "ab"),
        ("a<SCRIPT src='x'>alert(1)</ScRiPt\n>b", "ab"),
        ("a<scr<script>x</script>ipt>alert(1)</script>b", "ab"),
        ("a<scr<script></script>ipt>b", "ab"),
        ("<scripts> and <scripting>", "<scripts> and <scripting>"),
        ("unclosed <script>alert(1)", "unclosed alert(1)"),
        ("unclosed <script src=x", "unclosed  src=x"),
        ("<script", ""),
        ("<script <b>", " <b>"),
        ("<script-x>1</script>2", "2"),
        ("javascript:alert(1)", "alert(1)"),
        ("java\tscript\n:alert(1)", "alert(1)"),
        ("java\u{200B}script\0:alert(1)", "alert(1)"),
        ("&#106;avascript&colon;alert(1)", "alert(1)"),
        // A hexadecimal number is read as far as it goes: `&#x6Aa` is another character, and no J.
        ("&#x6Aavascript:x", "&#x6Aavascript:x"),
        ("&#0000106avascript:x", "x"),
        ("jav&#x09;ascript&#58;x", "x"),
        ("jav&amp;#x09;ascript&#58 x", " x"),
        ("javascript&#58", ""),
        ("javajavascript:script:x", "x"),
        ("&#1<script></script>06;avascript:x", "x"),
        ("&zwjavascript:x", "&zwx"),
        ("<a onclick=x>", "<a x>"),
        ("<a OnClick \n = x>", "<a  x>"),
        ("<svg/onload=x>", "<svg/x>"),
        ("onclionclick=ck=x", "onclionclick=ck=x"),
        ("on click=onclick=x", "on click=x"),
        ("connection = open()", "connection = open()"),
        ("button = 1; done = 2; reason=3", "button = 1; done = 2; reason=3"),
    ] {
        assert_eq!(sanitized(Handlers::Known, text), expected, "{text:?}");
    }
}

#[test]
fn any_takes_the_guides_pattern_to_the_letter() {
    for (text, expected) in [
        ("connection = open()", "c open()"),
        ("button = 1", "button = 1"),
        ("on = 1, one = 2", "on = 1,  2"),
        ("ononload=x", "x"),
        ("onfoo bar = 1", "onfoo bar = 1"),
        ("onfoo\u{A0}\u{FEFF}= 1", " 1"),
    ] {
        assert_eq!(sanitized(Handlers::Any, text), expected, "{text:?}");
    }
}

#[test]
fn what_matched_is_told_by_rule() {
    let rules = Rules::new(Handlers::Known);
    let matches = rules
        .sanitize("<script>1</script>javascript:javascript:<b onclick=1 onload=2>")
        .matches;
    let told: Vec<_> = matches.iter().collect();
    assert_eq!(
        told,
        [
            (Rule::Script, 1),
            (Rule::JavascriptUrl, 2),
            (Rule::EventHandler, 2)
        ]
    );
}

/// Texts with much that the rules care for.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => prop::sample::select(vec![
            "<script", "</script>", "<scr", "ipt", ">", "<", "script", "<script>", "</script", "java", "javascript", ":", "t:",
            "javascript:", "j", "on", "o", "n", "onclick", "click", "load", "=", "onload=", "ONLOAD =",
        ]),
        1 => prop::sample::select(vec![
            "&#106;", "&#58", ";", "&colon;", "&", "&amp;", "amp;", "&#x6", "a", "&Tab;", "&#", "1", "0", "6", "&#x", "&shy;",
        ]),
        1 => prop::sample::select(vec![
            " ", "\t", "\n", "x", "_", "é", "\u{200B}", "\0", "\u{FEFF}", "\u{A0}", "\u{17F}", "\u{212A}", "\u{85}", "😀",
        ]),
    ];
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

/// What the automata alone find.
fn found_by_machine(handlers: Handlers, text: &str) -> Matches {
    let mut matches = Matches::default();
    let mut machine = Machine::new(handlers);
    machine.push(text, &mut matches);
    machine.finish(&mut matches);
    matches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sanitizing_twice_is_sanitizing_once(text in text()) {
        for handlers in [Handlers::Known, Handlers::Any] {
            let once = sanitized(handlers, &text);
            prop_assert!(found_by_machine(handlers, &once).is_empty(), "{:?} left {:?}", text, once);
            prop_assert_eq!(&sanitized(handlers, &once), &once);
            prop_assert_eq!(once == text, found_by_machine(handlers, &text).is_empty(), "what matches is removed, and nothing else");
        }
    }

    #[test]
    fn the_fast_pass_misses_nothing(text in text()) {
        for handlers in [Handlers::Known, Handlers::Any] {
            let may_match = prefilter::may_match(handlers, &text);
            prop_assert!(may_match || found_by_machine(handlers, &text).is_empty(), "{:?}", text);
        }
    }

    #[test]
    fn cuts_change_nothing(text in text(), at: prop::sample::Index) {
        let cut = text.floor_char_boundary(at.index(text.len() + 1));
        for handlers in [Handlers::Known, Handlers::Any] {
            let mut matches = Matches::default();
            let mut machine = Machine::new(handlers);
            machine.push(&text[..cut], &mut matches);
            machine.push(&text[cut..], &mut matches);
            machine.finish(&mut matches);
            prop_assert_eq!(matches, found_by_machine(handlers, &text));
        }
    }

    #[test]
    fn any_text_is_as_good_as_any_other(text: String) {
        let once = sanitized(Handlers::Any, &text);
        prop_assert_eq!(sanitized(Handlers::Any, &once), once);
    }
}

/// Texts that a scanner which looks back or starts over would read again and again.
#[test]
fn no_text_takes_longer_than_its_length() {
    const SIZE: usize = 128 * 1024;
    let started = std::time::Instant::now();
    for (head, middle, tail) in [
        ("", "<script", ""),
        ("", "<script/", ""),
        ("", "<script></script", ""),
        ("", "<script/</script/", ""),
        ("", "<script >", ""),
        ("<script>", "</scrip", ""),
        ("<script>", "<", "</script>"),
        ("", "<", "script>"),
        ("", "<scr", "ipt>"),
        ("", "<s", "javascript:"),
        ("", "</script", ""),
        ("", "javascrip", "t:"),
        ("", "java", "script:"),
        ("", "j", "avascript:"),
        ("", "&#1", "06;avascript:"),
        ("&#", "0", "106;avascript:"),
        ("", "&amp;", "#106;avascript:"),
        ("&", "amp;", "#106;avascript:"),
        ("", "&zerowidthspac", "javascript:"),
        ("java", "\u{200B}", "script:"),
        ("java", " \t\n", "script:"),
        ("javascript", " ", ""),
        ("", "t :", "javascript:"),
        ("", ": ", "javascript:"),
        ("", "on", "=javascript:"),
        ("", "onclick ", "=javascript:"),
        ("onclick", " ", "=javascript:"),
        ("onclick", "\u{AD}", "=javascript:"),
        ("on", "x", "=javascript:"),
        ("", "o", "nclick=javascript:"),
        ("", " =", "javascript:"),
        ("", "onclick=", ""),
    ] {
        let text = [head, &middle.repeat(SIZE / middle.len()), tail].concat();
        for handlers in [Handlers::Known, Handlers::Any] {
            let once = sanitized(handlers, &text);
            assert_eq!(sanitized(handlers, &once).len(), once.len());
        }
    }
    // Nested to the middle: each half of a match waits for the other.
    for (open, close) in [
        ("java", "script:"),
        ("<scr", "ipt></script>"),
        ("&#1", "06;avascript:"),
    ] {
        let count = SIZE / (open.len() + close.len());
        let text = open.repeat(count) + &close.repeat(count);
        for handlers in [Handlers::Known, Handlers::Any] {
            let once = sanitized(handlers, &text);
            assert!(once.len() < text.len());
        }
    }
    // Seconds, if time grows with length; hours, if it grew with its square.
    assert!(started.elapsed() < std::time::Duration::from_secs(240));
}

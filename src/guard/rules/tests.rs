//! The rules on texts, one by one.

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

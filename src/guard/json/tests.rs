//! The reader beside serde_json, and where the two differ on purpose.

use proptest::prelude::*;

use super::walk::MAX_DEPTH;
use super::*;
use crate::guard::report::Unscanned;

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    path: Vec<String>,
    told: Vec<String>,
    texts: Vec<String>,
}

fn name(step: Step<'_>) -> String {
    match step {
        Step::Root => "$".into(),
        Step::Key(key) => format!(".{key}"),
        Step::Element(number) => format!("[{number}]"),
    }
}

impl<'t> Visitor<'t> for Notes {
    fn enter(&mut self, step: Step<'_>, _: bool, _: usize) {
        self.path.push(name(step));
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn scalar(&mut self, step: Step<'_>, scalar: Scalar<'t>) {
        let value = match scalar {
            Scalar::Text(text) => {
                self.texts.push(text.decode().into_owned());
                format!("{:?}", text.decode())
            }
            Scalar::Number(number) => number.to_owned(),
            Scalar::Literal => "literal".into(),
        };
        self.told
            .push(format!("{}{} = {value}", self.path.concat(), name(step)));
    }
}

fn read(body: &str) -> Result<Vec<String>, Unscanned> {
    let mut notes = Notes::default();
    walk(body, &mut notes).map(|()| notes.told)
}

#[test]
fn every_value_is_told_with_its_place() {
    let body =
        r#" {"a": [1, -0.5e+3, {"b\n": "x\u00e9\ud83d\ude00\/"}], "c": {}, "d": [], "e": null, "": true} "#;
    let expected = [
        "$.a[0] = 1",
        "$.a[1] = -0.5e+3",
        "$.a[2].b\n = \"xé😀/\"",
        "$.e = literal",
        "$. = literal",
    ];
    assert_eq!(read(body).unwrap(), expected);
}

#[test]
fn what_is_not_strictly_json_is_refused() {
    for body in [
        "",
        " ",
        "{",
        "[",
        "\"",
        "{]",
        "[}",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "0x10",
        "tru",
        "nulll",
        "True",
        "[1]]",
        "{} {}",
        "1 2",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\0\"",
        "// a\n1",
        "/* */1",
        "\u{FEFF}1",
        "\u{A0}1",
        "[1,\u{B}2]",
        "{\"a\":}",
        "{:1}",
        "{1:2}",
        ",",
        ":",
        "[,1]",
        "\"\\'\"",
        "\"\\U0041\"",
    ] {
        assert_eq!(read(body), Err(Unscanned::InvalidJson), "{body:?}");
        assert!(
            serde_json::from_str::<serde_json::Value>(body).is_err(),
            "{body:?}"
        );
    }
}

#[test]
fn what_parsers_disagree_on_is_refused() {
    for (body, why) in [
        (r#"{"a":1,"a":2}"#, Unscanned::DuplicateKey),
        (r#"{"a":1,"\u0061":2}"#, Unscanned::DuplicateKey),
        (r#"[{"x":{"a":1,"b":2,"a":{}}}]"#, Unscanned::DuplicateKey),
        (
            r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"10":0,"1":0}"#,
            Unscanned::DuplicateKey,
        ),
        (r#""\ud800""#, Unscanned::LoneSurrogate),
        (r#""\udc00""#, Unscanned::LoneSurrogate),
        (r#""\ud800\u0041""#, Unscanned::LoneSurrogate),
        (r#""\ud800\ud800\udc00""#, Unscanned::LoneSurrogate),
        (r#"{"\udfff":1}"#, Unscanned::LoneSurrogate),
    ] {
        assert_eq!(read(body), Err(why), "{body}");
    }
    // The same name in two objects, or in another case, is no duplicate.
    assert!(read(r#"[{"a":1,"A":2},{"a":{"a":1}}]"#).is_ok());
}

#[test]
fn depth_is_bounded_and_costs_no_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(Unscanned::TooDeep));
    assert_eq!(read(&nested(100_000)), Err(Unscanned::TooDeep));
    assert_eq!(read(&"{\"a\":".repeat(100_000)), Err(Unscanned::TooDeep));
}

#[test]
fn fields_select_by_path() {
    fn selected(fields: &[&str], body: &str) -> Vec<String> {
        struct Selector {
            fields: Fields,
            stack: Vec<Selection>,
            texts: Vec<String>,
        }
        impl Selector {
            fn select(&self, step: Step<'_>, has_values: bool) -> Selection {
                match self.stack.last() {
                    None => self.fields.root(),
                    Some(&parent) => self.fields.step(parent, step, has_values),
                }
            }
        }
        impl<'t> Visitor<'t> for Selector {
            fn enter(&mut self, step: Step<'_>, _: bool, _: usize) {
                self.stack.push(self.select(step, true));
            }
            fn leave(&mut self) {
                self.stack.pop();
            }
            fn scalar(&mut self, step: Step<'_>, scalar: Scalar<'t>) {
                if let Scalar::Text(text) = scalar
                    && self.select(step, false).is_selected
                {
                    self.texts.push(text.decode().into_owned());
                }
            }
        }
        let fields: Vec<Box<str>> = fields.iter().map(|&field| field.into()).collect();
        let mut selector = Selector {
            fields: Fields::compile(&fields),
            stack: Vec::new(),
            texts: Vec::new(),
        };
        walk(body, &mut selector).unwrap();
        selector.texts
    }
    let body = r#"{"input":"1","Input":"2","x":{"input":"3"},"in\u0070ut2":"4","messages":[{"content":"5","role":"6"},
        {"content":[{"type":"7","text":"8"},"9"]}],"list":["10",["11"],{"a":"12"}]}"#;
    for (fields, expected) in [
        (&["input"][..], &["1"][..]),
        (&["input2", "x.input"], &["3", "4"]),
        (&["messages[*].content"], &["5", "7", "8", "9"]),
        (
            &["messages[*].content", "messages[*].content[*].text"],
            &["5", "8"],
        ),
        (&["messages"], &["5", "6", "7", "8", "9"]),
        (&["list[*]"], &["10", "11", "12"]),
        (&["list[*][*]"], &["11"]),
        (&["list[*].a", "list"], &["12"]),
        (&["nothing"], &[]),
        (
            &["*"],
            &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"],
        ),
    ] {
        assert_eq!(selected(fields, body), expected, "{fields:?}");
    }
}

/// Any JSON, as serde_json writes it.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn strings(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => into.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, into)),
        serde_json::Value::Object(map) => map.values().for_each(|value| strings(value, into)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_the_same(value in value(), is_pretty: bool) {
        let written = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let mut expected = Vec::new();
        strings(&value, &mut expected);
        let mut notes = Notes::default();
        walk(&written.unwrap(), &mut notes).unwrap();
        prop_assert_eq!(notes.texts, expected);
    }

    #[test]
    fn what_is_read_serde_json_reads_too(body in r#"[\[\]{}:," 0-9a-fnrtuleE.\\+-]{0,24}"#) {
        if read(&body).is_ok() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok(), "{}", body);
        }
    }

    #[test]
    fn a_written_text_reads_back(text: String) {
        let mut body = String::from("\"");
        write_text(&text, &mut body);
        body.push('"');
        prop_assert_eq!(read(&body).unwrap(), [format!("$ = {text:?}")]);
        prop_assert_eq!(serde_json::from_str::<String>(&body).unwrap(), text);
    }
}

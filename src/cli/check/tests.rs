//! Arguments in, requests out; and what is never shown.

use clap::Parser;

use super::args::{Asked, CheckArgs, Mistake, Requests};
use super::print::Hidden;
use crate::cli::Environment;
use crate::config::{self, Settings};
use crate::explain::Request;
use crate::keys::ApiKey;

const KEY: &str = "lk_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg123456";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: CheckArgs,
}

fn asked(
    line: &[&str],
    environment: &[(&str, &str)],
    settings: Option<&Settings>,
) -> Result<Request, String> {
    let args = Line::try_parse_from(["check"].iter().chain(line)).map_err(|error| error.to_string())?;
    let environment: Environment = environment
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    match Asked::of(&args.args, &environment, settings) {
        Ok(Asked {
            requests: Requests::One(request),
            ..
        }) => Ok(request),
        Ok(_) => Err("many".into()),
        Err(Mistake::Usage(text)) => Err(text),
        Err(Mistake::Unreadable(error)) => Err(format!("{error:#}")),
    }
}

fn headers(request: &Request) -> Vec<String> {
    let text =
        |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", name.escape_ascii(), value.escape_ascii());
    request.headers.iter().map(text).collect()
}

#[test]
fn one_newline_at_the_end_of_a_key_file_is_no_part_of_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let path = file.to_str().expect("a path");
    for (content, expected) in [
        ("k", Ok("k")),
        ("k\n", Ok("k")),
        ("k\r\n", Ok("k")),
        ("k\n\n", Ok("k\\n")),
        ("\n", Err("is empty")),
        ("", Err("is empty")),
    ] {
        std::fs::write(&file, content).expect("written");
        let asked = asked(
            &["--path", "/", "--key-file", path],
            &[("LATCHKEY_KEY", "not this")],
            None,
        );
        match expected {
            Ok(key) => assert_eq!(
                headers(&asked.expect("a request")),
                [format!("authorization=Bearer {key}")],
                "{content:?}"
            ),
            Err(why) => assert!(asked.expect_err("no key").contains(why), "{content:?}"),
        }
    }
    let gone = asked(&["--path", "/", "--key-file", "/nonexistent/key"], &[], None);
    assert!(
        gone.expect_err("no such file")
            .starts_with("reading the key file /nonexistent/key")
    );
}

#[test]
fn the_key_goes_where_the_configuration_looks_first() {
    for (credentials, expected) in [
        ("[{header: x-api-key}]", ("/a?b", "x-api-key=k/")),
        (
            "[{header: authorization, scheme: Key}]",
            ("/a?b", "authorization=Key k/"),
        ),
        ("[{query: token}]", ("/a?b&token=k%2F", "")),
    ] {
        let environment = [("LATCHKEY__CREDENTIALS".into(), credentials.into())].into();
        let loaded = config::load(None, &environment).expect("good settings");
        let request = asked(
            &["--path", "/a?b"],
            &[("LATCHKEY_KEY", "k/")],
            Some(&loaded.settings),
        )
        .expect("a request");
        assert_eq!(
            request.target.escape_ascii().to_string(),
            expected.0,
            "{credentials}"
        );
        assert_eq!(headers(&request).concat(), expected.1, "{credentials}");
    }
}

#[test]
fn a_header_is_a_name_a_colon_and_a_value() {
    let request = asked(
        &[
            "--path",
            "/",
            "--header",
            "X-A:  b: c ",
            "--header",
            ":path: /x",
            "--header",
            "e:",
        ],
        &[],
        None,
    );
    assert_eq!(
        headers(&request.expect("a request")),
        ["X-A=b: c", ":path=/x", "e="]
    );
    let wrong = asked(&["--path", "/", "--header", "nothing"], &[], None);
    assert!(wrong.expect_err("no colon").contains("'nothing'"));
    assert!(asked(&["--path", "/", "--request", "-"], &[], None).is_err());
    assert!(asked(&[], &[], None).is_err());
    assert!(
        asked(&["--request", "-", "--key-file", "-"], &[], None)
            .expect_err("two")
            .contains("standard input")
    );
}

#[test]
fn no_key_gets_through_what_is_shown() {
    let given = ApiKey::presented("s3cret\"and\\more").expect("a key");
    let short = ApiKey::presented("a").expect("a key");
    let hidden = Hidden {
        prefix: "lk",
        keys: vec![&given, &short],
    };
    for (text, expected) in [
        ("a path", "a path"),
        ("lk_ and lk_short", "lk_ and lk_short"),
        (&format!("/x/{KEY}?"), "/x/[key]?"),
        (&format!("lk_{KEY}{KEY}"), "lk_[key][key]"),
        ("=s3cret\"and\\more=", "=[key]="),
        (r#""s3cret\"and\\more""#, "\"[key]\""),
    ] {
        assert_eq!(hidden.text(text), expected, "{text}");
    }
}

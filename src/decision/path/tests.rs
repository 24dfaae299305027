//! Which targets and hosts have one reading, against a normalizer written from the RFC.

use proptest::prelude::*;

use super::*;

/// Targets that every conforming upstream reads alike.
const ACCEPTED: &[&str] = &[
    "/",
    "/?",
    "/ai",
    "/ai/",
    "/ai/chat",
    "/ai/chat/",
    "/AI/Chat",
    "/ai/chat?",
    "/ai/chat?x",
    "/ai/chat?x=1&y=/../z",
    "/ai/chat?next=//evil/%2e%2e/%00;a=b\\",
    "/ai/chat??",
    "/ai/chat?%zz",
    "/ai/chat?a b",
    "/...",
    "/.../x",
    "/.a",
    "/a.",
    "/..a",
    "/a..",
    "/.well-known/x",
    "/a.b/c-d_e~f",
    "/a:b",
    "/a@b",
    "/a!b$c&d'e(f)g*h+i,j=k",
    "/*",
    "/v1/models/gemini:generate",
    "/v1/models/gemini%3Agenerate",
    "/v1/models/gemini%3agenerate",
    "/a%20b",
    "/a%21",
    "/a%22",
    "/a%23",
    "/a%2A",
    "/a%2b%2C",
    "/a%3C%3e",
    "/a%3F",
    "/a%40",
    "/a%5B%5d",
    "/a%5E%60",
    "/a%7B%7C%7D",
    "/100%25",
    "/100%25/x",
    "/100%25zz",
    "/100%252",
    "/100%25%25",
    "/caf%C3%A9",
    "/caf%c3%a9",
    "/%E2%82%AC",
    "/%F0%9F%98%80",
];

/// Targets that some upstream reads in another way than Envoy.
const REFUSED: &[&[u8]] = &[
    // Forms of a target other than the origin form.
    b"",
    b"*",
    b"ai/chat",
    b"?x",
    b"http://h/ai/chat",
    b"https://h",
    b"h:443",
    b"#",
    b"\\ai",
    b" /ai",
    // Fragments, anywhere.
    b"/ai#",
    b"/ai/chat#frag",
    b"/#/ai",
    b"/ai?x#frag",
    b"/ai?#",
    b"/ai#?x",
    // Dot segments.
    b"/.",
    b"/..",
    b"/./",
    b"/../",
    b"/ai/.",
    b"/ai/..",
    b"/ai/./chat",
    b"/ai/../admin",
    b"/../ai",
    b"/ai/../../x",
    b"/ai/..?x",
    b"/ai/%2e",
    b"/ai/%2e/chat",
    b"/ai/%2e%2e/admin",
    b"/ai/%2E%2E/admin",
    b"/ai/.%2e/admin",
    b"/ai/%2E./admin",
    b"/ai/..;/admin",
    b"/ai/.;/x",
    b"/ai/..;x=1/admin",
    b"/ai/%2e%2e;/x",
    b"/ai/..%3b/admin",
    b"/ai/..%3B/admin",
    b"/ai/..%2fadmin",
    b"/ai/..%5cadmin",
    b"/ai/..\\admin",
    b"/ai\\..\\admin",
    // Slashes.
    b"//",
    b"//ai",
    b"//ai/chat",
    b"///ai",
    b"/ai//chat",
    b"/ai///chat",
    b"/ai/chat//",
    b"//evil.example/ai",
    b"/ai\\chat",
    b"/\\ai",
    b"/ai/chat\\",
    b"/ai%2fchat",
    b"/ai%2Fchat",
    b"/%2fai",
    b"/ai/%2F",
    b"/ai%5cchat",
    b"/ai%5Cchat",
    // Escaped unreserved characters.
    b"/ai/ch%61t",
    b"/%61i",
    b"/ai/ch%41t",
    b"/ai/%30",
    b"/ai/%7Euser",
    b"/ai/a%2Db",
    b"/ai/a%5fb",
    // Parameters.
    b"/ai;",
    b"/ai/chat;x=1",
    b"/ai;x/chat",
    b"/ai/chat%3bx=1",
    b"/ai/chat%3Bx=1",
    b"/;",
    // Controls.
    b"/ai\0",
    b"/ai\n",
    b"/ai\r\nx",
    b"/ai\t",
    b"/ai\x1b",
    b"/ai\x7f",
    b"/ai%00",
    b"/ai%0a",
    b"/ai%0D%0A",
    b"/ai%1f",
    b"/ai%7f",
    b"/ai%7F",
    b"/ai%09",
    b"/ai%C2%80",
    b"/ai%C2%9f",
    b"/ai?x\0",
    b"/ai?x\r\ny",
    b"/ai?\x7f",
    // Escapes that are none.
    b"/ai%",
    b"/ai%2",
    b"/ai%zz",
    b"/ai%2g",
    b"/ai%g2",
    b"/ai%%20",
    b"/ai% 20",
    b"/ai%u002e",
    b"/ai%/x",
    b"/ai%2/f",
    // Escaped twice.
    b"/ai/%252e%252e/admin",
    b"/ai%252fchat",
    b"/ai%255cchat",
    b"/ai/ch%2561t",
    b"/ai%2500",
    b"/ai%253bx",
    b"/ai%25252e",
    b"/ai%2525",
    b"/ai%25%252e",
    b"/ai%2520",
    b"/ai%25Ff",
    // Not UTF-8, overlong, surrogates, too high, cut off.
    b"/caf\xc3\xa9",
    b"/ai\x80",
    b"/ai\xff",
    b"/ai\xc0\xaf",
    b"/ai%c0%af",
    b"/ai%C0%AE%C0%AE/x",
    b"/ai%e0%80%af",
    b"/ai%F0%80%80%AF",
    b"/ai%ED%A0%80",
    b"/ai%F4%90%80%80",
    b"/ai%F8%88%80%80%80",
    b"/ai%80",
    b"/ai%ff",
    b"/ai%C3",
    b"/ai%C3/%A9",
    b"/ai%C3x%A9",
    b"/ai%C3\xa9",
    b"/ai%E2%82",
    b"/ai%E2%82%",
    b"/ai%C3%28",
    // What Envoy's normalize_path would encode.
    b"/a b",
    b"/a|b",
    b"/a<b",
    b"/a>b",
    b"/a\"b",
    b"/a^b",
    b"/a{b}",
    b"/a`b",
    b"/a[b]",
];

#[test]
fn a_target_with_one_reading_is_accepted_unchanged() {
    for target in ACCEPTED {
        let read = Target::read(target.as_bytes());
        let read = read.unwrap_or_else(|_| panic!("{target:?} was refused"));
        let (path, query) = target
            .split_once('?')
            .map_or((*target, None), |(path, query)| (path, Some(query)));
        assert!(
            read.path.eq_ignore_ascii_case(path.as_bytes()),
            "{target:?} became {:?}",
            read.path
        );
        assert_eq!(read.path_len, path.len(), "{target:?}");
        assert_eq!(read.query, query.map(str::as_bytes), "{target:?}");
    }
}

#[test]
fn a_target_with_two_readings_is_refused() {
    for target in REFUSED {
        assert!(
            Target::read(target).is_err(),
            "{:?} was accepted",
            target.escape_ascii().to_string()
        );
    }
}

#[test]
fn the_case_of_hex_digits_does_not_count() {
    let lower = Target::read(b"/v1/caf%c3%a9%3ax").unwrap();
    let upper = Target::read(b"/v1/caf%C3%A9%3Ax").unwrap();
    assert_eq!(lower.path, upper.path);
    assert!(
        matches!(upper.path, Cow::Borrowed(_)),
        "what is canonical is not copied"
    );
    assert_ne!(lower.path, Target::read(b"/V1/caf%C3%A9%3Ax").unwrap().path);
}

#[test]
fn a_host_is_one_name_or_address() {
    for (host, read) in [
        ("api.example.com", Some("api.example.com")),
        ("API.Example.COM", Some("api.example.com")),
        ("api.example.com:443", Some("api.example.com")),
        ("api.example.com:65535", Some("api.example.com")),
        ("localhost", Some("localhost")),
        ("my_service.ns.svc", Some("my_service.ns.svc")),
        ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
        ("3com.example", Some("3com.example")),
        ("127.0.0.1", Some("127.0.0.1")),
        ("127.0.0.1:8080", Some("127.0.0.1")),
        ("[::1]", Some("[::1]")),
        ("[::1]:8080", Some("[::1]")),
        ("[2001:DB8:0::1]", Some("[2001:db8::1]")),
        ("", None),
        (":80", None),
        (".", None),
        ("api.example.com.", None),
        (".example.com", None),
        ("api..example.com", None),
        ("a,b", None),
        ("a.example,b.example", None),
        ("a.example, b.example", None),
        ("user@api.example.com", None),
        ("user:pass@api.example.com", None),
        ("api.example.com:", None),
        ("api.example.com:0", None),
        ("api.example.com:65536", None),
        ("api.example.com:000080", None),
        ("api.example.com:+80", None),
        ("api.example.com:8a", None),
        ("api.example.com:80:80", None),
        ("api.example.com/x", None),
        ("api.example.com?x", None),
        ("api.example.com#x", None),
        ("api%2eexample.com", None),
        ("api example.com", None),
        (" api.example.com", None),
        ("api.example.com\t", None),
        ("api\0.example.com", None),
        ("bücher.example", None),
        ("-a.example", None),
        ("a-.example", None),
        ("*.example.com", None),
        ("127.1", None),
        ("127.0.0.256", None),
        ("0x7f.1", None),
        ("2130706433", None),
        ("1.2.3.4.5", None),
        ("127.0.0.01", None),
        ("::1", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[::1]:", None),
        ("[::1]:0", None),
        ("[fe80::1%25eth0]", None),
        ("[127.0.0.1]", None),
        ("[]", None),
        ("http://h", None),
    ] {
        assert_eq!(read_host(host.as_bytes()).ok().as_deref(), read, "{host:?}");
    }
    assert!(read_host(b"a\xff").is_err());
    assert!(read_host("a".repeat(64).as_bytes()).is_err());
    assert!(read_host(format!("{}a", "a.".repeat(127)).as_bytes()).is_err());
}

/// A normaliser of its own, after the text of RFC 3986: decodes unreserved characters (§6.2.2.2), removes dot segments
/// (§5.2.4), and merges slashes, as many servers do.
fn normalise(path: &str) -> String {
    let mut decoded = String::new();
    let mut chars = path.chars();
    while let Some(char) = chars.next() {
        let mut ahead = chars.clone();
        let digits: String = ahead.by_ref().take(2).collect();
        let byte = u8::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| char == '%' && digits.len() == 2);
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                chars = ahead;
            }
            Some(_) => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
                chars = ahead;
            }
            None => decoded.push(char),
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/').skip(1) {
        match segment {
            "." | "" => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end));
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Everything decoded, as a lenient upstream does before it splits.
fn decode_all(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|_| path[at] == b'%')
        {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(path[at]);
                at += 1;
            }
        }
    }
    decoded
}

fn has_one_reading(target: &[u8]) {
    let Ok(read) = Target::read(target) else { return };
    let path = std::str::from_utf8(&read.path).unwrap();
    assert_eq!(normalise(path), path);
    let decoded = String::from_utf8(decode_all(&read.path)).expect("UTF-8 after decoding");
    let (sent, seen): (Vec<_>, Vec<_>) = (path.split('/').collect(), decoded.split(['/', '\\']).collect());
    assert_eq!(sent.len(), seen.len(), "{path:?} has other segments once decoded");
    assert!(
        seen.iter().all(|segment| *segment != "." && *segment != ".."),
        "{path:?}"
    );
    assert!(
        !decoded.chars().any(|char| char.is_control() || char == ';'),
        "{path:?}"
    );
    let twice = decode_all(decoded.as_bytes());
    assert_eq!(
        twice,
        decoded.as_bytes(),
        "{path:?} is something else once decoded twice"
    );
}

/// Pieces that paths are made of, hostile ones above all.
fn hostile_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "/",
            "/",
            ".",
            "..",
            "a",
            "ai",
            "%",
            "%2",
            "%2e",
            "%2F",
            "%25",
            "%5c",
            "%61",
            "%3b",
            "%3A",
            "%C3",
            "%A9",
            "%c3%a9",
            "%E2%82%AC",
            "%c0%ae",
            "%20",
            "%00",
            ";",
            "\\",
            "//",
            "?",
            "#",
            ":",
            "2e",
            "C3",
            "%7e",
            "%F0%9F%98%80",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        (0x21u8..0x7f).prop_map(|byte| vec![byte]),
        (0u8..=255).prop_map(|byte| format!("%{byte:02x}").into_bytes()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| [b"/".to_vec(), pieces.concat()].concat())
}

proptest! {
    #[test]
    fn what_is_accepted_is_its_own_normal_form(target in hostile_path()) {
        has_one_reading(&target);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        has_one_reading(&bytes);
        let _ = read_host(&bytes);
    }
}

#[test]
fn the_accepted_list_is_its_own_normal_form() {
    ACCEPTED
        .iter()
        .for_each(|target| has_one_reading(target.as_bytes()));
    assert!(ACCEPTED.len() + REFUSED.len() >= 120);
}

proptest! {
    /// A route is written by the same rules by which requests are read: else it could never match, or match what it should not.
    #[test]
    fn a_pattern_without_parameters_is_a_path_that_a_request_may_have(
        path in "/[a-c/%.;:@2546eEfFcC3Aa9 é\\\\]{0,12}",
    ) {
        let as_pattern = path.parse::<crate::config::PathPattern>().is_ok();
        let as_request = Target::read(path.as_bytes()).is_ok();
        prop_assert_eq!(as_pattern, as_request);
    }
}

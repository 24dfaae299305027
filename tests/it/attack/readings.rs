//! What an upstream makes of a request that reached it, in three styles: the resource that it would serve, and what serving it
//! asks of a key. None of this knows Latchkey's code.

/// How an upstream reads a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// The bytes as they are.
    Strict,
    /// Escapes are decoded once, and dot segments resolved.
    Decoding,
    /// Everything that some server does: decoded until nothing changes, overlong UTF-8 and `%u` escapes too; backslashes are
    /// slashes; parameters, what follows NUL, empty segments and the case of letters do not count; headers may name another
    /// method, host or target.
    Merging,
}

pub(super) const STYLES: [Style; 3] = [Style::Strict, Style::Decoding, Style::Merging];

/// What a resource asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    Nothing,
    Scope(&'static str),
}

struct Resource {
    host: Option<&'static str>,
    method: Option<&'static str>,
    /// Segments as a strict upstream has them; `{}` is any one, `{*}` the rest.
    path: &'static str,
    needs: Needs,
}

const ADMIN: Needs = Needs::Scope("admin:all");

const fn resource(method: Option<&'static str>, path: &'static str, needs: Needs) -> Resource {
    Resource {
        host: None,
        method,
        path,
        needs,
    }
}

const fn of_admin_host(path: &'static str) -> Resource {
    Resource {
        host: Some("admin.example.com"),
        method: None,
        path,
        needs: ADMIN,
    }
}

/// The first that fits is the one that is served.
const RESOURCES: [Resource; 19] = [
    of_admin_host("/"),
    of_admin_host("/{*}"),
    resource(None, "/healthz", Needs::Nothing),
    resource(None, "/public/{*}", Needs::Nothing),
    resource(None, "/optional/{*}", Needs::Nothing),
    resource(Some("POST"), "/chats", Needs::Scope("write:chats")),
    resource(Some("GET"), "/chats", Needs::Scope("read:chats")),
    resource(Some("GET"), "/chats/{}/export", ADMIN),
    resource(Some("GET"), "/chats/{}", Needs::Scope("read:chats")),
    resource(None, "/files/secret", ADMIN),
    resource(None, "/files/secret/{*}", ADMIN),
    resource(Some("GET"), "/files/{*}", Needs::Scope("read:files")),
    resource(None, "/admin", ADMIN),
    resource(None, "/admin/{*}", ADMIN),
    resource(None, "/v1:purge", ADMIN),
    resource(None, "/caf%C3%A9", ADMIN),
    resource(None, "/key", ADMIN),
    resource(None, "/other/{*}", Needs::Scope("read:other")),
    resource(Some("GET"), "/{*}", Needs::Scope("read:any")),
];

/// What the resource asks for that an upstream of this style would serve; `None` if there is no such resource.
pub(super) fn needs(style: Style, method: &[u8], host: &[u8], target: &[u8]) -> Option<Needs> {
    let path = segments(style, target)?;
    let method = match style {
        Style::Merging => method.to_ascii_uppercase(),
        Style::Strict | Style::Decoding => method.to_vec(),
    };
    let method = if method == b"HEAD" {
        b"GET".to_vec()
    } else {
        method
    };
    let fits = |resource: &&Resource| {
        resource.host.is_none_or(|name| name.as_bytes() == host)
            && resource.method.is_none_or(|name| name.as_bytes() == method)
            && matches(style, resource.path, &path)
    };
    RESOURCES.iter().find(fits).map(|resource| resource.needs)
}

fn matches(style: Style, pattern: &str, path: &[Vec<u8>]) -> bool {
    let mut rest = path;
    for wanted in pattern[1..].split('/') {
        match (wanted, rest) {
            ("{*}", [only]) => return !only.is_empty(),
            ("{*}", [_, _, ..]) => return true,
            ("{}", [first, after @ ..]) if !first.is_empty() => rest = after,
            (literal, [first, after @ ..]) if spelled(style, literal) == *first => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// A literal of a resource as a path of this style has it.
fn spelled(style: Style, literal: &str) -> Vec<u8> {
    match style {
        Style::Strict => literal.into(),
        Style::Decoding => decode(literal.as_bytes()),
        Style::Merging => fold_case(&decode(literal.as_bytes())),
    }
}

/// The segments of the path; of the root one empty segment. `None` if there is no path.
fn segments(style: Style, target: &[u8]) -> Option<Vec<Vec<u8>>> {
    let cut = |text: &[u8], at: &[u8]| {
        let end = text.iter().position(|byte| at.contains(byte));
        text[..end.unwrap_or(text.len())].to_vec()
    };
    let split =
        |path: &[u8]| -> Vec<Vec<u8>> { path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect() };
    match style {
        Style::Strict => Some(split(cut(target, b"?").strip_prefix(b"/")?)),
        Style::Decoding => {
            let path = decode(&cut(target, b"?#"));
            Some(resolve(split(path.strip_prefix(b"/")?)))
        }
        Style::Merging => {
            let mut path = cut(without_authority(target), b"?#");
            loop {
                let decoded = decode_all(&path);
                if decoded == path {
                    break;
                }
                path = decoded;
            }
            path = cut(&path, b"\0");
            for byte in &mut path {
                if *byte == b'\\' {
                    *byte = b'/';
                }
            }
            let mut kept: Vec<Vec<u8>> = split(&path)
                .iter()
                .map(|segment| cut(segment, b";"))
                .filter(|segment| !segment.is_empty())
                .collect();
            kept = resolve(kept);
            kept.retain(|segment| !segment.is_empty());
            let folded: Vec<Vec<u8>> = kept.iter().map(|segment| fold_case(segment)).collect();
            Some(if folded.is_empty() {
                vec![Vec::new()]
            } else {
                folded
            })
        }
    }
}

/// What follows scheme and authority of the absolute form.
fn without_authority(target: &[u8]) -> &[u8] {
    let Some(at) = target.windows(3).position(|three| three == b"://") else {
        return target;
    };
    if !target[..at].iter().all(u8::is_ascii_alphabetic) {
        return target;
    }
    let rest = &target[at + 3..];
    let slash = rest.iter().position(|&byte| byte == b'/');
    &rest[slash.unwrap_or(rest.len())..]
}

/// Removes dot segments; one at the end leaves an empty segment, as RFC 3986 §5.2.4 has it.
fn resolve(segments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let last = segments.len() - usize::from(!segments.is_empty());
    let mut kept = Vec::new();
    for (place, segment) in segments.into_iter().enumerate() {
        match &segment[..] {
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if place == last {
            kept.push(Vec::new());
        }
    }
    kept
}

fn hex(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(text, 16).ok())?
}

/// Decodes escapes once.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2).and_then(hex))
            .flatten()
            .and_then(|number| u8::try_from(number).ok());
        rest = if escaped.is_some() { &after[2..] } else { after };
        decoded.push(escaped.unwrap_or(first));
    }
    decoded
}

/// Decodes escapes once, `%u` escapes and overlong UTF-8 among them.
fn decode_all(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let is_unicode = first == b'%' && matches!(after.first(), Some(b'u' | b'U'));
        let number = is_unicode.then(|| after.get(1..5).and_then(hex)).flatten();
        match number.and_then(char::from_u32) {
            Some(char) => {
                plain.extend_from_slice(char.to_string().as_bytes());
                rest = &after[5..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    overlong(&decode(&plain))
}

/// Reads two, three and four bytes of overlong UTF-8 as the ASCII that they stand for.
fn overlong(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, length) = match rest {
            [high @ (0xc0 | 0xc1), low @ 0x80..=0xbf, ..] => ((high & 1) << 6 | (low & 0x3f), 2),
            [0xe0, high @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => ((high & 1) << 6 | (low & 0x3f), 3),
            [0xf0, 0x80, high @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => ((high & 1) << 6 | (low & 0x3f), 4),
            _ => {
                plain.push(first);
                rest = after;
                continue;
            }
        };
        plain.push(byte);
        rest = &rest[length..];
    }
    plain
}

/// The same for every case of its letters, those outside ASCII too.
fn fold_case(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text
            .chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .into_bytes(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

#[test]
fn the_styles_read_as_they_say() {
    let read = |style, target: &[u8]| needs(style, b"GET", b"api.example.com", target);
    let any = Some(Needs::Scope("read:any"));
    for (target, strict, decoding, merging) in [
        (&b"/admin"[..], Some(ADMIN), Some(ADMIN), Some(ADMIN)),
        (
            b"/public/../admin",
            Some(Needs::Nothing),
            Some(ADMIN),
            Some(ADMIN),
        ),
        (
            b"/public/%2e%2e/admin",
            Some(Needs::Nothing),
            Some(ADMIN),
            Some(ADMIN),
        ),
        (
            b"/public/%252e%252e/admin",
            Some(Needs::Nothing),
            Some(Needs::Nothing),
            Some(ADMIN),
        ),
        (
            b"/public/..;x\\admin",
            Some(Needs::Nothing),
            Some(Needs::Nothing),
            Some(ADMIN),
        ),
        (
            b"/public/..%c0%afadmin",
            Some(Needs::Nothing),
            Some(Needs::Nothing),
            Some(ADMIN),
        ),
        (b"/%u0041DMIN//%00x", any, any, Some(ADMIN)),
        (b"http://x/admin/#x", None, None, Some(ADMIN)),
        (b"/CAF%C3%89", any, any, Some(ADMIN)),
        (b"/caf%C3%A9", Some(ADMIN), Some(ADMIN), Some(ADMIN)),
        (b"/%61dmin", any, Some(ADMIN), Some(ADMIN)),
        (b"/", None, None, None),
        (b"/public/", any, any, any),
        (b"/admin/..", Some(ADMIN), None, None),
    ] {
        let shown = target.escape_ascii();
        assert_eq!(read(Style::Strict, target), strict, "{shown}");
        assert_eq!(read(Style::Decoding, target), decoding, "{shown}");
        assert_eq!(read(Style::Merging, target), merging, "{shown}");
    }
}

//! How keys are verified and remembered.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::reader::{Fields, Reader, quoted};
use super::super::settings::{CacheSettings, KeySettings, Remote, RemoteAuth, RemoteClient, SourceKind};
use super::super::tree::Node;
use super::optional;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the answer of a remote is kept when nobody says: it changes seldom and costs a call.
const REMOTE_TTL: Duration = Duration::from_secs(300);

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<KeySettings> {
    let fields = reader.fields(
        node,
        "keys",
        &["source", "prefix", "max_in_flight", "remote", "cache"],
    )?;
    let sources = [
        ("store", SourceKind::Store),
        ("remote", SourceKind::Remote),
        ("store_then_remote", SourceKind::StoreThenRemote),
    ];
    let source = fields
        .require(reader, "source")
        .and_then(|node| reader.choice(node, &sources));
    let prefix = fields
        .require(reader, "prefix")
        .and_then(|node| prefix(reader, node));
    let max_in_flight = count(reader, &fields, "max_in_flight", 10_000);
    let remote = optional(fields.get("remote"), |node| remote(reader, node));
    let cache = fields
        .require(reader, "cache")
        .and_then(|node| cache(reader, node, source));

    if matches!(source, Some(SourceKind::Remote | SourceKind::StoreThenRemote))
        && fields.get("remote").is_none()
    {
        let place = fields.get("source").map_or(fields.place(), |node| &node.place);
        reader.mistake(place, "this source needs `keys.remote` with its `verify_url`");
        return None;
    }
    Some(KeySettings {
        source: source?,
        prefix: prefix?,
        max_in_flight: max_in_flight?,
        remote: remote?,
        cache: cache?,
    })
}

fn prefix(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_prefix = (1..=16).contains(&text.len())
        && text.bytes().all(good)
        && text.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_prefix {
        reader.mistake(
            &node.place,
            format!(
                "a prefix is 1 to 16 lower-case letters and digits, a letter first, found {}",
                quoted(text)
            ),
        );
        return None;
    }
    Some(text.into())
}

fn count(reader: &mut Reader, fields: &Fields<'_>, name: &str, most: u32) -> Option<NonZeroUsize> {
    let node = fields.require(reader, name)?;
    let number = reader.whole(node, 1..=most)?;
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

fn cache(reader: &mut Reader, node: &Node, source: Option<SourceKind>) -> Option<CacheSettings> {
    const MOST_KEYS: u32 = 100_000_000;
    let known = [
        "ttl",
        "negative_ttl",
        "stale_if_error",
        "refresh_ahead",
        "max_keys",
        "max_unknown_keys",
    ];
    let fields = reader.fields(node, "keys.cache", &known)?;
    let mut time = |name, most| {
        fields
            .require(reader, name)
            .and_then(|node| reader.duration(node, Duration::ZERO..=most))
    };
    let mut ttl = time("ttl", DAY);
    let negative_ttl = time("negative_ttl", DAY);
    let stale_if_error = time("stale_if_error", DAY * 7);
    let refresh_ahead = fields
        .require(reader, "refresh_ahead")
        .and_then(|node| refresh_ahead(reader, node));
    let max_keys = count(reader, &fields, "max_keys", MOST_KEYS);
    let max_unknown_keys = count(reader, &fields, "max_unknown_keys", MOST_KEYS);

    let says_ttl = fields.get("ttl").is_some_and(|node| node.place.is_of_user());
    if source == Some(SourceKind::Remote) && !says_ttl {
        ttl = Some(REMOTE_TTL);
    }
    Some(CacheSettings {
        ttl: ttl?,
        negative_ttl: negative_ttl?,
        stale_if_error: stale_if_error?,
        refresh_ahead: refresh_ahead?,
        max_keys: max_keys?,
        max_unknown_keys: max_unknown_keys?,
    })
}

fn refresh_ahead(reader: &mut Reader, node: &Node) -> Option<f64> {
    let part = reader.number(node)?;
    // Written so that NaN is refused too.
    if part > 0.0 && part <= 1.0 {
        return Some(part);
    }
    reader.mistake(
        &node.place,
        "expected a number above 0 and at most 1, the part of ttl; 1 turns it off",
    );
    None
}

fn remote(reader: &mut Reader, node: &Node) -> Option<Remote> {
    let fields = reader.fields(node, "keys.remote", &["verify_url", "timeout", "ca_file", "auth"])?;
    let verify_url = fields
        .require(reader, "verify_url")
        .and_then(|node| https_url(reader, node));
    let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
    let timeout = optional(fields.get("timeout"), |node| reader.duration(node, bounds));
    let ca_file = optional(fields.get("ca_file"), |node| reader.path(node));
    let auth = optional(fields.get("auth"), |node| remote_auth(reader, node));
    Some(Remote {
        verify_url: verify_url?,
        timeout: timeout?.unwrap_or(Duration::from_secs(1)),
        ca_file: ca_file?,
        auth: auth?,
    })
}

fn remote_auth(reader: &mut Reader, node: &Node) -> Option<RemoteAuth> {
    const CLIENT: [&str; 4] = ["client_id", "client_secret_file", "token_url", "audience"];
    let known = [
        "client_id",
        "client_secret_file",
        "token_url",
        "audience",
        "bearer_file",
    ];
    let fields = reader.fields(node, "keys.remote.auth", &known)?;
    if let Some(bearer) = fields.get("bearer_file") {
        if CLIENT.iter().any(|name| fields.get(name).is_some()) {
            reader.mistake(
                &bearer.place,
                "`bearer_file` and a client are both given; keep one",
            );
            return None;
        }
        return reader
            .path(bearer)
            .map(|bearer_file| RemoteAuth::Bearer { bearer_file });
    }
    let client_id = fields
        .require(reader, "client_id")
        .and_then(|node| reader.printable(node, "a client id", 1..=256));
    let client_secret_file = fields
        .require(reader, "client_secret_file")
        .and_then(|node| reader.path(node));
    let token_url = fields
        .require(reader, "token_url")
        .and_then(|node| https_url(reader, node));
    let audience = optional(fields.get("audience"), |node| {
        reader.printable(node, "an audience", 1..=1024)
    });
    Some(RemoteAuth::Client(RemoteClient {
        client_id: client_id?,
        client_secret_file: client_secret_file?,
        token_url: token_url?,
        audience: audience?,
    }))
}

/// A URL that Latchkey may call: keys travel there, so https, but for this machine.
pub(super) fn https_url(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    match check_https(text) {
        Ok(()) => Some(text.into()),
        Err(why) => {
            // Not what was found: it may hold a password.
            reader.mistake(&node.place, why);
            None
        }
    }
}

fn check_https(text: &str) -> Result<(), &'static str> {
    let (is_plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err("expected a URL that begins with https://"),
    };
    let is_url = text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !is_url || authority.is_empty() {
        return Err(
            "expected a URL with a host, of visible ASCII characters without a backslash, at most 2048",
        );
    }
    if authority.contains('@') {
        return Err("a URL with a user or a password in it; secrets belong into a file");
    }
    if text.contains('#') {
        return Err("a URL that is called has no fragment");
    }
    let Some(host) = host_of(authority) else {
        return Err("the URL has no good host and port");
    };
    if is_plain && !is_loopback(host) {
        return Err("expected https://; http:// is for loopback only");
    }
    Ok(())
}

fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                if port.is_empty() {
                    None
                } else {
                    Some(port.strip_prefix(':')?)
                },
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    (!host.is_empty() && host.bytes().all(good) && port.is_none_or(is_port)).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_called_without_tls() {
        for (url, is_good) in [
            ("https://example.com/verify", true),
            ("https://example.com:8443/verify?a=b", true),
            ("http://localhost:8080/verify", true),
            ("http://127.0.0.1/verify", true),
            ("http://[::1]:80/verify", true),
            ("http://example.com/verify", false),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://127.0.0.1@example.com/", false),
            ("http://[::2]/", false),
            ("https://user:secret@example.com/", false),
            ("https:///verify", false),
            ("https://", false),
            ("https://a:0/", false),
            ("https://a:b/", false),
            ("https://[::1/", false),
            ("https://[x]/", false),
            ("https://a b/", false),
            ("https://a\\@b/", false),
            ("https://a/#b", false),
            ("ftp://a/", false),
            ("HTTPS://a/", false),
            ("", false),
        ] {
            assert_eq!(check_https(url).is_ok(), is_good, "{url}");
        }
    }
}

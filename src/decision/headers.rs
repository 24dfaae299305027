//! One pass over the headers.
//!
//! The names that matter are compiled into an index by length, so that a header of no interest costs a comparison of its
//! length and first byte. Names are compared with everything read as `-` that is no letter and no digit: WSGI and CGI hand
//! `X_Auth_Org_Code` to an application as `X-Auth-Org-Code`, PHP does so with dots, and some old servers with all that a name may
//! have (`x!auth!org!code`). Such a *twin* of a header that we set or strip must not get through.

use super::address::AddressHeaders;
use super::credential::{HeaderPlace, OwnShape, Presented, trim};
use super::denial::InvalidKey;
use super::facts::Facts;
use super::view::RequestView;
use crate::config::{ClientAddress, CredentialPlace, HeaderName, Settings};

/// Envoy sets it on requests that it lets through without an answer of ours (`failure_mode_allow_header_add`); a caller's
/// own value would say so falsely.
const FAILURE_MODE_ALLOWED: &str = "x-envoy-auth-failure-mode-allowed";

/// Names that HTTP or Envoy needs, never removed, even where `.` read as `-` makes a setting's name one of them.
const NEEDED: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// The longest name that settings can have.
const MAX_NAME: usize = 64;

/// At most this many spellings of one name are listed: those of five separators.
const MAX_SPELLINGS: usize = 243;

/// The names that matter, and why.
#[derive(Debug)]
pub(super) struct HeaderIndex {
    by_length: Vec<Vec<(Box<[u8]>, Role)>>,
    places: Vec<HeaderPlace>,
    own_shape: OwnShape,
    client_address: ClientAddress,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Place in [`HeaderIndex::places`].
    Credential(usize),
    /// Ours to set: every other spelling is removed.
    Tenant,
    /// Removed in every spelling.
    Strip,
    RequestId,
    ContentType,
    ForwardedFor,
    ExternalAddress,
    ForwardedProto,
    Path,
    Origin,
    RequestedMethod,
    Upgrade,
    Connection,
    Protocol,
}

const FIXED: [(&str, Role); 12] = [
    (FAILURE_MODE_ALLOWED, Role::Strip),
    ("x-request-id", Role::RequestId),
    ("content-type", Role::ContentType),
    ("x-forwarded-for", Role::ForwardedFor),
    ("x-envoy-external-address", Role::ExternalAddress),
    ("x-forwarded-proto", Role::ForwardedProto),
    (":path", Role::Path),
    ("origin", Role::Origin),
    ("access-control-request-method", Role::RequestedMethod),
    ("upgrade", Role::Upgrade),
    ("connection", Role::Connection),
    (":protocol", Role::Protocol),
];

/// What the headers say.
#[derive(Debug, Default)]
pub(super) struct HeadersRead<'r> {
    pub(super) facts: Facts<'r>,
    pub(super) presented: Presented<'r>,
    /// An extended CONNECT (RFC 8441 §4), which has a path.
    pub(super) has_protocol: bool,
    has_origin: bool,
    requested_method: Lines<'r>,
    /// Names in `facts.remove` that carry a credential of a foreign shape only.
    foreign: Vec<&'r [u8]>,
    /// A bit for each place that had a line.
    lines_seen: u64,
    /// A bit for each place that had a credential.
    keys_seen: u64,
    request_id: Lines<'r>,
    addresses: AddressHeaders<'r>,
    has_forwarded_proto: bool,
    has_path: bool,
    has_upgrade: bool,
    connection: Option<bool>,
}

/// The value of a header that counts only if it comes once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Lines<'r> {
    #[default]
    None,
    One(&'r [u8]),
    Many,
}

impl<'r> Lines<'r> {
    pub(super) fn add(&mut self, value: &'r [u8]) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Many => Self::Many,
        };
    }

    pub(super) fn once(self) -> Option<&'r [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::None | Self::Many => None,
        }
    }
}

impl HeaderIndex {
    pub(super) fn compile(settings: &Settings) -> Self {
        let mut index = Self {
            by_length: std::iter::repeat_with(Vec::new).take(MAX_NAME + 1).collect(),
            places: Vec::new(),
            own_shape: OwnShape {
                begin: format!("{}_", settings.keys.prefix).into_bytes().into(),
            },
            client_address: settings.client_address,
        };
        for (name, place) in header_places(settings) {
            index.add(name, Role::Credential(index.places.len()));
            index.places.push(place);
        }
        for name in settings.tenant_headers.all() {
            index.add(name.as_str(), Role::Tenant);
        }
        for name in &settings.strip_headers {
            index.add(name.as_str(), Role::Strip);
        }
        for (name, role) in FIXED {
            index.add(name, role);
        }
        index
    }

    fn add(&mut self, name: &str, role: Role) {
        if let Some(bucket) = self.by_length.get_mut(name.len()) {
            bucket.push((name.as_bytes().into(), role));
        }
    }

    pub(super) fn own_shape(&self) -> &OwnShape {
        &self.own_shape
    }

    /// Reads all headers.
    pub(super) fn read<'r, R: RequestView>(&self, request: &'r R) -> HeadersRead<'r> {
        let mut read = HeadersRead::default();
        for (name, value) in request.headers() {
            let Some(bucket) = self.by_length.get(name.len()) else {
                continue;
            };
            for (known, role) in bucket {
                if is_twin(known, name) {
                    self.note(&mut read, *role, name, value, name.eq_ignore_ascii_case(known));
                }
            }
        }
        read.finish(self.client_address, request.peer_address());
        read
    }

    fn note<'r>(
        &self,
        read: &mut HeadersRead<'r>,
        role: Role,
        name: &'r [u8],
        value: &'r [u8],
        is_exact: bool,
    ) {
        match role {
            Role::Strip => read.remove(name),
            Role::Tenant if !is_exact => read.remove(name),
            Role::Tenant => {}
            // A twin is no credential, but a key in it is not the backend's either.
            Role::Credential(_) if !is_exact && self.own_shape.is_in(value) => read.remove(name),
            _ if !is_exact => {}
            Role::Credential(place) => self.note_credential(read, place, name, value),
            Role::RequestId => read.request_id.add(value),
            Role::ContentType => read.facts.is_grpc |= is_grpc(value),
            Role::ForwardedFor => read.addresses.forwarded_for.push(value),
            Role::ExternalAddress => read.addresses.external.add(value),
            Role::ForwardedProto => read.has_forwarded_proto = true,
            Role::Path => read.has_path = true,
            Role::Origin => read.has_origin = true,
            Role::RequestedMethod => read.requested_method.add(value),
            Role::Upgrade => read.has_upgrade = true,
            Role::Connection => {
                read.connection = Some(read.connection.unwrap_or_default() || names_upgrade(value));
            }
            Role::Protocol => read.has_protocol = true,
        }
    }

    fn note_credential<'r>(&self, read: &mut HeadersRead<'r>, place: usize, name: &'r [u8], value: &'r [u8]) {
        // Settings have a handful of places; were there more than 64, two that share a bit would only be stricter.
        let bit = 1 << (place % 64);
        let found = self.places[place].read(value);
        let is_own = self.own_shape.is_in(value);
        if found.is_some() || is_own {
            // A key of our own goes, also where it stands without its scheme and so is no credential.
            if is_own {
                read.foreign.retain(|foreign| *foreign != name);
            } else if !read.facts.remove.contains(&name) {
                read.foreign.push(name);
            }
            read.remove(name);
        }
        let is_second_line = read.lines_seen & bit != 0;
        let has_key = found.is_some() || read.keys_seen & bit != 0;
        read.lines_seen |= bit;
        if has_key {
            read.keys_seen |= bit;
        }
        if is_second_line && has_key {
            read.presented = Presented::Invalid(InvalidKey::Ambiguous);
        } else if let Some(found) = found {
            read.presented.add(found);
        }
    }
}

impl<'r> HeadersRead<'r> {
    fn remove(&mut self, name: &'r [u8]) {
        let is_needed = NEEDED
            .iter()
            .any(|needed| name.eq_ignore_ascii_case(needed.as_bytes()));
        let is_envoys = name.starts_with(b"x-envoy-") && !is_spelling_of(FAILURE_MODE_ALLOWED, name);
        if !is_needed && !is_envoys {
            self.facts.remove.push(name);
        }
    }

    fn finish(&mut self, setting: ClientAddress, peer: Option<std::net::IpAddr>) {
        let facts = &mut self.facts;
        if facts.remove.len() > 1 {
            facts.remove.sort_unstable();
            facts.remove.dedup();
        }
        let has_request_id = !matches!(self.request_id, Lines::None);
        facts.request_id = self.request_id.once().and_then(speakable_id);
        // What Envoy always has. A pseudo header is in nobody's list, so a list of chosen headers hides at least that; a mistake
        // here costs bytes only.
        facts.shows_chosen_headers_only = !(self.has_path && self.has_forwarded_proto && has_request_id);
        facts.client_address = self.addresses.client(setting, peer);
        // A list of chosen headers may hide `connection`; then the other half has to do.
        facts.upgrade = self.has_protocol || (self.has_upgrade && self.connection.unwrap_or(true));
    }

    /// Lets a foreign credential pass: the request needs no key of ours, so it may be meant for the backend.
    pub(super) fn keep_foreign_credentials(&mut self) {
        let foreign = std::mem::take(&mut self.foreign);
        self.facts.remove.retain(|name| !foreign.contains(name));
    }

    /// The method that a CORS preflight asks for (Fetch standard, "CORS-preflight request").
    pub(super) fn preflight_for(&self, method: &[u8]) -> Option<&'r [u8]> {
        let asked = self.requested_method.once().map(trim)?;
        (method == b"OPTIONS" && self.has_origin).then_some(asked)
    }
}

/// The header places, each name once; schemes keep their order.
fn header_places(settings: &Settings) -> Vec<(&str, HeaderPlace)> {
    let mut places: Vec<(&str, HeaderPlace)> = Vec::new();
    for place in &settings.credentials {
        let CredentialPlace::Header { name, scheme } = place else {
            continue;
        };
        let at = places
            .iter()
            .position(|(known, _)| *known == name.as_str())
            .unwrap_or_else(|| {
                places.push((name.as_str(), HeaderPlace::default()));
                places.len() - 1
            });
        match scheme {
            Some(scheme) => places[at].1.schemes.push(scheme.clone()),
            None => places[at].1.bare = true,
        }
    }
    places
}

/// Names that have to be removed unseen where Envoy shows a chosen list of headers only: all that a pass over the headers
/// might have found to remove.
pub(super) fn blind_removals(settings: &Settings) -> Vec<Box<str>> {
    let tenant = settings.tenant_headers.all().map(HeaderName::as_str);
    let strip: Vec<&str> = settings.strip_headers.iter().map(HeaderName::as_str).collect();
    let places = header_places(settings);
    let credentials = places.iter().map(|(name, _)| name);
    let mut names: Vec<Box<str>> = Vec::new();
    for name in credentials
        .chain(&tenant)
        .chain(&strip)
        .chain([&FAILURE_MODE_ALLOWED])
    {
        names.extend(spellings(name).into_iter().map(String::into_boxed_str));
    }
    names.retain(|name| !tenant.contains(&&**name) && !NEEDED.contains(&&**name));
    names.sort_unstable();
    names.dedup();
    names
}

/// Every spelling of a name with each of its separators as `-`, `_` or `.`, at most [`MAX_SPELLINGS`]; its own is one of
/// them.
fn spellings(name: &str) -> Vec<String> {
    let mut spellings = vec![String::new()];
    for char in name.chars() {
        let can_grow = spellings.len() < MAX_SPELLINGS && matches!(char, '-' | '_' | '.');
        let others = ['-', '_', '.']
            .into_iter()
            .filter(|other| can_grow && *other != char);
        let grown: Vec<String> = others
            .flat_map(|other| spellings.iter().map(move |text| format!("{text}{other}")))
            .collect();
        spellings.iter_mut().for_each(|text| text.push(char));
        spellings.extend(grown);
    }
    spellings
}

/// Whether two names of one length are equal once their separators are read as `-`.
fn is_twin(known: &[u8], name: &[u8]) -> bool {
    known
        .iter()
        .zip(name)
        .all(|(known, byte)| plain(*known) == plain(*byte))
}

fn is_spelling_of(known: &str, name: &[u8]) -> bool {
    known.len() == name.len() && is_twin(known.as_bytes(), name)
}

fn plain(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// A request id that can be echoed as it is.
pub(crate) fn speakable_id(value: &[u8]) -> Option<&str> {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_good = (1..=64).contains(&value.len()) && value.iter().all(good);
    is_good.then(|| std::str::from_utf8(value).ok())?
}

/// `application/grpc`, `application/grpc+proto`, with or without parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type
        .split_at_checked(GRPC.len())
        .is_some_and(|(begin, rest)| {
            begin.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

fn names_upgrade(connection: &[u8]) -> bool {
    connection
        .split(|&byte| byte == b',')
        .any(|token| trim(token).eq_ignore_ascii_case(b"upgrade"))
}

#[cfg(test)]
mod tests;

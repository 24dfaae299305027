//! The route table: which route a request is for.
//!
//! Host and path choose first, then the method; nothing falls through to a less specific route. A look-up is one hash for a
//! path without parameters, and one hash a segment for patterns, however many routes there are.
//!
//! The twin rule: what a lenient upstream takes for a more specific route must not be judged by a broader one. Such an
//! upstream ignores case or a final slash, or decodes escapes that RFC 3986 §6.2.2.2 leaves alone (`%3A` for `:`). Case is that of
//! Unicode: the Kelvin sign is a `k` in lower case, and the long s an `S` in upper case.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::denial::NotAllowed;
use super::path;
use super::policy::CompiledRoute;
use crate::config::Segment;

/// All routes of a policy, compiled for look-up.
#[derive(Debug)]
pub struct RouteTable {
    hosts: HashMap<Box<str>, HostTable>,
    any_host: HostTable,
    in_matching_order: Vec<Arc<CompiledRoute>>,
}

/// The routes of one host, or of any.
#[derive(Debug, Default)]
struct HostTable {
    exact: HashMap<Box<[u8]>, usize>,
    patterns: Node,
    /// Every path, exact ones too, in [`fold`]ed form and without its final slash.
    folded: Node,
    choices: Vec<Choice>,
}

/// The routes of one path, told apart by their methods only.
#[derive(Debug)]
pub(super) struct Choice {
    specificity: Specificity,
    routes: Vec<Arc<CompiledRoute>>,
}

/// Kinds of the segments from left to right, without the empty one after a final slash; the lesser of two is the more
/// specific.
type Specificity = Box<[Kind]>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Literal,
    One,
    Rest,
}

/// A place in a tree of segments. Numbers are places in [`HostTable::choices`].
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, Node>,
    one: Option<Box<Node>>,
    rest: Option<usize>,
    end: Option<usize>,
}

impl RouteTable {
    /// Compiles the routes.
    pub(super) fn compile(routes: &[Arc<CompiledRoute>]) -> Self {
        let mut in_matching_order = routes.to_vec();
        in_matching_order.sort_by_cached_key(|route| matching_order(route));
        let mut hosts: HashMap<Box<str>, HostTable> = HashMap::new();
        let mut any_host = HostTable::default();
        for route in &in_matching_order {
            match &route.settings.host {
                Some(host) => hosts.entry(comparable_host(host)).or_default().add(route),
                None => any_host.add(route),
            }
        }
        Self {
            hosts,
            any_host,
            in_matching_order,
        }
    }

    /// The routes, the first that matches host and path being the one that counts.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<CompiledRoute>> {
        self.in_matching_order.iter()
    }

    /// The route of a request with this host, in lower case and without port, and this path, with its hex digits in upper case.
    pub fn choose(&self, host: &str, path: &[u8], method: &[u8]) -> Result<&Arc<CompiledRoute>, NotAllowed> {
        self.find(host, path).and_then(|choice| choice.route(method))
    }

    /// Chooses by host and path; both as [`path`] gives them.
    pub(super) fn find(&self, host: &str, path: &[u8]) -> Result<&Choice, NotAllowed> {
        if !self.hosts.is_empty()
            && let Some(table) = self.hosts.get(host)
        {
            match table.find(path) {
                Err(NotAllowed::NoRoute) => {}
                chosen => return chosen,
            }
        }
        self.any_host.find(path)
    }
}

impl<'t> IntoIterator for &'t RouteTable {
    type Item = &'t Arc<CompiledRoute>;
    type IntoIter = std::slice::Iter<'t, Arc<CompiledRoute>>;

    fn into_iter(self) -> Self::IntoIter {
        self.in_matching_order.iter()
    }
}

impl Choice {
    /// Chooses by method: one that names it, then for `HEAD` one that names `GET`, then one for any method.
    pub(super) fn route(&self, method: &[u8]) -> Result<&Arc<CompiledRoute>, NotAllowed> {
        let naming = |method: &[u8]| {
            let names_it = |route: &&Arc<CompiledRoute>| {
                route
                    .settings
                    .methods
                    .iter()
                    .any(|named| named.as_bytes() == method)
            };
            self.routes.iter().find(names_it)
        };
        naming(method)
            .or_else(|| if method == b"HEAD" { naming(b"GET") } else { None })
            .or_else(|| self.routes.iter().find(|route| route.settings.methods.is_empty()))
            .ok_or(NotAllowed::Method)
    }
}

impl HostTable {
    fn add(&mut self, route: &Arc<CompiledRoute>) {
        let segments = route.settings.path.segments();
        let is_exact = segments
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)));
        let next = self.choices.len();
        let end = if is_exact {
            let path = path::upper_hex(route.settings.path.as_str().as_bytes());
            self.exact.entry(path.into()).or_insert(next)
        } else {
            self.patterns
                .end_of(segments, path::upper_hex)
                .get_or_insert(next)
        };
        let choice = *end;
        if choice == next {
            self.choices.push(Choice {
                specificity: specificity(segments),
                routes: Vec::new(),
            });
        }
        self.choices[choice].routes.push(route.clone());
        self.folded
            .end_of(without_final_slash(segments), fold)
            .get_or_insert(choice);
    }

    fn find(&self, path: &[u8]) -> Result<&Choice, NotAllowed> {
        if let Some(&choice) = self.exact.get(path) {
            return Ok(&self.choices[choice]);
        }
        let chosen = self
            .patterns
            .find(path.strip_prefix(b"/"))
            .map(|choice| &self.choices[choice]);
        let lenient = self.find_leniently(path);
        match (chosen, lenient) {
            (Some(chosen), Some(lenient)) if lenient.specificity < chosen.specificity => {
                Err(NotAllowed::Twin)
            }
            (Some(chosen), _) => Ok(chosen),
            (None, Some(_)) => Err(NotAllowed::Twin),
            (None, None) => Err(NotAllowed::NoRoute),
        }
    }

    /// The most specific choice of an upstream that ignores case and a final slash, and decodes all escapes.
    fn find_leniently(&self, path: &[u8]) -> Option<&Choice> {
        let folded = fold(path);
        let folded = folded.strip_suffix(b"/").unwrap_or(&folded);
        self.folded
            .find(folded.strip_prefix(b"/"))
            .map(|choice| &self.choices[choice])
    }
}

impl Node {
    /// The place where the pattern ends, made if it is not there; literals are written as `spell` says.
    fn end_of(&mut self, segments: &[Segment], spell: fn(&[u8]) -> Vec<u8>) -> &mut Option<usize> {
        let Some((segment, after)) = segments.split_first() else {
            return &mut self.end;
        };
        match segment {
            Segment::Literal(text) => {
                let key = spell(text.as_bytes()).into();
                self.literals.entry(key).or_default().end_of(after, spell)
            }
            Segment::One(_) => self.one.get_or_insert_default().end_of(after, spell),
            Segment::Rest(_) => &mut self.rest,
        }
    }

    /// Finds what the remaining segments lead to, the most specific first; `None` remains after the last segment.
    fn find(&self, remaining: Option<&[u8]>) -> Option<usize> {
        let Some(remaining) = remaining else {
            return self.end;
        };
        let (segment, after) = match remaining.iter().position(|&byte| byte == b'/') {
            Some(slash) => (&remaining[..slash], Some(&remaining[slash + 1..])),
            None => (remaining, None),
        };
        let literal = || self.literals.get(segment)?.find(after);
        let one = || self.one.as_ref().filter(|_| !segment.is_empty())?.find(after);
        literal()
            .or_else(one)
            .or_else(|| self.rest.filter(|_| !remaining.is_empty()))
    }
}

/// Escapes decoded, letters in lower case; those outside ASCII by way of upper case, where some of them meet.
pub(crate) fn fold(text: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, length) = path::unescape(rest).map_or((byte, 1), |decoded| (decoded, 3));
        folded.push(byte.to_ascii_lowercase());
        rest = if length == 3 { &rest[3..] } else { after };
    }
    match std::str::from_utf8(&folded) {
        Ok(text) if !text.is_ascii() => text
            .chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .into_bytes(),
        _ => folded,
    }
}

fn without_final_slash(segments: &[Segment]) -> &[Segment] {
    match segments {
        [before @ .., Segment::Literal(last)] if last.is_empty() => before,
        _ => segments,
    }
}

fn specificity(segments: &[Segment]) -> Specificity {
    without_final_slash(segments).iter().map(kind).collect()
}

fn kind(segment: &Segment) -> Kind {
    match segment {
        Segment::Literal(_) => Kind::Literal,
        Segment::One(_) => Kind::One,
        Segment::Rest(_) => Kind::Rest,
    }
}

/// Hosts before any host, exact paths before patterns, then segment by segment; where one is the beginning of the other the
/// longer; at last routes that name methods before one for any.
type MatchingOrder = (
    (bool, Option<Box<str>>),
    bool,
    Vec<(Kind, Reverse<bool>)>,
    Vec<u8>,
    (bool, Vec<Box<str>>),
);

fn matching_order(route: &CompiledRoute) -> MatchingOrder {
    let settings = &route.settings;
    let segments = settings.path.segments();
    let has_more = |place: usize| Reverse(place + 1 < segments.len());
    let kinds: Vec<_> = segments
        .iter()
        .enumerate()
        .map(|(place, segment)| (kind(segment), has_more(place)))
        .collect();
    (
        (settings.host.is_none(), settings.host.clone()),
        kinds.iter().any(|(kind, _)| *kind != Kind::Literal),
        kinds,
        path::upper_hex(settings.path.as_str().as_bytes()),
        (settings.methods.is_empty(), settings.methods.clone()),
    )
}

/// A host of the settings as [`path::read_host`] gives that of a request, so that two spellings of an IPv6 address meet.
fn comparable_host(host: &str) -> Box<str> {
    path::read_host(host.as_bytes()).map_or_else(|_| host.into(), |host| host.as_ref().into())
}

#[cfg(test)]
mod tests;

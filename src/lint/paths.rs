//! Routes that get in each other's way.
//!
//! Host and path choose first, then the method, and a chosen path never falls through to another. So a pattern does not get
//! requests for the path of a more specific route, whatever their method; and where a host has routes of its own, one of them
//! that matches comes before every route for any host. Each suspicion is turned into a request, and the table is asked.

use std::collections::BTreeMap;

use super::{Found, Kind, target};
use crate::config::{Route, Segment};
use crate::decision::{NotAllowed, Policy, fold};

/// Stands for a parameter in a request made up.
const FILLER: &[u8] = b"x";

/// A host that no route names (RFC 6761 §6.4).
const NO_HOST: &str = "lint.invalid";

/// Methods to try where a route takes any.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The most examples in one message.
const EXAMPLES: usize = 3;

/// Routes that miss requests which they seem to take.
pub(super) fn shadowed(policy: &Policy, found: &mut Found<'_>) {
    let routes = &policy.settings.routes;
    let patterns: Vec<&Route> = routes.iter().filter(|route| is_pattern(route)).collect();
    for (at, route) in routes.iter().enumerate() {
        // Two plain paths are the same or have nothing in common.
        let examples = |others: &mut dyn Iterator<Item = &Route>| -> Vec<String> {
            others.filter_map(|other| missed(policy, route, other)).collect()
        };
        let mut examples = if is_pattern(route) {
            examples(&mut routes.iter())
        } else {
            examples(&mut patterns.iter().copied())
        };
        if examples.is_empty() {
            continue;
        }
        let more = match examples.len().checked_sub(EXAMPLES) {
            None | Some(0) => String::new(),
            Some(more) => format!(", and {more} more"),
        };
        examples.truncate(EXAMPLES);
        found.add_at_route(
            at,
            Kind::Shadowed,
            &format!(
                "route `{}` does not get {}{more}",
                route.name,
                examples.join(", ")
            ),
            "if those requests should pass, write a route for them",
        );
    }
}

/// A request that `route` would take were `other` not there, and what becomes of it.
fn missed(policy: &Policy, route: &Route, other: &Route) -> Option<String> {
    if route.name == other.name || is_same_path(route.path.segments(), other.path.segments()) {
        return None;
    }
    let host = match (&route.host, &other.host) {
        (Some(own), Some(others)) if own != others => return None,
        (Some(own), _) => own,
        (None, Some(others)) => others,
        (None, None) => NO_HOST,
    };
    let path = common_path(route.path.segments(), other.path.segments())?;
    let takes = |route: &Route, method: &str| {
        route.methods.is_empty() || route.methods.iter().any(|taken| &**taken == method)
    };
    let usual = METHODS.iter().copied().filter(|_| route.methods.is_empty());
    let methods: Vec<&str> = route
        .methods
        .iter()
        .map(|method| &**method)
        .chain(usual)
        .collect();
    let shown = String::from_utf8_lossy(&path).into_owned();
    let is_of_other = |method: &str| {
        let chosen = policy.routes().choose(host, &path, method.as_bytes());
        chosen.is_ok_and(|chosen| chosen.settings.name == other.name)
    };
    for method in methods {
        match policy.routes().choose(host, &path, method.as_bytes()) {
            // Refused, since the path is the other route's.
            Err(NotAllowed::Method) if !takes(other, method) && is_of_other(&other.methods[0]) => {
                return Some(format!(
                    "{method} {shown}, whose path is that of route `{}` ({})",
                    other.name,
                    other.methods.join(" ")
                ));
            }
            // A broader path of a host stands before a narrower one of any host.
            Ok(chosen)
                if chosen.settings.name == other.name
                    && other.host.is_some()
                    && route.host.is_none()
                    && is_narrower(route.path.segments(), other.path.segments()) =>
            {
                return Some(format!(
                    "{method} {host}{shown}, which route `{}` of that host takes",
                    other.name
                ));
            }
            _ => {}
        }
    }
    None
}

fn is_pattern(route: &Route) -> bool {
    let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
    !route.path.segments().iter().all(is_literal)
}

/// Whether two patterns match the same paths.
fn is_same_path(one: &[Segment], other: &[Segment]) -> bool {
    let is_same = |(one, other): (&Segment, &Segment)| match (one, other) {
        (Segment::Literal(one), Segment::Literal(other)) => one == other,
        (Segment::One(_), Segment::One(_)) | (Segment::Rest(_), Segment::Rest(_)) => true,
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Whether the one would be chosen before the other if both were of one host: the kinds of their segments say so.
fn is_narrower(one: &[Segment], other: &[Segment]) -> bool {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::One(_) => 1,
        Segment::Rest(_) => 2,
    };
    let ranks = |segments: &[Segment]| segments.iter().map(rank).collect::<Vec<_>>();
    ranks(one) < ranks(other)
}

/// A path that both patterns match.
fn common_path(one: &[Segment], other: &[Segment]) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    let (mut one, mut other) = (one, other);
    loop {
        let (left, right) = match (one, other) {
            ([], []) => return Some(path),
            ([left, ..], [right, ..]) => (left, right),
            _ => return None,
        };
        path.push(b'/');
        match (left, right) {
            (Segment::Rest(_), _) => return fill(path, other),
            (_, Segment::Rest(_)) => return fill(path, one),
            (Segment::Literal(left), Segment::Literal(right)) => {
                if left != right {
                    return None;
                }
                path.extend_from_slice(left.as_bytes());
            }
            (Segment::Literal(literal), Segment::One(_)) | (Segment::One(_), Segment::Literal(literal)) => {
                // A parameter is never empty.
                if literal.is_empty() {
                    return None;
                }
                path.extend_from_slice(literal.as_bytes());
            }
            (Segment::One(_), Segment::One(_)) => path.extend_from_slice(FILLER),
        }
        (one, other) = (&one[1..], &other[1..]);
    }
}

/// The path with the segments that are left, as the rest of the other pattern; that is never empty.
fn fill(mut path: Vec<u8>, left: &[Segment]) -> Option<Vec<u8>> {
    let begin = path.len();
    for (place, segment) in left.iter().enumerate() {
        if place > 0 {
            path.push(b'/');
        }
        match segment {
            Segment::Literal(literal) => path.extend_from_slice(literal.as_bytes()),
            Segment::One(_) | Segment::Rest(_) => path.extend_from_slice(FILLER),
        }
    }
    (path.len() > begin).then_some(path)
}

/// Paths that are one to an upstream which ignores ASCII case or a final slash, or decodes every escape.
pub(super) fn twins(routes: &[Route], found: &mut Found<'_>) {
    let mut first: BTreeMap<(Option<&str>, Vec<u8>), &Route> = BTreeMap::new();
    for (at, route) in routes.iter().enumerate() {
        let key = (route.host.as_deref(), folded(route.path.segments()));
        let known = *first.entry(key).or_insert(route);
        if is_same_path(known.path.segments(), route.path.segments()) {
            continue;
        }
        let (needs, advice) = if known.access == route.access {
            ("ask for the same", "keep them so, or keep one of the two")
        } else {
            (
                "do not ask for the same",
                "let both ask for the same, or keep one of the two: then the other spelling is refused",
            )
        };
        found.add_at_route(
            at,
            Kind::PathTwins,
            &format!(
                "many upstreams take `{}` for `{}` of route `{}`, and the two routes {needs}",
                target(route),
                target(known),
                known.name
            ),
            advice,
        );
    }
}

/// A pattern as a lenient upstream reads it.
fn folded(segments: &[Segment]) -> Vec<u8> {
    let mut text = Vec::new();
    for segment in segments {
        text.push(b'/');
        match segment {
            Segment::Literal(literal) => text.extend(fold(literal.as_bytes())),
            // No literal has a brace.
            Segment::One(_) => text.extend_from_slice(b"{}"),
            Segment::Rest(_) => text.extend_from_slice(b"{*}"),
        }
    }
    if text.last() == Some(&b'/') {
        text.pop();
    }
    text
}

//! Any bytes as a request target: what is accepted reads the same to every upstream, however much that decodes and repairs.
#![cfg_attr(fuzzing, no_main)]

use latchkey::decision::{Denial, Next, Policy, Reading, read};

#[cfg(fuzzing)]
#[path = "support.rs"]
mod support;
#[cfg(not(fuzzing))]
use super::support;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input.
pub(crate) fn run(target: &[u8]) {
    support::with_policy(|policy| {
        let Some(chosen) = route_of(policy, target) else {
            return;
        };
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        assert_eq!(path.first(), Some(&b'/'));
        let plain = support::decoded(path, false);
        assert!(
            !plain.iter().any(|byte| byte.is_ascii_control()),
            "a control character"
        );
        assert!(
            !plain.contains(&b'\\') && !plain.contains(&b';'),
            "a backslash or parameter"
        );
        assert_eq!(slashes(&plain), slashes(path), "an encoded slash");
        assert_eq!(support::decoded(&plain, false), plain, "encoded twice");
        assert!(!plain.windows(2).any(|pair| pair == b"//"), "an empty segment");
        let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
        assert!(!plain.split(|&byte| byte == b'/').any(is_dots), "a dot segment");

        // Upstreams that decode, ignore case, or ignore a final slash: none of them may end at another route than the one that was
        // judged, unless they would be refused there.
        let lower: Vec<u8> = plain.to_ascii_lowercase();
        let without_slash = |path: &[u8]| match path {
            [b'/'] => path.to_vec(),
            path => path.strip_suffix(b"/").unwrap_or(path).to_vec(),
        };
        for read_as in [
            plain.clone(),
            lower.clone(),
            without_slash(&plain),
            without_slash(&lower),
        ] {
            if let Some(Some(other)) = route_of(policy, &read_as)
                && let Some(chosen) = &chosen
            {
                assert_eq!(*chosen, other, "{:?}", String::from_utf8_lossy(&read_as));
            }
        }
    });
}

fn slashes(path: &[u8]) -> usize {
    path.iter().filter(|&&byte| byte == b'/').count()
}

/// The name of the route of a `POST`; `None` for a target that is refused, `Some(None)` where there is no route.
fn route_of(policy: &Policy, target: &[u8]) -> Option<Option<Box<str>>> {
    let request = support::Request {
        method: b"POST",
        target,
        headers: Vec::new(),
    };
    let Reading { next, .. } = read(policy, &request);
    match next {
        Next::Decided { decision, .. } if decision.reason() == Denial::InvalidPath.reason() => None,
        Next::Decided { route, .. } => Some(route.map(|route| route.settings.name.clone())),
        Next::Unverified { route, .. } => Some(route.ok().map(|route| route.settings.name.clone())),
        Next::Verify(candidate) => Some(candidate.route().map(|route| route.settings.name.clone())),
    }
}

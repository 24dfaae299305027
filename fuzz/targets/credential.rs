//! Any target and headers: a key is verified only where exactly one is presented, and none is left in what the upstream gets.
//!
//! The first line is the target, each further one a header.
#![cfg_attr(fuzzing, no_main)]

use latchkey::decision::{Next, Reading, read};

#[cfg(fuzzing)]
#[path = "support.rs"]
mod support;
#[cfg(not(fuzzing))]
use super::support;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input.
pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let headers: Vec<(&[u8], &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let request = support::Request {
        method: b"POST",
        target,
        headers,
    };
    support::with_policy(|policy| {
        let Reading { facts, next } = read(policy, &request);
        if let Next::Verify(candidate) = next {
            let key = candidate.key();
            assert!((1..=256).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!key.contains(','));
            assert_eq!(presented(&request), 1, "one key is verified");
            if let Some(new_target) = &facts.new_target {
                assert!(!pairs(new_target).any(is_key), "a key is left in the target");
                let kept: Vec<&[u8]> = pairs(target).filter(|pair| !is_key(pair)).collect();
                let left: Vec<&[u8]> = pairs(new_target).collect();
                assert_eq!(left, kept, "the rest keeps its bytes and order");
            } else {
                assert!(!pairs(target).any(is_key), "a key is left in the target");
            }
            for (name, value) in &request.headers {
                let is_left = is_place(name, value) && !facts.remove.contains(name);
                assert!(!is_left, "a key is left in a header");
            }
        }
    });
}

/// Places that hold something that a backend could take for a key.
fn presented(request: &support::Request<'_>) -> usize {
    let headers = request.headers.iter();
    let in_headers = headers.filter(|(name, value)| is_place(name, value)).count();
    in_headers + pairs(request.target).filter(|pair| is_key(pair)).count()
}

/// Envoy gives names in lower case; what others would send is one header all the same.
fn is_place(name: &[u8], value: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-api-key")
        || (name.eq_ignore_ascii_case(b"authorization") && is_bearer(value))
}

fn is_bearer(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let after = value.get(6..).and_then(<[u8]>::first);
    value
        .get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
        && after.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(byte))
}

fn pairs(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query = target
        .iter()
        .position(|&byte| byte == b'?')
        .map(|at| &target[at + 1..]);
    query
        .into_iter()
        .flat_map(|query| query.split(|byte| matches!(byte, b'&' | b';')))
}

fn is_key(pair: &[u8]) -> bool {
    let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
    support::decoded(name, true) == b"api_key"
}

//! Until when an answer is of use.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

/// Kept for the way back of an answer.
const MARGIN: Duration = Duration::from_millis(20);

/// The soonest of: our own limit, the caller's `grpc-timeout`, and the time that Envoy says it gives the call. Of the last two
/// 20 ms are kept for the way back, but no more than half. What cannot be read counts as absent.
pub(super) fn deadline(arrival: Instant, own: Duration, metadata: &HeaderMap) -> Instant {
    let text = |name: HeaderName| metadata.get(name).and_then(|value| value.to_str().ok());
    let grpc_timeout = text(HeaderName::from_static("grpc-timeout")).and_then(parse_grpc_timeout);
    let expected = text(HeaderName::from_static("x-envoy-expected-rq-timeout-ms")).and_then(parse_expected);
    let given = [grpc_timeout, expected].into_iter().flatten().map(less_margin);
    arrival + given.fold(own, Duration::min)
}

fn less_margin(given: Duration) -> Duration {
    given - MARGIN.min(given / 2)
}

/// `grpc-timeout`: at most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>).
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if digits.len() > 8 {
        return None;
    }
    let number = parse_digits(digits)?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Milliseconds. Envoy leaves the header away when a call has no timeout, and never sends 0.
fn parse_expected(text: &str) -> Option<Duration> {
    parse_digits(text)
        .filter(|milliseconds| *milliseconds > 0)
        .map(Duration::from_millis)
}

fn parse_digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(pairs: &[(&'static str, &str)]) -> Duration {
        let mut metadata = HeaderMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().unwrap());
        }
        let arrival = Instant::now();
        deadline(arrival, Duration::from_millis(400), &metadata) - arrival
    }

    #[test]
    fn the_soonest_deadline_wins() {
        const GRPC: &str = "grpc-timeout";
        const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";
        for (pairs, milliseconds) in [
            (&[][..], 400),
            (&[(GRPC, "1S")], 400),
            (&[(GRPC, "200m")], 180),
            (&[(GRPC, "200000u")], 180),
            (&[(ENVOY, "500")], 400),
            (&[(ENVOY, "100")], 80),
            (&[(ENVOY, "10")], 5),
            (&[(ENVOY, "0")], 400),
            (&[(ENVOY, "100"), (GRPC, "50m")], 30),
            (&[(ENVOY, "60"), (GRPC, "90m")], 40),
            (&[(ENVOY, "99999999999999999999"), (GRPC, "999999999m")], 400),
            (&[(ENVOY, "+100"), (GRPC, "-1S")], 400),
            (&[(ENVOY, ""), (GRPC, "")], 400),
            (&[(GRPC, "m")], 400),
            (&[(GRPC, "99999999H")], 400),
        ] {
            assert_eq!(given(pairs), Duration::from_millis(milliseconds), "{pairs:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_last_longer(grpc in "\\PC{0,12}", envoy in "[0-9]{0,22}") {
            let timeouts = [parse_grpc_timeout(&grpc), parse_expected(&envoy)];
            for timeout in timeouts.into_iter().flatten() {
                prop_assert!(less_margin(timeout) <= timeout);
            }
        }
    }
}

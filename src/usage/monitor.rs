//! Says of each request that it was made, and warns of slow and failed ones.
//!
//! Messages and names of fields are those that the guide's handlers log, so that alerts on them go on working: `AI usage`,
//! `Slow AI response`, `AI request failed`.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use serde::Serialize;
use tracing::{error, info, warn};

use super::event::Event;

/// From which duration on a request is slow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlowAfter {
    /// On a route that does not say.
    pub usual: Duration,
    /// On those that do, by name.
    pub routes: BTreeMap<Box<str>, Duration>,
}

impl SlowAfter {
    fn of(&self, route: &str) -> Duration {
        self.routes.get(route).copied().unwrap_or(self.usual)
    }
}

/// Watches events go by.
#[derive(Debug)]
pub struct Monitor {
    slow_after: ArcSwap<SlowAfter>,
    to_stdout: bool,
}

/// What is to be said of an event beside that it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alarm {
    /// The threshold that it was over.
    slow: Option<Duration>,
    failed: bool,
}

impl Monitor {
    /// With `to_stdout`, each event is also written to standard output as a line of JSON.
    pub fn new(slow_after: SlowAfter, to_stdout: bool) -> Self {
        Self {
            slow_after: ArcSwap::from_pointee(slow_after),
            to_stdout,
        }
    }

    /// Takes new thresholds, after a reload.
    pub fn set_slow_after(&self, slow_after: SlowAfter) {
        self.slow_after.store(slow_after.into());
    }

    fn alarm(&self, event: &Event) -> Alarm {
        let threshold = self.slow_after.load().of(&event.route);
        Alarm {
            slow: (event.duration() > threshold).then_some(threshold),
            failed: event.failed(),
        }
    }

    /// Logs the event, and writes it out if that is asked for.
    pub(super) fn see(&self, event: &Event) {
        let alarm = self.alarm(event);
        let duration = event.duration().as_millis();
        let duration = u64::try_from(duration).unwrap_or(u64::MAX);
        if let Some(threshold) = alarm.slow {
            warn!(
                organization = event.organization(),
                endpoint = &*event.path,
                duration,
                threshold = u64::try_from(threshold.as_millis()).unwrap_or(u64::MAX),
                decision.id = event.id.as_str(),
                "Slow AI response"
            );
        }
        if alarm.failed {
            error!(
                organization = event.organization(),
                endpoint = &*event.path,
                duration,
                status = event.status,
                response_flags = &*event.flags,
                reason = &*event.reason,
                decision.id = event.id.as_str(),
                "AI request failed"
            );
        }
        info!(
            api_key = &*event.key_id,
            organization = event.organization(),
            endpoint = &*event.path,
            input_length = event.input_length(),
            response_length = event.response_length(),
            timestamp = %rfc3339(event.at_ms),
            route = &*event.route,
            status = event.status,
            outcome = &*event.outcome,
            reason = &*event.reason,
            duration,
            decision.id = event.id.as_str(),
            "AI usage"
        );
        if self.to_stdout {
            #[derive(Serialize)]
            struct Line<'e> {
                #[serde(flatten)]
                event: &'e Event,
                failed: bool,
                slow: bool,
            }
            let line = Line {
                event,
                failed: alarm.failed,
                slow: alarm.slow.is_some(),
            };
            // Nobody may be reading any more; the store has it all the same.
            if let Ok(line) = serde_json::to_string(&line) {
                let _ =
                    std::io::Write::write_all(&mut std::io::stdout().lock(), format!("{line}\n").as_bytes());
            }
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(at_ms: u64) -> impl std::fmt::Display {
    // humantime prints years of four digits, and panics beyond.
    const YEAR_9999_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms.min(YEAR_9999_MS)))
}

#[cfg(test)]
mod tests {
    use super::super::event::testing::event;
    use super::*;

    #[test]
    fn slow_is_what_is_over_the_threshold_of_its_route() {
        let monitor = Monitor::new(
            SlowAfter {
                usual: Duration::from_secs(5),
                routes: BTreeMap::from([("workflow".into(), Duration::from_secs(60))]),
            },
            false,
        );
        for (route, ms, slow) in [
            ("chat", 5_000, None),
            ("chat", 5_001, Some(5)),
            ("workflow", 59_000, None),
            ("workflow", 61_000, Some(60)),
        ] {
            let event = Event {
                route: route.into(),
                duration_us: ms * 1000,
                ..event(1)
            };
            let slow = slow.map(Duration::from_secs);
            assert_eq!(monitor.alarm(&event).slow, slow, "{route} {ms}");
        }
    }
}

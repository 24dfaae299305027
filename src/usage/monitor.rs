//! Says of each request that it was made, and warns of slow and failed ones.
//!
//! Messages and names of fields are those that the guide's handlers log, so that alerts on them go on working: `AI usage`,
//! `Slow AI response`, `AI request failed`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::event::Event;
use crate::config::{Route, Settings};

/// From which duration on a request is slow.
#[derive(Debug, Default)]
struct SlowAfter {
    /// On a route that does not say.
    usual: Duration,
    /// On those that do, by name.
    routes: HashMap<Box<str>, Duration>,
}

impl SlowAfter {
    fn new(settings: &Settings) -> Self {
        let own = |route: &Route| Some((route.name.clone(), route.slow_after?));
        Self {
            usual: settings.usage.slow_after,
            routes: settings.routes.iter().filter_map(own).collect(),
        }
    }

    fn of(&self, route: &str) -> Duration {
        self.routes.get(route).copied().unwrap_or(self.usual)
    }
}

/// Watches events go by.
#[derive(Debug)]
pub struct Monitor {
    settings: watch::Receiver<Arc<Settings>>,
    slow_after: SlowAfter,
}

/// What is to be said of an event beside that it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Alarm {
    /// The threshold that it was over.
    slow: Option<Duration>,
    failed: bool,
}

impl Monitor {
    /// Goes by the settings in force, also after a reload.
    pub fn new(mut settings: watch::Receiver<Arc<Settings>>) -> Self {
        let slow_after = SlowAfter::new(&settings.borrow_and_update());
        Self { settings, slow_after }
    }

    fn alarm(&mut self, event: &Event) -> Alarm {
        // An error means that the sender is gone: a server that ends.
        if self.settings.has_changed().unwrap_or(false) {
            self.slow_after = SlowAfter::new(&self.settings.borrow_and_update());
        }
        let threshold = self.slow_after.of(&event.route);
        Alarm {
            slow: (event.duration() > threshold).then_some(threshold),
            failed: event.failed(),
        }
    }

    /// Logs the event, and writes it out if that is asked for.
    pub(super) fn see(&mut self, event: &Event) {
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
        if self.settings.borrow().usage.stdout {
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

    fn settings(usual: u64, workflow: Option<u64>) -> Arc<Settings> {
        let mut settings = crate::config::load(None, &std::collections::BTreeMap::new())
            .unwrap()
            .settings;
        settings.usage.slow_after = Duration::from_secs(usual);
        for route in &mut settings.routes {
            if &*route.name == "workflow" {
                route.slow_after = workflow.map(Duration::from_secs);
            }
        }
        Arc::new(settings)
    }

    #[test]
    fn slow_is_what_is_over_the_threshold_of_its_route_also_after_a_reload() {
        let (in_force, receiver) = watch::channel(settings(5, Some(60)));
        let mut monitor = Monitor::new(receiver);
        let mut slow = |route: &str, ms: u64| {
            let event = Event {
                route: route.into(),
                duration_us: ms * 1000,
                ..event(1)
            };
            monitor.alarm(&event).slow.map(|threshold| threshold.as_secs())
        };
        assert_eq!(slow("chat", 5_000), None);
        assert_eq!(slow("chat", 5_001), Some(5));
        assert_eq!(slow("workflow", 59_000), None);
        assert_eq!(slow("workflow", 61_000), Some(60));
        in_force.send_replace(settings(1, None));
        assert_eq!(slow("workflow", 1_001), Some(1));
    }
}

//! Any text as a configuration: it is refused with a reason, or it becomes a policy.
//!
//! What follows a zero byte are lines of the environment.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeMap;
use std::sync::Arc;

use latchkey::config;
use latchkey::decision::Policy;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (text, environment) = text.split_once('\0').unwrap_or((text, ""));
    let environment: BTreeMap<String, String> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("LATCHKEY__{name}"), value.to_owned()))
        .collect();
    match config::load_text("fuzz.yaml", Some(text), &environment) {
        Ok(loaded) => {
            let settings = Arc::new(loaded.settings);
            let version = settings.policy_version();
            assert!(settings.needing_restart(&settings).is_empty());
            let policy = Policy::compile(Arc::clone(&settings));
            assert_eq!(policy.routes().iter().count(), settings.routes.len());
            assert_eq!(policy.settings.policy_version(), version);
        }
        Err(error) => {
            assert!(!error.mistakes.is_empty(), "refused without a reason");
            for mistake in &error.mistakes {
                assert!(!mistake.is_empty() && !mistake.contains('\n'), "{mistake:?}");
                let has_place = mistake.starts_with("fuzz.yaml:") || mistake.starts_with("LATCHKEY__");
                assert!(has_place || mistake.starts_with("default.yaml:"), "{mistake:?}");
            }
        }
    }
}

//! What a reload may change: which settings are policy, which are applied beside it, and which need a restart.
//!
//! [`Settings`] is taken apart field by field here, so that a new setting does not compile before it was decided for.

use std::fmt::{self, Write as _};

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::settings::{CacheSettings, KeySettings, Listen, Settings, StoreUrl, Telemetry};

/// Hexadecimal digits of a version; enough to tell the versions of years apart.
const DIGITS: usize = 12;

/// A short hash of all that a decision depends on. The same on every replica with the same policy; comments, the order of names
/// and settings of the process itself (listeners, stores, logs) do not count, and no secret goes into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyVersion(Box<str>);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    /// The version of the policy that these settings make.
    pub fn policy_version(&self) -> PolicyVersion {
        let Self {
            listen: _,
            store: _,
            redis: _,
            drain: _,
            apis,
            client_address,
            check_deadline,
            strip_headers,
            credentials,
            keys: _,
            routes,
            rate_limits,
            guards,
            tenant_headers,
            management: _,
            usage: _,
            telemetry: _,
        } = self;
        let mut hash = Hashed(Sha256::new());
        // The debug form holds every field, and maps in order.
        let hashed = write!(
            hash,
            "{:?}",
            (
                (apis, client_address, check_deadline, strip_headers, credentials),
                (routes, rate_limits, guards, tenant_headers),
            )
        );
        hashed.expect("a hash takes whatever is written to it");
        let mut version = String::with_capacity(DIGITS);
        for byte in &hash.0.finalize()[..DIGITS / 2] {
            let _ = write!(version, "{byte:02x}"); // a string takes everything as well
        }
        PolicyVersion(version.into())
    }

    /// The settings that differ from those that the process was started with, and that only a restart applies.
    pub fn needing_restart(&self, started: &Self) -> Vec<&'static str> {
        let Self {
            listen,
            store,
            redis,
            drain: _,
            apis: _,
            client_address: _,
            check_deadline: _,
            strip_headers: _,
            credentials: _,
            keys,
            routes: _,
            rate_limits: _,
            guards: _,
            tenant_headers: _,
            management,
            usage,
            telemetry,
        } = self;
        let Listen {
            grpc,
            http,
            ops,
            grpc_tls,
            http_tls,
            allow_plaintext,
        } = listen;
        let KeySettings {
            source,
            prefix,
            max_in_flight,
            remote,
            cache,
        } = keys;
        let CacheSettings {
            ttl: _,
            negative_ttl: _,
            stale_if_error: _,
            refresh_ahead: _,
            max_keys,
            max_unknown_keys,
        } = cache;
        let Telemetry {
            log_format,
            log_level: _,
            otlp_endpoint,
        } = telemetry;
        let redis_url = |settings: &Self| settings.redis.as_ref().map(|url| url.expose_secret().to_owned());
        [
            ("listen.grpc", *grpc != started.listen.grpc),
            ("listen.http", *http != started.listen.http),
            ("listen.ops", *ops != started.listen.ops),
            ("listen.grpc_tls", *grpc_tls != started.listen.grpc_tls),
            ("listen.http_tls", *http_tls != started.listen.http_tls),
            (
                "listen.allow_plaintext",
                *allow_plaintext != started.listen.allow_plaintext,
            ),
            ("store", !is_same_store(store, &started.store)),
            (
                "redis",
                redis.is_some() != started.redis.is_some() || redis_url(self) != redis_url(started),
            ),
            ("keys.source", *source != started.keys.source),
            ("keys.prefix", *prefix != started.keys.prefix),
            ("keys.max_in_flight", *max_in_flight != started.keys.max_in_flight),
            ("keys.remote", *remote != started.keys.remote),
            ("keys.cache.max_keys", *max_keys != started.keys.cache.max_keys),
            (
                "keys.cache.max_unknown_keys",
                *max_unknown_keys != started.keys.cache.max_unknown_keys,
            ),
            ("management", *management != started.management),
            ("usage", *usage != started.usage),
            (
                "telemetry.log.format",
                *log_format != started.telemetry.log_format,
            ),
            (
                "telemetry.otlp_endpoint",
                *otlp_endpoint != started.telemetry.otlp_endpoint,
            ),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// Whether two settings have the same of what is neither policy nor needs a restart.
    pub fn has_same_pace(&self, other: &Self) -> bool {
        let times = |settings: &Self| CacheSettings {
            max_keys: self.keys.cache.max_keys,
            max_unknown_keys: self.keys.cache.max_unknown_keys,
            ..settings.keys.cache
        };
        self.drain == other.drain
            && times(self) == times(other)
            && self.telemetry.log_level == other.telemetry.log_level
    }
}

fn is_same_store(one: &StoreUrl, other: &StoreUrl) -> bool {
    match (one, other) {
        (StoreUrl::Sqlite(one), StoreUrl::Sqlite(other)) => one == other,
        (StoreUrl::Postgres(one), StoreUrl::Postgres(other)) => one.expose_secret() == other.expose_secret(),
        (StoreUrl::Sqlite(_), StoreUrl::Postgres(_)) | (StoreUrl::Postgres(_), StoreUrl::Sqlite(_)) => false,
    }
}

struct Hashed(Sha256);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use super::*;

    const BASE: &str = "\
listen: {ops: '127.0.0.1:1'}
apis: [{id: ai, name: AI, audience: a, scopes: [read:x]}]
routes: [{name: a, path: /a, api: ai, scopes: [read:x], rate_limit: l}]
rate_limits: {l: {limit: 1, window: 1m, per: key}}
";

    fn settings(text: &str) -> Settings {
        match load_text("test.yaml", Some(text), &Default::default()) {
            Ok(loaded) => loaded.settings,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_setting_is_policy_or_pace_or_needs_a_restart() {
        for (from, to, is_policy, keeps_pace, restart) in [
            ("routes:", "# a comment\nroutes:", false, true, &[][..]),
            ("window: 1m", "window: 60s", false, true, &[]),
            ("limit: 1,", "limit: 2,", true, true, &[]),
            ("path: /a", "path: /b", true, true, &[]),
            ("name: AI", "name: ai", true, true, &[]),
            ("apis:", "check_deadline: 1s\napis:", true, true, &[]),
            ("apis:", "strip_headers: [x-other]\napis:", true, true, &[]),
            (
                "apis:",
                "credentials: [{header: x-other}]\napis:",
                true,
                true,
                &[],
            ),
            ("apis:", "tenant_headers: {key_id: x-key}\napis:", true, true, &[]),
            ("apis:", "client_address: envoy\napis:", true, true, &[]),
            ("apis:", "drain: {settle: 1s}\napis:", false, false, &[]),
            ("apis:", "keys: {cache: {ttl: 1s}}\napis:", false, false, &[]),
            (
                "apis:",
                "telemetry: {log: {level: warn}}\napis:",
                false,
                false,
                &[],
            ),
            (
                "apis:",
                "keys: {cache: {max_keys: 5}}\napis:",
                false,
                true,
                &["keys.cache.max_keys"],
            ),
            (
                "apis:",
                "store: sqlite://other.db\napis:",
                false,
                true,
                &["store"],
            ),
            (
                "apis:",
                "store: postgres://u:p@h/d\napis:",
                false,
                true,
                &["store"],
            ),
            ("apis:", "redis: redis://:p@h\napis:", false, true, &["redis"]),
            ("127.0.0.1:1", "127.0.0.1:2", false, true, &["listen.ops"]),
            (
                "apis:",
                "keys: {prefix: other}\napis:",
                false,
                true,
                &["keys.prefix"],
            ),
            ("apis:", "usage: {slow_after: 1s}\napis:", false, true, &["usage"]),
            (
                "apis:",
                "telemetry: {log: {format: text}}\napis:",
                false,
                true,
                &["telemetry.log.format"],
            ),
        ] {
            let (before, after) = (settings(BASE), settings(&BASE.replacen(from, to, 1)));
            assert_eq!(
                before.policy_version() != after.policy_version(),
                is_policy,
                "{to}"
            );
            assert_eq!(before.has_same_pace(&after), keeps_pace, "{to}");
            assert_eq!(after.needing_restart(&before), restart, "{to}");
        }
    }

    #[test]
    fn another_password_is_another_store() {
        let [one, other] = ["one", "other"].map(|password| {
            settings(&format!(
                "store: postgres://u:{password}@h/d\nredis: redis://:{password}@h\n{BASE}"
            ))
        });
        assert_eq!(other.needing_restart(&one), ["store", "redis"]);
        assert_eq!(other.policy_version(), one.policy_version());
    }

    #[test]
    fn a_version_is_short_and_the_same_each_time() {
        let version = settings(BASE).policy_version().to_string();
        assert_eq!(version.len(), DIGITS);
        assert!(version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
        assert_eq!(version, settings(BASE).policy_version().to_string());
    }
}

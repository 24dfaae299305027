//! What is configured and not served by this version, or not safe everywhere, one line each.
//!
//! Only what the user wrote is told, so that a plain start is quiet.

use super::load::Notice;
use super::settings::{ListenAddress, Settings, StoreUrl};
use super::tree::{Node, Value};

/// Settings that this version does not serve. The one place that says so: the start, `config check`, the JSON Schema and
/// `docs/configuration.md` tell it from here. Once something is served, its entry goes.
const UNSERVED: [&Unserved; 2] = [&POSTGRES, &REDIS];

/// A setting that is read and checked, and does nothing.
struct Unserved {
    /// Its names; the first that is given is the one to blame.
    settings: &'static [&'static str],
    /// Whether `serve` must refuse to start.
    stops_start: bool,
    text: &'static str,
}

const POSTGRES: Unserved = Unserved {
    settings: &["store_file", "store"],
    stops_start: true,
    text: "PostgreSQL as a store is not served by this version; use sqlite://",
};
const REDIS: Unserved = Unserved {
    settings: &["redis_file", "redis"],
    stops_start: true,
    text: "redis is not served by this version: rate limits would not be shared between replicas",
};
/// What the reference says of a setting that is not served.
pub(super) fn remark(path: &str) -> Option<&'static str> {
    UNSERVED
        .iter()
        .find(|unserved| unserved.settings.contains(&path))
        .map(|unserved| unserved.text)
}

pub(super) fn of(settings: &Settings, tree: &Node, defaults: &Node, file: &str) -> Vec<Notice> {
    let mut notices = Notices {
        tree,
        defaults,
        file,
        list: Vec::new(),
    };
    let listen = &settings.listen;
    if let ListenAddress::Tcp(address) = listen.http
        && !address.ip().is_loopback()
        && listen.http_tls.is_none()
        && !listen.allow_plaintext
    {
        let text = "http listens off loopback without TLS: management tokens and new keys travel there; give http_tls";
        notices.add(&["listen", "http"], false, text);
    }
    if matches!(settings.store, StoreUrl::Postgres(_)) {
        notices.add_unserved(&POSTGRES);
    }
    if settings.redis.is_some() {
        notices.add_unserved(&REDIS);
    }
    notices.list
}

struct Notices<'t> {
    tree: &'t Node,
    defaults: &'t Node,
    file: &'t str,
    list: Vec<Notice>,
}

impl Notices<'_> {
    /// Tells of a setting that the user wrote and that is not what the defaults say.
    fn add(&mut self, path: &[&str], stops_start: bool, text: &str) -> bool {
        let Some(node) = self.tree.at(path).filter(|node| node.place.is_of_user()) else {
            return false;
        };
        if matches!(node.value, Value::Null) || is_same(node, self.defaults.at(path)) {
            return false;
        }
        self.push(node, stops_start, text);
        true
    }

    /// The same for what is not served, at the first of its names that is given.
    fn add_unserved(&mut self, unserved: &Unserved) {
        for setting in unserved.settings {
            let path: Vec<&str> = setting.split('.').collect();
            if self.add(&path, unserved.stops_start, unserved.text) {
                return;
            }
        }
    }

    fn push(&mut self, node: &Node, stops_start: bool, text: &str) {
        self.list.push(Notice {
            text: format!("{}: {text}", node.place.in_file(self.file)),
            stops_start,
        });
    }
}

/// Whether two scalars were written alike.
fn is_same(node: &Node, default: Option<&Node>) -> bool {
    let scalar = |node: &Node| match &node.value {
        Value::Text(text) | Value::Untyped(text) => Some(text.clone()),
        _ => None,
    };
    default.is_some_and(|default| scalar(node).is_some() && scalar(node) == scalar(default))
}

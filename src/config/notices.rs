//! What is configured and not served by this version, or not safe everywhere, one line each.
//!
//! Only what the user wrote is told, so that a plain start is quiet.

use super::load::Notice;
use super::settings::{ListenAddress, Settings, StoreUrl};
use super::tree::{Node, Value};

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
        let text = "PostgreSQL as a store is not served by this version; use sqlite://";
        notices.add_first(&[&["store_file"], &["store"]], true, text);
    }
    if settings.redis.is_some() {
        let text = "redis is not served by this version: rate limits would not be shared between replicas";
        notices.add_first(&[&["redis_file"], &["redis"]], true, text);
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

    /// The same for a setting with more than one name.
    fn add_first(&mut self, paths: &[&[&str]], stops_start: bool, text: &str) {
        for path in paths {
            if self.add(path, stops_start, text) {
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

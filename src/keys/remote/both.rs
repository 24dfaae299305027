//! The store for keys of our own, the verify endpoint for all others.
//!
//! What a key begins with decides, before anything is looked at: one of ours, even a broken one, never leaves this server, and a
//! foreign one never touches the store.

use std::time::Duration;

use super::super::secret::ApiKey;
use super::super::source::{KeySource, Verifying};

/// Asks one of two sources.
#[derive(Debug)]
pub struct StoreThenRemote<S, R> {
    store: S,
    remote: R,
    /// With its underscore.
    prefix: Box<str>,
}

impl<S, R> StoreThenRemote<S, R> {
    /// `store` for keys that begin with `prefix` and an underscore, `remote` for all others.
    pub fn new(store: S, remote: R, prefix: &str) -> Self {
        Self {
            store,
            remote,
            prefix: format!("{prefix}_").into(),
        }
    }
}

impl<S: KeySource, R: KeySource> StoreThenRemote<S, R> {
    fn source_of(&self, presented: &[u8]) -> &dyn KeySource {
        if presented.starts_with(self.prefix.as_bytes()) {
            &self.store
        } else {
            &self.remote
        }
    }
}

impl<S: KeySource, R: KeySource> KeySource for StoreThenRemote<S, R> {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        self.source_of(key.expose().as_bytes()).verify(key)
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        self.source_of(presented).can_know(presented)
    }

    fn limit(&self) -> Duration {
        self.store.limit().max(self.remote.limit())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Remembers what it was asked.
    #[derive(Default)]
    struct Asked(Mutex<Vec<String>>);

    impl KeySource for Asked {
        fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
            self.0.lock().unwrap().push(key.expose().to_owned());
            Box::pin(async { Ok(None) })
        }

        fn can_know(&self, presented: &[u8]) -> bool {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(presented).into_owned());
            true
        }
    }

    #[tokio::test]
    async fn a_key_of_ours_stays_here_and_a_foreign_one_never_touches_the_store() {
        let both = StoreThenRemote::new(Asked::default(), Asked::default(), "lk");
        let ours = ["lk_", "lk_abc", "lk_live_x"];
        let foreign = ["lk", "k_live_x", "LK_abc", "xlk_abc", "lkx_abc"];
        for text in [&ours[..], &foreign[..]].concat() {
            assert!(both.can_know(text.as_bytes()));
            both.verify(&ApiKey::presented(text).unwrap()).await.unwrap();
        }
        let twice = |texts: &[&str]| -> Vec<String> {
            texts
                .iter()
                .flat_map(|text| [(*text).to_owned(), (*text).to_owned()])
                .collect()
        };
        assert_eq!(*both.store.0.lock().unwrap(), twice(&ours));
        assert_eq!(*both.remote.0.lock().unwrap(), twice(&foreign));
    }
}

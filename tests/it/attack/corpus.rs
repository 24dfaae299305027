//! The rows of `targets.yaml` and `tricks.yaml`.

use serde::Deserialize;

use crate::support::in_repository;

/// A request target.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    target: String,
    pub(super) description: String,
}

/// What is done to the request beside its target.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Trick {
    pub(super) description: String,
    lines: Vec<String>,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "api_host")]
    host: Option<String>,
    body: Option<String>,
    #[serde(default)]
    trailers: Vec<String>,
    absolute: Option<String>,
    #[serde(default)]
    pseudo: Vec<String>,
    #[serde(default)]
    pub(super) raw: bool,
    #[serde(default)]
    pub(super) as_is: bool,
}

fn get() -> String {
    "GET".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn api_host() -> Option<String> {
    Some("api.example.com".to_owned())
}

/// The bytes that a text of the corpus stands for: each character that of its number.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |char: char| u8::try_from(u32::from(char)).expect("the corpus has no character above U+00FF");
    text.chars().map(byte).collect()
}

impl Target {
    pub(super) fn bytes(&self) -> Vec<u8> {
        bytes(&self.target)
    }
}

/// How a request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Trick {
    /// No trick at all.
    pub(super) fn none() -> Self {
        Self {
            description: "as it is".to_owned(),
            lines: Vec::new(),
            method: get(),
            host: api_host(),
            body: None,
            trailers: Vec::new(),
            absolute: None,
            pseudo: Vec::new(),
            raw: false,
            as_is: false,
        }
    }

    pub(super) fn is_for(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Http1 => self.pseudo.is_empty(),
            Protocol::Http2 => self.absolute.is_none() && !self.raw,
        }
    }

    pub(super) fn method(&self) -> Vec<u8> {
        bytes(&self.method)
    }

    pub(super) fn host(&self) -> Option<Vec<u8>> {
        self.host.as_deref().map(bytes)
    }

    pub(super) fn body(&self) -> Option<Vec<u8>> {
        self.body.as_deref().map(bytes)
    }

    pub(super) fn absolute(&self) -> Vec<u8> {
        self.absolute.as_deref().map(bytes).unwrap_or_default()
    }

    pub(super) fn lines(&self) -> Vec<Vec<u8>> {
        self.lines.iter().map(|line| bytes(line)).collect()
    }

    pub(super) fn trailers(&self) -> Vec<Vec<u8>> {
        self.trailers.iter().map(|line| bytes(line)).collect()
    }

    pub(super) fn pseudo(&self) -> Vec<Vec<u8>> {
        self.pseudo.iter().map(|line| bytes(line)).collect()
    }
}

pub(super) fn targets() -> Vec<Target> {
    rows("targets.yaml")
}

/// The tricks, that of doing nothing first.
pub(super) fn tricks() -> Vec<Trick> {
    let read: Vec<Trick> = rows("tricks.yaml");
    std::iter::once(Trick::none()).chain(read).collect()
}

fn rows<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    let path = in_repository("tests/it/attack").join(file);
    let text = std::fs::read_to_string(path).expect("the corpus is in the repository");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_corpus_is_large_and_every_row_says_what_it_is() {
    let (targets, tricks) = (targets(), tricks());
    assert!(targets.len() >= 200 && tricks.len() > 60);
    let described = targets.iter().map(|target| &target.description);
    assert!(
        described
            .chain(tricks.iter().map(|trick| &trick.description))
            .all(|text| text.len() > 2)
    );
}

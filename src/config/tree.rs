//! What the user wrote: YAML as a tree in which every value knows its place.
//!
//! The settings are read from this tree rather than deserialized, since a deserializer stops at the first mistake and
//! loses the place of a value that may be written in several ways.

use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter, Spanned};

/// Where a value was written. Sorted, the mistakes of a file come first, from top to bottom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// In a file, counted from 1.
    File { line: u64, column: u64 },
    /// In an environment variable.
    Variable(Rc<str>),
    /// In the embedded defaults.
    Defaults { line: u64, column: u64 },
}

impl Place {
    /// Whether the user wrote it.
    pub(crate) fn is_of_user(&self) -> bool {
        !matches!(self, Self::Defaults { .. })
    }

    /// The place with the name of its file.
    pub(crate) fn in_file<'p>(&'p self, file: &'p str) -> impl fmt::Display + 'p {
        struct InFile<'p>(&'p Place, &'p str);
        impl fmt::Display for InFile<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Place::File { line, column } => write!(f, "{}:{line}:{column}", self.1),
                    Place::Variable(name) => f.write_str(name),
                    Place::Defaults { line, column } => write!(f, "default.yaml:{line}:{column}"),
                }
            }
        }
        InFile(self, file)
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A name in a map, its place, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// A value of YAML's core schema.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// A scalar of the environment, where nothing tells `5` from `"5"`: it is whatever the setting asks for.
    Untyped(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) | Self::Untyped(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// The value of a field, if this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| &entry.node)
    }

    /// The value under these names, one below the other.
    pub(crate) fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Gives every value below the place that `place` says.
    pub(crate) fn relocate(&mut self, place: &impl Fn(&Place) -> Place) {
        self.place = place(&self.place);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.relocate(place)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.place = place(&entry.place);
                    entry.node.relocate(place);
                }
            }
            _ => {}
        }
    }
}

/// Why a text is no YAML, and where.
pub(crate) struct InvalidYaml {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Reads one YAML document. Duplicate keys are refused; what aliases may expand to, depth and size are bounded.
pub(crate) fn parse(text: &str) -> Result<Node, InvalidYaml> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 100_000, max_aliases: 1_000, max_anchors: 100 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000 },
        // `no` and `off` are texts, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
        .map(Node::from)
        .map_err(|error| {
            let place = error
                .location()
                .map_or(Place::File { line: 1, column: 1 }, place_of);
            let message = serde_saphyr::DefaultMessageFormatter
                .format_message(&error)
                .into_owned();
            InvalidYaml {
                place,
                message: message.replace('\n', " "),
            }
        })
}

fn place_of(location: Location) -> Place {
    Place::File {
        line: location.line().max(1),
        column: location.column().max(1),
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        // `defined`: through an alias, the text to repair is where the anchor is.
        Self {
            place: place_of(spanned.defined),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        i128::try_from(value)
            .map(Value::Integer)
            .map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((key, value)) = fields.next_entry::<Spanned<String>, Spanned<Value>>()? {
            if entries.iter().any(|entry| entry.name == key.value) {
                return Err(A::Error::custom(format_args!(
                    "duplicate mapping key {:?}",
                    key.value
                )));
            }
            entries.push(Entry {
                name: key.value,
                place: place_of(key.defined),
                node: value.into(),
            });
        }
        Ok(Value::Map(entries))
    }
}

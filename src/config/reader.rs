//! Reads values from the tree and collects every mistake on the way.
//!
//! A function that reads gives `None` for what is wrong or missing, and the mistake is then noted here; so a reader of a
//! section reads all of its fields first and only then gives up.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::tree::{Entry, Node, Place, Value};

/// Most mistakes that are kept; a file with more is not a settings file.
const MAX_MISTAKES: usize = 200;

/// Every mistake found so far.
#[derive(Default)]
pub(crate) struct Reader {
    mistakes: Vec<(Place, String)>,
    left_out: usize,
    /// The maps that were read: the names that were in each, and those that could have been.
    #[cfg(test)]
    pub(crate) maps: Vec<(Vec<String>, Vec<String>)>,
}

/// A map that is being read field by field.
pub(crate) struct Fields<'t> {
    what: &'t str,
    place: &'t Place,
    entries: BTreeMap<&'t str, &'t Entry>,
}

impl<'t> Fields<'t> {
    /// The value of a field; `null` is as good as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'t Node> {
        let entry = self.entries.get(name)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// Where the map begins.
    pub(crate) fn place(&self) -> &'t Place {
        self.place
    }

    /// The value of a field that has to be there.
    pub(crate) fn require(&self, reader: &mut Reader, name: &str) -> Option<&'t Node> {
        let node = self.get(name);
        if node.is_none() {
            reader.mistake(self.place, format!("missing field `{name}` in {}", self.what));
        }
        node
    }
}

impl Reader {
    /// Notes a mistake.
    pub(crate) fn mistake(&mut self, place: &Place, message: impl Into<String>) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push((place.clone(), message.into()));
        } else {
            self.left_out += 1;
        }
    }

    /// Whether there is none so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// One line a mistake, in the order of the file.
    pub(crate) fn into_lines(mut self, file: &str) -> Vec<String> {
        self.mistakes.sort();
        // One mistake can be met twice, through an alias.
        self.mistakes.dedup();
        let mut lines: Vec<String> = self
            .mistakes
            .iter()
            .map(|(place, message)| format!("{}: {message}", place.in_file(file)))
            .collect();
        if self.left_out > 0 {
            lines.push(format!("{file}: {} more mistakes", self.left_out));
        }
        lines
    }

    fn wrong_kind<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.mistake(
            &node.place,
            format!("expected {expected}, found {}", node.value.kind()),
        );
        None
    }

    /// A map with these fields and no others.
    pub(crate) fn fields<'t>(&mut self, node: &'t Node, what: &'t str, known: &[&str]) -> Option<Fields<'t>> {
        let Value::Map(entries) = &node.value else {
            return self.wrong_kind(node, &format!("a map for {what}"));
        };
        for entry in entries {
            if !known.contains(&entry.name.as_str()) {
                let hint = did_you_mean(&entry.name, known.iter().copied());
                self.mistake(
                    &entry.place,
                    format!("unknown field {} in {what}{hint}", ticked(&entry.name)),
                );
            }
        }
        #[cfg(test)]
        self.maps.push((
            entries.iter().map(|entry| entry.name.clone()).collect(),
            known.iter().map(|name| (*name).to_owned()).collect(),
        ));
        let entries = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        Some(Fields {
            what,
            place: &node.place,
            entries,
        })
    }

    /// A map whose names are the user's own.
    pub(crate) fn named<'t>(&mut self, node: &'t Node, what: &str, most: usize) -> Option<&'t [Entry]> {
        let Value::Map(entries) = &node.value else {
            return self.wrong_kind(node, &format!("a map of {what}"));
        };
        self.at_most(node, entries.len(), most, what)?;
        Some(entries)
    }

    /// A list of at most `most`.
    pub(crate) fn list<'t>(&mut self, node: &'t Node, what: &str, most: usize) -> Option<&'t [Node]> {
        let Value::List(items) = &node.value else {
            return self.wrong_kind(node, &format!("a list of {what}"));
        };
        self.at_most(node, items.len(), most, what)?;
        Some(items)
    }

    fn at_most(&mut self, node: &Node, found: usize, most: usize, what: &str) -> Option<()> {
        if found > most {
            self.mistake(
                &node.place,
                format!("{found} {what}; at most {most} are possible"),
            );
            return None;
        }
        Some(())
    }

    /// A text as it was written. A number or a boolean is none: what was written may not be what YAML made of it.
    pub(crate) fn text<'t>(&mut self, node: &'t Node) -> Option<&'t str> {
        match &node.value {
            Value::Text(text) | Value::Untyped(text) => Some(text),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                self.mistake(
                    &node.place,
                    format!("expected a text, found {}; put it in quotes", node.value.kind()),
                );
                None
            }
            _ => self.wrong_kind(node, "a text"),
        }
    }

    /// A text for people: of `length` characters, none of them a control character.
    pub(crate) fn printable(
        &mut self,
        node: &Node,
        what: &str,
        length: RangeInclusive<usize>,
    ) -> Option<Box<str>> {
        let text = self.text(node)?;
        if !length.contains(&text.chars().count()) || text.chars().any(char::is_control) {
            let (least, most) = (length.start(), length.end());
            self.mistake(
                &node.place,
                format!("{what} has {least} to {most} characters and no control characters"),
            );
            return None;
        }
        Some(text.into())
    }

    /// The name of something: `[A-Za-z0-9._-]{1,64}`.
    pub(crate) fn name(&mut self, node: &Node, what: &str) -> Option<Box<str>> {
        let text = self.text(node)?;
        if self.is_name(text, &node.place, what) {
            Some(text.into())
        } else {
            None
        }
    }

    /// Whether a text is a name; notes a mistake when it is not.
    pub(crate) fn is_name(&mut self, text: &str, place: &Place, what: &str) -> bool {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=64).contains(&text.len()) && text.bytes().all(good);
        if !is_name {
            self.mistake(
                place,
                format!(
                    "{what} is 1 to 64 letters, digits, `.`, `_` or `-`, found {}",
                    quoted(text)
                ),
            );
        }
        is_name
    }

    /// A text that a type of ours can read.
    pub(crate) fn parsed<T: FromStr>(&mut self, node: &Node) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(node)?;
        text.parse()
            .inspect_err(|error: &T::Err| {
                self.mistake(&node.place, format!("{error}, found {}", quoted(text)))
            })
            .ok()
    }

    /// The path of a file, relative to the working directory.
    pub(crate) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node)?;
        if text.is_empty() || text.contains('\0') {
            self.mistake(&node.place, "expected the path of a file");
            return None;
        }
        Some(text.into())
    }

    /// A whole number within bounds.
    pub(crate) fn whole(&mut self, node: &Node, bounds: RangeInclusive<u32>) -> Option<u32> {
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        let (least, most) = (bounds.start(), bounds.end());
        let Some(number) = number else {
            return self.wrong_kind(node, &format!("a whole number from {least} to {most}"));
        };
        match u32::try_from(number)
            .ok()
            .filter(|number| bounds.contains(number))
        {
            Some(number) => Some(number),
            None => {
                self.mistake(
                    &node.place,
                    format!("expected a whole number from {least} to {most}, found {number}"),
                );
                None
            }
        }
    }

    /// A number, of which the caller checks the bounds.
    pub(crate) fn number(&mut self, node: &Node) -> Option<f64> {
        match &node.value {
            Value::Float(number) => Some(*number),
            // Far below 2^53 where it matters; larger ones are out of every bound.
            Value::Integer(number) => {
                i32::try_from(*number).map_or(Some(f64::MAX), |number| Some(number.into()))
            }
            Value::Untyped(text) if text.parse::<f64>().is_ok() => text.parse().ok(),
            _ => self.wrong_kind(node, "a number"),
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Untyped(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Untyped(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.wrong_kind(node, "true or false"),
        }
    }

    /// A duration such as `15m` or `400ms`, within bounds.
    pub(crate) fn duration(&mut self, node: &Node, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        const EXAMPLE: &str = "a duration with its unit, such as 400ms, 15m or 90d";
        let (Value::Text(text) | Value::Untyped(text)) = &node.value else {
            return self.wrong_kind(node, EXAMPLE);
        };
        let Ok(duration) = humantime::parse_duration(text) else {
            self.mistake(&node.place, format!("expected {EXAMPLE}, found {}", quoted(text)));
            return None;
        };
        if !bounds.contains(&duration) {
            let [least, most] =
                [bounds.start(), bounds.end()].map(|bound| humantime::format_duration(*bound));
            self.mistake(
                &node.place,
                format!(
                    "expected a duration from {least} to {most}, found {}",
                    quoted(text)
                ),
            );
            return None;
        }
        Some(duration)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, meaning)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let words = choices.iter().map(|(word, _)| *word);
        let hint = did_you_mean(text, words.clone());
        let words = words.collect::<Vec<_>>().join(", ");
        self.mistake(
            &node.place,
            format!("expected one of {words}, found {}{hint}", quoted(text)),
        );
        None
    }
}

/// What a caller wrote, for a message: quoted, escaped, and not too long.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The name of a field for a message.
fn ticked(name: &str) -> String {
    let text = quoted(name);
    format!("`{}`", text.trim_matches('"'))
}

/// `; did you mean "…"?` if a known name is near enough, else nothing.
pub(crate) fn did_you_mean<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    // `strsim` takes time by the product of the lengths.
    if written.len() > 100 {
        return String::new();
    }
    let lower = written.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5 && *distance < name.len())
        .min()
        .map(|(_, name)| format!("; did you mean {}?", quoted(name)))
        .unwrap_or_default()
}

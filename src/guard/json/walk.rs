//! One pass over a JSON body.

use std::borrow::Cow;

use super::super::report::Unscanned;
use super::text::Text;

/// The deepest nesting that is followed.
pub(in crate::guard) const MAX_DEPTH: usize = 128;

/// Is told what a body has, in the order in which it stands there.
pub(in crate::guard) trait Visitor<'t> {
    /// An array or object begins; the bracket stands at `at`.
    fn enter(&mut self, step: Step<'_>, is_array: bool, at: usize);
    /// The innermost array or object ends.
    fn leave(&mut self);
    /// Another value.
    fn scalar(&mut self, step: Step<'_>, scalar: Scalar<'t>);
}

/// Where in the innermost array or object a value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::guard) enum Step<'s> {
    /// It is the body itself.
    Root,
    /// The value of this key.
    Key(&'s str),
    /// The element with this number.
    Element(usize),
}

/// A value without values of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::guard) enum Scalar<'t> {
    Text(Text<'t>),
    /// A number, as written.
    Number(&'t str),
    /// `true`, `false` or `null`.
    Literal,
}

/// Reads the whole of `body` and tells the visitor. What it was told before an error is of no use.
///
/// # Errors
///
/// When the body is not strictly JSON, has a duplicate key or a lone surrogate, or is nested deeper than [`MAX_DEPTH`].
pub(in crate::guard) fn walk<'t>(body: &'t str, visitor: &mut impl Visitor<'t>) -> Result<(), Unscanned> {
    let mut walker = Walker {
        body,
        at: 0,
        frames: Vec::new(),
        keys: Vec::new(),
    };
    loop {
        if walker.value(visitor)? && walker.after_value(visitor)? {
            return Ok(());
        }
    }
}

struct Walker<'t> {
    body: &'t str,
    at: usize,
    frames: Vec<Frame>,
    /// The keys of all objects that are open, the innermost one's last.
    keys: Vec<Cow<'t, str>>,
}

#[derive(Clone, Copy)]
enum Frame {
    /// The number of the element under way.
    Array(usize),
    /// Where its keys begin in `keys`.
    Object(usize),
}

impl<'t> Walker<'t> {
    /// Reads a value, or the beginning of one. Returns whether it is complete.
    fn value(&mut self, visitor: &mut impl Visitor<'t>) -> Result<bool, Unscanned> {
        let begin = self.peek().ok_or(Unscanned::InvalidJson)?;
        if matches!(begin, b'{' | b'[') {
            return self.open(begin, visitor);
        }
        let scalar = match begin {
            b'"' => {
                let text = Text::read(self.body, self.at + 1)?;
                self.at = text.at + text.raw.len() + 1;
                Scalar::Text(text)
            }
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => self.number()?,
        };
        visitor.scalar(self.step(), scalar);
        Ok(true)
    }

    fn open(&mut self, bracket: u8, visitor: &mut impl Visitor<'t>) -> Result<bool, Unscanned> {
        if self.frames.len() == MAX_DEPTH {
            return Err(Unscanned::TooDeep);
        }
        let is_array = bracket == b'[';
        visitor.enter(self.step(), is_array, self.at);
        self.at += 1;
        let closing = if is_array { b']' } else { b'}' };
        if self.peek() == Some(closing) {
            self.at += 1;
            visitor.leave();
            return Ok(true);
        }
        if is_array {
            self.frames.push(Frame::Array(0));
        } else {
            self.frames.push(Frame::Object(self.keys.len()));
            self.key()?;
        }
        Ok(false)
    }

    /// Behind a complete value: on to the next one, closing what ends. Returns whether the body is complete.
    fn after_value(&mut self, visitor: &mut impl Visitor<'t>) -> Result<bool, Unscanned> {
        loop {
            let next = self.peek();
            let Some(frame) = self.frames.last_mut() else {
                return if next.is_none() {
                    Ok(true)
                } else {
                    Err(Unscanned::InvalidJson)
                };
            };
            self.at += 1;
            match (frame, next) {
                (Frame::Array(element), Some(b',')) => {
                    *element += 1;
                    return Ok(false);
                }
                (Frame::Object(_), Some(b',')) => {
                    self.key()?;
                    return Ok(false);
                }
                (Frame::Array(_), Some(b']')) => {}
                (&mut Frame::Object(keys), Some(b'}')) => {
                    if has_duplicates(&mut self.keys[keys..]) {
                        return Err(Unscanned::DuplicateKey);
                    }
                    self.keys.truncate(keys);
                }
                _ => return Err(Unscanned::InvalidJson),
            }
            self.frames.pop();
            visitor.leave();
        }
    }

    fn key(&mut self) -> Result<(), Unscanned> {
        if self.peek() != Some(b'"') {
            return Err(Unscanned::InvalidJson);
        }
        let key = Text::read(self.body, self.at + 1)?;
        self.at = key.at + key.raw.len() + 1;
        if self.peek() != Some(b':') {
            return Err(Unscanned::InvalidJson);
        }
        self.at += 1;
        self.keys.push(key.decode());
        Ok(())
    }

    fn step(&self) -> Step<'_> {
        match self.frames.last() {
            None => Step::Root,
            Some(&Frame::Array(element)) => Step::Element(element),
            Some(Frame::Object(_)) => Step::Key(self.keys.last().map_or("", |key| key)),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.body.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn literal(&mut self, word: &str) -> Result<Scalar<'t>, Unscanned> {
        let is_it = self.body.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_it.then_some(Scalar::Literal).ok_or(Unscanned::InvalidJson)
    }

    fn number(&mut self) -> Result<Scalar<'t>, Unscanned> {
        let bytes = &self.body.as_bytes()[self.at..];
        let length = number(bytes).ok_or(Unscanned::InvalidJson)?;
        let written = &self.body[self.at..self.at + length];
        self.at += length;
        Ok(Scalar::Number(written))
    }
}

/// Length of the number that `bytes` begins with.
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let some_digits = |from: usize| Some(digits(from)).filter(|&count| count > 0);
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match bytes.get(at) {
        Some(b'0') => 1,
        _ => some_digits(at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at += 1 + some_digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at += some_digits(at)?;
    }
    Some(at)
}

fn has_duplicates(keys: &mut [Cow<'_, str>]) -> bool {
    if keys.len() <= 8 {
        let mut pairs = keys.iter().enumerate();
        return pairs.any(|(index, key)| keys[..index].contains(key));
    }
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

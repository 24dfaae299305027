//! Removes matches in one pass.

use std::borrow::Cow;

use memchr::memchr2;

use super::super::report::{Matches, Rule};
use super::chars::{Class, class};
use super::machine::{Found, State};
use super::{Sanitized, prefilter};
use crate::config::Handlers;

pub(super) fn sanitize(handlers: Handlers, text: &str) -> Sanitized<'_> {
    if !prefilter::may_match(handlers, text) {
        return unchanged(text);
    }
    let mut writer = Writer::new(handlers, text);
    writer.run();
    if writer.matches.is_empty() {
        return unchanged(text);
    }
    Sanitized {
        text: Cow::Owned(writer.output),
        matches: writer.matches,
    }
}

fn unchanged(text: &str) -> Sanitized<'_> {
    Sanitized {
        text: Cow::Borrowed(text),
        matches: Matches::default(),
    }
}

/// Writes what stays. Its state is at any time what the automata would come to by reading the output alone, which is why
/// nothing matches in the output in the end.
struct Writer<'t> {
    handlers: Handlers,
    text: &'t str,
    at: usize,
    output: String,
    /// State behind the output.
    state: State,
    /// States before: from this length of the output on, until the length of the next one. An idle state is `None`.
    history: Vec<(u32, Option<State>)>,
    /// No `</script` is to be found from here on.
    no_end_from: Option<usize>,
    matches: Matches,
}

impl<'t> Writer<'t> {
    fn new(handlers: Handlers, text: &'t str) -> Self {
        Self {
            handlers,
            text,
            at: 0,
            output: String::with_capacity(text.len()),
            state: State::START,
            history: vec![(0, None)],
            no_end_from: None,
            matches: Matches::default(),
        }
    }

    fn run(&mut self) {
        loop {
            while let Some(char) = self.text[self.at..].chars().next() {
                self.read(char);
            }
            // Not before the end is known what the end itself completes; what that uncovers may be complete as well.
            match self.state.finish() {
                Some(found) => self.remove(found),
                None => return,
            }
        }
    }

    fn read(&mut self, char: char) {
        if self.state.is_idle() {
            let rest = &self.text[self.at..];
            let idle = &rest[..self.state.idle_run(self.handlers, rest)];
            if !idle.is_empty() {
                self.state = State::idle_behind(idle);
                self.at += idle.len();
                self.output.push_str(idle);
                return;
            }
        }
        let found = self.state.step(self.handlers, class(char), length(&self.output));
        match found {
            None => {
                self.at += char.len_utf8();
                self.output.push(char);
                self.remember();
            }
            Some(found) => {
                if found.inclusive {
                    self.at += char.len_utf8();
                }
                self.remove(found);
            }
        }
    }

    fn remember(&mut self) {
        let state = (!self.state.is_idle()).then_some(self.state);
        if self.history.last().map(|&(_, last)| last) != Some(state) {
            self.history.push((length(&self.output), state));
        }
    }

    fn remove(&mut self, found: Found) {
        self.matches.add(found.rule);
        self.output.truncate(found.from as usize);
        while self.history.last().is_some_and(|&(from, _)| from > found.from) {
            self.history.pop();
        }
        let last = self.output.chars().next_back().map(class);
        self.state = match self.history.last() {
            Some(&(_, Some(state))) => state,
            _ => State::idle_after(last),
        };
        if found.rule == Rule::Script {
            self.skip_script();
        }
    }

    /// Behind `<script`: skips to the end of the element; if it has none, to the end of the tag; if it has none, nothing.
    fn skip_script(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let is_endless = self.no_end_from.is_some_and(|from| self.at >= from);
        if !is_endless && let Some(end) = script_end(rest) {
            self.at += end;
            return;
        }
        self.no_end_from.get_or_insert(self.at);
        self.at += tag_end(rest).unwrap_or(0);
    }
}

/// Length up to and with `>`. It looks no further than the next tag, so that no byte is looked at for two tags.
fn tag_end(text: &[u8]) -> Option<usize> {
    let end = memchr2(b'<', b'>', text)?;
    (text[end] == b'>').then_some(end + 1)
}

/// Length of `…</script …>`. A browser ends a script at `</script` and white space, `/` or `>`.
fn script_end(text: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"</script";
    for start in memchr::memchr_iter(b'<', text) {
        let tag = &text[start..];
        let (name, behind) = tag.split_at_checked(NAME.len())?;
        let is_end = behind
            .first()
            .is_none_or(|&byte| matches!(class(char::from(byte)), Class::Space | Class::Ascii(b'/' | b'>')));
        if name.eq_ignore_ascii_case(NAME) && is_end {
            return Some(start + NAME.len() + tag_end(behind).unwrap_or(0));
        }
    }
    None
}

/// Lengths are counted in 32 bits: a text is a part of a body, which is bounded far below that.
fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

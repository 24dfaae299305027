//! What is taken for harmful in a text: scripts, `javascript:` and event handlers.
//!
//! The rules are small automata that read a text once, character by character ([`machine`]). [`Rules::sanitize`] removes
//! a match where it ends and sets the automata back to what they were where it began, so that what a removal brings
//! together (`<scr<script></script>ipt>`) is found by the same single pass: each character is written once and removed at
//! most once. Nothing matches in what it returns, and so doing it twice is doing it once.
//!
//! Few texts come that far: [`prefilter`] tells of nearly all of them, many bytes at a time, that nothing can match.

mod chars;
mod handlers;
mod machine;
mod prefilter;
mod sanitize;
#[cfg(test)]
mod tests;
mod url;

use std::borrow::Cow;

pub(super) use self::chars::is_ignored;
pub(super) use self::machine::Machine;
use super::report::Matches;
use crate::config::Handlers;

/// The rules for text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    handlers: Handlers,
}

/// A text from which every match was removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sanitized<'t> {
    /// What is left; borrowed if nothing matched.
    pub text: Cow<'t, str>,
    /// What was removed.
    pub matches: Matches,
}

impl Rules {
    /// Rules that take `handlers` for event handlers.
    pub fn new(handlers: Handlers) -> Self {
        Self { handlers }
    }

    /// Removes every match, until nothing matches. Linear time.
    pub fn sanitize<'t>(&self, text: &'t str) -> Sanitized<'t> {
        sanitize::sanitize(self.handlers, text)
    }

    /// Finds what matches, and changes nothing. Linear time.
    pub fn validate(&self, text: &str) -> Matches {
        let mut matches = Matches::default();
        if !prefilter::may_match(self.handlers, text) {
            return matches;
        }
        let mut machine = Machine::new(self.handlers);
        machine.push(text, &mut matches);
        machine.finish(&mut matches);
        matches
    }

    /// Automata for a text that comes in pieces.
    pub(super) fn machine(&self) -> Machine {
        Machine::new(self.handlers)
    }
}

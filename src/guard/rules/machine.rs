//! The three automata, side by side, over a text that comes in one or many pieces.

use super::super::report::{Matches, Rule};
use super::chars::{Class, class};
use super::{handlers, url};
use crate::config::Handlers;

const SCRIPT: &[u8; 7] = b"<script";

/// What the automata remember. Equal states go on equally.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// How many characters of `<script` were read.
    script: u8,
    url: url::State,
    handler: handlers::State,
    script_from: u32,
    url_from: u32,
    reference_from: u32,
    handler_from: u32,
}

/// What a byte does to an idle state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// A script, a URL or a character reference may begin with it.
    Begins,
    /// A handler may begin with it, if it begins a word.
    O,
    /// It is a part of a word.
    Word,
    /// Nothing.
    Other,
}

const ROLES: [Role; 256] = {
    let mut roles = [Role::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        roles[byte] = match byte as u8 {
            b'<' | b'&' | b'j' | b'J' => Role::Begins,
            b'o' | b'O' => Role::O,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Role::Word,
            _ => Role::Other,
        };
        byte += 1;
    }
    roles
};

/// The end of a match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) rule: Rule,
    /// Where it began.
    pub(super) from: u32,
    /// Whether the character just read is a part of it. If not, that character has yet to be read.
    pub(super) inclusive: bool,
}

impl State {
    pub(super) const START: Self = Self {
        script: 0,
        url: url::State::START,
        handler: handlers::State::Between,
        script_from: 0,
        url_from: 0,
        reference_from: 0,
        handler_from: 0,
    };

    /// Reads the character that stands at `at`. After a match the state is of no more use for the rule that matched.
    #[inline]
    pub(super) fn step(&mut self, handlers: Handlers, class: Class, at: u32) -> Option<Found> {
        if usize::from(self.script) == SCRIPT.len() && !matches!(class, Class::Word(_)) {
            return Some(self.found_script());
        }
        self.script = match class {
            Class::Ascii(b'<') => {
                self.script_from = at;
                1
            }
            Class::Ignored => self.script,
            Class::Word(byte) | Class::Folded(byte)
                if self.script > 0 && SCRIPT.get(usize::from(self.script)) == Some(&byte) =>
            {
                self.script + 1
            }
            Class::Word(_) | Class::Folded(_) | Class::Space | Class::Ascii(_) | Class::Other => 0,
        };
        if let Some(found) = self.step_url(class, at) {
            return Some(found);
        }
        match handlers::step(handlers, self.handler, class) {
            handlers::Step::To(state) => self.handler = state,
            handlers::Step::Begin(state) => {
                self.handler = state;
                self.handler_from = at;
            }
            handlers::Step::Match => {
                self.handler = handlers::State::Between;
                return Some(self.found(Rule::EventHandler, self.handler_from, true));
            }
        }
        None
    }

    /// The text ends here.
    pub(super) fn finish(&mut self) -> Option<Found> {
        if usize::from(self.script) == SCRIPT.len() {
            return Some(self.found_script());
        }
        let found = self.url.finish();
        found.then(|| self.found(Rule::JavascriptUrl, self.url_from, false))
    }

    /// Whether no match is under way, so that only the last character decides how it goes on.
    pub(super) fn is_idle(&self) -> bool {
        self.script == 0
            && self.url.is_idle()
            && matches!(self.handler, handlers::State::Between | handlers::State::Dead)
    }

    /// An idle state behind a character of this class.
    pub(super) fn idle_after(class: Option<Class>) -> Self {
        let handler = match class {
            Some(Class::Word(_) | Class::Folded(_)) => handlers::State::Dead,
            _ => handlers::State::Between,
        };
        Self {
            handler,
            ..Self::START
        }
    }

    /// How many bytes of `text` leave an idle state idle, at least: what begins a match is looked for with a table, and the
    /// automata need not see the rest.
    pub(super) fn idle_run(&self, handlers: Handlers, text: &str) -> usize {
        let mut is_in_word = self.handler == handlers::State::Dead && handlers == Handlers::Known;
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            match ROLES[usize::from(byte)] {
                Role::Word => is_in_word = handlers == Handlers::Known,
                Role::O if is_in_word => {}
                Role::Other => is_in_word = false,
                Role::O | Role::Begins => return at,
            }
        }
        text.len()
    }

    /// The idle state behind `text`, if an idle state stays idle throughout.
    pub(super) fn idle_behind(text: &str) -> Self {
        Self::idle_after(text.chars().next_back().map(class))
    }

    fn step_url(&mut self, class: Class, at: u32) -> Option<Found> {
        let step = self.url.step(class);
        match step {
            url::Step::Go => {}
            url::Step::Begin => self.url_from = at,
            url::Step::BeginReference => self.url_from = self.reference_from,
            url::Step::Match => {
                self.handler = handlers::State::Between;
                return Some(self.found(Rule::JavascriptUrl, self.url_from, true));
            }
            url::Step::MatchBefore => return Some(self.found(Rule::JavascriptUrl, self.url_from, false)),
        }
        if class == Class::Ascii(b'&') && self.url.opens_reference() {
            self.reference_from = at;
        }
        None
    }

    fn found_script(&mut self) -> Found {
        self.script = 0;
        self.found(Rule::Script, self.script_from, false)
    }

    fn found(&self, rule: Rule, from: u32, inclusive: bool) -> Found {
        Found {
            rule,
            from,
            inclusive,
        }
    }
}

/// Finds matches in a text that comes in pieces; where it was cut makes no difference.
#[derive(Clone, Debug)]
pub(in crate::guard) struct Machine {
    handlers: Handlers,
    state: State,
}

impl Machine {
    pub(super) fn new(handlers: Handlers) -> Self {
        Self {
            handlers,
            state: State::START,
        }
    }

    /// Reads a piece.
    pub(in crate::guard) fn push(&mut self, text: &str, matches: &mut Matches) {
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            if self.state.is_idle() {
                let (idle, more) = rest.split_at(self.state.idle_run(self.handlers, rest));
                if !idle.is_empty() {
                    self.state = State::idle_behind(idle);
                    rest = more;
                    continue;
                }
            }
            rest = &rest[char.len_utf8()..];
            let class = class(char);
            // A match before this character leaves it to be read again. Only the script's and a number's can be such.
            while let Some(found) = self.state.step(self.handlers, class, 0) {
                matches.add(found.rule);
                if found.inclusive {
                    break;
                }
            }
        }
    }

    /// The text ends here.
    pub(in crate::guard) fn finish(&mut self, matches: &mut Matches) {
        while let Some(found) = self.state.finish() {
            matches.add(found.rule);
        }
    }
}

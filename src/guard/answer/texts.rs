//! The texts of an answer, against the rules.

use std::collections::BTreeMap;

use super::super::json::{Fields, Text, walk};
use super::super::report::{Matches, Report, Rule, Scanned, Unscanned};
use super::super::rules::{Machine, Rules};
use super::pieces::Pieces;
use super::tokens::Tokens;

/// How many texts of one answer are followed at once. Choices and tool calls of real answers are a few.
const MAX_THREADS: usize = 256;

/// All texts of an answer, as far as it came.
#[derive(Debug)]
pub(in crate::guard) struct Texts {
    rules: Rules,
    threads: BTreeMap<String, Thread>,
    matches: Matches,
    /// Length of the longest text, in characters.
    longest: usize,
    tokens: Tokens,
    unscanned: Option<Unscanned>,
}

/// A text that comes in pieces.
#[derive(Debug)]
struct Thread {
    machine: Machine,
    chars: usize,
}

impl Texts {
    pub(in crate::guard) fn new(rules: Rules) -> Self {
        Self {
            rules,
            threads: BTreeMap::new(),
            matches: Matches::default(),
            longest: 0,
            tokens: Tokens::default(),
            unscanned: None,
        }
    }

    /// Scans a JSON body that is an event of an answer: others may continue its texts.
    ///
    /// # Errors
    ///
    /// When it is not strictly JSON, has none of the fields, or too many texts are under way.
    pub(in crate::guard) fn event(&mut self, body: &str, fields: &Fields) -> Result<(), Unscanned> {
        for (text, thread) in self.pieces(body, fields)? {
            match thread {
                Some(thread) => self.piece(thread, &text.decode())?,
                None => self.alone(&text.decode()),
            }
        }
        Ok(())
    }

    /// Scans a JSON body that is all of an answer. A text that comes in one piece stands alone, which is faster.
    ///
    /// # Errors
    ///
    /// As [`Self::event`].
    pub(in crate::guard) fn whole(&mut self, body: &str, fields: &Fields) -> Result<(), Unscanned> {
        let pieces = self.pieces(body, fields)?;
        let mut counts = BTreeMap::<String, usize>::new();
        for thread in pieces.iter().filter_map(|(_, thread)| thread.as_ref()) {
            *counts.entry(thread.clone()).or_default() += 1;
        }
        for (text, thread) in pieces {
            match thread {
                Some(thread) if counts.get(&thread).is_some_and(|&count| count > 1) => {
                    self.piece(thread, &text.decode())?;
                }
                _ => self.alone(&text.decode()),
            }
        }
        Ok(())
    }

    /// The texts of a JSON body, each with the name of the thread that it may continue.
    fn pieces<'t>(
        &mut self,
        body: &'t str,
        fields: &Fields,
    ) -> Result<Vec<(Text<'t>, Option<String>)>, Unscanned> {
        let mut pieces = Pieces::new(fields, &mut self.tokens);
        walk(body, &mut pieces)?;
        if !pieces.is_found() {
            return Err(Unscanned::NoField);
        }
        Ok(pieces.into_pieces().collect())
    }

    /// Scans a text that stands alone.
    pub(in crate::guard) fn alone(&mut self, text: &str) {
        self.matches.merge(&self.rules.validate(text));
        self.longest = self.longest.max(text.chars().count());
    }

    /// Scans a piece of the text that is not JSON.
    pub(in crate::guard) fn plain(&mut self, text: &str) -> Result<(), Unscanned> {
        self.piece(String::new(), text)
    }

    fn piece(&mut self, thread: String, text: &str) -> Result<(), Unscanned> {
        let count = self.threads.len();
        let rules = self.rules;
        let thread = match self.threads.entry(thread) {
            std::collections::btree_map::Entry::Vacant(_) if count == MAX_THREADS => {
                return Err(Unscanned::TooManyTexts);
            }
            entry => entry.or_insert_with(|| Thread {
                machine: rules.machine(),
                chars: 0,
            }),
        };
        thread.machine.push(text, &mut self.matches);
        thread.chars += text.chars().count();
        self.longest = self.longest.max(thread.chars);
        Ok(())
    }

    /// Something could not be scanned. The first reason is kept.
    pub(in crate::guard) fn skip(&mut self, why: Unscanned) {
        self.unscanned.get_or_insert(why);
    }

    /// No text goes on from here.
    pub(in crate::guard) fn finish(&mut self) {
        for thread in self.threads.values_mut() {
            thread.machine.finish(&mut self.matches);
        }
        self.threads.clear();
    }

    /// Whether a rule matched so far.
    pub(in crate::guard) fn is_harmful(&self) -> bool {
        self.matches.is_harmful()
    }

    /// Length of the longest text so far, in characters.
    pub(in crate::guard) fn longest(&self) -> usize {
        self.longest
    }

    /// What was found so far.
    pub(in crate::guard) fn report(&self, max_chars: usize) -> Report {
        let mut matches = self.matches;
        if self.longest > max_chars {
            matches.add(Rule::TooLong);
        }
        Report {
            matches,
            scanned: self.unscanned.map_or(Scanned::Full, Scanned::Skipped),
            chars: self.longest,
            tokens: self.tokens.usage(),
        }
    }
}

//! Bodies that pass piece by piece: server-sent events, JSON lines, text.
//!
//! The pieces are cut anywhere, and the verdict does not depend on where: events and lines are put together first, and the
//! automata of the rules remember where they stand in each text between pieces. Only whole events go on, each as soon as its
//! last byte came and its text was scanned; so what is held back is never more than one event that is not complete. When a
//! match ends in an event, that event does not go on: what went on before is a beginning that matches nothing.

mod sse;

use self::sse::{Found, Parser};
use super::refusal::Refusal;
use super::report::{Report, Rule};
use super::rules::{Machine, Rules};
use crate::config::OnMatch;

/// Scans a body that comes in pieces.
#[derive(Debug)]
pub struct StreamScanner {
    on_match: OnMatch,
    max_chars: usize,
    parser: Parser,
    /// Bytes that came and did not go on yet.
    held: Vec<u8>,
    machine: Machine,
    report: Report,
    cut: bool,
}

/// What to do after a piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamStep {
    /// What may go on now.
    pub forward: Forward,
    /// Whether the stream ends here, behind what goes on.
    pub cut: Option<Cut>,
}

/// What may go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forward {
    /// The piece as it came, nothing before and nothing less.
    Piece,
    /// These bytes in the place of the piece; perhaps none.
    Bytes(Vec<u8>),
}

/// The early end of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Why.
    pub refusal: Refusal,
    /// The last thing that the caller gets: an event, or a line, that says why.
    pub farewell: Vec<u8>,
}

/// What to do at the end of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEnd {
    /// What may still go on.
    pub forward: Vec<u8>,
    /// Whether the end is a cut: `forward` goes on, then its farewell.
    pub cut: Option<Cut>,
    /// What was found in all of it.
    pub report: Report,
}

impl StreamScanner {
    pub(super) fn new(rules: Rules, on_match: OnMatch, max_chars: usize) -> Self {
        Self {
            on_match,
            max_chars,
            parser: Parser::default(),
            held: Vec::new(),
            machine: rules.machine(),
            report: Report::clean(),
            cut: false,
        }
    }

    /// Takes the next piece. After a cut nothing goes on any more.
    pub fn push(&mut self, piece: &[u8]) -> StreamStep {
        if self.cut {
            return StreamStep {
                forward: Forward::Bytes(Vec::new()),
                cut: None,
            };
        }
        let mut read = 0;
        let mut clean = 0;
        while let Some((found, length)) = self.parser.next(&piece[read..]) {
            read += length;
            if let Some(cut) = self.judge(found, &mut clean, read) {
                return StreamStep {
                    forward: self.forward(piece, clean),
                    cut: Some(cut),
                };
            }
        }
        StreamStep {
            forward: self.forward(piece, clean),
            cut: None,
        }
    }

    /// The stream ends here.
    pub fn finish(mut self) -> StreamEnd {
        let mut cut = None;
        if !self.cut {
            for found in self.parser.finish() {
                cut = cut.or(self.judge(found, &mut 0, 0));
            }
            self.machine.finish(&mut self.report.matches);
            cut = cut.or_else(|| self.refusal().map(Cut::new));
        }
        let forward = if cut.is_some() || self.cut {
            Vec::new()
        } else {
            self.held
        };
        StreamEnd {
            forward,
            cut,
            report: self.report,
        }
    }

    fn judge(&mut self, found: Found, clean: &mut usize, read: usize) -> Option<Cut> {
        match found {
            Found::Boundary => *clean = read,
            Found::Field(_) => {}
            Found::Event(value) => {
                let text = String::from_utf8_lossy(&value);
                self.machine.push(&text, &mut self.report.matches);
                self.report.chars += text.chars().count();
                if let Some(refusal) = self.refusal() {
                    self.cut = true;
                    return Some(Cut::new(refusal));
                }
                *clean = read;
            }
        }
        None
    }

    fn refusal(&mut self) -> Option<Refusal> {
        if self.report.chars > self.max_chars && self.report.matches.count(Rule::TooLong) == 0 {
            self.report.matches.add(Rule::TooLong);
        }
        match self.on_match {
            OnMatch::Report => None,
            OnMatch::Sanitize | OnMatch::Reject if self.report.matches.is_harmful() => {
                Some(Refusal::HarmfulOutput)
            }
            OnMatch::Sanitize | OnMatch::Reject => {
                (self.report.chars > self.max_chars).then_some(Refusal::OutputTooLong)
            }
        }
    }

    fn forward(&mut self, piece: &[u8], clean: usize) -> Forward {
        let (passing, kept) = piece.split_at(clean);
        if self.held.is_empty() && kept.is_empty() {
            return Forward::Piece;
        }
        let mut bytes = Vec::new();
        if clean > 0 {
            bytes = std::mem::take(&mut self.held);
            bytes.extend_from_slice(passing);
        }
        if !self.cut {
            self.held.extend_from_slice(kept);
        }
        Forward::Bytes(bytes)
    }
}

impl Cut {
    fn new(refusal: Refusal) -> Self {
        // Both are fixed texts without a character that JSON would escape.
        let farewell = format!(
            "event: error\ndata: {{\"error\":\"{}\",\"code\":\"{}\"}}\n\n",
            refusal.message(),
            refusal.code()
        );
        Self {
            refusal,
            farewell: farewell.into_bytes(),
        }
    }
}

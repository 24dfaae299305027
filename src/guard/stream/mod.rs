//! Bodies that pass piece by piece: server-sent events, JSON lines, text.
//!
//! The pieces are cut anywhere, and the verdict does not depend on where: events and lines are put together first, and the
//! automata of the rules remember where they stand in each text between pieces. Only whole events go on, each as soon as its
//! last byte came and its text was scanned; so what is held back is never more than one event that is not complete. When a
//! match ends in an event, that event does not go on: what went on before is a beginning that matches nothing.

mod frames;
mod sse;
#[cfg(test)]
mod tests;

use self::frames::{Frame, Frames};
use super::answer::Texts;
use super::json::Fields;
use super::refusal::Refusal;
use super::report::{Report, Unscanned};
use super::rules::Rules;
use crate::config::{OnMatch, OnUnscanned};

/// The longest event or line that is waited for, in bytes. Longer ones are not scanned.
const MAX_FRAME: usize = 1024 * 1024;

/// Scans a body that comes in pieces.
#[derive(Debug)]
pub struct StreamScanner {
    settings: StreamSettings,
    frames: Frames,
    /// Bytes that came and did not go on yet.
    held: Vec<u8>,
    texts: Texts,
    fields: Fields,
    /// The frame under way is longer than is waited for, and passes as it comes.
    is_passing: bool,
    is_cut: bool,
}

/// What a stream is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamSettings {
    pub(super) rules: Rules,
    pub(super) on_match: OnMatch,
    pub(super) on_unscanned: OnUnscanned,
    pub(super) max_chars: usize,
}

/// How a stream is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    Events,
    JsonLines,
    Text,
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
    /// The last thing that the caller gets: an event or a line that says why; nothing in a stream of text.
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
    pub(super) fn new(framing: Framing, settings: StreamSettings) -> Self {
        Self {
            settings,
            frames: Frames::new(framing),
            held: Vec::new(),
            texts: Texts::new(settings.rules),
            fields: Fields::everything(),
            is_passing: false,
            is_cut: false,
        }
    }

    /// Takes the next piece. After a cut nothing goes on any more.
    pub fn push(&mut self, piece: &[u8]) -> StreamStep {
        if self.is_cut {
            return StreamStep {
                forward: Forward::Bytes(Vec::new()),
                cut: None,
            };
        }
        let mut read = 0;
        let mut clean = 0;
        // Bytes of the frame under way that came before this piece.
        let mut before = self.held.len();
        while let Some((frame, length)) = self.frames.next(&piece[read..]) {
            read += length;
            let is_too_long = self.is_passing || before + (read - clean) > MAX_FRAME;
            let refusal = if is_too_long {
                self.pass()
            } else {
                self.judge(frame)
            };
            if refusal.is_some() {
                return self.step(piece, clean, refusal);
            }
            // What passes without being looked at ends with the frame that it is a part of.
            self.is_passing = false;
            clean = read;
            before = 0;
        }
        if self.is_passing || before + (piece.len() - clean) > MAX_FRAME {
            let refusal = self.pass();
            if refusal.is_some() {
                return self.step(piece, clean, refusal);
            }
            clean = piece.len();
        }
        self.step(piece, clean, None)
    }

    /// What was found so far.
    pub fn report(&self) -> Report {
        self.texts.report(self.settings.max_chars)
    }

    /// The stream ends here.
    pub fn finish(mut self) -> StreamEnd {
        let mut refusal = None;
        if !self.is_cut {
            for frame in self.frames.finish() {
                refusal = refusal.or(self.judge(frame));
            }
            self.texts.finish();
            refusal = refusal.or(self.refusal());
        }
        let is_cut = self.is_cut || refusal.is_some();
        StreamEnd {
            forward: if is_cut {
                Vec::new()
            } else {
                std::mem::take(&mut self.held)
            },
            cut: refusal.map(|refusal| self.cut(refusal)),
            report: self.report(),
        }
    }

    fn step(&mut self, piece: &[u8], clean: usize, refusal: Option<Refusal>) -> StreamStep {
        self.is_cut = refusal.is_some();
        let forward = self.forward(piece, clean);
        StreamStep {
            forward,
            cut: refusal.map(|refusal| self.cut(refusal)),
        }
    }

    fn judge(&mut self, frame: Frame) -> Option<Refusal> {
        let scanned = match frame {
            Frame::Nothing => Ok(()),
            Frame::Text(bytes) => self.texts.plain(&String::from_utf8_lossy(&bytes)),
            Frame::Data { data, asides } => {
                self.texts.alone(&String::from_utf8_lossy(&asides));
                self.data(&String::from_utf8_lossy(&data))
            }
        };
        match scanned {
            Ok(()) => self.refusal(),
            Err(why) => self.unscanned(why).or_else(|| self.refusal()),
        }
    }

    /// The frame under way is longer than is waited for: it is refused, or passes without being looked at.
    fn pass(&mut self) -> Option<Refusal> {
        self.is_passing = true;
        self.frames.forget();
        self.unscanned(Unscanned::TooLarge)
    }

    /// JSON, or else text. What begins as JSON does and is none could be JSON to a reader that is less strict.
    fn data(&mut self, data: &str) -> Result<(), Unscanned> {
        let trimmed = data.trim_matches([' ', '\t', '\n', '\r']);
        match self.texts.event(trimmed, &self.fields) {
            Err(Unscanned::InvalidJson) if !looks_like_json(trimmed) => self.texts.plain(data),
            scanned => scanned,
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match self.settings.on_match {
            OnMatch::Report => None,
            OnMatch::Sanitize | OnMatch::Reject if self.texts.is_harmful() => Some(Refusal::HarmfulOutput),
            OnMatch::Sanitize | OnMatch::Reject => {
                (self.texts.longest() > self.settings.max_chars).then_some(Refusal::OutputTooLong)
            }
        }
    }

    fn unscanned(&mut self, why: Unscanned) -> Option<Refusal> {
        self.texts.skip(why);
        match self.settings.on_unscanned {
            OnUnscanned::Reject => Some(Refusal::UnscannedOutput(why)),
            OnUnscanned::Pass => None,
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
        if self.is_cut {
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(kept);
        }
        Forward::Bytes(bytes)
    }

    fn cut(&self, refusal: Refusal) -> Cut {
        // Both are fixed texts without a character that JSON would escape.
        let json = format!(
            "{{\"error\":\"{}\",\"code\":\"{}\"}}",
            refusal.message(),
            refusal.code()
        );
        let farewell = match self.frames.framing() {
            // An event that went on unfinished ends before this one begins.
            Framing::Events if self.is_passing => format!("\n\nevent: error\ndata: {json}\n\n"),
            Framing::Events => format!("event: error\ndata: {json}\n\n"),
            Framing::JsonLines if self.is_passing => format!("\n{json}\n"),
            Framing::JsonLines => format!("{json}\n"),
            Framing::Text => String::new(),
        };
        Cut {
            refusal,
            farewell: farewell.into_bytes(),
        }
    }
}

/// Whether the data begins as an object, an array of objects, arrays or texts, or a text does.
fn looks_like_json(data: &str) -> bool {
    let mut bytes = data.bytes().filter(|byte| !byte.is_ascii_whitespace());
    match (bytes.next(), bytes.next()) {
        (Some(b'{'), Some(b'"')) => true,
        (Some(b'['), Some(b'{' | b'[' | b'"')) => true,
        (Some(b'"'), Some(_)) => data.contains('\\'),
        _ => false,
    }
}

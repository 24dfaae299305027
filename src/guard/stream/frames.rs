//! Where a stream may be cut: behind events, behind lines, behind characters.

use memchr::memchr;

use super::Framing;
use super::sse::{Event, Parser};

/// A part of a stream that is complete: behind it, what came so far may go on.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// Nothing that anybody reads.
    Nothing,
    /// JSON, or text of a reader's own format, and what stands beside it.
    Data { data: Vec<u8>, asides: Vec<u8> },
    /// A piece of one text.
    Text(Vec<u8>),
}

/// Divides a stream.
#[derive(Debug)]
pub(super) enum Frames {
    /// By events; boxed, since it is by far the largest.
    Events(Box<Parser>),
    /// By lines; holds the one under way.
    Lines(Vec<u8>),
    /// By characters; holds the bytes of the one under way.
    Text(Vec<u8>),
}

impl Frames {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Events => Self::Events(Box::default()),
            Framing::JsonLines => Self::Lines(Vec::new()),
            Framing::Text => Self::Text(Vec::new()),
        }
    }

    pub(super) fn framing(&self) -> Framing {
        match self {
            Self::Events(_) => Framing::Events,
            Self::Lines(_) => Framing::JsonLines,
            Self::Text(_) => Framing::Text,
        }
    }

    /// Reads on in `piece`, up to the end of the next frame. Returns that, and how many bytes of the piece were read; `None`: all
    /// of them, and the frame goes on.
    pub(super) fn next(&mut self, piece: &[u8]) -> Option<(Frame, usize)> {
        match self {
            Self::Events(parser) => parser.next(piece).map(|(event, length)| (event.into(), length)),
            Self::Lines(line) => {
                let Some(end) = memchr(b'\n', piece) else {
                    line.extend_from_slice(piece);
                    return None;
                };
                line.extend_from_slice(&piece[..end]);
                Some((Frame::line(std::mem::take(line)), end + 1))
            }
            Self::Text(partial) => {
                let before = partial.len();
                partial.extend_from_slice(piece);
                let end = partial.len() - partial_character(partial);
                if end == 0 {
                    return None;
                }
                let mut text = std::mem::take(partial);
                // What is left of the piece is given again.
                text.truncate(end);
                Some((Frame::Text(text), end - before))
            }
        }
    }

    /// The stream ends here: what is left of it.
    pub(super) fn finish(&mut self) -> Vec<Frame> {
        match self {
            Self::Events(parser) => parser.finish().into_iter().map(Into::into).collect(),
            Self::Lines(line) => vec![Frame::line(std::mem::take(line))],
            Self::Text(partial) => vec![Frame::Text(std::mem::take(partial))],
        }
    }

    /// Forgets what is kept of the frame under way.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Events(parser) => parser.forget(),
            Self::Lines(bytes) | Self::Text(bytes) => *bytes = Vec::new(),
        }
    }
}

impl Frame {
    fn line(data: Vec<u8>) -> Self {
        Self::Data {
            data,
            asides: Vec::new(),
        }
    }
}

impl From<Event> for Frame {
    fn from(event: Event) -> Self {
        match event {
            Event::Nothing => Self::Nothing,
            Event::Data { data, asides } => Self::Data { data, asides },
        }
    }
}

/// How many bytes at the end are the beginning of a character that is not complete.
fn partial_character(bytes: &[u8]) -> usize {
    let invalid = bytes
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

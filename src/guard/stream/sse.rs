//! Reads server-sent events as the HTML standard does (section 9.2.6): lines end with CR, LF or both; one BOM may come first;
//! lines of `data` are joined by LF; a line that begins with a colon is a comment; an empty line ends an event.

use memchr::{memchr, memchr2};

/// The parser: it keeps the event that is not complete yet.
#[derive(Debug, Default)]
pub(in crate::guard) struct Parser {
    /// The line under way.
    line: Vec<u8>,
    /// `data` of the event under way.
    data: Vec<u8>,
    has_data: bool,
    /// Values of its other fields: names, ids.
    asides: Vec<u8>,
    /// The last byte was CR, and a LF now would belong to it.
    after_cr: bool,
    /// A line was complete before, so that a BOM is no longer one.
    is_begun: bool,
}

/// What is complete.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::guard) enum Event {
    /// Only what no reader is told: comments, or the rest of a line end.
    Nothing,
    /// An event.
    Data {
        /// Its data; empty if it had none.
        data: Vec<u8>,
        /// Values of its other fields, with LF between them.
        asides: Vec<u8>,
    },
}

impl Parser {
    /// Reads on in `piece`, up to the end of the next event. Returns that, and how many bytes of the piece were read; `None`: all of
    /// them, and the event goes on.
    pub(in crate::guard) fn next(&mut self, piece: &[u8]) -> Option<(Event, usize)> {
        let mut at = 0;
        if self.after_cr && piece.first() == Some(&b'\n') {
            at = 1;
            self.after_cr = false;
            if self.is_between_events() {
                return Some((Event::Nothing, at));
            }
        }
        while let Some(length) = memchr2(b'\r', b'\n', &piece[at..]) {
            let end = at + length;
            self.line.extend_from_slice(&piece[at..end]);
            self.after_cr = piece[end] == b'\r';
            at = end + 1;
            if self.after_cr && piece.get(at) == Some(&b'\n') {
                at += 1;
                self.after_cr = false;
            }
            if let Some(event) = self.end_line() {
                return Some((event, at));
            }
        }
        if at < piece.len() {
            self.after_cr = false;
            self.line.extend_from_slice(&piece[at..]);
        }
        None
    }

    /// The stream ends here. The standard drops an event that no empty line ended; a reader may not, so it is told.
    pub(in crate::guard) fn finish(&mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_line();
        }
        (!self.is_between_events()).then(|| self.end_event())
    }

    /// Forgets what is kept of the event under way.
    pub(in crate::guard) fn forget(&mut self) {
        self.line = Vec::new();
        self.data = Vec::new();
        self.asides = Vec::new();
    }

    fn is_between_events(&self) -> bool {
        self.line.is_empty() && !self.has_data && self.asides.is_empty()
    }

    fn end_line(&mut self) -> Option<Event> {
        let mut line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let bytes = line
            .strip_prefix(b"\xEF\xBB\xBF")
            .filter(|_| is_first)
            .unwrap_or(&line);
        let event = if bytes.is_empty() {
            Some(self.end_event())
        } else {
            self.field(bytes)
        };
        // The line's memory serves the next one.
        line.clear();
        self.line = line;
        event
    }

    fn end_event(&mut self) -> Event {
        if self.is_between_events() {
            return Event::Nothing;
        }
        self.has_data = false;
        Event::Data {
            data: std::mem::take(&mut self.data),
            asides: std::mem::take(&mut self.asides),
        }
    }

    fn field(&mut self, line: &[u8]) -> Option<Event> {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            // A comment holds nothing up that did not wait already.
            b"" => return self.is_between_events().then_some(Event::Nothing),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // A reader knows `event`, `id` and `retry` and drops others; those are looked at all the same.
            _ => {
                self.asides.push(b'\n');
                self.asides.extend_from_slice(value);
            }
        }
        None
    }
}

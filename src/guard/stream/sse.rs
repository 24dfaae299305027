//! Reads server-sent events as the HTML standard does (section 9.2.6): lines end with CR, LF or both; one BOM may come first;
//! lines of `data` are joined by LF; a line that begins with a colon is a comment; an empty line ends an event.

use memchr::memchr2;

/// The parser: it keeps the event that is not complete yet.
#[derive(Debug, Default)]
pub(in crate::guard) struct Parser {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// `data` of the event that is not complete yet.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the event has other fields: names, ids.
    has_fields: bool,
    /// The last byte was CR, and a LF now would belong to it.
    after_cr: bool,
    /// A line was complete before, so that a BOM is no longer one.
    is_begun: bool,
}

/// What the parser came to at some byte.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::guard) enum Found {
    /// An event, or nothing but comments, is complete: up to here all may go on.
    Boundary,
    /// An event with this data is complete.
    Event(Vec<u8>),
    /// Another field than data is complete, with this value. The event goes on.
    Field(Vec<u8>),
}

impl Parser {
    /// Reads on in `chunk`, up to the next thing worth telling. Returns that, and how many bytes of the chunk were read; `None`:
    /// all of them, and there is nothing to tell.
    pub(in crate::guard) fn next(&mut self, chunk: &[u8]) -> Option<(Found, usize)> {
        let mut at = 0;
        if self.after_cr && chunk.first() == Some(&b'\n') {
            at = 1;
            self.after_cr = false;
            if self.is_between_events() {
                return Some((Found::Boundary, at));
            }
        }
        while let Some(length) = memchr2(b'\r', b'\n', &chunk[at..]) {
            let end = at + length;
            self.line.extend_from_slice(&chunk[at..end]);
            self.after_cr = chunk[end] == b'\r';
            at = end + 1;
            if self.after_cr && chunk.get(at) == Some(&b'\n') {
                at += 1;
                self.after_cr = false;
            }
            if let Some(found) = self.end_line() {
                return Some((found, at));
            }
        }
        if at < chunk.len() {
            self.after_cr = false;
            self.line.extend_from_slice(&chunk[at..]);
        }
        None
    }

    /// The stream ends here. The standard drops an event that no empty line ended; a reader may not, so it is told.
    pub(in crate::guard) fn finish(&mut self) -> Vec<Found> {
        let field = if self.line.is_empty() {
            None
        } else {
            self.end_line()
        };
        let event = self.end_event();
        field.into_iter().chain([event]).collect()
    }

    fn is_between_events(&self) -> bool {
        self.line.is_empty() && !self.has_data && !self.has_fields
    }

    fn end_line(&mut self) -> Option<Found> {
        let mut line = std::mem::take(&mut self.line);
        let bytes = if self.is_begun {
            &line[..]
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line)
        };
        self.is_begun = true;
        let found = if bytes.is_empty() {
            Some(self.end_event())
        } else {
            self.field(bytes)
        };
        // The line's memory serves the next one.
        line.clear();
        self.line = line;
        found
    }

    fn end_event(&mut self) -> Found {
        self.has_fields = false;
        if !std::mem::take(&mut self.has_data) {
            return Found::Boundary;
        }
        Found::Event(std::mem::take(&mut self.data))
    }

    fn field(&mut self, line: &[u8]) -> Option<Found> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let name = &line[..colon];
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            // A comment holds nothing up that did not wait already.
            b"" => self.is_between_events().then_some(Found::Boundary),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                None
            }
            _ => {
                self.has_fields = true;
                Some(Found::Field(value.to_vec()))
            }
        }
    }
}

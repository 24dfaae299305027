//! The automaton for `javascript:`, as a browser reads it in an attribute: character references are decoded, white space and
//! control characters within are dropped, case does not count.

use super::chars::{Class, class};

const WORD: &[u8; 11] = b"javascript:";

/// The named character references that decode to something that counts here. None has a `j`, so that no beginning of the
/// word can hide in the beginning of a name. In alphabetical order, in lower case (a browser minds the case, others may not).
const NAMES: &[(&str, char)] = &[
    ("amp;", '&'),
    ("colon;", ':'),
    ("emsp;", '\u{2003}'),
    ("ensp;", '\u{2002}'),
    ("lrm;", '\u{200E}'),
    ("nbsp;", '\u{A0}'),
    ("newline;", '\n'),
    ("nobreak;", '\u{2060}'),
    ("rlm;", '\u{200F}'),
    ("shy;", '\u{AD}'),
    ("tab;", '\t'),
    ("thinsp;", '\u{2009}'),
    ("zerowidthspace;", '\u{200B}'),
];

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// How many characters of the word were read.
    read: u8,
    reference: Reference,
}

/// Within a character reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reference {
    No,
    /// After `&`.
    Ampersand,
    /// After `&#`.
    Number,
    /// After `&#x`.
    HexNumber,
    Decimal(u32),
    Hex(u32),
    /// So far equal to the first `read` letters of `NAMES[low..high]`.
    Name {
        low: u8,
        high: u8,
        read: u8,
    },
}

/// What a character did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Nothing to speak of.
    Go,
    /// A match may begin here.
    Begin,
    /// A match may begin where the character reference began.
    BeginReference,
    /// A match ended before this character, which was not read.
    MatchBefore,
    /// This character ends a match.
    Match,
}

impl State {
    pub(super) const START: Self = Self {
        read: 0,
        reference: Reference::No,
    };

    /// Whether nothing of a match was read.
    pub(super) fn is_idle(self) -> bool {
        self == Self::START
    }

    /// Whether a character reference may begin with this very character.
    pub(super) fn opens_reference(self) -> bool {
        self.reference == Reference::Ampersand
    }

    /// Reads one character. Begins that happen before it (a reference that it ends) are told with it.
    pub(super) fn step(&mut self, class: Class) -> Step {
        let began = match self.reference {
            Reference::No => false,
            reference => match self.within(reference, class) {
                Within::Taken => return Step::Go,
                Within::Decoded(decoded) => return self.decoded(decoded),
                Within::DecodedBefore(decoded) => match self.decoded(decoded) {
                    Step::Match => return Step::MatchBefore,
                    Step::BeginReference => true,
                    Step::Go | Step::Begin | Step::MatchBefore => false,
                },
                Within::Not => {
                    self.read = 0;
                    false
                }
            },
        };
        self.reference = Reference::No;
        if class == Class::Ascii(b'&') {
            self.reference = Reference::Ampersand;
            return if began { Step::BeginReference } else { Step::Go };
        }
        match (self.advance(class), began) {
            (Step::Go, true) if self.read > 0 => Step::BeginReference,
            (step, _) => step,
        }
    }

    /// The text ends here. Returns whether that ends a match: a number needs no `;`.
    pub(super) fn finish(&mut self) -> bool {
        let (Reference::Decimal(number) | Reference::Hex(number)) = self.reference else {
            return false;
        };
        self.decoded(decode(number)) == Step::Match
    }

    fn decoded(&mut self, decoded: char) -> Step {
        self.reference = Reference::No;
        if decoded == '&' {
            self.reference = Reference::Ampersand;
            return Step::Go;
        }
        match self.advance(class(decoded)) {
            Step::Begin => Step::BeginReference,
            step => step,
        }
    }

    fn advance(&mut self, class: Class) -> Step {
        let byte = match class {
            Class::Space | Class::Ignored => return Step::Go,
            Class::Word(byte) | Class::Folded(byte) | Class::Ascii(byte) => byte,
            Class::Other => 0,
        };
        if byte == b'j' {
            self.read = 1;
            return Step::Begin;
        }
        if self.read == 0 || byte != WORD[usize::from(self.read)] {
            self.read = 0;
            return Step::Go;
        }
        self.read += 1;
        if usize::from(self.read) < WORD.len() {
            return Step::Go;
        }
        self.read = 0;
        Step::Match
    }

    fn within(&mut self, reference: Reference, class: Class) -> Within {
        let next = match (reference, class) {
            (Reference::Ampersand, Class::Ascii(b'#')) => Reference::Number,
            (Reference::Ampersand, Class::Word(byte)) => return self.name(0, NAMES.len(), 0, byte),
            (Reference::Name { low, high, read }, Class::Word(byte) | Class::Ascii(byte)) => {
                return self.name(low.into(), high.into(), read.into(), byte);
            }
            (Reference::Number, Class::Word(b'x')) => Reference::HexNumber,
            (Reference::Number, Class::Word(byte @ b'0'..=b'9')) => Reference::Decimal(digit(byte)),
            (Reference::Decimal(number), Class::Word(byte @ b'0'..=b'9')) => {
                Reference::Decimal(number.saturating_mul(10).saturating_add(digit(byte)))
            }
            (Reference::HexNumber, Class::Word(byte @ (b'0'..=b'9' | b'a'..=b'f'))) => {
                Reference::Hex(digit(byte))
            }
            (Reference::Hex(number), Class::Word(byte @ (b'0'..=b'9' | b'a'..=b'f'))) => {
                Reference::Hex(number.saturating_mul(16).saturating_add(digit(byte)))
            }
            (Reference::Decimal(number) | Reference::Hex(number), Class::Ascii(b';')) => {
                return Within::Decoded(decode(number));
            }
            (Reference::Decimal(number) | Reference::Hex(number), _) => {
                return Within::DecodedBefore(decode(number));
            }
            _ => return Within::Not,
        };
        self.reference = next;
        Within::Taken
    }

    fn name(&mut self, low: usize, high: usize, read: usize, byte: u8) -> Within {
        let names = &NAMES[low..high];
        let letter = |name: &(&str, char)| name.0.as_bytes().get(read).copied().unwrap_or(0);
        let before = names.iter().take_while(|name| letter(name) != byte).count();
        let same = names[before..]
            .iter()
            .take_while(|name| letter(name) == byte)
            .count();
        let Some(&(name, decoded)) = names.get(before) else {
            return Within::Not;
        };
        if byte == b';' && name.len() == read + 1 {
            return Within::Decoded(decoded);
        }
        let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        self.reference = Reference::Name {
            low: small(low + before),
            high: small(low + before + same),
            read: small(read + 1),
        };
        Within::Taken
    }
}

/// Whether what stands behind `&` may be the rest of a character reference that counts here.
pub(super) fn may_be_reference(behind: &[u8]) -> bool {
    let mut rest = behind;
    // `&amp;` may be escaped once more, and more often.
    while rest.len() >= 4 && rest[..4].eq_ignore_ascii_case(b"amp;") {
        rest = &rest[4..];
    }
    rest.first() == Some(&b'#')
        || NAMES.iter().any(|(name, _)| {
            rest.get(..name.len())
                .is_some_and(|read| read.eq_ignore_ascii_case(name.as_bytes()))
        })
}

enum Within {
    /// The reference goes on.
    Taken,
    /// This character ended it.
    Decoded(char),
    /// It ended before this character.
    DecodedBefore(char),
    /// It was none.
    Not,
}

fn digit(byte: u8) -> u32 {
    char::from(byte).to_digit(16).unwrap_or(0)
}

fn decode(number: u32) -> char {
    char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
}

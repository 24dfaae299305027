//! What a character is to the rules.

/// A character as the rules see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// `[A-Za-z0-9_]`, as `\w` of the guide's patterns; letters in lower case.
    Word(u8),
    /// A letter that becomes this one when somebody changes its case, but is not `\w`.
    Folded(u8),
    /// White space of any kind.
    Space,
    /// A character that nobody sees: control characters, zero-width and formatting ones. Readers further on drop or ignore
    /// many of them, and so do the rules.
    Ignored,
    /// Any other ASCII character.
    Ascii(u8),
    /// Any other character.
    Other,
}

/// Reads one character.
pub(super) fn class(char: char) -> Class {
    if let Ok(byte) = u8::try_from(char)
        && byte.is_ascii()
    {
        return ascii(byte);
    }
    match char {
        // A browser lower-cases ASCII only, but whoever upper-cases a text makes an S of the long s and a K of the Kelvin sign.
        '\u{17F}' => Class::Folded(b's'),
        '\u{212A}' => Class::Folded(b'k'),
        _ if is_ignored(char) => Class::Ignored,
        _ if char.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}

fn ascii(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'_' => Class::Word(byte),
        b'A'..=b'Z' => Class::Word(byte | 0x20),
        b' ' | b'\t'..=b'\r' => Class::Space,
        0..0x20 | 0x7F => Class::Ignored,
        _ => Class::Ascii(byte),
    }
}

/// Control characters, and those of Unicode's property Default_Ignorable_Code_Point.
pub(in crate::guard) fn is_ignored(char: char) -> bool {
    matches!(char,
        '\0'..='\u{8}' | '\u{E}'..='\u{1F}' | '\u{7F}'..='\u{84}' | '\u{86}'..='\u{9F}'
        | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

//! Tells in one fast pass that nothing matches in a text, which is so for nearly every text.
//!
//! Each match ends, or begins, at one of four characters that memchr finds many at a time: `<` begins a script, `:` and `=` end
//! a URL and a handler, and `&` begins a character reference, in which a colon may hide. Around each of them a few characters
//! decide. Where they do not, for what nobody sees is among them, the automata have to: the answer is "perhaps".

use memchr::{memchr_iter, memchr3_iter};

use super::chars::{Class, class};
use super::{handlers, url};
use crate::config::Handlers;

/// Whether something may match. `false` is certain.
pub(super) fn may_match(handlers: Handlers, text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut anchors = memchr3_iter(b'<', b':', b'=', bytes);
    anchors.any(|at| match bytes[at] {
        b'<' => may_begin_script(&bytes[at + 1..]),
        b':' => may_end_url(&text[..at]),
        _ => may_end_handler(handlers, &text[..at]),
    }) || memchr_iter(b'&', bytes).any(|at| url::may_be_reference(&bytes[at + 1..]))
}

fn may_begin_script(behind: &[u8]) -> bool {
    const NAME: &[u8] = b"script";
    let Some(&first) = behind.first() else {
        return false;
    };
    match first | 0x20 {
        b's' => {}
        // Nothing that anybody sees, or a letter that is none of ASCII's.
        _ => return is_unseen(first) || !first.is_ascii(),
    }
    let same = behind
        .iter()
        .zip(NAME)
        .take_while(|(byte, wanted)| (**byte | 0x20) == **wanted)
        .count();
    let next = behind.get(same).copied();
    if same == NAME.len() {
        return next.is_none_or(|byte| !is_word(byte));
    }
    next.is_some_and(|byte| is_unseen(byte) || !byte.is_ascii())
}

fn may_end_url(before: &str) -> bool {
    const WORD: &[u8] = b"javascript";
    let bytes = before.as_bytes();
    match bytes.last() {
        Some(b't' | b'T') => {}
        Some(byte) if byte.is_ascii() && !is_space(*byte) && !is_unseen(*byte) => return false,
        // White space before a colon is rare enough, and so is what is not ASCII.
        _ => {}
    }
    let mut left = WORD.len();
    for char in before.chars().rev() {
        match class(char) {
            Class::Space | Class::Ignored => {}
            Class::Word(byte) | Class::Folded(byte) if byte == WORD[left - 1] => left -= 1,
            // What ends a reference is looked at where that begins.
            Class::Word(_) | Class::Folded(_) | Class::Ascii(_) | Class::Other => return false,
        }
        if left == 0 {
            return true;
        }
    }
    false
}

fn may_end_handler(handlers: Handlers, before: &str) -> bool {
    let bytes = before.as_bytes();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| is_space(**byte)).count();
    let start = end
        - bytes[..end]
            .iter()
            .rev()
            .take_while(|byte| is_word(**byte))
            .count();
    let word = &bytes[start..end];
    // What stands next to the word may be white space, or nothing that anybody sees.
    let next = before[..start].chars().next_back();
    let is_plain = next.is_none_or(|char| match class(char) {
        Class::Ascii(_) | Class::Other => true,
        Class::Space => char.is_ascii() && !word.is_empty(),
        Class::Ignored | Class::Folded(_) | Class::Word(_) => false,
    });
    if !is_plain {
        return true;
    }
    match handlers {
        Handlers::Known => handlers::is_name(word),
        Handlers::Any => {
            word.len() > 2
                && word[..word.len() - 1]
                    .windows(2)
                    .any(|pair| pair.eq_ignore_ascii_case(b"on"))
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_unseen(byte: u8) -> bool {
    (byte < 0x20 && !is_space(byte)) || byte == 0x7F
}

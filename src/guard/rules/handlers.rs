//! The automaton for event handlers: `on…=`.

use super::chars::Class;
use crate::config::Handlers;

/// Where it stands. A match begins where the word did that it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not in a word.
    Between,
    /// In a word that is no handler.
    Dead,
    /// `known`: in a word so far equal to the first `read` letters of `NAMES[low..high]`.
    Name { low: u8, high: u8, read: u8 },
    /// `any`: after an `o` in a word.
    O,
    /// `any`: right after the first `on` of a word.
    On,
    /// `any`: after `on` and more of the word.
    OnWord,
    /// After white space behind a whole handler.
    Named,
}

/// What a character does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// On to this state.
    To(State),
    /// On to this state, and a match may begin at this character.
    Begin(State),
    /// It ends a match.
    Match,
}

/// Reads one character.
#[inline]
pub(super) fn step(handlers: Handlers, state: State, class: Class) -> Step {
    match class {
        Class::Word(byte) | Class::Folded(byte) => match handlers {
            Handlers::Known => known(state, byte),
            Handlers::Any => any(state, byte),
        },
        // What nobody sees does not part a name, but it may part words: both readings are harmful.
        Class::Ignored if state == State::Dead && handlers == Handlers::Known => Step::To(State::Between),
        Class::Ignored => Step::To(state),
        Class::Space if is_whole(state) => Step::To(State::Named),
        Class::Ascii(b'=') if is_whole(state) => Step::Match,
        Class::Space | Class::Ascii(_) | Class::Other => Step::To(State::Between),
    }
}

fn is_whole(state: State) -> bool {
    match state {
        State::Name { low, read, .. } => NAMES[usize::from(low)].len() == usize::from(read),
        State::OnWord | State::Named => true,
        State::Between | State::Dead | State::O | State::On => false,
    }
}

fn known(state: State, byte: u8) -> Step {
    match state {
        State::Name { low, high, read } => Step::To(narrow(low, high, read, byte)),
        State::Between | State::Named if byte == b'o' => {
            Step::Begin(narrow(0, u8::try_from(NAMES.len()).unwrap_or(u8::MAX), 0, byte))
        }
        State::Between | State::Named | State::Dead | State::O | State::On | State::OnWord => {
            Step::To(State::Dead)
        }
    }
}

fn narrow(low: u8, high: u8, read: u8, byte: u8) -> State {
    let at = usize::from(read);
    let names = &NAMES[usize::from(low)..usize::from(high)];
    let letter = |name: &&str| name.as_bytes().get(at).copied().unwrap_or(0);
    let before = names.partition_point(|name| letter(name) < byte);
    let same = names[before..].partition_point(|name| letter(name) == byte);
    match (u8::try_from(before), u8::try_from(same)) {
        (Ok(before), Ok(same)) if same > 0 => State::Name {
            low: low + before,
            high: low + before + same,
            read: read + 1,
        },
        _ => State::Dead,
    }
}

fn any(state: State, byte: u8) -> Step {
    match (state, byte) {
        (State::On | State::OnWord, _) => Step::To(State::OnWord),
        (State::O, b'n') => Step::To(State::On),
        (_, b'o') => Step::Begin(State::O),
        _ => Step::To(State::Dead),
    }
}

/// Whether a word is the name of a handler.
pub(super) fn is_name(word: &[u8]) -> bool {
    let [b'o' | b'O', b'n' | b'N', ..] = word else {
        return false;
    };
    NAMES
        .iter()
        .any(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

/// The event handlers of the HTML standard (global, window, document and body ones), and the other ones that markup can carry
/// in browsers: pointer, touch, animation, transition, SVG and a few old ones. In alphabetical order, at most 255 of them.
pub(super) const NAMES: &[&str] = &[
    "onabort",
    "onactivate",
    "onafterprint",
    "onafterscriptexecute",
    "onanimationcancel",
    "onanimationend",
    "onanimationiteration",
    "onanimationstart",
    "onauxclick",
    "onbeforeactivate",
    "onbeforecopy",
    "onbeforecut",
    "onbeforedeactivate",
    "onbeforeinput",
    "onbeforematch",
    "onbeforepaste",
    "onbeforeprint",
    "onbeforescriptexecute",
    "onbeforetoggle",
    "onbeforeunload",
    "onbegin",
    "onblur",
    "onbounce",
    "oncancel",
    "oncanplay",
    "oncanplaythrough",
    "onchange",
    "onclick",
    "onclose",
    "oncommand",
    "oncontentvisibilityautostatechange",
    "oncontextlost",
    "oncontextmenu",
    "oncontextrestored",
    "oncopy",
    "oncuechange",
    "oncut",
    "ondblclick",
    "ondeactivate",
    "ondrag",
    "ondragend",
    "ondragenter",
    "ondragexit",
    "ondragleave",
    "ondragover",
    "ondragstart",
    "ondrop",
    "ondurationchange",
    "onemptied",
    "onend",
    "onended",
    "onerror",
    "onfinish",
    "onfocus",
    "onfocusin",
    "onfocusout",
    "onformdata",
    "onfullscreenchange",
    "onfullscreenerror",
    "ongotpointercapture",
    "onhashchange",
    "oninput",
    "oninvalid",
    "onkeydown",
    "onkeypress",
    "onkeyup",
    "onlanguagechange",
    "onload",
    "onloadeddata",
    "onloadedmetadata",
    "onloadend",
    "onloadstart",
    "onlostpointercapture",
    "onmessage",
    "onmessageerror",
    "onmousedown",
    "onmouseenter",
    "onmouseleave",
    "onmousemove",
    "onmouseout",
    "onmouseover",
    "onmouseup",
    "onmousewheel",
    "onoffline",
    "ononline",
    "onpagehide",
    "onpagereveal",
    "onpageshow",
    "onpageswap",
    "onpaste",
    "onpause",
    "onplay",
    "onplaying",
    "onpointercancel",
    "onpointerdown",
    "onpointerenter",
    "onpointerleave",
    "onpointermove",
    "onpointerout",
    "onpointerover",
    "onpointerrawupdate",
    "onpointerup",
    "onpopstate",
    "onprogress",
    "onpropertychange",
    "onratechange",
    "onreadystatechange",
    "onrejectionhandled",
    "onrepeat",
    "onreset",
    "onresize",
    "onscroll",
    "onscrollend",
    "onscrollsnapchange",
    "onscrollsnapchanging",
    "onsearch",
    "onsecuritypolicyviolation",
    "onseeked",
    "onseeking",
    "onselect",
    "onselectionchange",
    "onselectstart",
    "onshow",
    "onslotchange",
    "onstalled",
    "onstart",
    "onstorage",
    "onsubmit",
    "onsuspend",
    "ontimeupdate",
    "ontoggle",
    "ontouchcancel",
    "ontouchend",
    "ontouchmove",
    "ontouchstart",
    "ontransitioncancel",
    "ontransitionend",
    "ontransitionrun",
    "ontransitionstart",
    "onunhandledrejection",
    "onunload",
    "onvisibilitychange",
    "onvolumechange",
    "onwaiting",
    "onwebkitanimationend",
    "onwebkitanimationiteration",
    "onwebkitanimationstart",
    "onwebkitmouseforcechanged",
    "onwebkitmouseforcedown",
    "onwebkitmouseforceup",
    "onwebkitmouseforcewillbegin",
    "onwebkitplaybacktargetavailabilitychanged",
    "onwebkittransitionend",
    "onwheel",
    "onzoom",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order_and_few_enough_for_a_byte() {
        assert!(NAMES.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(NAMES.len() <= usize::from(u8::MAX));
        assert!(NAMES.iter().all(|name| name.starts_with("on")
            && name.len() < 64
            && name.bytes().all(|byte| byte.is_ascii_lowercase())));
    }
}

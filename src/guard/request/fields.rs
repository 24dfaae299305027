//! The texts of a body that has several, and the body with some of them replaced.

use super::super::context::Template;
use super::super::report::Unscanned;
use super::{Caller, Treated};

/// A text, and where it stands as written.
pub(super) struct Text<'t> {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The number of the field that selected it.
    pub(super) field: Option<usize>,
    pub(super) treated: Treated<'t>,
}

/// What is put into a body besides.
pub(super) struct Insertion {
    pub(super) at: usize,
    pub(super) text: String,
}

/// Puts the prompt context around the caller's text: of all texts the one whose field the settings name first.
///
/// # Errors
///
/// When there is none.
pub(super) fn wrap(
    texts: &mut [Text<'_>],
    template: &Template,
    caller: &Caller<'_>,
) -> Result<(), Unscanned> {
    let selected = texts.iter_mut().filter(|text| text.field.is_some());
    let text = selected.min_by_key(|text| text.field).ok_or(Unscanned::NoField)?;
    text.treated = Treated {
        text: template.wrap(caller, &text.treated.text).into(),
        is_changed: true,
    };
    Ok(())
}

/// The body with what changed; every other byte stays as it was. `None`: nothing changed. The texts are in the order in which
/// they stand.
pub(super) fn rewrite(
    body: &str,
    texts: &[Text<'_>],
    insertion: Option<Insertion>,
    write: fn(&str, &mut String),
) -> Option<String> {
    let mut output = String::new();
    let mut copied = 0;
    let mut insertion = insertion;
    for text in texts.iter().filter(|text| text.treated.is_changed) {
        insertion = insertion.and_then(|insertion| {
            if insertion.at > text.from {
                return Some(insertion);
            }
            output.push_str(&body[copied..insertion.at]);
            output.push_str(&insertion.text);
            copied = insertion.at;
            None
        });
        output.push_str(&body[copied..text.from]);
        write(&text.treated.text, &mut output);
        copied = text.to;
    }
    if let Some(insertion) = insertion {
        output.push_str(&body[copied..insertion.at]);
        output.push_str(&insertion.text);
        copied = insertion.at;
    }
    if copied == 0 && output.is_empty() {
        return None;
    }
    output.push_str(&body[copied..]);
    Some(output)
}

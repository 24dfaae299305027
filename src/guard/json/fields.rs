//! Which values of a body the settings name: `input`, `messages[*].content`, `*`.

use super::walk::Step;

/// The fields of a guard, ready to be looked for.
#[derive(Debug)]
pub(in crate::guard) struct Fields {
    /// Every value is selected.
    is_everything: bool,
    patterns: Vec<Vec<Segment>>,
}

#[derive(PartialEq, Eq, Debug)]
enum Segment {
    Name(Box<str>),
    Each,
}

/// What is known at a value about the fields: one bit for each pattern that its path still follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::guard) struct Selection {
    following: u128,
    depth: usize,
    /// Whether the value, and all that is in it, is selected.
    pub(in crate::guard) is_selected: bool,
    /// The first of the settings' fields that selects it.
    pub(in crate::guard) field: Option<usize>,
}

impl Fields {
    /// Reads the settings' fields. Their spelling was checked when the settings were read.
    pub(in crate::guard) fn compile(fields: &[Box<str>]) -> Self {
        // More fields than bits cannot come from the settings; if they did, everything would be scanned rather than less.
        let is_everything = fields.len() > 128 || fields.iter().any(|field| &**field == "*");
        let patterns = fields.iter().take(128).map(|field| pattern(field)).collect();
        Self {
            is_everything,
            patterns,
        }
    }

    /// Selects every value.
    pub(in crate::guard) fn everything() -> Self {
        Self {
            is_everything: true,
            patterns: Vec::new(),
        }
    }

    /// Whether every value is selected.
    pub(in crate::guard) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// The body itself.
    pub(in crate::guard) fn root(&self) -> Selection {
        let all = 128 - self.patterns.len();
        Selection {
            following: u128::MAX
                .checked_shr(u32::try_from(all).unwrap_or(0))
                .unwrap_or(0),
            depth: 0,
            is_selected: self.is_everything,
            field: None,
        }
    }

    /// A value within `parent`. If it `has_values` and a field leads on into them, that field selects among them; else a
    /// selected value is selected with all that is in it.
    pub(in crate::guard) fn step(&self, parent: Selection, step: Step<'_>, has_values: bool) -> Selection {
        let mut following = 0;
        let mut ends = None;
        let mut leads_on = false;
        let mut rest = parent.following;
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let pattern = &self.patterns[index];
            if !pattern
                .get(parent.depth)
                .is_some_and(|segment| segment.takes(step))
            {
                continue;
            }
            following |= 1 << index;
            if pattern.len() == parent.depth + 1 {
                ends = ends.or(Some(index));
            } else {
                leads_on = true;
            }
        }
        Selection {
            following,
            depth: parent.depth + 1,
            is_selected: parent.is_selected || (ends.is_some() && !(has_values && leads_on)),
            field: ends.or(parent.field),
        }
    }

    /// The field that selects a form's value of this name: by the name, or as `name[…]` by the name before the bracket.
    pub(in crate::guard) fn form_field(&self, name: &str) -> Option<usize> {
        let first = name.split('[').next().unwrap_or(name);
        let found = self.patterns.iter().position(|pattern| match pattern.first() {
            Some(Segment::Name(wanted)) => **wanted == *first || **wanted == *name,
            Some(Segment::Each) | None => false,
        });
        found.or(self.is_everything.then_some(self.patterns.len()))
    }
}

impl Segment {
    fn takes(&self, step: Step<'_>) -> bool {
        match (self, step) {
            (Self::Name(wanted), Step::Key(key)) => **wanted == *key,
            (Self::Each, Step::Element(_)) => true,
            _ => false,
        }
    }
}

fn pattern(field: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    for part in field.split('.') {
        let name = part.trim_end_matches("[*]");
        segments.push(Segment::Name(name.into()));
        let elements = (part.len() - name.len()) / "[*]".len();
        segments.extend((0..elements).map(|_| Segment::Each));
    }
    segments
}

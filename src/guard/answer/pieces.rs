//! Reads one JSON body of an answer: its texts, with the thread that each continues, and what it says of tokens.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::json::{Fields, Scalar, Selection, Step, Text, Visitor};
use super::tokens::Tokens;

/// Longer paths than any known shape has begin no thread.
const MAX_PATH: usize = 256;

/// Keys whose number says which of several texts a piece belongs to.
const INDEXES: [&str; 3] = ["index", "output_index", "content_index"];

/// Collects the texts of a body, and its tokens.
pub(super) struct Pieces<'f, 't> {
    fields: &'f Fields,
    tokens: &'f mut Tokens,
    /// The keys on the way, with dots between them; arrays leave no mark.
    path: String,
    frames: Vec<Frame>,
    /// How many arrays and objects there were.
    containers: usize,
    indexes: BTreeMap<usize, [Option<u64>; INDEXES.len()]>,
    pieces: Vec<(Text<'t>, Option<Place>)>,
    is_found: bool,
}

/// An array or object that is open.
struct Frame {
    /// Length of the path to it.
    path: usize,
    container: Container,
    selection: Selection,
}

#[derive(Clone, Copy)]
struct Container {
    /// Its number among all of the body.
    number: usize,
    /// Which element of an array it is.
    element: Option<usize>,
}

/// Where a piece of a thread stands.
struct Place {
    path: String,
    containers: Vec<Container>,
}

impl<'f, 't> Pieces<'f, 't> {
    pub(super) fn new(fields: &'f Fields, tokens: &'f mut Tokens) -> Self {
        Self {
            fields,
            tokens,
            path: String::new(),
            frames: Vec::new(),
            containers: 0,
            indexes: BTreeMap::new(),
            pieces: Vec::new(),
            is_found: fields.is_everything(),
        }
    }

    /// Whether a field of the settings was there.
    pub(super) fn is_found(&self) -> bool {
        self.is_found
    }

    /// The selected texts, each with the name of the thread that it continues, if it continues one.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = (Text<'t>, Option<String>)> + use<'t> {
        let indexes = self.indexes;
        self.pieces
            .into_iter()
            .map(move |(text, place)| (text, place.map(|place| place.thread(&indexes))))
    }

    /// Appends the step to the path. Returns the length before, and which element of an array it leads to.
    fn go(&mut self, step: Step<'_>) -> (usize, Option<usize>) {
        let before = self.path.len();
        match step {
            Step::Root => (before, None),
            Step::Element(element) => (before, Some(element)),
            Step::Key(key) => {
                if before > 0 {
                    self.path.push('.');
                }
                self.path.push_str(key);
                (before, None)
            }
        }
    }

    fn select(&mut self, step: Step<'_>, has_values: bool) -> Selection {
        let selection = match self.frames.last() {
            None => self.fields.root(),
            Some(frame) => self.fields.step(frame.selection, step, has_values),
        };
        self.is_found |= selection.is_selected;
        selection
    }

    fn text(&mut self, text: Text<'t>, element: Option<usize>) {
        let is_piece = element.is_none() && is_piece(&self.path);
        let place = is_piece.then(|| Place {
            path: self.path.clone(),
            containers: self.frames.iter().map(|frame| frame.container).collect(),
        });
        self.pieces.push((text, place));
    }

    fn number(&mut self, step: Step<'_>, written: &str) {
        let (Step::Key(key), Ok(number)) = (step, written.parse::<u64>()) else {
            return;
        };
        self.tokens.number(&self.path, number);
        if let Some(kind) = INDEXES.iter().position(|index| *index == key)
            && let Some(frame) = self.frames.last()
        {
            self.indexes.entry(frame.container.number).or_default()[kind] = Some(number);
        }
    }
}

impl<'t> Visitor<'t> for Pieces<'_, 't> {
    fn enter(&mut self, step: Step<'_>, _is_array: bool, _at: usize) {
        let selection = self.select(step, true);
        let (path, element) = self.go(step);
        let container = Container {
            number: self.containers,
            element,
        };
        self.containers += 1;
        self.frames.push(Frame {
            path,
            container,
            selection,
        });
    }

    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.path.truncate(frame.path);
        }
    }

    fn scalar(&mut self, step: Step<'_>, scalar: Scalar<'t>) {
        let selection = self.select(step, false);
        let (before, element) = self.go(step);
        match scalar {
            Scalar::Text(text) => {
                self.tokens.text(&self.path, &text);
                if selection.is_selected {
                    self.text(text, element);
                }
            }
            Scalar::Number(written) => self.number(step, written),
            Scalar::Literal => {}
        }
        self.path.truncate(before);
    }
}

/// Whether what stands at this path is a piece of a longer text.
fn is_piece(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    // These come whole, and often.
    if path.len() > MAX_PATH
        || [
            "id",
            "type",
            "role",
            "name",
            "finish_reason",
            "stop_reason",
            "signature",
        ]
        .contains(&last)
    {
        return false;
    }
    let below = ["choices.delta.", "delta.", "content_block."];
    let exactly = [
        "",
        "delta",
        "choices.delta",
        "choices.text",
        "candidates.content.parts.text",
        "message.content",
        "response",
        "text",
        "content",
        "completion",
        "token",
        "token.text",
        "output",
        "output_text",
        "answer",
        "chunk",
        "generated_text",
    ];
    below.iter().any(|prefix| path.starts_with(prefix)) || exactly.contains(&path)
}

impl Place {
    /// The name of the thread: the same for all pieces of one text.
    fn thread(&self, indexes: &BTreeMap<usize, [Option<u64>; INDEXES.len()]>) -> String {
        // A block of Anthropic's may begin with text already.
        let path = self
            .path
            .strip_prefix("content_block")
            .map(|rest| format!("delta{rest}"));
        let mut thread = path.unwrap_or_else(|| self.path.clone());
        // The parts of a candidate of Gemini's are put together, whichever part it is.
        let is_part = thread == "candidates.content.parts.text";
        let last = self.containers.len().saturating_sub(1);
        for (depth, container) in self.containers.iter().enumerate() {
            if is_part && depth == last {
                continue;
            }
            match indexes.get(&container.number) {
                Some(numbers) => {
                    for number in numbers.iter().flatten() {
                        // Writing to a String cannot fail.
                        let _ = write!(thread, "/{number}");
                    }
                }
                // The elements of a body that is an array are pieces of one answer.
                None if depth == 1 => {}
                None => {
                    if let Some(element) = container.element {
                        let _ = write!(thread, "/{element}");
                    }
                }
            }
        }
        thread
    }
}

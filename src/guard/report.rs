//! What the guard found out about a body: for logs, metrics and metadata. Never a piece of the body itself.

/// What a guard looks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// `<script …>…</script>`, or the beginning of one.
    Script,
    /// `javascript:`.
    JavascriptUrl,
    /// `on…=`.
    EventHandler,
    /// More characters than allowed.
    TooLong,
    /// A line that imitates the prompt context's owner line.
    OwnerLine,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 5] = [
        Self::Script,
        Self::JavascriptUrl,
        Self::EventHandler,
        Self::TooLong,
        Self::OwnerLine,
    ];

    /// The stable name in metrics and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::JavascriptUrl => "javascript_url",
            Self::EventHandler => "event_handler",
            Self::TooLong => "too_long",
            Self::OwnerLine => "owner_line",
        }
    }
}

/// How often each rule matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Matches([u32; Rule::ALL.len()]);

impl Matches {
    /// Whether nothing matched.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }

    /// How often `rule` matched.
    pub fn count(&self, rule: Rule) -> u32 {
        self.0[rule as usize]
    }

    /// The rules that matched, each with how often.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, u32)> + '_ {
        Rule::ALL
            .into_iter()
            .map(|rule| (rule, self.count(rule)))
            .filter(|&(_, count)| count > 0)
    }

    pub(super) fn add(&mut self, rule: Rule) {
        let count = &mut self.0[rule as usize];
        *count = count.saturating_add(1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Whether a rule about content matched, which a length is not.
    pub(super) fn is_harmful(&self) -> bool {
        [Rule::Script, Rule::JavascriptUrl, Rule::EventHandler]
            .iter()
            .any(|&rule| self.count(rule) > 0)
    }
}

/// Whether a body was looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scanned {
    /// Every text that the settings name was scanned, or there was none to scan.
    Full,
    /// It was not, or not all of it.
    Skipped(Unscanned),
}

/// Why a body could not be scanned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unscanned {
    /// A content type that is neither JSON, text, a form nor an event stream; or none, or two.
    ContentType,
    /// A character set other than UTF-8.
    Charset,
    /// A content encoding that is not decoded here, or broken compressed data.
    Encoding,
    /// More bytes than are looked at, perhaps only once decompressed.
    TooLarge,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// Not strictly JSON.
    InvalidJson,
    /// A JSON object with the same key twice.
    DuplicateKey,
    /// JSON nested deeper than is followed.
    TooDeep,
    /// A JSON string with half a surrogate pair, which is no text.
    LoneSurrogate,
    /// A form that is not percent-encoded UTF-8.
    InvalidForm,
    /// A body with none of the fields that the settings name.
    NoField,
    /// A stream that interleaves more texts than are followed.
    TooManyTexts,
}

impl Unscanned {
    /// The stable name in metrics and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Charset => "charset",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::LoneSurrogate => "lone_surrogate",
            Self::InvalidForm => "invalid_form",
            Self::NoField => "no_field",
            Self::TooManyTexts => "too_many_texts",
        }
    }
}

/// The tokens that an AI answer says it used. What it does not say is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenUsage {
    /// Tokens of the prompt, those read from a cache among them.
    pub input: Option<u64>,
    /// Tokens of the answer.
    pub output: Option<u64>,
    /// Both, as the answer says; their sum where it does not.
    pub total: Option<u64>,
    /// The model that the answer names, at most 128 characters of it, without control characters.
    pub model: Option<Box<str>>,
}

/// What the guard found out about one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Which rules matched.
    pub matches: Matches,
    /// Whether the body was scanned.
    pub scanned: Scanned,
    /// Unicode scalar values of the scanned text: of a request all of it, after sanitizing; of a response the longest one.
    pub chars: usize,
    /// Tokens, if the body was an AI answer that says so.
    pub tokens: Option<TokenUsage>,
}

impl Report {
    pub(super) fn clean() -> Self {
        Self {
            matches: Matches::default(),
            scanned: Scanned::Full,
            chars: 0,
            tokens: None,
        }
    }

    pub(super) fn skipped(why: Unscanned) -> Self {
        Self {
            scanned: Scanned::Skipped(why),
            ..Self::clean()
        }
    }
}

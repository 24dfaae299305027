//! Why a body is refused, and what the caller is told.

use super::report::Unscanned;

/// A refusal. Status, code and text of each come from the `match`es below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The input has more characters than allowed.
    InputTooLong,
    /// The input has something that the rules look for, and the settings say to refuse it.
    HarmfulInput,
    /// The input could not be scanned, and the settings say to refuse it.
    UnscannedInput(Unscanned),
    /// The AI's answer has more characters than allowed.
    OutputTooLong,
    /// The AI's answer has something that the rules look for.
    HarmfulOutput,
    /// The AI's answer could not be scanned, and the settings say to refuse it.
    UnscannedOutput(Unscanned),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::InputTooLong | Self::HarmfulInput => 400,
            Self::UnscannedInput(why) => match why {
                Unscanned::ContentType | Unscanned::Charset | Unscanned::Encoding => 415,
                Unscanned::TooLarge => 413,
                Unscanned::InvalidUtf8
                | Unscanned::InvalidJson
                | Unscanned::DuplicateKey
                | Unscanned::TooDeep
                | Unscanned::LoneSurrogate
                | Unscanned::InvalidForm
                | Unscanned::NoField
                | Unscanned::TooManyTexts => 400,
            },
            Self::OutputTooLong | Self::HarmfulOutput | Self::UnscannedOutput(_) => 502,
        }
    }

    /// `code` of the body.
    pub fn code(self) -> &'static str {
        match self {
            Self::InputTooLong => "INPUT_TOO_LONG",
            Self::HarmfulInput => "HARMFUL_INPUT",
            Self::UnscannedInput(why) => match why {
                Unscanned::ContentType | Unscanned::Charset => "UNSUPPORTED_CONTENT_TYPE",
                Unscanned::Encoding => "UNSUPPORTED_CONTENT_ENCODING",
                Unscanned::TooLarge => "INPUT_TOO_LARGE",
                Unscanned::InvalidJson
                | Unscanned::DuplicateKey
                | Unscanned::TooDeep
                | Unscanned::LoneSurrogate => "INVALID_JSON",
                Unscanned::InvalidUtf8 | Unscanned::InvalidForm | Unscanned::TooManyTexts => "INVALID_BODY",
                Unscanned::NoField => "NO_INPUT",
            },
            Self::OutputTooLong => "OUTPUT_TOO_LONG",
            Self::HarmfulOutput => "HARMFUL_OUTPUT",
            Self::UnscannedOutput(_) => "UNSCANNED_OUTPUT",
        }
    }

    /// `error` of the body: fixed texts, with nothing in them that anybody sent.
    pub fn message(self) -> &'static str {
        match self {
            Self::InputTooLong => "Input too long",
            Self::HarmfulInput => "Input contains potentially harmful content",
            Self::UnscannedInput(why) => match why {
                Unscanned::ContentType => "Unsupported content type",
                Unscanned::Charset => "Unsupported character set: send UTF-8",
                Unscanned::Encoding => "Unsupported or broken content encoding",
                Unscanned::TooLarge => "Request body too large",
                Unscanned::InvalidUtf8 => "Request body is not valid UTF-8",
                Unscanned::InvalidJson => "Request body is not valid JSON",
                Unscanned::DuplicateKey => "JSON body has a duplicate key",
                Unscanned::TooDeep => "JSON body is nested too deeply",
                Unscanned::LoneSurrogate => "JSON body has a lone surrogate",
                Unscanned::InvalidForm => "Form body is not valid",
                Unscanned::NoField => "Request body has none of the expected fields",
                Unscanned::TooManyTexts => "Request body has too many texts",
            },
            Self::OutputTooLong => "AI response too long",
            Self::HarmfulOutput => "AI response contains potentially harmful content",
            Self::UnscannedOutput(_) => "AI response could not be checked",
        }
    }

    /// The reason in logs, metrics and metadata: one of a fixed set, in snake case.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InputTooLong => "input_too_long",
            Self::HarmfulInput => "harmful_input",
            Self::UnscannedInput(_) => "unscanned_input",
            Self::OutputTooLong => "output_too_long",
            Self::HarmfulOutput => "harmful_output",
            Self::UnscannedOutput(_) => "unscanned_output",
        }
    }
}

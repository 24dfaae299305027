//! The tokens that an answer says it used.

use super::super::json::Text;
use super::super::report::TokenUsage;

const MAX_MODEL: usize = 128;

/// What was read so far. A stream may say more than once; what it says last counts.
#[derive(Debug, Default)]
pub(in crate::guard) struct Tokens {
    input: Option<u64>,
    /// Anthropic counts these beside `input`.
    cached: [Option<u64>; 2],
    output: Option<u64>,
    /// Gemini counts these beside `output`.
    thoughts: Option<u64>,
    total: Option<u64>,
    model: Option<Box<str>>,
}

impl Tokens {
    /// A number of a body; `path` is its keys with dots between them.
    pub(super) fn number(&mut self, path: &str, number: u64) {
        let (place, key) = path.rsplit_once('.').unwrap_or(("", path));
        let is_usage = matches!(
            place,
            "usage"
                | "message.usage"
                | "response.usage"
                | "usageMetadata"
                | "usage_metadata"
                | "x_groq.usage"
        );
        let is_ollama = place.is_empty();
        let slot = match key {
            "prompt_tokens" | "input_tokens" | "promptTokenCount" | "inputTokens" if is_usage => {
                &mut self.input
            }
            "prompt_eval_count" if is_ollama => &mut self.input,
            "cache_creation_input_tokens" if is_usage => &mut self.cached[0],
            "cache_read_input_tokens" if is_usage => &mut self.cached[1],
            "completion_tokens" | "output_tokens" | "candidatesTokenCount" | "outputTokens" if is_usage => {
                &mut self.output
            }
            "eval_count" if is_ollama => &mut self.output,
            "thoughtsTokenCount" if is_usage => &mut self.thoughts,
            "total_tokens" | "totalTokenCount" | "totalTokens" if is_usage => &mut self.total,
            _ => return,
        };
        *slot = Some(number);
    }

    /// A text of a body.
    pub(super) fn text(&mut self, path: &str, text: &Text<'_>) {
        if matches!(
            path,
            "model" | "message.model" | "response.model" | "modelVersion"
        ) {
            let model = text.decode();
            let visible = model.chars().filter(|char| !char.is_control()).take(MAX_MODEL);
            self.model = Some(visible.collect());
        }
    }

    /// What the answer used; `None` if it does not say.
    pub(super) fn usage(&self) -> Option<TokenUsage> {
        let sum = |numbers: &[Option<u64>]| {
            let said = numbers.iter().flatten().copied();
            said.reduce(u64::saturating_add)
        };
        let input = sum(&[self.input, self.cached[0], self.cached[1]]);
        let output = sum(&[self.output, self.thoughts]);
        let total = self.total.or_else(|| Some(input?.saturating_add(output?)));
        if input.is_none() && output.is_none() && total.is_none() {
            return None;
        }
        Some(TokenUsage {
            input,
            output,
            total,
            model: self.model.clone(),
        })
    }
}

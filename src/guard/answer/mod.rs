//! The answers of AI backends: which of their texts belong together, and the tokens that they say they used.
//!
//! An answer that is streamed comes in small JSON bodies, each with a piece of its text. What a reader puts together is put
//! together here as well, per choice and content index, so that nothing hides between two pieces:
//!
//! | shape | pieces of one text |
//! |---|---|
//! | OpenAI, chat | `choices[].delta.…`, `choices[].text`, by the choice's `index` and, for tool calls, theirs |
//! | OpenAI, responses | `delta`, by `output_index` and `content_index` |
//! | Anthropic | `delta.…` and `content_block.…`, by `index` |
//! | Gemini | `candidates[].content.parts[].text`, by the candidate's `index` |
//! | Ollama and others | `message.content`, and texts at the top such as `response`, `text`, `token` |
//!
//! Every other text is scanned alone.

mod pieces;
mod texts;
mod tokens;

pub(super) use self::texts::Texts;

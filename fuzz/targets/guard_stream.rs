//! Any bytes as a stream: what goes on is a beginning of what came, and how it was cut into pieces decides nothing.
#![cfg_attr(fuzzing, no_main)]

use std::num::NonZeroUsize;

use latchkey::config::{GuardResponse, Handlers, OnMatch, OnUnscanned};
use latchkey::guard::{Forward, Refusal, ResponseGuard};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// One input: the first byte is the size of the pieces, the rest the stream.
pub(crate) fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let guard = ResponseGuard::compile(&GuardResponse {
        fields: vec!["*".into()],
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: NonZeroUsize::MAX,
        handlers: Handlers::Known,
    });
    for content_type in ["text/event-stream", "application/x-ndjson", "text/plain"] {
        let whole = passed(&guard, content_type, [stream].into_iter());
        let pieces = passed(&guard, content_type, stream.chunks(usize::from(size).max(1)));
        assert_eq!(whole.1, pieces.1, "{content_type}");
        assert!(stream.starts_with(&whole.0) && stream.starts_with(&pieces.0));
        assert!(whole.1.is_some() || (whole.0 == stream && pieces.0 == stream));
    }
}

/// What goes on, and why nothing more does.
fn passed<'s>(
    guard: &ResponseGuard,
    content_type: &str,
    pieces: impl Iterator<Item = &'s [u8]>,
) -> (Vec<u8>, Option<Refusal>) {
    let mut scanner = guard.stream(Some(content_type));
    let mut passed = Vec::new();
    let mut refusal = None;
    for piece in pieces {
        let step = scanner.push(piece);
        match step.forward {
            Forward::Piece => passed.extend_from_slice(piece),
            Forward::Bytes(bytes) => passed.extend(bytes),
        }
        refusal = refusal.or(step.cut.map(|cut| cut.refusal));
    }
    let end = scanner.finish();
    passed.extend(end.forward);
    (passed, refusal.or(end.cut.map(|cut| cut.refusal)))
}

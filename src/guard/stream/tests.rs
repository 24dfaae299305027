//! Streams, cut anywhere.

use proptest::prelude::*;

use super::*;
use crate::config::Handlers;
use crate::guard::{Rule, Scanned};

fn settings() -> StreamSettings {
    StreamSettings {
        rules: Rules::new(Handlers::Known),
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: 50_000,
    }
}

/// What came of a stream: what the caller got, why it was cut, and the report.
#[derive(PartialEq, Debug)]
struct Outcome {
    got: String,
    refusal: Option<Refusal>,
    report: Report,
}

fn run<'p>(
    framing: Framing,
    settings: StreamSettings,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Outcome {
    let mut scanner = StreamScanner::new(framing, settings);
    let mut got = Vec::new();
    let mut refusal = None;
    for piece in pieces {
        let step = scanner.push(piece);
        match step.forward {
            Forward::Piece => got.extend_from_slice(piece),
            Forward::Bytes(bytes) => got.extend(bytes),
        }
        if let Some(cut) = step.cut {
            assert_eq!(refusal, None, "a stream is cut once");
            refusal = Some(cut.refusal);
            got.extend(cut.farewell);
        }
    }
    let end = scanner.finish();
    got.extend(end.forward);
    if let Some(cut) = end.cut {
        refusal = Some(cut.refusal);
        got.extend(cut.farewell);
    }
    let got = String::from_utf8_lossy(&got).into_owned();
    Outcome {
        got,
        refusal,
        report: end.report,
    }
}

fn whole(framing: Framing, stream: &str) -> Outcome {
    run(framing, settings(), [stream.as_bytes()])
}

const FAREWELL: &str = "event: error\ndata: {\"error\":\"AI response contains potentially harmful content\",\"code\":\"HARMFUL_OUTPUT\"}\n\n";

#[test]
fn a_clean_stream_passes_byte_for_byte() {
    for stream in [
        "",
        "data: hello\n\n",
        "\u{FEFF}data: hello\r\n\r\ndata: {\"a\":\"b\"}\r\rdata: [DONE]\n\n",
        ": a comment\n\n:another\ndata:x\nid: 7\nevent: message\nretry: 10\ndata: y\n\n",
        "data: {\ndata: \"a\": 1}\n\n",
        "data: not ended",
        "\n\n\n",
    ] {
        let outcome = whole(Framing::Events, stream);
        assert_eq!((&*outcome.got, outcome.refusal), (stream, None), "{stream:?}");
        assert_eq!(outcome.report.scanned, Scanned::Full);
    }
}

#[test]
fn nothing_hides_across_events() {
    let clean = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"fine\"}}]}\n\n";
    for (first, second) in [
        // OpenAI, the index behind the delta and beside another choice.
        (
            r#"{"choices":[{"delta":{"content":"<scr"},"index":1}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"}},{"index":1,"delta":{"content":"ipt>"}}]}"#,
        ),
        (
            r#"{"choices":[{"delta":{"content":"javascr"}}]}"#,
            r#"{"choices":[{"delta":{"content":"\u0069pt:"}}]}"#,
        ),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":2,"function":{"arguments":"oncli"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":2,"function":{"arguments":"ck="}}]}}]}"#,
        ),
        (
            r#"{"choices":[{"text":"<scr"}]}"#,
            r#"{"choices":[{"text":"ipt "}]}"#,
        ),
        // OpenAI, responses.
        (
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"<script"}"#,
            r#"{"type":"response.output_text.delta","delta":">","output_index":1,"content_index":0}"#,
        ),
        // Anthropic.
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"<scri"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"pt>"}}"#,
        ),
        (
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"java"}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"script:"}}"#,
        ),
        // Gemini: the parts of a candidate are one text.
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"<scr"}],"role":"model"}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"ipt>"}]}}]}"#,
        ),
        // Others.
        (r#"{"response":"<scr"}"#, r#"{"response":"ipt>"}"#),
        (
            r#"{"message":{"role":"assistant","content":"<scr"}}"#,
            r#"{"message":{"content":"ipt>"}}"#,
        ),
        (r#""<scr""#, r#""ipt>""#),
        ("<scr", "ipt>"),
        ("onclick", " = 1"),
    ] {
        let stream = format!("{clean}data: {first}\n\ndata: {second}\n\n{clean}");
        let outcome = whole(Framing::Events, &stream);
        assert_eq!(outcome.refusal, Some(Refusal::HarmfulOutput), "{first} {second}");
        assert_eq!(outcome.got, format!("{clean}data: {first}\n\n{FAREWELL}"));
        let lines = whole(Framing::JsonLines, &format!("{first}\n{second}\n"));
        assert_eq!(lines.refusal, Some(Refusal::HarmfulOutput));
        assert!(
            lines.got.starts_with(&format!("{first}\n{{\"error\":")),
            "{}",
            lines.got
        );
    }
}

#[test]
fn texts_that_do_not_belong_together_are_not_joined() {
    for (first, second) in [
        (
            r#"{"choices":[{"index":0,"delta":{"content":"<scr"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"ipt>"}}]}"#,
        ),
        (
            r#"{"choices":[{"delta":{"content":"<scr"}},{"delta":{"content":"ipt>"}}]}"#,
            "{}",
        ),
        (
            r#"{"index":0,"delta":{"text":"<scr"}}"#,
            r#"{"index":1,"delta":{"text":"ipt>"}}"#,
        ),
        (r#"{"delta":{"text":"<scr"}}"#, r#"{"delta":{"thinking":"ipt>"}}"#),
        (r#"{"log":"<scr"}"#, r#"{"log":"ipt>"}"#),
        (r#"["<scr"]"#, r#"["ipt>"]"#),
        ("<scripts", "ipt>"),
    ] {
        let stream = format!("data: {first}\n\ndata: {second}\n\n");
        assert_eq!(whole(Framing::Events, &stream).refusal, None, "{first} {second}");
    }
    let alone = "data: {\"log\":[\"\\u003cscript>\"]}\n\n";
    assert_eq!(
        whole(Framing::Events, alone).refusal,
        Some(Refusal::HarmfulOutput)
    );
}

#[test]
fn what_is_not_read_for_sure_is_not_called_clean() {
    for (stream, why) in [
        ("data: {\"a\":1,\"a\":2}\n\n", Unscanned::DuplicateKey),
        ("data: {\"a\":\"\\u003cscript>\",}\n\n", Unscanned::InvalidJson),
        ("data: [\"\\ud800\"]\n\n", Unscanned::LoneSurrogate),
        (&format!("data: {}\n\n", "[".repeat(100_000)), Unscanned::TooDeep),
        (
            &format!("data: {}\n\n", "x".repeat(MAX_FRAME)),
            Unscanned::TooLarge,
        ),
    ] {
        let outcome = whole(Framing::Events, &format!("data: ok\n\n{stream}"));
        assert_eq!(outcome.refusal, Some(Refusal::UnscannedOutput(why)));
        assert_eq!(outcome.report.scanned, Scanned::Skipped(why));
        assert!(
            outcome.got.starts_with("data: ok\n\n")
                && outcome.got.ends_with("\"code\":\"UNSCANNED_OUTPUT\"}\n\n")
        );

        let passing = StreamSettings {
            on_unscanned: OnUnscanned::Pass,
            ..settings()
        };
        let pieces = stream.as_bytes().chunks(64 * 1024);
        let outcome = run(Framing::Events, passing, pieces);
        assert_eq!((&*outcome.got, outcome.refusal), (stream, None));
        assert_eq!(outcome.report.scanned, Scanned::Skipped(why));
    }
}

#[test]
fn a_text_of_many_events_is_not_longer_than_allowed() {
    let stream =
        |count: usize| "data: {\"choices\":[{\"delta\":{\"content\":\"é12345678\\n\"}}]}\n\n".repeat(count);
    let fits = whole(Framing::Events, &stream(5_000));
    assert_eq!((fits.refusal, fits.report.chars), (None, 50_000));
    let more = stream(5_000) + "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let cut = whole(Framing::Events, &more);
    assert_eq!(cut.refusal, Some(Refusal::OutputTooLong));
    assert_eq!(cut.report.matches.count(Rule::TooLong), 1);
    assert!(cut.got.contains("AI response too long"));
}

#[test]
fn text_passes_up_to_the_match() {
    let outcome = run(
        Framing::Text,
        settings(),
        [&b"caf\xC3"[..], b"\xA9 <scr", b"ipt>alert(1)</script>"],
    );
    assert_eq!(outcome.refusal, Some(Refusal::HarmfulOutput));
    assert_eq!(outcome.got, "café <scr");
    assert_eq!(
        whole(Framing::Text, "an open <script").refusal,
        Some(Refusal::HarmfulOutput)
    );
    assert_eq!(whole(Framing::Text, "fine \u{FFFD}").got, "fine \u{FFFD}");
}

#[test]
fn a_whole_event_waits_for_nothing() {
    let mut scanner = StreamScanner::new(Framing::Events, settings());
    let passed = StreamStep {
        forward: Forward::Piece,
        cut: None,
    };
    for piece in [
        &b"data: <script\n\n"[..],
        b":\n",
        b"data: x\r\r",
        b"\n",
        b"id: 1\ndata: y\n\n",
    ] {
        assert_eq!(scanner.push(piece), passed, "{piece:?}");
    }
    let held = StreamStep {
        forward: Forward::Bytes(Vec::new()),
        cut: None,
    };
    assert_eq!(scanner.push(b"data: z\n"), held);
    assert_eq!(
        scanner.push(b"\n:"),
        StreamStep {
            forward: Forward::Bytes(b"data: z\n\n".to_vec()),
            cut: None
        }
    );
}

#[test]
fn who_only_reports_cuts_nothing() {
    let reporting = StreamSettings {
        on_match: OnMatch::Report,
        max_chars: 3,
        ..settings()
    };
    let stream = "data: <script>1</script>\n\n";
    let outcome = run(Framing::Events, reporting, [stream.as_bytes()]);
    assert_eq!((&*outcome.got, outcome.refusal), (stream, None));
    let told: Vec<_> = outcome.report.matches.iter().collect();
    assert_eq!(told, [(Rule::Script, 1), (Rule::TooLong, 1)]);
}

#[test]
fn the_tokens_of_a_stream_are_what_it_says_last() {
    for (events, expected) in [
        (
            &[
                r#"{"model":"gpt-4o","choices":[],"usage":null}"#,
                r#"{"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":3}}}"#,
            ][..],
            (Some(7), Some(5), Some(12), Some("gpt-4o")),
        ),
        (
            &[
                r#"{"type":"message_start","message":{"model":"claude","usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":1}}}"#,
                r#"{"type":"message_delta","usage":{"output_tokens":25}}"#,
            ],
            (Some(100), Some(25), Some(125), Some("claude")),
        ),
        (
            &[
                r#"{"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4},"modelVersion":"gemini"}"#,
                r#"{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":6,"thoughtsTokenCount":2,"totalTokenCount":12}}"#,
            ],
            (Some(4), Some(8), Some(12), Some("gemini")),
        ),
        (
            &[
                r#"{"type":"response.completed","response":{"model":"o4","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#,
            ],
            (Some(1), Some(2), Some(3), Some("o4")),
        ),
        (
            &[r#"{"model":"llama","done":true,"prompt_eval_count":3,"eval_count":4}"#],
            (Some(3), Some(4), Some(7), Some("llama")),
        ),
        (
            &[
                r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5,"total_tokens":99999999999999999999}}"#,
            ],
            (None, None, None, None),
        ),
    ] {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let tokens = whole(Framing::Events, &stream).report.tokens;
        let told = tokens.as_ref().map_or((None, None, None, None), |tokens| {
            (tokens.input, tokens.output, tokens.total, tokens.model.as_deref())
        });
        assert_eq!(told, expected, "{stream}");
    }
}

#[test]
fn ten_megabytes_are_held_in_little_memory() {
    let event = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"x\":\"{}\"}}}}]}}\n\n",
        "y".repeat(800)
    );
    let many = StreamSettings {
        max_chars: usize::MAX,
        ..settings()
    };
    let mut scanner = StreamScanner::new(Framing::Events, many);
    let mut sent = 0;
    let stream = event.repeat(100);
    while sent < 10 * 1024 * 1024 {
        for piece in stream.as_bytes().chunks(1500) {
            scanner.push(piece);
            sent += piece.len();
            assert!(scanner.held.capacity() < 8192, "{}", scanner.held.capacity());
        }
    }
    assert_eq!(scanner.finish().cut, None);
}

/// Streams with much that the rules and the parser care for.
fn stream() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "(data: |data:|event: |id: |: |data|\u{FEFF})",
        "(\n|\r|\r\n|\n\n|\r\r|\r\n\r\n|\n\r)",
        "(<scr|ipt>|<script|javascript|javasc|ript|:|onclick|on|click| = |=|&#|58|;|&|colon;)",
        r#"(\{"delta":"|"\}|\{"choices":\[\{"delta":\{"content":"|"\}\}\]\}|\\u003c|script|\{"a":1,"a":2\}|\[DONE\])"#,
        "[a-zé€😀 ]{0,3}",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn chunking_does_not_change_a_verdict(
        stream in stream(),
        invalid in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        framing in prop_oneof![Just(Framing::Events), Just(Framing::JsonLines), Just(Framing::Text)],
        reports: bool,
    ) {
        let mut bytes = stream.into_bytes();
        if let Some((at, byte)) = invalid && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let settings = StreamSettings { on_match: if reports { OnMatch::Report } else { OnMatch::Reject }, ..settings() };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let chunked = run(framing, settings, pieces);
        let single = run(framing, settings, bytes.chunks(1));
        let whole = run(framing, settings, [&bytes[..]]);
        // A text goes on as it comes, so that it depends on the pieces how much of it went on before a match; the verdict does not.
        if framing == Framing::Text {
            prop_assert_eq!((chunked.refusal, single.refusal), (whole.refusal, whole.refusal));
            if reports {
                prop_assert_eq!(&chunked, &whole);
                prop_assert_eq!(&single, &whole);
            }
        } else {
            prop_assert_eq!(&chunked, &whole);
            prop_assert_eq!(&single, &whole);
        }
    }

    #[test]
    fn no_stream_makes_it_panic(bytes: Vec<u8>, size in 1..16_usize) {
        for framing in [Framing::Events, Framing::JsonLines, Framing::Text] {
            run(framing, settings(), bytes.chunks(size));
        }
    }
}

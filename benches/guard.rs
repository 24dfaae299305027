//! Speed of the guard in MB/s: the rules beside `regex` with the guide's three patterns, and beside memchr, which only looks.
//!
//! `cargo bench --bench guard`. Read the ratios: every row reads the same text in the same run.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use latchkey::config::{GuardRequest, GuardResponse, Handlers, OnMatch, OnUnscanned, PromptContext};
use latchkey::guard::{Caller, RequestBody, RequestGuard, ResponseBody, ResponseGuard, Rules};
use regex::Regex;

const SIZE: usize = 1024 * 1024;

const PROSE: &str = "The library keeps every book that anyone in the town has asked for since 1911: novels, atlases, and one \
    shelf of cookery. On most days \u{2013} Sundays too \u{2013} somebody asks the same question, \u{201C}Is it open?\u{201D}, \
    and is told yes. Ordering takes a week; returning, on the other hand, takes a month = four weeks or so.\n";

/// The samples of source code that the tests pass through the rules.
const CODE: [&str; 5] = [
    include_str!("../tests/data/guard/code/inventory.py"),
    include_str!("../tests/data/guard/code/inventory.js"),
    include_str!("../tests/data/guard/code/inventory.rs"),
    include_str!("../tests/data/guard/code/Inventory.java"),
    include_str!("../tests/data/guard/code/inventory.cpp"),
];

/// Repeats `text` to about [`SIZE`] bytes.
fn filled(text: &str) -> String {
    text.repeat(SIZE / text.len() + 1)
}

/// The guide's patterns for an engine without look-ahead: the first matches what the guide's does.
fn patterns() -> [Regex; 3] {
    [
        r"(?is)<script\b.*?</script>",
        r"(?i)javascript:",
        r"(?i)on\w+\s*=",
    ]
    .map(|pattern| Regex::new(pattern).expect("the pattern is one"))
}

fn replace_all(patterns: &[Regex; 3], text: &str) -> usize {
    let text = patterns[0].replace_all(text, "");
    let text = patterns[1].replace_all(&text, "").into_owned();
    patterns[2].replace_all(&text, "").len()
}

fn rules(criterion: &mut Criterion) {
    let dirty = "Some <scr<script>1</script>ipt>text</script>, a java\tscript: and an <img onerror = x>, all in one line.\n";
    let patterns = patterns();
    for (name, text) in [
        ("prose", filled(PROSE)),
        ("code", filled(&CODE.concat())),
        ("harmful", filled(dirty)),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("memchr, the limit", |bencher| {
            bencher.iter(|| memchr::memchr3_iter(b'<', b':', b'=', black_box(text.as_bytes())).count());
        });
        group.bench_function("rules, handlers known", |bencher| {
            let rules = Rules::new(Handlers::Known);
            bencher.iter(|| rules.sanitize(black_box(&text)).text.len());
        });
        group.bench_function("rules, handlers any", |bencher| {
            let rules = Rules::new(Handlers::Any);
            bencher.iter(|| rules.sanitize(black_box(&text)).text.len());
        });
        group.bench_function("regex, the guide's patterns", |bencher| {
            bencher.iter(|| replace_all(&patterns, black_box(&text)));
        });
        group.finish();
    }
}

/// Whole bodies of the longest texts that the defaults let pass, and a stream of small events.
fn bodies(criterion: &mut Criterion) {
    let chars = |count| NonZeroUsize::new(count).expect("it is not zero");
    let request = RequestGuard::compile(&GuardRequest {
        fields: vec!["input".into(), "messages[*].content".into()],
        on_match: OnMatch::Sanitize,
        on_unscanned: OnUnscanned::Reject,
        max_chars: chars(10_000),
        context: PromptContext::Header,
        context_template: None,
        handlers: Handlers::Known,
    });
    let response = ResponseGuard::compile(&GuardResponse {
        fields: vec!["*".into()],
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: chars(50_000),
        handlers: Handlers::Known,
    });
    let json = |field: &str, count: usize| {
        let text: String = filled(PROSE).chars().take(count).collect();
        serde_json::json!({ field: text, "model": "m" }).to_string()
    };
    let mut group = criterion.benchmark_group("bodies");
    for (name, body) in [
        ("request", json("input", 10_000)),
        ("response", json("response", 50_000)),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("JSON", name), &body, |bencher, body| {
            bencher.iter(|| {
                let content_type = Some("application/json");
                let (content_encoding, body) = (None, black_box(body.as_bytes()));
                if name == "request" {
                    let caller = Caller::default();
                    request
                        .process(&RequestBody {
                            content_type,
                            content_encoding,
                            body,
                            caller,
                        })
                        .report
                        .chars
                } else {
                    response
                        .scan(&ResponseBody {
                            content_type,
                            content_encoding,
                            body,
                        })
                        .report
                        .chars
                }
            });
        });
    }
    let event = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" every book\"},\"finish_reason\":null}]}\n\n";
    let stream = event.repeat(2_000);
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("2,000 events, one a piece", |bencher| {
        bencher.iter(|| {
            let mut scanner = response.stream(Some("text/event-stream"));
            for piece in black_box(stream.as_bytes()).chunks(event.len()) {
                scanner.push(piece);
            }
            scanner.finish().report.chars
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = rules, bodies
}
criterion_main!(benches);

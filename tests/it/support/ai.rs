//! A stack with guarded routes, before a backend that says what it is asked to.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use super::{Backend, Client, Home, Message, Shape, Stack, echo};

/// Routes by what guards them: `/g/both`, `/g/in`, `/g/out`, `/g/report`, `/g/pass` (what cannot be scanned passes), `/g/prompt`,
/// `/g/optional` (without a key, too), `/g/long` (answers of any length) and `/g/none`.
const ROUTES: &str = r"routes:
  - {name: both, path: /g/both, api: api_ai, guard: both}
  - {name: in, path: /g/in, api: api_ai, guard: in}
  - {name: out, path: /g/out, api: api_ai, guard: out}
  - {name: report, path: /g/report, api: api_ai, guard: report}
  - {name: pass, path: /g/pass, api: api_ai, guard: pass}
  - {name: prompt, path: /g/prompt, api: api_ai, guard: prompt}
  - {name: optional, path: /g/optional, api: api_ai, guard: both, auth: optional}
  - {name: long, path: /g/long, api: api_ai, guard: long}
  - {name: none, path: /g/none, api: api_ai}
";

const GUARDS: &str = r#"guards:
  both: &both
    request: &in {fields: [message, input, "messages[*].content"], on_match: sanitize}
    response: &out {fields: ["*"], on_match: reject}
  in: {request: {fields: [message, input, "messages[*].content"], on_match: sanitize}}
  out: {response: {fields: ["*"], on_match: reject}}
  report:
    request: {fields: [message], on_match: report}
    response: {fields: ["*"], on_match: report}
  pass:
    request: {fields: [message], on_unscanned: pass}
    response: {fields: ["*"], on_unscanned: pass}
  long: {response: {fields: ["*"], max_chars: 100000000}}
  prompt: {request: {fields: [message], context: prompt}}
rate_limits:
"#;

/// The header that asks the backend for an answer of this content type, with the body of the request; without it the backend echoes.
pub(crate) const ANSWER: &str = "x-answer";
/// The header that asks for a pause of so many milliseconds after each event of a stream.
pub(crate) const PAUSE: &str = "x-pause-ms";

/// The header that asks for all events of a stream so many times.
const REPEAT: &str = "x-repeat";

/// A home whose routes are guarded.
pub(crate) fn guarded_home() -> Home {
    guarded_home_with(&[])
}

pub(crate) fn guarded_home_with(replaced: &[(&str, &str)]) -> Home {
    let mut all = vec![
        ("routes:\n", ROUTES),
        ("rate_limits:\n", GUARDS),
        // At trace level the log would cost more than the guard.
        ("level: trace", "level: info"),
    ];
    all.extend_from_slice(replaced);
    Home::with(&all)
}

/// One Latchkey with guards, one Envoy of this shape, one AI; and a key.
pub(crate) fn guarded(shape: Shape, replaced: &[(&str, &str)]) -> (Stack, String) {
    let stack = Stack::before(ai(), guarded_home(), shape, replaced);
    let key = stack.home.chat_key().bearer();
    (stack, key)
}

/// A backend that echoes, or answers with the body that it was sent.
pub(crate) fn ai() -> Backend {
    Backend::answering(|request, to| match request.header(ANSWER) {
        None => to.write_all(&echo(request)),
        Some(content_type @ ("text/event-stream" | "application/x-ndjson")) => {
            stream(request, content_type, to)
        }
        Some(content_type) => {
            let length = request.body.len();
            write!(
                to,
                "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n"
            )?;
            if let Some(encoding) = request.header("x-answer-encoding") {
                write!(to, "content-encoding: {encoding}\r\n")?;
            }
            to.write_all(b"\r\n")?;
            to.write_all(&request.body)
        }
    })
}

/// Sends what ends with an empty line as one chunk each.
fn stream(request: &Message, content_type: &str, to: &mut dyn Write) -> io::Result<()> {
    let pause = request.header(PAUSE).and_then(|text| text.parse().ok());
    write!(
        to,
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    )?;
    let times = request
        .header(REPEAT)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let text = String::from_utf8_lossy(&request.body);
    for _ in 0..times {
        for event in text.split_inclusive("\n\n") {
            write!(to, "{:x}\r\n{event}\r\n", event.len())?;
            to.flush()?;
            if let Some(pause) = pause {
                thread::sleep(Duration::from_millis(pause));
            }
        }
    }
    to.write_all(b"0\r\n\r\n")
}

/// A metric of a running server; 0 if it is not there. `line` is its name with its labels.
pub(crate) fn metric(stack: &Stack, line: &str) -> u64 {
    let metrics = Client::new(stack.latchkey.ops).get("/metrics", &[]);
    assert_eq!(metrics.status, 200);
    let found = metrics.body.lines().find_map(|written| {
        let value = written.strip_prefix(line)?.strip_prefix(' ')?;
        value.parse().ok()
    });
    found.unwrap_or(0)
}

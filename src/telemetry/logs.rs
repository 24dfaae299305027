//! Log lines on standard error.
//!
//! One event is one line, whatever is in it: JSON escapes by itself, and `OneLine` escapes what text would let through, so
//! that nobody can begin a second line, or speak to a terminal, through a value that was logged.

use std::fmt;
use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{LogFormat, Telemetry};

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `telemetry.log.level` is no level and no filter.
    #[error(
        "telemetry.log.level: {filter:?} is neither a level nor a filter such as \"info,latchkey=debug\": {cause}"
    )]
    Filter {
        /// What is there.
        filter: Box<str>,
        /// What is wrong with it.
        cause: Box<str>,
    },
    /// Someone else of this process logs already.
    #[error("logs of this process go elsewhere already")]
    Taken(#[from] TryInitError),
    /// The level cannot be changed any more.
    #[error("the level of the logs cannot be changed")]
    Fixed(#[from] reload::Error),
}

/// The level of the logs that were begun with [`init`]; it can be changed while they are written.
pub struct LogLevel {
    replace: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl LogLevel {
    /// From here on events are chosen by this level or filter, as `telemetry.log.level` writes it.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        Ok((self.replace)(filter(level)?)?)
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}

/// Sends the events of the whole process to standard error.
pub fn init(settings: &Telemetry) -> Result<LogLevel, LogError> {
    let (subscriber, level) = subscriber(settings, io::stderr)?;
    subscriber.try_init()?;
    Ok(level)
}

type Lines = Box<dyn Subscriber + Send + Sync>;

fn subscriber<W: Write + 'static>(
    settings: &Telemetry,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(Lines, LogLevel), LogError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.log_level)?)
        .with_ansi(false);
    // The two differ in type from here on.
    Ok(match settings.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_writer(writer);
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let replace = Box::new(move |filter| handle.reload(filter));
            (Box::new(lines.finish()), LogLevel { replace })
        }
        LogFormat::Text => {
            let lines = lines.with_writer(move || OneLine(writer()));
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let replace = Box::new(move |filter| handle.reload(filter));
            (Box::new(lines.finish()), LogLevel { replace })
        }
    })
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|error| LogError::Filter {
        filter: level.into(),
        cause: error.to_string().into(),
    })
}

/// Writes an event as one line: control characters, line separators and changes of direction are written as escapes.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// Takes a whole event, as `tracing_subscriber::fmt` hands it over: one call, a newline at its end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        if line.contains(is_unsafe) {
            let mut escaped = String::with_capacity(line.len() + 32);
            for character in line.chars() {
                if is_unsafe(character) {
                    escaped.extend(character.escape_default());
                } else {
                    escaped.push(character);
                }
            }
            escaped.push_str(end);
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log_format: LogFormat, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let settings = Telemetry {
            log_format,
            log_level: "info".into(),
            otlp_endpoint: None,
        };
        let writer = kept.clone();
        tracing::subscriber::with_default(subscriber(&settings, move || writer.clone()).unwrap().0, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_caller_sent_stays_on_its_line() {
        for log_format in [LogFormat::Json, LogFormat::Text] {
            let written = logged(log_format, || {
                tracing::warn!(path = %"/a\n2026-01-01 ERROR forged\x1b[2J\u{202e}", "refused");
            });
            assert_eq!(written.lines().count(), 1, "{log_format:?}: {written:?}");
            assert!(written.ends_with('\n'), "{log_format:?}");
            assert!(!written.contains('\x1b'), "{log_format:?}: {written:?}");
            assert!(written.contains("refused"), "{log_format:?}: {written:?}");
        }
    }

    #[test]
    fn text_has_no_change_of_direction() {
        let written = logged(
            LogFormat::Text,
            || tracing::warn!(host = %"a\u{202e}b", "refused"),
        );
        assert!(written.contains("a\\u{202e}b"), "{written:?}");
    }

    #[test]
    fn the_level_is_kept() {
        let written = logged(LogFormat::Text, || {
            tracing::debug!("not this");
            tracing::info!("but this");
        });
        assert!(
            !written.contains("not this") && written.contains("but this"),
            "{written:?}"
        );
    }

    #[test]
    fn the_level_can_change_while_lines_are_written() {
        for log_format in [LogFormat::Json, LogFormat::Text] {
            let kept = Kept::default();
            let settings = Telemetry {
                log_format,
                log_level: "info".into(),
                otlp_endpoint: None,
            };
            let writer = kept.clone();
            let (lines, level) = subscriber(&settings, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(lines, || {
                tracing::debug!("before");
                level.set("debug").unwrap();
                tracing::debug!("between");
                assert!(level.set("latchkey=loud").is_err());
                tracing::debug!("still");
                level.set("warn").unwrap();
                tracing::info!("after");
            });
            let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            let told = ["before", "between", "still", "after"].map(|word| written.contains(word));
            assert_eq!(told, [false, true, true, false], "{log_format:?}: {written}");
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let settings = Telemetry {
            log_format: LogFormat::Json,
            log_level: "latchkey=loud".into(),
            otlp_endpoint: None,
        };
        let error = subscriber(&settings, io::sink).err().unwrap().to_string();
        assert!(
            error.contains("telemetry.log.level") && error.contains("latchkey=loud"),
            "{error}"
        );
    }
}

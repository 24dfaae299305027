//! One finished request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decision_id::DecisionId;

/// Longest text of an event, in bytes; what is longer is cut. Ids of keys and owners have bounds of their own.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What names an event. The same event may come more than once, and counts once.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Box<str>);

impl EventId {
    /// Of a request that Latchkey decided about. A caller has no influence on it.
    pub fn of_decision(id: DecisionId) -> Self {
        Self(id.to_string().into())
    }

    /// Of a request that never came to a check, or whose check failed: which Envoy saw it, when, and from which port.
    pub fn of_request(node: &str, started_ns: u128, peer_port: u16) -> Self {
        Self(format!("{}/{started_ns}/{peer_port}", cut(node, 256)).into())
    }

    /// As it was stored.
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The decision, if there was one.
    pub fn decision(&self) -> Option<DecisionId> {
        DecisionId::parse(self.0.as_bytes())
    }
}

/// One finished request: who, what, how much, how long, and whether it failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its name.
    pub id: EventId,
    /// When Envoy began to read the request, in milliseconds since the Unix epoch; never in the future.
    pub at_ms: u64,
    /// Id of the key; never the key. Empty texts mean that it is not known, here and below.
    pub key_id: Box<str>,
    /// Name of the key, for people.
    pub key_name: Box<str>,
    /// Owner of the key, if it is an organization.
    pub org_code: Box<str>,
    /// Owner of the key, if it is a user.
    pub user_id: Box<str>,
    /// Name of Latchkey's route.
    pub route: Box<str>,
    /// Method of the request.
    pub method: Box<str>,
    /// Path of the request without its query, at most [`MAX_TEXT_BYTES`].
    pub path: Box<str>,
    /// Status of the answer; 0 if the caller was gone before there was one.
    pub status: u16,
    /// `allow`, `deny`, or empty without a check.
    pub outcome: Box<str>,
    /// Why, in the words of the check.
    pub reason: Box<str>,
    /// Envoy's response flags in their short form, separated by commas, such as `UF`.
    pub flags: Box<str>,
    /// How Envoy came to the answer, such as `via_upstream`.
    pub details: Box<str>,
    /// What the guard says: empty, `ok`, `refused`, `missed`, …
    pub guard: Box<str>,
    /// Bytes of the request's body.
    pub input_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Characters of the request's text, where the guard saw it.
    pub input_chars: Option<u64>,
    /// Characters of the answer's text, where the guard saw it.
    pub response_chars: Option<u64>,
    /// Tokens that went in, where the guard saw them.
    pub input_tokens: Option<u64>,
    /// Tokens that came out, where the guard saw them.
    pub output_tokens: Option<u64>,
    /// All tokens, where the guard saw them.
    pub total_tokens: Option<u64>,
    /// From the first byte of the request to the last of the answer, in microseconds.
    pub duration_us: u64,
}

impl Event {
    /// How long the request took.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_us)
    }

    /// Whether it failed for a reason that is not the caller's: an answer of 500 or more, no answer although the backend was
    /// asked, or a guard that refused what came in or went out.
    pub fn failed(&self) -> bool {
        self.status >= 500 || &*self.guard == "refused" || self.flags.split(',').any(is_failure)
    }

    /// The organization, or else the user.
    pub fn organization(&self) -> &str {
        if self.org_code.is_empty() {
            &self.user_id
        } else {
            &self.org_code
        }
    }

    /// The length of what went in: characters where the guard counted them, else bytes.
    pub fn input_length(&self) -> u64 {
        self.input_chars.unwrap_or(self.input_bytes)
    }

    /// The same for what came out.
    pub fn response_length(&self) -> u64 {
        self.response_chars.unwrap_or(self.response_bytes)
    }

    /// About what it takes in memory, in bytes.
    pub fn size_bytes(&self) -> usize {
        let texts = [
            &self.id.0,
            &self.key_id,
            &self.key_name,
            &self.org_code,
            &self.user_id,
            &self.route,
            &self.method,
            &self.path,
            &self.outcome,
            &self.reason,
            &self.flags,
            &self.details,
            &self.guard,
        ];
        size_of::<Self>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// Flags of Envoy that mean that the backend, or the way to it, failed; a caller that went away (`DC`) is none.
fn is_failure(flag: &str) -> bool {
    matches!(
        flag,
        "LH" | "UH" | "UT" | "LR" | "UR" | "UF" | "UC" | "UO" | "URX" | "UMSDR" | "UPE" | "DT"
    )
}

/// The beginning of a text, at most `most` bytes, whole characters only.
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A request that went well; `number` makes it another one.
    pub(crate) fn event(number: u32) -> Event {
        Event {
            id: EventId::of_request("node", u128::from(number), 1),
            at_ms: 1_800_000_000_000,
            key_id: "api_key_1".into(),
            key_name: "Acme".into(),
            org_code: "org_acme".into(),
            user_id: "".into(),
            route: "chat".into(),
            method: "POST".into(),
            path: "/ai/chat".into(),
            status: 200,
            outcome: "allow".into(),
            reason: "key".into(),
            flags: "".into(),
            details: "via_upstream".into(),
            guard: "".into(),
            input_bytes: 100,
            response_bytes: 1000,
            input_chars: None,
            response_chars: None,
            input_tokens: None,
            output_tokens: None,
            total_tokens: None,
            duration_us: 250_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::event;
    use super::*;
    use crate::usage::{Minute, Replica};

    #[test]
    fn what_failed_and_what_did_not() {
        for (status, flags, guard, failed) in [
            (200, "", "", false),
            (401, "UAEX", "", false),
            (429, "UAEX", "", false),
            (0, "DC", "", false),
            (500, "", "", true),
            (503, "UF,URX", "", true),
            (200, "UC", "", true),
            (400, "", "refused", true),
            (200, "", "missed", false),
        ] {
            let event = Event {
                status,
                flags: flags.into(),
                guard: guard.into(),
                ..event(1)
            };
            assert_eq!(event.failed(), failed, "{status} {flags} {guard}");
        }
    }

    #[test]
    fn an_event_knows_its_decision() {
        let id = DecisionId::new(Replica::from_number(7), 60_000);
        assert_eq!(EventId::of_decision(id).decision(), Some(id));
        assert_eq!(id.minute(), Minute(1));
        assert_eq!(EventId::of_request("envoy", 5, 80).decision(), None);
    }

    #[test]
    fn a_cut_text_has_whole_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("", 3), "");
    }

    #[test]
    fn an_event_outlives_a_file() {
        let event = event(1);
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}

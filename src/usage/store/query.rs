//! What can be asked of the store.

use std::str::FromStr;

use crate::usage::durations::Durations;

/// What sums are grouped by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// Each key.
    Key,
    /// Each organization, or user without one.
    Owner,
    /// Each route.
    Route,
    /// Each status of an answer.
    Status,
    /// Each hour, in UTC.
    Hour,
    /// Each day, in UTC.
    Day,
}

impl Group {
    /// All of them, as they are written.
    pub const ALL: [(&'static str, Self); 6] = [
        ("key", Self::Key),
        ("owner", Self::Owner),
        ("route", Self::Route),
        ("status", Self::Status),
        ("hour", Self::Hour),
        ("day", Self::Day),
    ];
}

/// There is no such group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one or more of key, owner, route, status, hour, day, separated by commas")]
pub struct InvalidGroup;

/// Groups, in the order in which they were asked for; none twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct By(Vec<Group>);

impl By {
    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.0
    }

    /// These, and one more.
    pub fn and(&self, group: Group) -> Self {
        let mut groups = self.0.clone();
        if !self.has(group) {
            groups.push(group);
        }
        Self(groups)
    }

    /// Whether this is one of them.
    pub fn has(&self, group: Group) -> bool {
        self.0.contains(&group)
    }
}

impl FromStr for By {
    type Err = InvalidGroup;

    fn from_str(written: &str) -> Result<Self, InvalidGroup> {
        let mut groups = Vec::new();
        for name in written.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let found = Group::ALL.iter().find(|(other, _)| *other == name);
            let (_, group) = found.ok_or(InvalidGroup)?;
            if !groups.contains(group) {
                groups.push(*group);
            }
        }
        if groups.contains(&Group::Hour) && groups.contains(&Group::Day) {
            groups.retain(|group| *group != Group::Day);
        }
        Ok(Self(groups))
    }
}

/// Which requests are asked for. What is absent does not narrow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// From this time on, in milliseconds since the Unix epoch; sums are by whole hours, so from the beginning of its hour.
    pub from_ms: Option<u64>,
    /// Before this time; sums go to the end of the hour that it is in, unless it begins one.
    pub to_ms: Option<u64>,
    /// Of this key.
    pub key_id: Option<String>,
    /// Of this organization.
    pub org_code: Option<String>,
    /// Of this user.
    pub user_id: Option<String>,
    /// On this route.
    pub route: Option<String>,
    /// Answered so.
    pub status: Option<u16>,
}

/// Which single events are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventFilter {
    /// As for sums, to the millisecond.
    pub filter: Filter,
    /// Only those that failed, or only those that did not.
    pub failed: Option<bool>,
    /// Only those older than the event at this time with this id.
    pub before: Option<(u64, String)>,
}

/// Sums of one group. Fields that were not asked for are absent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct UsageRow {
    /// Id of the key.
    pub key_id: Option<String>,
    /// The organization; empty for a user's own key.
    pub org_code: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// Status of the answers.
    pub status: Option<u16>,
    /// Where the hour or day begins, in milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// Requests.
    pub requests: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Length of what went in.
    pub input_length: u64,
    /// Length of what came out.
    pub response_length: u64,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// All tokens.
    pub tokens: u64,
    /// How long they took.
    pub durations: Durations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_a_list_of_known_names() {
        let groups = |written: &str| written.parse::<By>().map(|by| by.0);
        assert_eq!(groups(""), Ok(vec![]));
        assert_eq!(groups("key, status,key"), Ok(vec![Group::Key, Group::Status]));
        assert_eq!(groups("day,hour"), Ok(vec![Group::Hour]), "an hour says the day");
        assert_eq!(groups("week"), Err(InvalidGroup));
    }
}

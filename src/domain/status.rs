//! The status record: what the connector makes of a subscription, kept in a compacted topic by subscription id.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::Offset;
use super::subscription::Subscription;

/// The state of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Deliveries are made.
    Active,
    /// Deliveries are made, and too many have been given up.
    Failing,
    /// No deliveries are made until the subscription is written again.
    Disabled,
    /// The definition can't be used.
    Invalid,
}

/// What the status topic says of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The state.
    pub state: State,
    /// Deliveries in a row that were given up with none delivered between.
    pub consecutive_dead_letters: u32,
    /// Since when they are.
    pub failing_since: Option<Timestamp>,
    /// Why, for people; at most 1 KiB is written.
    pub reason: Option<Box<str>>,
    /// When the state began.
    pub since: Timestamp,
    /// The offset of the definition that this speaks of.
    pub definition_offset: i64,
}

impl Status {
    /// Makes the status of a definition that can't be used.
    pub fn invalid(definition: Offset, reason: &str, since: Timestamp) -> Self {
        Self {
            state: State::Invalid,
            reason: Some(reason.into()),
            ..Self::active(definition, since)
        }
    }

    /// Makes the status of a definition that can be used.
    pub fn active(definition: Offset, since: Timestamp) -> Self {
        Self {
            state: State::Active,
            consecutive_dead_letters: 0,
            failing_since: None,
            reason: None,
            since,
            definition_offset: definition.0,
        }
    }

    /// Tells whether this speaks of a definition that was replaced by another.
    ///
    /// A smaller offset may be the later one: the topic was made anew, or the definition stands in another partition. It
    /// was then written after the state began, while a definition that only hasn't been read yet was written before.
    pub fn is_before(&self, definition: &Subscription) -> bool {
        match self.definition_offset.cmp(&definition.definition_offset.0) {
            Ordering::Less => true,
            Ordering::Equal => false,
            Ordering::Greater => self.since < definition.defined_at,
        }
    }

    /// Reads a record's value; what isn't a status of this form is passed over.
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// Writes a record's value.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_it_was_written() {
        let since = Timestamp::from_second(1_736_937_000).expect("in range");
        let status = Status::invalid(Offset(7), "url: is missing", since);
        let json = r#"{"state":"invalid","consecutiveDeadLetters":0,"failingSince":null,"reason":"url: is missing","since":"2025-01-15T10:30:00Z","definitionOffset":7}"#;
        assert_eq!(String::from_utf8(status.write()).as_deref(), Ok(json));
        assert_eq!(Status::read(json.as_bytes()), Some(status));
        assert_eq!(Status::read(b"{}"), None);
    }
}

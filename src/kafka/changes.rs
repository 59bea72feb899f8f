//! What the records of the subscriptions and the status topic say: the last word on each id, whatever order the
//! partitions come in.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Message};

use super::version::Version;
use crate::domain::headers::truncated;
use crate::domain::record::Offset;
use crate::domain::status::Status;
use crate::domain::subscription::{Problem, Rules, Subscription, SubscriptionId};

/// The longest reason why a subscription is invalid, in bytes.
const REASON_MAX: usize = 1024;

/// A change of one subscription. Each is the last word on its subscription so far.
#[derive(Debug)]
pub enum Change {
    /// It is new, or has a new definition.
    Put(Arc<Subscription>),
    /// Its definition breaks rules: nothing may be sent for it.
    Invalid {
        /// Which one.
        id: SubscriptionId,
        /// The offset of the record that defines it.
        offset: Offset,
        /// The rules it breaks, joined by `; `, at most 1 KiB. It repeats no value of the definition.
        reason: String,
    },
    /// It is deleted, if it was known at all.
    Removed(SubscriptionId),
    /// A record of the subscriptions topic has a key that is no subscription's id: it says nothing.
    BadKey {
        /// The record's partition.
        partition: i32,
        /// The record's offset.
        offset: Offset,
    },
    /// Its status was written or deleted; what isn't of this form counts as none.
    Status(SubscriptionId, Option<Status>),
}

/// What the records of a topic mean.
#[derive(Clone)]
pub(super) enum Interpret {
    Definition(Rules),
    Status,
}

/// The records of a topic that count so far.
pub(super) struct Known {
    interpret: Interpret,
    phase: Phase,
    /// The record that counts for each id. Those of deleted ones are kept while reading up only: an older definition
    /// may still come from another partition.
    seen: HashMap<SubscriptionId, (Version, Is)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    ReadingUp,
    Live,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Defined,
    Deleted,
}

impl Known {
    pub(super) fn new(interpret: Interpret) -> Self {
        Self { interpret, phase: Phase::ReadingUp, seen: HashMap::new() }
    }

    /// Tells whether all partitions have been read to their ends.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Notes that all partitions have been read to their ends.
    pub(super) fn go_live(&mut self) {
        self.phase = Phase::Live;
        self.seen.retain(|_, (_, is)| *is == Is::Defined);
    }

    /// Reads a record; one that was read before, or is older than what is known, changes nothing.
    pub(super) fn change(&mut self, message: &BorrowedMessage<'_>) -> Option<Change> {
        let place = Version::of(message);
        let Some(id) = message.key().and_then(SubscriptionId::from_key) else {
            return self.bad_key(&place, message.payload());
        };
        self.change_of(id, place, message.payload())
    }

    fn bad_key(&self, place: &Version, value: Option<&[u8]>) -> Option<Change> {
        match (&self.interpret, value) {
            (Interpret::Definition(_), Some(_)) => {
                let offset = Offset(place.offset);
                Some(Change::BadKey { partition: place.partition, offset })
            }
            // Deleting such a record is how people clean up, and a status of nobody harms nobody.
            (Interpret::Definition(_), None) | (Interpret::Status, _) => None,
        }
    }

    fn change_of(
        &mut self,
        id: SubscriptionId,
        version: Version,
        value: Option<&[u8]>,
    ) -> Option<Change> {
        if self.seen.get(&id).is_some_and(|(known, _)| !version.supersedes(known)) {
            return None;
        }
        let is = if value.is_some() { Is::Defined } else { Is::Deleted };
        match (is, self.phase) {
            (Is::Deleted, Phase::Live) => self.seen.remove(&id),
            (Is::Defined, _) | (Is::Deleted, Phase::ReadingUp) => {
                self.seen.insert(id.clone(), (version, is))
            }
        };
        Some(match (&self.interpret, value) {
            (Interpret::Status, value) => Change::Status(id, value.and_then(Status::read)),
            (Interpret::Definition(_), None) => Change::Removed(id),
            (Interpret::Definition(rules), Some(value)) => {
                let offset = Offset(version.offset);
                match Subscription::parse(id.clone(), value, offset, rules) {
                    Ok(it) => Change::Put(Arc::new(it.written(version.time()))),
                    Err(problems) => Change::Invalid { id, offset, reason: reason(&problems) },
                }
            }
        })
    }
}

/// Joins problems to at most [`REASON_MAX`] bytes.
fn reason(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    truncated(&texts.join("; "), REASON_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::subscription::HttpUrls;
    use crate::domain::subscription::tests::rules;

    const GOOD: &str = r#"{"url":"https://example.com","events":["a"],"secret":"s"}"#;
    const STATUS: &str = r#"{"state":"disabled","consecutiveDeadLetters":10,"failingSince":null,"reason":null,"since":"2026-01-15T10:30:00Z","definitionOffset":4}"#;

    fn definitions() -> Known {
        Known::new(Interpret::Definition(rules(HttpUrls::Refused)))
    }

    /// Takes a record (partition, offset, timestamp) of the id `a`, and shows what it changes.
    fn take(known: &mut Known, at: (i32, i64, i64), value: Option<&str>) -> String {
        let id = SubscriptionId::parse("a").expect("it is an id");
        let version = Version { partition: at.0, offset: at.1, timestamp_ms: at.2 };
        match known.change_of(id, version, value.map(str::as_bytes)) {
            None => "nothing".to_owned(),
            Some(Change::Put(it)) => format!("put at {}", it.definition_offset.0),
            Some(Change::Invalid { reason, .. }) => format!("invalid: {reason}"),
            Some(Change::Removed(_)) => "removed".to_owned(),
            Some(Change::BadKey { .. }) => "bad key".to_owned(),
            Some(Change::Status(_, status)) => {
                let offset = status.map(|status| status.definition_offset);
                format!("status of {offset:?}")
            }
        }
    }

    #[test]
    fn a_deletion_outlives_an_older_definition_that_is_read_later() {
        let mut known = definitions();
        assert_eq!(take(&mut known, (1, 5, 20), None), "removed");
        assert_eq!(take(&mut known, (0, 9, 10), Some(GOOD)), "nothing");
        assert_eq!(take(&mut known, (1, 6, 30), Some(GOOD)), "put at 6");
    }

    #[test]
    fn a_record_that_is_read_again_changes_nothing() {
        let mut known = definitions();
        assert_eq!(take(&mut known, (0, 1, 10), Some(GOOD)), "put at 1");
        known.go_live();
        assert_eq!(take(&mut known, (0, 1, 10), Some(GOOD)), "nothing");
    }

    #[test]
    fn a_status_that_is_unreadable_or_deleted_is_none() {
        let mut known = Known::new(Interpret::Status);
        assert_eq!(take(&mut known, (0, 1, 10), Some(STATUS)), "status of Some(4)");
        assert_eq!(take(&mut known, (0, 2, 11), Some("hunter2")), "status of None");
        assert_eq!(take(&mut known, (0, 3, 12), None), "status of None");
    }

    #[test]
    fn only_a_definition_under_a_bad_key_is_told() {
        let place = Version { partition: 3, offset: 7, timestamp_ms: 1 };
        let told = definitions().bad_key(&place, Some(b"{}"));
        assert!(matches!(told, Some(Change::BadKey { partition: 3, offset: Offset(7) })));
        assert!(definitions().bad_key(&place, None).is_none());
        assert!(Known::new(Interpret::Status).bad_key(&place, Some(b"{}")).is_none());
    }

    proptest! {
        #[test]
        fn any_history_leaves_what_a_fresh_read_finds(
            history in prop::collection::vec((0..3_i32, 0..4_usize, any::<bool>()), 0..40),
            live_from in 0..40_usize,
            order in Just([0, 1, 2]).prop_shuffle(),
        ) {
            let mut offsets = [0; 3];
            let records: Vec<_> = history.iter().enumerate().map(|(time, (partition, key, is_put))| {
                let offset = &mut offsets[*partition as usize];
                *offset += 1;
                let version = Version { partition: *partition, offset: *offset, timestamp_ms: time as i64 };
                (version, SubscriptionId::parse(&format!("s{key}")).expect("an id"), is_put.then_some(GOOD.as_bytes()))
            }).collect();
            let mut followed = HashMap::new();
            let mut known = definitions();
            for (at, (version, id, value)) in records.iter().enumerate() {
                if at == live_from {
                    known.go_live();
                }
                note(&mut followed, known.change_of(id.clone(), *version, *value));
            }
            // A fresh reader gets the partitions in any order, each in its own.
            let mut fresh = HashMap::new();
            let mut known = definitions();
            for partition in order {
                for (version, id, value) in records.iter().filter(|(version, ..)| version.partition == partition) {
                    note(&mut fresh, known.change_of(id.clone(), *version, *value));
                }
            }
            prop_assert_eq!(followed, fresh);
        }
    }

    /// Makes a change in what is known of each id.
    fn note(registry: &mut HashMap<SubscriptionId, Offset>, change: Option<Change>) {
        match change {
            Some(Change::Put(it)) => drop(registry.insert(it.id.clone(), it.definition_offset)),
            Some(Change::Removed(id)) => drop(registry.remove(&id)),
            None => {}
            Some(other) => panic!("unexpected: {other:?}"),
        }
    }

    #[test]
    fn a_reason_is_cut() {
        let problem = |_| Problem { path: "events".into(), what: "x".repeat(100) };
        let problems: Vec<_> = (0..50).map(problem).collect();
        let text = reason(&problems);
        assert!(text.len() <= REASON_MAX && text.starts_with("events: xx"), "{text}");
    }
}

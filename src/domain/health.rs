//! The health of subscriptions, folded from the audit topic: what one record after the other makes of a status.
//!
//! One owner folds the records of a partition in their order, and writes each new status in the transaction that commits
//! how far it is: a record counts once, whatever crashes between. A subscription's records are all in one partition,
//! because its id is their key.
//!
//! A record counts for the definition that it tells of. So what is late from before a change doesn't harm what came
//! after it.

use jiff::Timestamp;
use serde::Deserialize;

use super::audit;
use super::outcome::Reason;
use super::record::{Offset, Record};
use super::status::{State, Status};
use super::subscription::SubscriptionId;

/// Shares of the limit, in percent, that the status tells when they are reached. Failing begins with the first.
const ALERTS: [u64; 3] = [90, 70, 50];

/// What an audit record tells of a subscription's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Whose.
    pub subscription: SubscriptionId,
    /// When it was decided.
    pub at: Timestamp,
    /// What became of the delivery.
    pub kind: Kind,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It arrived.
    Delivered,
    /// It was given up.
    DeadLettered {
        /// The definition that was followed.
        definition: Offset,
        /// Whether the receiver said that it is gone for good.
        end: End,
    },
}

/// Whether a receiver may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It answered 410.
    Gone,
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct Told<'a> {
    at: Timestamp,
    outcome: &'a str,
    reason: &'a str,
}

impl Observation {
    /// Reads an audit record. `None` for what says nothing about health: retries, decisions that followed from the state
    /// itself, records of no subscription.
    pub fn read(record: &Record) -> Option<Self> {
        let id = std::str::from_utf8(record.key.as_deref()?).ok()?;
        let told: Told = serde_json::from_slice(record.value.as_deref()?).ok()?;
        let kind = match told.outcome {
            "delivered" => Kind::Delivered,
            "dead-lettered" => {
                let end = match Reason::parse(told.reason)? {
                    Reason::Gone => End::Gone,
                    // What could not be delivered for so long counts, whoever held it up.
                    reason if reason.is_receivers() || reason == Reason::Expired => End::Other,
                    _ => return None,
                };
                let definition = record.headers.text(audit::DEFINITION_OFFSET)?;
                Kind::DeadLettered { definition: Offset(definition.parse().ok()?), end }
            }
            _ => return None,
        };
        Some(Self { subscription: SubscriptionId::parse(id).ok()?, at: told.at, kind })
    }
}

/// Returns the status that follows from an observation; `None` if nothing changes.
///
/// `limit` is how many dead letters in a row disable; 0 is any number.
pub fn fold(status: Option<&Status>, seen: &Observation, limit: u32) -> Option<Status> {
    let at = seen.at;
    match seen.kind {
        Kind::Delivered => {
            let status = status.filter(|status| status.consecutive_dead_letters > 0)?;
            match status.state {
                State::Active | State::Failing => {}
                State::Disabled | State::Invalid => return None,
            }
            let since = if status.state == State::Active { status.since } else { at };
            Some(Status::active(Offset(status.definition_offset), since))
        }
        Kind::DeadLettered { definition, end } => {
            let fresh = Status::active(definition, at);
            let status = match status {
                Some(status) if status.definition_offset > definition.0 => return None,
                Some(status) if status.definition_offset == definition.0 => status,
                _ => &fresh,
            };
            match status.state {
                State::Active | State::Failing => Some(given_up(status, at, end, limit)),
                State::Disabled | State::Invalid => None,
            }
        }
    }
}

fn given_up(before: &Status, at: Timestamp, end: End, limit: u32) -> Status {
    let count = before.consecutive_dead_letters.saturating_add(1);
    let percent = u64::from(count) * 100 / u64::from(limit).max(1);
    let alert = ALERTS.into_iter().find(|alert| limit > 0 && percent >= *alert);
    let (state, reason) = match (end, alert) {
        (End::Gone, _) => (State::Disabled, Some("http-status:410".into())),
        _ if limit > 0 && count >= limit => {
            (State::Disabled, Some(format!("dead-letters:{count}")))
        }
        (End::Other, Some(alert)) => (State::Failing, Some(format!("dead-letters:{alert}%"))),
        (End::Other, None) => (State::Active, None),
    };
    Status {
        state,
        consecutive_dead_letters: count,
        failing_since: before.failing_since.or(Some(at)),
        reason: reason.map(Into::into),
        since: if state == before.state { before.since } else { at },
        definition_offset: before.definition_offset,
    }
}

#[cfg(test)]
pub(in crate::domain) mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ending::tests::{answer, attempted, decided};
    use crate::domain::ending::{DeliveryEnding, Ending, Next};
    use crate::domain::outcome::Failure;
    use crate::domain::record::Origin;
    use crate::domain::subscription::tests::id;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn seen(second: i64, kind: Kind) -> Observation {
        Observation { subscription: id("crm"), at: at(second), kind }
    }

    fn dead(definition: i64) -> Kind {
        Kind::DeadLettered { definition: Offset(definition), end: End::Other }
    }

    /// Folds observations, one a second, and tells the statuses that are written.
    fn check(limit: u32, kinds: &[Kind], expected: &[&str]) {
        let mut status = None;
        let mut told = Vec::new();
        for (second, kind) in kinds.iter().enumerate() {
            let Some(new) = fold(status.as_ref(), &seen(second as i64, *kind), limit) else {
                continue;
            };
            let Status { state, consecutive_dead_letters: count, definition_offset, .. } = new;
            let reason = new.reason.as_deref().unwrap_or("-");
            told.push(format!(
                "{state:?}@{definition_offset} {count} {reason} since {}",
                new.since.as_second()
            ));
            status = Some(new);
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn dead_letters_in_a_row_are_told_and_disable_at_the_limit() {
        check(
            10,
            &[dead(7); 12],
            &[
                "Active@7 1 - since 0",
                "Active@7 2 - since 0",
                "Active@7 3 - since 0",
                "Active@7 4 - since 0",
                "Failing@7 5 dead-letters:50% since 4",
                "Failing@7 6 dead-letters:50% since 4",
                "Failing@7 7 dead-letters:70% since 4",
                "Failing@7 8 dead-letters:70% since 4",
                "Failing@7 9 dead-letters:90% since 4",
                "Disabled@7 10 dead-letters:10 since 9",
            ],
        );
    }

    #[test]
    fn a_delivery_between_ends_the_row() {
        let kinds = [dead(7), dead(7), Kind::Delivered, Kind::Delivered, dead(7)];
        check(
            4,
            &kinds,
            &[
                "Active@7 1 - since 0",
                "Failing@7 2 dead-letters:50% since 1",
                "Active@7 0 - since 2",
                "Active@7 1 - since 2",
            ],
        );
    }

    #[test]
    fn a_receiver_that_is_gone_is_disabled_at_once_whatever_the_limit() {
        let gone = Kind::DeadLettered { definition: Offset(7), end: End::Gone };
        check(0, &[gone, dead(7), Kind::Delivered], &["Disabled@7 1 http-status:410 since 0"]);
    }

    #[test]
    fn without_a_limit_nothing_but_gone_disables() {
        check(0, &[dead(7); 2], &["Active@7 1 - since 0", "Active@7 2 - since 0"]);
    }

    #[test]
    fn a_new_definition_starts_afresh_and_is_not_harmed_by_what_is_late() {
        check(
            2,
            &[dead(7), dead(7), dead(9), dead(7), dead(9)],
            &[
                "Failing@7 1 dead-letters:50% since 0",
                "Disabled@7 2 dead-letters:2 since 1",
                "Failing@9 1 dead-letters:50% since 2",
                "Disabled@9 2 dead-letters:2 since 4",
            ],
        );
    }

    #[test]
    fn a_status_tells_since_when_deliveries_are_given_up() {
        let kinds = [dead(7), dead(7), dead(7), Kind::Delivered, dead(7), dead(7), dead(9)];
        let mut status = None;
        let began = kinds.iter().enumerate().map(|(second, kind)| {
            status = fold(status.as_ref(), &seen(second as i64, *kind), 10).or(status.take());
            status.as_ref()?.failing_since.map(Timestamp::as_second)
        });
        let began: Vec<_> = began.collect();
        assert_eq!(began, [Some(0), Some(0), Some(0), None, Some(4), Some(4), Some(6)]);
    }

    /// Builds the audit record of a delivery to `crm` that ended so, with an answer of this status if there was one.
    pub(in crate::domain) fn audit_record(next: Next, status: Option<u16>) -> Record {
        audit_of(match status {
            Some(status) => attempted(next, answer(status, "")),
            None => decided(next),
        })
    }

    fn audit_of(ending: DeliveryEnding) -> Record {
        let timestamp = ending.at;
        let (_, audit) = Ending::Delivery(Box::new(ending)).publications("a");
        let audit = audit.expect("it is a decision");
        let origin = Origin { topic: "audit".into(), partition: 0, offset: Offset(1), timestamp };
        Record { origin, key: audit.key, value: audit.value, headers: audit.headers }
    }

    #[test]
    fn an_audit_record_reads_back_as_what_it_says_of_health() {
        let check = |next, status, expected: Option<Kind>| {
            let record = audit_record(next, status);
            let at = record.origin.timestamp;
            let expected = expected.map(|kind| Observation { subscription: id("crm"), at, kind });
            assert_eq!(Observation::read(&record), expected);
        };
        check(Next::Delivered, Some(200), Some(Kind::Delivered));
        let gone = Kind::DeadLettered { definition: Offset(7), end: End::Gone };
        check(Next::DeadLetter(Reason::Gone), Some(410), Some(gone));
        check(Next::DeadLetter(Reason::Exhausted), Some(500), Some(dead(7)));
        check(Next::DeadLetter(Reason::Expired), None, Some(dead(7)));
        check(Next::DeadLetter(Reason::SubscriptionDisabled), None, None);
        check(Next::DeadLetter(Reason::EgressRefused), None, None);
        check(Next::DeadLetter(Reason::Transform), None, None);
    }

    #[test]
    fn a_schedule_that_our_own_faults_used_up_says_nothing_of_the_receiver() {
        let check = |reason, counts| {
            let failed = Err(Failure { reason, error: "it failed".into() });
            let exhausted = attempted(Next::DeadLetter(Reason::Exhausted), failed);
            let seen = Observation::read(&audit_of(exhausted));
            assert_eq!(seen.map(|seen| seen.kind), counts, "{reason:?}");
        };
        check(Reason::Auth, None);
        check(Reason::Proxy, None);
        check(Reason::Timeout, Some(dead(7)));
    }

    #[test]
    fn what_is_no_audit_record_says_nothing() {
        let origin =
            Origin { topic: "audit".into(), partition: 0, offset: Offset(1), timestamp: at(1) };
        let record = |key: Option<&'static str>, value: Option<&'static str>| Record {
            origin: origin.clone(),
            key: key.map(|key| Bytes::from_static(key.as_bytes())),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
            headers: Default::default(),
        };
        assert_eq!(Observation::read(&record(None, Some("{}"))), None);
        assert_eq!(Observation::read(&record(Some("crm"), None)), None);
        assert_eq!(Observation::read(&record(Some("crm"), Some("hunter2"))), None);
    }

    proptest! {
        #[test]
        fn a_row_below_the_limit_never_disables(kinds in prop::collection::vec(any::<bool>(), 0..60), limit in 1..8_u32) {
            let (mut status, mut row) = (None, 0);
            for (second, is_dead) in kinds.into_iter().enumerate() {
                row = if is_dead { row + 1 } else { 0 };
                let kind = if is_dead { dead(7) } else { Kind::Delivered };
                let new = fold(status.as_ref(), &seen(second as i64, kind), limit);
                status = new.or(status);
                let state = status.as_ref().map(|status| status.state);
                if row >= limit {
                    prop_assert_eq!(state, Some(State::Disabled));
                    return Ok(());
                }
                prop_assert!(state != Some(State::Disabled));
                let count = status.as_ref().map_or(0, |status| status.consecutive_dead_letters);
                prop_assert_eq!(count, row);
            }
        }
    }
}

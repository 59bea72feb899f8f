//! The last failures: for each kind of failure its latest, and how often it came.
//!
//! Kinds, not single failures: one receiver that is down fails a thousand times a minute, and would push what else
//! went wrong off the list.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::audit::Outcome;
use crate::domain::ending::{Ending, Next};
use crate::domain::outcome::Reason;

/// The most kinds that are kept; the one that was seen longest ago goes.
const KINDS: usize = 20;

/// The longest text that is kept, in characters: event types and tenants are their producers' and have no bound.
const TEXT_MAX: usize = 200;

/// What failures have in common that are told as one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind<'a> {
    reason: Reason,
    status: Option<u16>,
    outcome: Outcome,
    subscription: Option<&'a str>,
}

/// The latest failure of a kind. Holds no payload, and of a URL neither userinfo nor query.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// How many of its kind there were while it is on the list.
    pub count: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// `retrying` or `dead-lettered`.
    pub outcome: Outcome,
    /// Why.
    #[serde(serialize_with = "as_word")]
    pub reason: Reason,
    /// What the receiver answered.
    pub status_code: Option<u16>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// To whom; `None` for a record that can't be read and holds no delivery.
    pub subscription_id: Option<String>,
    /// Where to.
    pub url: Option<String>,
    /// The event.
    pub event_id: Option<String>,
    /// Its type.
    pub event_type: Option<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Attempts made.
    pub attempt: u32,
    /// When the next one is due.
    pub next_attempt_at: Option<Timestamp>,
    /// Where the record is: topic, partition and offset, with slashes between.
    pub source: String,
}

/// The latest first.
#[derive(Default)]
pub(super) struct Failures(Vec<Failure>);

impl Failures {
    /// Takes note of those endings that are failures.
    pub(super) fn note<'a>(&mut self, endings: impl DoubleEndedIterator<Item = &'a Ending>) {
        // From the latest: only the first of each kind is described, the others are counted.
        let mut seen: Vec<Failure> = Vec::new();
        for ending in endings.rev() {
            let Some(kind) = Kind::of(ending) else { continue };
            match seen.iter().position(|failure| failure.kind() == kind) {
                Some(at) => seen[at].count += 1,
                None if seen.len() < KINDS => seen.push(Failure::of(ending, kind)),
                None => {}
            }
        }
        for failure in &mut seen {
            if let Some(at) = self.0.iter().position(|before| before.kind() == failure.kind()) {
                failure.count += self.0.remove(at).count;
            }
        }
        self.0.splice(0..0, seen);
        self.0.truncate(KINDS);
    }

    /// Returns the latest of each kind, the latest first.
    pub(super) fn latest(&self) -> &[Failure] {
        &self.0
    }
}

impl<'a> Kind<'a> {
    /// Returns the kind of an ending that is a failure.
    fn of(ending: &'a Ending) -> Option<Self> {
        let delivery = match ending {
            Ending::Delivery(delivery) => delivery,
            Ending::Unreadable(it) => {
                let (reason, outcome) = (Reason::Unreadable, Outcome::DeadLettered);
                let subscription = it.delivery.as_ref().map(|it| it.subscription.as_str());
                return Some(Self { reason, status: None, outcome, subscription });
            }
        };
        let (outcome, reason) = delivery.next.outcome()?;
        let subscription = Some(delivery.subscription_id.as_str());
        match outcome {
            Outcome::Delivered | Outcome::Skipped => None,
            Outcome::Retrying | Outcome::DeadLettered => {
                Some(Self { reason, status: delivery.status(), outcome, subscription })
            }
        }
    }
}

impl Failure {
    fn of(ending: &Ending, kind: Kind) -> Self {
        let (at, origin, error, delivery) = match ending {
            Ending::Delivery(it) => (it.at, &it.label.origin, it.error(), Some(it)),
            Ending::Unreadable(it) => (it.at, it.origin(), Some(it.error.clone()), None),
        };
        let unread = match ending {
            Ending::Delivery(_) => None,
            Ending::Unreadable(it) => it.delivery.as_deref(),
        };
        let label = delivery.map(|it| &it.label);
        let event_id = label.map(|it| &it.id).or(unread.and_then(|it| it.id.as_ref()));
        let attempts = delivery.map(|it| it.attempts).or(unread.map(|it| it.attempts));
        let subscription = delivery.and_then(|it| it.subscription.as_ref());
        let next_attempt_at = delivery.and_then(|it| match it.next {
            Next::Retry(due, ..) => Some(due),
            _ => None,
        });
        Self {
            count: 1,
            at,
            outcome: kind.outcome,
            reason: kind.reason,
            status_code: kind.status,
            error: error.as_deref().map(cut),
            subscription_id: kind.subscription.map(str::to_owned),
            url: subscription.map(|subscription| cut(subscription.audit_url())),
            event_id: event_id.map(ToString::to_string),
            event_type: label.map(|label| cut(&label.event_type)),
            tenant: label.and_then(|label| label.tenant.as_deref()).map(cut),
            attempt: attempts.unwrap_or(0),
            next_attempt_at,
            source: origin.to_string(),
        }
    }

    fn kind(&self) -> Kind<'_> {
        Kind {
            reason: self.reason,
            status: self.status_code,
            outcome: self.outcome,
            subscription: self.subscription_id.as_deref(),
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn as_word<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ending::tests::{
        HIDDEN, answer, at, attempted, decided, unreadable, unreadable_retry,
    };
    use crate::domain::subscription::tests::id;
    use crate::domain::tiers::TierIndex;

    fn dead(subscription: &str, status: u16) -> Ending {
        let mut ending =
            attempted(Next::DeadLetter(Reason::HttpStatus), answer(status, "hunter2 is said"));
        ending.subscription_id = id(subscription);
        Ending::Delivery(Box::new(ending))
    }

    /// Notes batches, and tells what is kept as `<subscription> <status> <count>`.
    fn check(batches: &[Vec<Ending>]) -> Vec<String> {
        let mut failures = Failures::default();
        for batch in batches {
            failures.note(batch.iter());
        }
        let told = |it: &Failure| {
            let (to, status) = (it.subscription_id.as_deref(), it.status_code);
            format!("{} {} {}", to.unwrap_or("-"), status.unwrap_or(0), it.count)
        };
        failures.latest().iter().map(told).collect()
    }

    #[test]
    fn failures_of_a_kind_are_told_as_one_the_latest_first() {
        let delivered = attempted(Next::Delivered, answer(200, ""));
        let batches = [
            vec![dead("crm", 500), dead("crm", 503), dead("erp", 500)],
            vec![dead("crm", 503), dead("crm", 500), dead("crm", 500)],
            vec![Ending::Delivery(Box::new(delivered))],
        ];
        assert_eq!(check(&batches), ["crm 500 3", "crm 503 2", "erp 500 1"]);
    }

    #[test]
    fn the_kind_that_was_seen_longest_ago_goes() {
        let batch = |range: std::ops::Range<u16>| range.map(|n| dead("crm", n)).collect();
        let told = check(&[batch(500..515), batch(600..610)]);
        assert_eq!(told.len(), KINDS);
        assert_eq!((&*told[0], &*told[KINDS - 1]), ("crm 609 1", "crm 505 1"));
        let told = check(&[batch(500..600)]);
        assert_eq!((told.len(), &*told[KINDS - 1]), (KINDS, "crm 580 1"));
    }

    #[test]
    fn a_failure_says_what_where_and_until_when_and_hides_the_rest() {
        let due = at("2025-01-15T10:30:06.5Z");
        let next = Next::Retry(due, TierIndex(1), Reason::HttpStatus);
        let retrying = Ending::Delivery(Box::new(attempted(next, answer(503, "hunter2 is said"))));
        let unreadable = Ending::Unreadable(Box::new(unreadable()));
        let mut failures = Failures::default();
        failures.note([unreadable, retrying].iter());
        let json = serde_json::to_string(failures.latest()).expect("it is JSON");
        assert!(!json.contains(HIDDEN), "{json}");
        let expected = concat!(
            r#"[{"count":1,"at":"2025-01-15T10:30:01.123Z","outcome":"retrying","reason":"http-status","#,
            r#""statusCode":503,"error":"the receiver answered 503","subscriptionId":"crm","#,
            r#""url":"https://example.com/hooks","eventId":"evt_1","eventType":"order.created","#,
            r#""tenant":"acme","attempt":1,"nextAttemptAt":"2025-01-15T10:30:06.5Z","source":"orders/3/42"},"#,
            r#"{"count":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"unreadable","#,
            r#""statusCode":null,"error":"not JSON, at line 1 column 1","subscriptionId":null,"url":null,"#,
            r#""eventId":null,"eventType":null,"tenant":null,"attempt":0,"nextAttemptAt":null,"#,
            r#""source":"orders/3/42"}]"#,
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_delivery_that_cannot_be_read_is_told_as_its_subscriptions() {
        let mut failures = Failures::default();
        failures.note([Ending::Unreadable(Box::new(unreadable_retry()))].iter());
        let [failure] = failures.latest() else { panic!("there is one") };
        let whose = (failure.subscription_id.as_deref(), failure.event_id.as_deref());
        assert_eq!(whose, (Some("crm"), Some("evt_1")));
        assert_eq!((failure.attempt, &*failure.source), (2, "orders/3/42"));
    }

    #[test]
    fn a_decision_that_was_no_attempt_has_no_status() {
        let next = Next::DeadLetter(Reason::SubscriptionDisabled);
        let ending = Ending::Delivery(Box::new(decided(next)));
        assert_eq!(check(&[vec![ending]]), ["crm 0 1"]);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "ü".repeat(TEXT_MAX + 1);
        assert_eq!(cut(&long), format!("{}…", "ü".repeat(TEXT_MAX)));
        assert_eq!(cut("short"), "short");
    }
}

//! What the demo has seen: lines to print, and what became of each expectation.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::domain::record::Record;
use crate::receiver::{Received, Signature};

/// The audit records that a good run writes.
const AUDIT_RECORDS: usize = 10;

/// The requests that a good run makes.
const REQUESTS: usize = 9;

pub(super) struct Story {
    begin: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    requests: usize,
    verified: usize,
    records: BTreeMap<String, usize>,
    /// Audit records as `subscription event outcome reason attempt`.
    audit: Vec<String>,
    /// When retries were due, by subscription and event.
    dues: BTreeMap<String, Timestamp>,
    /// Retries that came before that.
    early: usize,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { begin: Instant::now(), seen: Mutex::default() }
    }

    fn line(&self, seen: &mut Seen, what: &str, place: &str, says: &str) {
        let at = self.begin.elapsed().as_secs_f64();
        seen.lines.push(format!("{at:6.2}s  {what:<14}  {place:<21}  {says}"));
    }

    /// Takes note of a request at the receiver.
    pub(super) fn request(&self, received: &Received, status: StatusCode) {
        let mut seen = self.seen.lock().expect("no holder of the lock panics");
        seen.requests += 1;
        let signature = match received.signature {
            Signature::Verified => {
                seen.verified += 1;
                "signature verified"
            }
            Signature::Rejected(_) | Signature::Unchecked => "SIGNATURE REJECTED",
        };
        let key = format!("{} {}", &received.path[1..], received.id);
        if seen.dues.get(&key).is_some_and(|due| Timestamp::now() < *due) {
            seen.early += 1;
        }
        let Received { id, event_type, attempt, .. } = received;
        let says =
            format!("{id} {event_type}, attempt {attempt}, {signature} -> {}", status.as_u16());
        self.line(&mut seen, "POST", &received.path, &says);
    }

    /// Takes note of a record in a topic.
    pub(super) fn record(&self, record: &Record) {
        let mut seen = self.seen.lock().expect("no holder of the lock panics");
        let topic = &*record.origin.topic;
        *seen.records.entry(topic.to_owned()).or_default() += 1;
        let value = record.value.as_deref().unwrap_or_default();
        let json: Value = serde_json::from_slice(value).unwrap_or_default();
        let header = |name| record.headers.text(name).unwrap_or("-");
        let (what, says) = match topic.strip_prefix("webhooks.") {
            None if json.is_null() => ("event", "(not an event)".to_owned()),
            None => ("event", format!("{} {}", text(&json, "id"), text(&json, "event"))),
            Some("subscriptions") => return,
            Some("subscription-status") => ("status", status(record, &json)),
            Some("audit") => ("audit", seen.audit(&json)),
            Some("dead-letter") => {
                let of =
                    format!("{} for {}", header("webhooks-id"), header("webhooks-subscription"));
                let reason = header("webhooks-reason");
                ("dead letter", format!("{of}: {reason} ({})", header("webhooks-error")))
            }
            Some(_) => {
                let of =
                    format!("{} for {}", header("webhooks-id"), header("webhooks-subscription"));
                ("waits", format!("{of}, due {}", header("webhooks-due-at")))
            }
        };
        self.line(&mut seen, what, topic, &says);
    }

    pub(super) fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("no holder of the lock panics").lines)
    }

    /// Tells whether everything has happened.
    pub(super) fn is_complete(&self) -> bool {
        let seen = self.seen.lock().expect("no holder of the lock panics");
        seen.audit.len() >= AUDIT_RECORDS && seen.count("webhooks.dead-letter") >= 2
    }

    /// Says how many records each topic holds.
    pub(super) fn topics(&self) -> String {
        let seen = self.seen.lock().expect("no holder of the lock panics");
        let topics: Vec<_> =
            seen.records.iter().map(|(topic, count)| format!("{topic} {count}")).collect();
        format!("Records by topic: {}", topics.join(", "))
    }

    /// Returns what should have happened, and whether it did.
    pub(super) fn expectations(&self) -> Vec<(&'static str, bool)> {
        let seen = self.seen.lock().expect("no holder of the lock panics");
        let has = |record: &str| seen.audit.iter().any(|told| told == record);
        vec![
            (
                "every request carried a signature that verifies",
                seen.verified == REQUESTS && seen.requests == REQUESTS,
            ),
            (
                "each order reached crm at the first attempt",
                (1..=3).all(|n| has(&format!("crm evt_order_{n} delivered ok #1"))),
            ),
            (
                "each payment waited in webhooks.retry.1s and reached billing at the second attempt",
                (1..=2).all(|n| {
                    has(&format!("billing evt_payment_{n} retrying http-status #1"))
                        && has(&format!("billing evt_payment_{n} delivered ok #2"))
                }),
            ),
            ("no retry came before it was due", seen.early == 0 && seen.dues.len() == 3),
            (
                "legacy's delivery was given up when its schedule was used up",
                has("legacy evt_order_1 dead-lettered exhausted #2"),
            ),
            ("what is no event became a dead letter", has("- - dead-lettered unreadable #0")),
            (
                "every attempt and decision is in webhooks.audit, once",
                seen.audit.len() == AUDIT_RECORDS,
            ),
        ]
    }
}

impl Seen {
    fn count(&self, topic: &str) -> usize {
        self.records.get(topic).copied().unwrap_or(0)
    }

    /// Takes note of an audit record and returns what it says.
    fn audit(&mut self, json: &Value) -> String {
        let delivery = format!("{} {}", text(json, "subscriptionId"), text(json, "eventId"));
        let [outcome, reason] = ["outcome", "reason"].map(|name| text(json, name));
        self.audit.push(format!("{delivery} {outcome} {reason} #{}", json["attempt"]));
        if let Ok(due) = text(json, "nextAttemptAt").parse() {
            self.dues.insert(delivery.clone(), due);
        }
        format!("{delivery}: {outcome}, {reason}")
    }
}

fn status(record: &Record, json: &Value) -> String {
    let id = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
    let row = json["consecutiveDeadLetters"].as_u64().unwrap_or_default();
    format!("{id}: {}, {row} dead-lettered in a row", text(json, "state"))
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or("-")
}

//! Guarantee 5: never early, never forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::fixture::{Fixture, SOON};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;

/// Waits of all kinds: within the shortest tier, a tier's own, and walked down over several.
const WAITS_MS: [u64; 8] = [200, 700, 1000, 1300, 2500, 5000, 6100, 7900];

/// Half of them fail once.
const EVENTS: usize = 50;

/// The contract's bound, the shortest tier and a second, and a second for a busy machine.
const LATE_MAX: Duration = Duration::from_secs(3);

#[test]
fn retries_of_any_wait_come_when_they_are_due() {
    // Every other event fails once: more in a row, and the endpoint would be left alone.
    let receiver = Receiver::start(|seen, nth| {
        let fails = nth == 1 && seen.webhook_id().ends_with(['0', '2', '4', '6', '8']);
        Answer::status(if fails { 503 } else { 200 })
    });
    let flow = Fixture::new("schedule");
    for wait in WAITS_MS {
        let retry = json!({"retry": {"schedule": [format!("{wait}ms")]}});
        flow.subscribe(&format!("w{wait}"), &receiver.url(&format!("/w{wait}")), &["*"], retry);
    }
    let _connector = flow.start();
    for n in 0..EVENTS {
        flow.event(&format!("evt_{n}"), "a");
    }
    let deliveries = EVENTS * WAITS_MS.len();
    receiver.wait_count(SOON, deliveries * 3 / 2);
    let mut due: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
    for record in flow.audit(deliveries * 3 / 2) {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        if record["outcome"] == "retrying" {
            let at = text("nextAttemptAt").parse().expect("the time is RFC 3339");
            due.insert((text("eventId"), text("subscriptionId")), at);
        }
    }
    assert_eq!(due.len(), deliveries / 2);
    let late_max = SignedDuration::try_from(LATE_MAX).expect("it is short");
    for request in receiver.requests().iter().filter(|r| r.header("x-webhook-attempt") == "2") {
        let due = due[&(request.webhook_id().to_owned(), request.path[1..].to_owned())];
        let sent: Timestamp = request.received_at.try_into().expect("it is now");
        assert!(sent >= due, "{}: due {due}, sent {sent}", request.path);
        assert!(sent.duration_since(due) <= late_max, "{}: due {due}, sent {sent}", request.path);
    }
}

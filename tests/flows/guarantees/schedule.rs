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

const EVENTS: usize = 25;

/// The contract's bound, the shortest tier and a second, and a second for a busy machine.
const LATE_MAX: Duration = Duration::from_secs(3);

#[test]
fn retries_of_any_wait_come_when_they_are_due() {
    let receiver = Receiver::start(|_, nth| Answer::status(if nth == 1 { 503 } else { 200 }));
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
    receiver.wait_count(SOON, 2 * deliveries);
    let mut due: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
    for record in flow.audit(2 * deliveries) {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        if record["outcome"] == "retrying" {
            let at = text("nextAttemptAt").parse().expect("the time is RFC 3339");
            due.insert((text("eventId"), text("subscriptionId")), at);
        }
    }
    assert_eq!(due.len(), deliveries);
    let late_max = SignedDuration::try_from(LATE_MAX).expect("it is short");
    for request in receiver.requests().iter().filter(|r| r.header("x-webhook-attempt") == "2") {
        let due = due[&(request.webhook_id().to_owned(), request.path[1..].to_owned())];
        let sent: Timestamp = request.received_at.try_into().expect("it is now");
        assert!(sent >= due, "{}: due {due}, sent {sent}", request.path);
        assert!(sent.duration_since(due) <= late_max, "{}: due {due}, sent {sent}", request.path);
    }
}

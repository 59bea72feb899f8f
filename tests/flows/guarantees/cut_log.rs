//! Guarantee 1 when a broker has lost the end of a log, with its machine: what is open before the cut, and what is new
//! behind it, is delivered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::load::LONG;
use crate::fixture::{Fixture, SOON};
use crate::support::broker::Broker;
use crate::support::connector::Setup;
use crate::support::exchange::{Answer, Seen};
use crate::support::producer::Producer;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

/// The events that are written at first.
const EVENTS: usize = 10;
/// Those of them that are left when the log has been cut.
const LEFT: usize = 6;

/// The events that come then. They take the places of others.
const MORE: Range<usize> = EVENTS..EVENTS + 3;

/// Longer than anything here takes.
const HANG: Duration = Duration::from_secs(120);

/// Writes events to one partition, each in a batch of its own, as a producer that knows nothing of what was there before.
fn write(flow: &Fixture, numbers: Range<usize>) {
    let producer = Producer::new(flow.scope.bootstrap());
    for n in numbers {
        let value = json!({"id": format!("evt_{n}"), "event": "a.b", "data": n});
        let event = Draft::new("k", value.to_string()).partition(0);
        producer.send_all(&flow.scope.topic("orders"), [event]);
    }
}

/// Returns how often each event came.
fn times(requests: &[Arc<Seen>]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for seen in requests {
        *times.entry(seen.webhook_id().to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn what_is_open_before_a_cut_of_the_log_and_what_is_new_behind_it_is_delivered() {
    let receiver = Receiver::start(|seen, nth| match (seen.webhook_id(), nth) {
        // Its record is the first: the watermark stays there.
        ("evt_0", 1) => Answer::status(200).after(HANG),
        _ => Answer::status(200),
    });
    let mut broker = Broker::start();
    // The member stays one: an heir would only know what was committed.
    let session =
        |setup: Setup| setup.set("kafka", "properties", r#"{ "session.timeout.ms" = 45000 }"#);
    let flow = Fixture::on(Scope::on(&broker, "cut"), session);
    flow.subscribe("s", &receiver.url("/s"), &["*"], json!({"timeout": "2m"}));
    write(&flow, 0..EVENTS);
    let mut connector = flow.start();
    receiver.wait_count(SOON, EVENTS);
    // It is committed that all others are done.
    flow.audit(EVENTS - 1);

    broker.kill();
    broker.cut_log(&flow.scope.topic("orders"), 0, LEFT);
    broker.start_again();
    write(&flow, MORE);

    let expected: BTreeMap<_, _> =
        (0..MORE.end).map(|n| (format!("evt_{n}"), if n == 0 { 2 } else { 1 })).collect();
    receiver.wait_until(LONG, |requests| times(requests) == expected);
    flow.wait_settled((LEFT + MORE.len()) as i64);
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
    assert_eq!(times(&receiver.requests()), expected);
}

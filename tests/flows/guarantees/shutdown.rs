//! Guarantee 7: a restart is boring.

use std::time::{Duration, Instant};

use super::load::{LONG, Load};
use crate::fixture::{Fixture, SOON};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn sigterm_under_load_repeats_nothing() {
    let load = Load { events: 3_000, fan_out: 5 };
    let receiver = Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(5)));
    let flow = load.prepare(Scope::new("sigterm"), 64, &receiver);
    let mut connector = flow.start();
    for share in 1..4 {
        // A signal that comes before the process listens for it ends it like any other process.
        connector.wait_ready(SOON);
        receiver.wait_count(LONG, load.deliveries() * share / 5);
        let asked = Instant::now();
        connector.sigterm();
        assert!(connector.wait_exit(SOON).success());
        assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
        connector = flow.setup.start();
    }
    let repeats = load.check(&flow, &receiver);
    assert_eq!(repeats.len(), 0, "a drained instance left requests to be repeated");
}

#[test]
fn a_second_signal_ends_at_once() {
    let receiver = Receiver::start(|_, _| Answer::hang());
    let flow = Fixture::new("second-signal");
    flow.subscribe("crm", &receiver.url("/"), &["*"], serde_json::json!({}));
    let mut connector = flow.start();
    flow.event("evt_1", "a");
    receiver.wait_count(SOON, 1);
    connector.sigterm();
    connector.wait_log(SOON, "asked to stop");
    connector.sigterm();
    let asked = Instant::now();
    assert_eq!(connector.wait_exit(SOON).code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

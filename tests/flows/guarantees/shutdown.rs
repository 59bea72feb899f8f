//! Guarantee 7: a restart is boring.

use std::time::{Duration, Instant};

use super::load::{LONG, Load, of_all_kinds, wait_owns};
use crate::fixture::{Fixture, SOON, told};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

#[test]
fn sigterm_under_load_repeats_nothing() {
    let load = Load { events: 3_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(5)));
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
    let repeats = load.check(&flow, &receiver).repeats;
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

/// Answers nothing the first time that a delivery comes.
fn hangs_at_first() -> Receiver {
    Receiver::start(|_, nth| if nth == 1 { Answer::hang() } else { Answer::status(200) })
}

#[test]
fn what_outlasts_the_shutdown_is_repeated_by_the_next() {
    let receiver = hangs_at_first();
    let flow = Fixture::with("outlasts-shutdown", |setup| {
        setup.set("shutdown", "timeout", r#""2s""#).set("delivery", "timeout", r#""60s""#)
    });
    flow.subscribe("crm", &receiver.url("/"), &["*"], serde_json::json!({}));
    let mut connector = flow.start();
    flow.event("evt_1", "a");
    receiver.wait_count(SOON, 1);
    let asked = Instant::now();
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());
    let took = asked.elapsed();
    assert!(Duration::from_secs(2) <= took && took < Duration::from_secs(12), "{took:?}");
    assert_eq!(flow.scope.read_committed("audit"), []);

    let _next = flow.start();
    let audit = flow.audit(1);
    assert_eq!(told(&audit[0]), "crm evt_1 #1 delivered ok");
    flow.wait_settled(1);
}

#[test]
fn what_outlasts_a_handover_is_repeated_by_the_new_owner_and_changes_nothing_for_the_old() {
    let receiver = hangs_at_first();
    // The group's session lasts 6 s: a handover may take 4.
    let flow =
        Fixture::with("outlasts-handover", |setup| setup.set("delivery", "timeout", r#""15s""#));
    flow.subscribe("crm", &receiver.url("/"), &["*"], serde_json::json!({}));
    let instance = |id: &str| flow.setup.clone().instance(id).start();
    let mut a = instance("a");
    wait_owns(&mut a, &flow, 4);
    let event = |n: i32| {
        let id = format!("evt_{n}");
        let value = serde_json::json!({"id": id, "event": "a", "data": {}});
        Draft::new(&id, value.to_string()).partition(n)
    };
    flow.scope.produce_all("orders", (0..4).map(event));
    receiver.wait_count(SOON, 4);

    let mut b = instance("b");
    a.wait_log(SOON, "attempts outlast the handover");
    wait_owns(&mut b, &flow, 2);
    // The two that moved are delivered by their new owner, long before the old one's attempts end.
    for record in flow.audit(2) {
        assert_eq!((&record["outcome"], &record["instance"]), (&"delivered".into(), &"b".into()));
    }
    a.wait_metrics(SOON, "webhooks_stale_results_total 2");
    // The old one's other two have failed by then, and wait for their second attempt.
    let audit = flow.audit(6);
    let delivered = |it: &&serde_json::Value| it["outcome"] == "delivered";
    assert_eq!(audit.iter().filter(delivered).count(), 4, "{audit:?}");
    assert_eq!(receiver.count(), 8);
    flow.wait_settled(4);
}

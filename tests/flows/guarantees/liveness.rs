//! Liveness follows progress; a bug ends the process.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::LONG;
use crate::fixture::{Fixture, SOON};
use crate::support::connector::Connector;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

/// Longer than the stall that these tests set.
const LONGER: Duration = Duration::from_secs(4);

fn stays_live(connector: &Connector) {
    let end = Instant::now() + LONGER;
    while Instant::now() < end {
        assert_eq!(connector.get("/live").0, 200);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn nothing_to_do_and_slow_receivers_are_no_stall() {
    let receiver = Receiver::start(|_, _| Answer::hang());
    let flow = Fixture::with("no-stall", |setup| setup.set("ops", "stall_after", r#""2s""#));
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"timeout": "60s"}));
    let connector = flow.start();
    stays_live(&connector);
    flow.event("evt_1", "a");
    receiver.wait_count(SOON, 1);
    stays_live(&connector);
}

#[test]
fn work_that_waits_while_nothing_moves_is_a_stall() {
    let receiver = Receiver::always(200);
    let scope = Scope::new("stall");
    // No audit record fits, so that no outcome can be committed.
    scope.create_topic("audit", 1, &[("max.message.bytes", "100")]);
    let flow = Fixture::on(scope, |setup| {
        setup.set("ops", "stall_after", r#""2s""#).set("delivery", "timeout", r#""1s""#).set(
            "delivery",
            "connect_timeout",
            r#""1s""#,
        )
    });
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    let deadline = Instant::now() + LONG;
    while connector.get("/live").0 != 503 {
        assert!(Instant::now() < deadline, "/live never noticed");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(
        receiver.requests().len(),
        1,
        "an outcome that can't be written is no reason to send again"
    );
    let committed = flow.scope.committed(&flow.scope.group(), "orders");
    assert!(committed.iter().all(|partition| partition.offset == 0), "{committed:?}");
}

/// Run as a process of its own by the test below; does nothing otherwise.
#[test]
fn panics_in_a_thread_when_asked() {
    if std::env::var_os("PANIC_ON_PURPOSE").is_some() {
        kafka_webhooks::ops::logs::end_on_panic();
        let task = std::thread::spawn(|| panic!("on purpose"));
        // With the hook at work, nothing comes behind this.
        drop(task.join());
        println!("went on after a panic");
    }
}

#[test]
fn a_panic_in_any_thread_ends_the_process() {
    let this = std::env::current_exe().expect("a test knows its binary");
    let name = "guarantees::liveness::panics_in_a_thread_when_asked";
    let run = Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env("PANIC_ON_PURPOSE", "1")
        .output()
        .expect("the binary runs");
    assert!(!run.status.success());
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(!told.contains("went on"), "{told}");
}

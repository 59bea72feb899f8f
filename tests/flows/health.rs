//! Health: dead letters in a row, counted across instances and crashes, and what follows from them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON, told};
use crate::support::connector::Setup;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::Record;

/// One attempt only.
fn once() -> Value {
    json!({"retry": {"schedule": []}})
}

fn limit(count: u32) -> impl FnOnce(Setup) -> Setup {
    move |setup| setup.set("disable", "after_dead_letters", &count.to_string())
}

/// Tells a status as `<state> <count> <reason>`.
fn status(record: &Record) -> String {
    if record.value.is_none() {
        return format!("{} is gone", record.key_text());
    }
    let status = record.json();
    let reason = status["reason"].as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {reason}",
        status["state"].as_str().unwrap_or("?"),
        status["consecutiveDeadLetters"]
    )
}

fn wait_for_status(flow: &Fixture, expected: &str) -> Vec<String> {
    let holds = |records: &[Record]| records.iter().any(|record| status(record) == expected);
    flow.scope.wait_for("subscription-status", SOON, holds).iter().map(status).collect()
}

fn run(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.run(&[&["subscriptions"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn dead_letters_in_a_row_disable_a_subscription_everywhere_until_it_is_enabled() {
    let receiver = Receiver::always(500);
    let other = Receiver::always(200);
    let flow = Fixture::with("disabled", limit(4));
    flow.subscribe("crm", &receiver.url("/"), &["order.*"], once());
    flow.subscribe("other", &other.url("/"), &["other"], json!({}));
    let first = flow.start();
    let mut second = flow.setup.clone().instance("b").start();
    second.wait_ready(SOON);
    for n in 0..4 {
        flow.event(&format!("evt_{n}"), "order.created");
        receiver.wait_count(SOON, n + 1);
    }
    wait_for_status(&flow, "disabled 4 dead-letters:4");
    // Every instance obeys: what comes a second later is sent by none of them.
    for connector in [&first, &second] {
        connector.wait_status(Duration::from_secs(1), |status| {
            status["load"]["disabledSubscriptions"] == 1
        });
    }
    let sent = receiver.count();
    for n in 0..8 {
        flow.event(&format!("late_{n}"), "order.created");
        flow.event(&format!("other_{n}"), "other");
    }
    other.wait_count(SOON, 8);
    flow.wait_settled(4 + 16);
    assert_eq!(receiver.count(), sent, "a disabled subscription was sent to");

    let list = run(&flow.setup, &["list"]);
    assert!(list.contains("disabled: dead-letters:4"), "{list}");
    let shown: Value = serde_json::from_str(&run(&flow.setup, &["get", "crm"])).expect("JSON");
    assert_eq!(shown["status"]["consecutiveDeadLetters"], 4);
    run(&flow.setup, &["enable", "crm"]);
    let deadline = Instant::now() + SOON;
    while receiver.count() == sent {
        flow.event("again", "order.created");
        std::thread::sleep(Duration::from_millis(50));
        assert!(Instant::now() < deadline, "it never came back");
    }
}

#[test]
fn a_status_tells_of_50_70_and_90_percent_and_of_the_way_back() {
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id().starts_with("good") { 200 } else { 400 })
    });
    let flow = Fixture::with("alerts", limit(10));
    flow.subscribe("crm", &receiver.url("/"), &["*"], once());
    let _connector = flow.start();
    for n in 0..9 {
        flow.event(&format!("bad_{n}"), "a");
        receiver.wait_count(SOON, n + 1);
    }
    let mut told = wait_for_status(&flow, "failing 9 dead-letters:90%");
    told.retain(|line| line.starts_with("failing"));
    told.dedup_by_key(|line| line.split(' ').next_back().map(str::to_owned));
    let reasons: Vec<_> = told.iter().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(reasons, ["dead-letters:50%", "dead-letters:70%", "dead-letters:90%"]);
    flow.event("good_1", "a");
    wait_for_status(&flow, "active 0 -");
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_at_once() {
    let receiver = Receiver::always(410);
    let flow = Fixture::new("gone");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    let statuses = wait_for_status(&flow, "disabled 1 http-status:410");
    assert_eq!(statuses.len(), 1);
    connector.wait_status(SOON, |status| status["load"]["disabledSubscriptions"] == 1);
    flow.event("evt_2", "a");
    flow.wait_settled(2);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn deliveries_that_come_due_for_a_disabled_subscription_are_given_up() {
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id() == "gone" { 410 } else { 500 })
    });
    let flow = Fixture::new("due");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["3s", "1h"]}}));
    let _connector = flow.start();
    flow.event("waits", "a");
    receiver.wait_count(SOON, 1);
    flow.event("gone", "a");
    let audit: Vec<_> = flow.audit(3).iter().map(told).collect();
    assert_eq!(
        audit,
        [
            "crm waits #1 retrying http-status",
            "crm gone #1 dead-lettered gone",
            "crm waits #1 dead-lettered subscription-disabled",
        ]
    );
}

/// The fold is exact: it is committed with the position it belongs to, and the next owner goes on from there.
#[test]
fn no_dead_letter_is_counted_twice_or_missed_over_a_crash() {
    let receiver = Receiver::always(400);
    let flow = Fixture::with("fold", limit(1000));
    flow.subscribe("crm", &receiver.url("/"), &["*"], once());
    let mut first = flow.start();
    for n in 0..300 {
        flow.event(&format!("evt_{n}"), "a");
        if n == 150 {
            flow.scope.wait_for("subscription-status", SOON, |records| !records.is_empty());
            first.kill9();
        }
    }
    // The one that comes back ends the transaction in which it was killed; the other takes its share.
    let mut second = flow.setup.clone().instance("b").start();
    let _again = flow.start();
    second.wait_ready(SOON);
    flow.wait_settled(300);
    let dead = |record: &&Value| record["outcome"] == "dead-lettered";
    let audit = flow.audit(300);
    let count = audit.iter().filter(dead).count();
    let last = wait_for_status(&flow, &format!("active {count} -")).pop().expect("there are some");
    assert_eq!(last, format!("active {count} -"));
}

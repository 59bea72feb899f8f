//! Instances: one after the other, and side by side.

use std::collections::BTreeSet;

use serde_json::json;

use crate::fixture::{Fixture, SOON};
use crate::support::connector::Connector;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;

#[test]
fn a_restart_repeats_nothing_that_was_settled_and_loses_nothing() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("restart");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let mut connector = flow.start();
    for n in 0..50 {
        flow.event(&format!("evt_{n}"), "a");
    }
    receiver.wait_count(SOON, 50);
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());
    for n in 50..100 {
        flow.event(&format!("evt_{n}"), "a");
    }
    let _connector = flow.start();
    flow.audit(100);
    flow.wait_settled(100);
    let ids: BTreeSet<String> =
        receiver.requests().iter().map(|request| request.webhook_id().to_owned()).collect();
    assert_eq!((ids.len(), receiver.requests().len()), (100, 100));
}

#[test]
fn two_instances_share_the_partitions() {
    let receiver = Receiver::start(|_, _| Answer::status(200));
    let flow = Fixture::new("two");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let first = flow.start();
    let all = 4 + 2 + 2 + 7 * 2;
    first.wait_status(SOON, |status| status["load"]["partitions"] == all);
    let mut second = flow.setup.clone().instance("b").start();
    second.wait_ready(SOON);
    second.wait_status(SOON, |status| status["load"]["partitions"] == all / 2);
    first.wait_status(SOON, |status| status["load"]["partitions"] == all / 2);
    for n in 0..100 {
        flow.event(&format!("evt_{n}"), "a");
    }
    let audit = flow.audit(100);
    let instances: BTreeSet<_> =
        audit.iter().filter_map(|record| record["instance"].as_str()).collect();
    assert_eq!(instances, BTreeSet::from(["a", "b"]));
    flow.wait_settled(100);
    assert_eq!(receiver.requests().len(), 100);
}

#[test]
fn an_instance_that_comes_back_in_time_has_its_partitions_again_and_moves_nobodys() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("static", |setup| {
        setup.set("kafka", "properties", r#"{ "session.timeout.ms" = 30000 }"#)
    });
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let second = flow.setup.clone().instance("b");
    let mut first = flow.start();
    let mut second = second.start();
    second.wait_ready(SOON);
    let half = (4 + 2 + 2 + 7 * 2) / 2;
    for connector in [&first, &second] {
        connector.wait_status(SOON, |status| status["load"]["partitions"] == half);
    }
    let moves = |connector: &Connector| connector.log().matches("partitions given back").count();
    let before = moves(&second);

    first.kill9();
    let first = flow.start();
    first.wait_status(SOON, |status| status["load"]["partitions"] == half);
    for n in 0..100 {
        flow.event(&format!("evt_{n}"), "a");
    }
    flow.audit(100);
    assert_eq!(moves(&second), before, "the other had to give something back");
    second.wait_status(SOON, |status| status["load"]["partitions"] == half);
}

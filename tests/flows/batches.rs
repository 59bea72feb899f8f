//! How large the ledger's batches may be, which the topics say, and how long they take.

use kafka_webhooks::kafka::Connection;
use kafka_webhooks::kafka::admin::{Admin, batch_size};
use rdkafka::mocking::MockCluster;
use serde_json::json;

use crate::fixture::Fixture;
use crate::follower::settings;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn a_batch_fits_every_topic_that_it_may_go_to() {
    let scope = Scope::new("batches");
    scope.create_topic("audit", 1, &[("max.message.bytes", "54321")]);
    let config = settings(scope.bootstrap(), scope.prefix());
    let connection = Connection::new(&config);
    let created = Admin::new(&connection).and_then(|admin| admin.create_missing());
    assert_eq!(created.map(|topics| topics.len()), Ok(12));
    assert_eq!(batch_size(&connection), 54_321);
}

#[test]
fn a_cluster_that_tells_nothing_gets_batches_of_the_usual_size() {
    let cluster = MockCluster::new(1).expect("a cluster of one can be made");
    let config = settings(&cluster.bootstrap_servers(), "webhooks.");
    assert_eq!(batch_size(&Connection::new(&config)), 1_000_000);
}

/// Each with a transaction of its own.
const EVENTS: usize = 60;

#[test]
fn a_batch_is_committed_as_soon_as_its_records_are_written() {
    // Records are still under way when all else is done.
    let properties = r#"{ "linger.ms" = 30, "session.timeout.ms" = 6000 }"#;
    let fixture = Fixture::with("prompt", |setup| setup.set("kafka", "properties", properties));
    let receiver = Receiver::always(200);
    fixture.subscribe("s", &receiver.url("/ok/s"), &["a.b"], json!({}));
    let connector = fixture.start();
    for n in 0..EVENTS {
        fixture.event(&format!("evt_{n}"), "a.b");
        fixture.audit(n + 1);
    }
    // A wait that looks ten times a second for whether records are written makes all of them slow.
    let metric =
        |end: &str| connector.metric(&format!("webhooks_ledger_commit_duration_seconds_{end}"));
    // In this order, as one may be committed between the two looks.
    let prompt = metric(r#"bucket{le="0.1"}"#);
    let slow = metric("count") - prompt;
    assert!(slow < EVENTS as u64 * 3 / 4, "{slow}: {}", connector.get("/metrics").1);
}

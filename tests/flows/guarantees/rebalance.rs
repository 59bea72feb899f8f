//! Partitions change hands: who keeps some goes on with them, even when a receiver hangs.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use super::load::{LONG, wait_owns};
use crate::fixture::Fixture;
use crate::support::exchange::{Answer, Seen};
use crate::support::receiver::Receiver;
use crate::support::record::Draft;

const PARTITIONS: usize = 4;

/// What a handover may take, and as much again for a busy machine.
const STILL_MAX: Duration = Duration::from_secs(10);

/// Writes an event to each partition, `<type>_<partition>_<round>`.
fn produce(flow: &Fixture, event_type: &str, round: usize) {
    let event = |partition: usize| {
        let id = format!("{event_type}_{partition}_{round}");
        let partition = i32::try_from(partition).expect("there are four");
        Draft::new("k", json!({ "id": id, "event": event_type }).to_string()).partition(partition)
    };
    flow.scope.produce_all("orders", (0..PARTITIONS).map(event));
}

/// Returns partition and round of an event.
fn place(seen: &Seen) -> (usize, usize) {
    let mut place = seen.webhook_id().split('_').skip(1).map(|it| it.parse());
    let mut next = || place.next()?.ok();
    next().zip(next()).expect("its id names its place")
}

#[test]
fn partitions_that_stay_go_on_soon_though_requests_of_those_that_go_hang() {
    const PROPERTIES: &str = r#"{ "session.timeout.ms" = 45000, "heartbeat.interval.ms" = 500 }"#;
    let (open, gate) = watch::channel(false);
    let receiver = Receiver::start(move |seen, _| match &*seen.path {
        "/held" => Answer::status(200).behind(&gate),
        _ => Answer::status(200),
    });
    let flow = Fixture::with("rebalance", |setup| setup.set("kafka", "properties", PROPERTIES));
    flow.subscribe("held", &receiver.url("/held"), &["held"], json!({ "timeout": "120s" }));
    flow.subscribe("fast", &receiver.url("/fast"), &["fast"], json!({}));
    let a = flow.start();
    produce(&flow, "held", 0);
    receiver.wait_count(LONG, PARTITIONS);

    let mut b = flow.setup.clone().instance("b").start();
    let deadline = Instant::now() + LONG;
    let mut produced = Vec::new();
    while !a.log().contains("attempts outlast the handover") {
        assert!(Instant::now() < deadline, "nothing was handed over");
        produced.push(Instant::now());
        produce(&flow, "fast", produced.len() - 1);
        thread::sleep(Duration::from_millis(50));
    }
    wait_owns(&mut b, &flow, PARTITIONS / 2);
    let fast = produced.len() * PARTITIONS;
    let requests = receiver.wait_count(LONG, PARTITIONS + fast + PARTITIONS / 2);
    let mut slowest: BTreeMap<usize, Duration> = BTreeMap::new();
    for seen in requests.iter().filter(|seen| seen.path == "/fast") {
        let (partition, round) = place(seen);
        let took = seen.received - produced[round];
        let slowest = slowest.entry(partition).or_default();
        *slowest = took.max(*slowest);
    }
    println!("the slowest of each partition: {slowest:?}");
    let soon = slowest.values().filter(|slowest| **slowest < STILL_MAX).count();
    assert!(soon >= PARTITIONS / 2, "those that stay stood still: {slowest:?}");
    open.send_replace(true);
    let events = PARTITIONS + fast;
    flow.audit(events);
    flow.wait_settled(events as i64);
    // The requests that hung are those of the partitions that went.
    assert_eq!(receiver.count(), events + PARTITIONS / 2);
}

//! The harness itself: what the other flows take for granted.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::support::broker::Broker;
use crate::support::exchange::Answer;
use crate::support::java;
use crate::support::process::Process;
use crate::support::reader;
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};
use crate::support::scope::{Committed, Scope};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn produced_records_are_read_back() {
    let scope = Scope::new("read-back");
    scope.create_topic("orders", 3, &[("cleanup.policy", "compact")]);
    assert_eq!(scope.read_committed("orders"), []);

    scope.produce("orders", "k", r#"{"a":1}"#, &[("one", "1"), ("two", "2")]);
    let of_partition =
        |partition| (0..500).map(move |n| Draft::new(n.to_string(), "v").partition(partition));
    scope.produce_all("orders", of_partition(1).chain(of_partition(2)));
    scope.produce_all("orders", [Draft::tombstone("gone").partition(0)]);

    let records = scope.read_committed("orders");
    assert_eq!(records.len(), 1002);
    let first = find(&records, "k");
    assert_eq!(first.json(), serde_json::json!({"a": 1}));
    assert_eq!(first.header("two").as_deref(), Some("2"));
    assert_eq!(first.header("three"), None);
    assert_eq!(find(&records, "gone").value, None);
    let order: Vec<String> = records
        .iter()
        .filter(|record| record.partition == 2 && record.key_text() != "k")
        .map(Record::key_text)
        .collect();
    let sent: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(order, sent);
}

#[test]
fn an_aborted_transaction_is_invisible_to_read_committed() {
    let scope = Scope::new("aborted");
    scope.create_topic("orders", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", scope.bootstrap())
        .set("transactional.id", scope.topic("writer"))
        .create()
        .expect("the settings of the producer are valid");
    producer.init_transactions(SOON).expect("it is the only one of its id");
    transaction(&producer, &scope.topic("orders"), "aborted");
    producer.abort_transaction(SOON).expect("it can be aborted");
    transaction(&producer, &scope.topic("orders"), "committed");
    // Not committed yet, so the reader's end lies before it.
    assert_eq!(scope.read_committed("orders"), []);
    producer.commit_transaction(SOON).expect("it can be committed");

    let records = scope.wait_for("orders", SOON, |records| !records.is_empty());
    assert_eq!(values(&records), ["committed"]);
    assert_eq!(values(&scope.read_committed("orders")), ["committed"]);
    assert_eq!(records[0].offset, 2, "the aborted record and its marker stand before it");
}

/// Begins a transaction with one record and waits until the broker has stored it.
fn transaction(producer: &BaseProducer, topic: &str, value: &str) {
    producer.begin_transaction().expect("none is open");
    producer
        .send(BaseRecord::<str, str>::to(topic).payload(value))
        .unwrap_or_else(|(error, _)| panic!("a record can't be sent: {error}"));
    producer.flush(SOON).expect("the broker stores it");
}

#[test]
fn waiting_for_records_follows_the_topic() {
    let scope = Scope::new("follow");
    scope.create_topic("orders", 2, &[]);
    thread::scope(|threads| {
        let follower =
            threads.spawn(|| scope.wait_for("orders", SOON, |records| records.len() == 20));
        for n in 0..20 {
            scope.produce("orders", &n.to_string(), "v", &[]);
        }
        let records = follower.join().expect("the records came");
        assert!(records.is_sorted_by_key(|record| (record.partition, record.offset)));
    });
}

#[test]
fn committed_offsets_come_with_their_metadata() {
    let scope = Scope::new("committed");
    scope.create_topic("orders", 2, &[]);
    assert_eq!(scope.committed(&scope.group(), "orders"), []);
    let consumer: BaseConsumer = reader::client(scope.bootstrap())
        .set("group.id", scope.group())
        .create()
        .expect("the settings of a reader are valid");
    let mut offsets = TopicPartitionList::new();
    let mut offset = offsets.add_partition(&scope.topic("orders"), 1);
    offset.set_offset(Offset::Offset(7)).expect("7 is an offset");
    offset.set_metadata("pending");
    consumer.commit(&offsets, CommitMode::Sync).expect("the group has no members");

    let expected = Committed { partition: 1, offset: 7, metadata: "pending".to_owned() };
    assert_eq!(scope.committed(&scope.group(), "orders"), [expected]);
}

#[test]
fn a_broker_keeps_its_data_when_it_is_killed_or_stopped() {
    let mut broker = Broker::start();
    let scope = Scope::on(&broker, "restart");
    scope.create_topic("orders", 1, &[]);
    scope.produce("orders", "k", "before", &[]);
    broker.kill();
    broker.start_again();
    assert_eq!(values(&scope.read_committed("orders")), ["before"]);
    scope.produce("orders", "k", "after", &[]);
    broker.stop();
    broker.start_again();
    assert_eq!(values(&scope.read_committed("orders")), ["before", "after"]);
}

#[test]
fn a_process_ends_when_the_test_process_does() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a new temporary folder is writable");
    let mut process = Process::start(
        "sleep",
        Command::new("sleep").arg("600"),
        &folder.path().join("log"),
        &inner,
    );
    assert_eq!(process.exited(), None);
    process.abandon();
    assert!(!process.wait_exit(SOON).success());
}

#[test]
fn a_receiver_answers_by_its_script() {
    let receiver = Receiver::start(|seen, nth| match (seen.path.as_str(), nth) {
        ("/busy", 1) => Answer::status(503).header("retry-after", "2").body("later"),
        ("/broken", _) => Answer::close(),
        ("/hanging", _) => Answer::hang(),
        ("/slow", _) => Answer::status(204).after(Duration::from_millis(100)),
        _ => Answer::status(200),
    });
    let client = Client::new();

    let busy = client.post(&receiver.url("/busy"), "evt_1").expect("it answers");
    assert_eq!(busy, 503);
    assert_eq!(client.post(&receiver.url("/busy"), "evt_1").ok(), Some(200));
    assert_eq!(client.post(&receiver.url("/busy"), "evt_2").ok(), Some(503));
    let broken = client.post(&receiver.url("/broken"), "evt_1");
    assert!(broken.is_err_and(|error| !error.is_timeout()));
    let hanging = client.post(&receiver.url("/hanging"), "evt_1");
    assert!(hanging.is_err_and(|error| error.is_timeout()));
    let begun = Instant::now();
    assert_eq!(client.post(&receiver.url("/slow"), "evt_1").ok(), Some(204));
    assert!(begun.elapsed() >= Duration::from_millis(100));

    let seen = receiver.wait_count(SOON, 6);
    assert_eq!(seen[2].webhook_id(), "evt_2");
    assert_eq!(seen[2].json(), serde_json::json!({}));
    assert!(seen.is_sorted_by_key(|seen| seen.received));
    receiver.wait_until(SOON, |seen| seen.iter().any(|seen| seen.path == "/slow"));
}

/// Requests of a client that waits for an answer for a second.
struct Client {
    runtime: tokio::runtime::Runtime,
    inner: reqwest::Client,
}

impl Client {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built"),
            inner: reqwest::Client::builder()
                .timeout(Duration::from_secs(1))
                .build()
                .expect("a client can be built"),
        }
    }

    fn post(&self, url: &str, id: &str) -> reqwest::Result<u16> {
        let request = self.inner.post(url).header("webhook-id", id).body("{}");
        // The client's timers need the runtime already when the future is made.
        let response = self.runtime.block_on(async { request.send().await })?;
        Ok(response.status().as_u16())
    }
}

#[test]
fn java_versions_of_both_styles_are_read() {
    let modern = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment";
    assert_eq!(java::major_version(modern), Some(17));
    assert_eq!(java::major_version("java version \"1.8.0_392\""), Some(1));
    assert_eq!(java::major_version("openjdk version \"26\" 2026"), Some(26));
    assert_eq!(java::major_version("command not found"), None);
}

fn find<'a>(records: &'a [Record], key: &str) -> &'a Record {
    records
        .iter()
        .find(|record| record.key_text() == key)
        .unwrap_or_else(|| panic!("no record has the key {key}: {records:#?}"))
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::value_text).collect()
}

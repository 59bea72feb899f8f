//! Reading a range of a topic, as the commands that look back do.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kafka_webhooks::config::Config;
use kafka_webhooks::domain::record::{NextOffset, Record};
use kafka_webhooks::kafka::Connection;
use kafka_webhooks::kafka::cluster::ClusterError;
use kafka_webhooks::kafka::range::{Bound, Progress, Topic};
use kafka_webhooks::kafka::tail::Tail;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::fixture::SOON;
use crate::support::record::Draft;
use crate::support::scope::Scope;

fn settings(scope: &Scope) -> Config {
    let flags = [
        ("kafka.bootstrap_servers", scope.bootstrap()),
        ("sources", r#"[{ topics = ["orders"], format = "envelope" }]"#),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::load(None, [], flags).expect("the settings are good")
}

fn value(record: &Record) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}

/// Reads what lies between two bounds, from all partitions or one.
fn read(scope: &Scope, from: &Bound, to: &Bound, only: Option<i32>) -> Vec<String> {
    let config = settings(scope);
    let topic = Topic::look_at(&Connection::new(&config), &scope.topic("orders"));
    let topic = topic.expect("the broker answers");
    let wanted = |partition| only.is_none_or(|only| only == partition);
    let mut range = topic.read(from, to, wanted).expect("the broker answers");
    let read: Result<Vec<_>, _> = range.by_ref().map(|record| Ok(value(&record?))).collect();
    let Progress { done, total } = range.progress();
    assert_eq!(done, total, "all was read");
    read.unwrap_or_else(|error: ClusterError| panic!("{error}"))
}

fn produce(scope: &Scope, partition: i32, value: &str) {
    scope.produce_all("orders", [Draft::new("k", value).partition(partition)]);
}

#[test]
fn a_range_ends_where_the_topic_did_in_the_order_of_time() {
    let scope = Scope::new("range");
    scope.create_topic("orders", 3, &[]);
    assert!(read(&scope, &Bound::Beginning, &Bound::End, None).is_empty());
    for (partition, value) in [(0, "a"), (2, "b"), (0, "c"), (1, "d")] {
        produce(&scope, partition, value);
        // Kafka's times are milliseconds.
        std::thread::sleep(Duration::from_millis(3));
    }
    let middle = Timestamp::now();
    produce(&scope, 2, "e");
    produce(&scope, 0, "f");

    let check = |from, to, only, expect: &[&str]| {
        assert_eq!(read(&scope, &from, &to, only), expect, "{from:?} {to:?} {only:?}");
    };
    let (all, later) = (Bound::Beginning, Timestamp::now() + Duration::from_secs(3600));
    check(all.clone(), Bound::Time(middle), None, &["a", "b", "c", "d"]);
    check(all.clone(), Bound::End, Some(0), &["a", "c", "f"]);
    check(all.clone(), Bound::Time(later), Some(2), &["b", "e"]);
    check(Bound::Time(Timestamp::MIN), Bound::Time(middle), Some(0), &["a", "c"]);
    check(Bound::Time(middle), Bound::End, Some(1), &[]);
    check(Bound::Time(later), Bound::End, None, &[]);
    check(Bound::End, Bound::Beginning, None, &[]);
    let positions = Bound::Positions(BTreeMap::from([(0, NextOffset(1)), (2, NextOffset(9))]));
    check(positions.clone(), Bound::End, None, &["c", "f"]);
    check(all, positions, Some(0), &["a"]);
}

#[test]
fn what_was_aborted_or_is_open_is_no_end_to_wait_for() {
    let scope = Scope::new("range-gaps");
    scope.create_topic("orders", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", scope.bootstrap())
        .set("transactional.id", scope.topic("writer"))
        .create()
        .expect("the settings of the producer are valid");
    producer.init_transactions(SOON).expect("it is the only one of its id");
    let topic = scope.topic("orders");
    let begin = |value: &str| {
        producer.begin_transaction().expect("none is open");
        let record = BaseRecord::<str, str>::to(&topic).payload(value);
        producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
        producer.flush(SOON).expect("the broker stores it");
    };
    let all = || read(&scope, &Bound::Beginning, &Bound::End, None);
    produce(&scope, 0, "a");
    begin("aborted");
    producer.abort_transaction(SOON).expect("it can be aborted");
    // Behind the last record stand one that is aborted, and a marker.
    assert_eq!(all(), ["a"]);
    begin("b");
    assert_eq!(all(), ["a"]);
    producer.commit_transaction(SOON).expect("it can be committed");
    scope.wait_for("orders", SOON, |records| records.len() == 2);
    assert_eq!(all(), ["a", "b"]);
}

#[test]
fn what_comes_behind_a_range_can_be_followed() {
    let scope = Scope::new("range-follow");
    scope.create_topic("orders", 2, &[]);
    produce(&scope, 0, "a");
    let config = settings(&scope);
    let connection = Connection::new(&config);
    let name = scope.topic("orders");
    let topic = Topic::look_at(&connection, &name).expect("the broker answers");
    let range = topic.read(&Bound::Beginning, &Bound::End, |_| true);
    let mut range = range.expect("the broker answers");
    produce(&scope, 0, "b");
    produce(&scope, 1, "c");
    let first = range.next().expect("there is one").expect("it can be read");
    assert_eq!((value(&first), range.next().is_none()), ("a".to_owned(), true));
    let tail = Tail::resume(&connection, &name, &range.positions()).expect("its settings are good");
    let mut followed: Vec<_> = (0..2).map(|_| value(&tail.next(SOON).expect("it comes"))).collect();
    followed.sort();
    assert_eq!(followed, ["b", "c"]);
}

#[test]
fn a_topic_that_isnt_there_is_named() {
    let scope = Scope::new("range-missing");
    let config = settings(&scope);
    let looked = Topic::look_at(&Connection::new(&config), &scope.topic("orders"));
    assert_eq!(looked.err(), Some(ClusterError::NoTopic(scope.topic("orders"))));
}

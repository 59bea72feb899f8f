//! Offsets that no record has: markers and leavings of transactions, and what compaction took away.

use std::collections::BTreeSet;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::OFTEN_COMPACTED;

fn event(id: &str, event_type: &str) -> Value {
    json!({ "id": id, "event": event_type, "data": {} })
}

/// Writes transactions of three events to each of two partitions; every second one is aborted.
fn write_transactions(flow: &Fixture, transactions: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", flow.scope.bootstrap())
        .set("transactional.id", flow.scope.topic("writer"))
        .create()
        .expect("the settings of the producer are valid");
    producer.init_transactions(SOON).expect("it is the only one of its id");
    let topic = flow.scope.topic("orders");
    for transaction in 0..transactions {
        producer.begin_transaction().expect("none is open");
        for n in 0..6 {
            let value = event(&format!("evt_{transaction}_{n}"), "a").to_string();
            let record = BaseRecord::<str, str>::to(&topic).partition(n % 2).payload(&value);
            producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
        }
        producer.flush(SOON).expect("the broker stores it");
        let ended = match transaction % 2 {
            0 => producer.commit_transaction(SOON),
            _ => producer.abort_transaction(SOON),
        };
        ended.expect("the broker ends it");
    }
}

/// Returns the ids that the receiver was asked to take, and how many requests that were.
fn seen(receiver: &Receiver) -> (BTreeSet<String>, usize) {
    let requests = receiver.requests();
    let ids = requests.iter().map(|request| request.webhook_id().to_owned()).collect();
    (ids, requests.len())
}

#[test]
fn a_restart_between_transactions_repeats_only_what_was_in_the_air() {
    // The very first stays in the air: all that is done behind it is told beside the offset.
    let receiver = Receiver::start(|seen, nth| match (seen.webhook_id(), nth) {
        ("evt_0_0", 1) => Answer::hang(),
        _ => Answer::status(200),
    });
    let flow = Fixture::new("transactions");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    write_transactions(&flow, 20);
    let mut connector = flow.start();
    let committed: BTreeSet<String> = (0..20)
        .step_by(2)
        .flat_map(|transaction| (0..6).map(move |n| format!("evt_{transaction}_{n}")))
        .collect();
    flow.audit(committed.len() - 1);
    assert_eq!(seen(&receiver), (committed.clone(), committed.len()));
    connector.kill9();

    let _connector = flow.start();
    flow.audit(committed.len());
    assert_eq!(seen(&receiver), (committed.clone(), committed.len() + 1));
    // Nothing is pending before the last of them.
    let last = flow.scope.read_committed("orders");
    for partition in 0..2 {
        let last = last.iter().rfind(|record| record.partition == partition);
        let next = last.expect("each has some").offset + 1;
        flow.wait_committed(|all| {
            all.iter()
                .any(|it| it.partition == partition && it.offset >= next && it.metadata.is_empty())
        });
    }
}

#[test]
fn a_topic_that_was_compacted_is_delivered_as_it_stands_and_only_once() {
    const KEYS: usize = 10;
    let receiver = Receiver::always(200);
    let mut flow = Fixture::new("compacted");
    flow.scope.create_topic("states", 1, OFTEN_COMPACTED);
    flow.setup = flow.setup.clone().source(&flow.scope, "states", "envelope", "");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    for round in 0..30 {
        let state = |key: usize| {
            let value = event(&format!("evt_{round}_{key}"), "a").to_string();
            Draft::new(format!("k{key}"), value)
        };
        // Each round leaves another key behind: what stands lies far apart.
        flow.scope.produce_all("states", (round * KEYS / 30..KEYS).map(state));
    }
    flow.scope.wait_compacted("states", 1, KEYS);
    let left = flow.scope.read_committed("states");
    let left = left.iter().filter(|record| record.value.is_some());
    let left: BTreeSet<String> =
        left.map(|record| record.json()["id"].as_str().expect("it has an id").to_owned()).collect();
    assert_eq!(left.len(), KEYS);

    let mut connector = flow.start();
    flow.audit(KEYS);
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());
    let last = event("last", "a").to_string();
    flow.scope.produce("states", "last", last, &[]);
    let _connector = flow.start();
    flow.audit(KEYS + 1);
    let mut expected = left;
    expected.insert("last".to_owned());
    assert_eq!(seen(&receiver), (expected, KEYS + 1));
}

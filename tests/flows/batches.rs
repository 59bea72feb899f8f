//! How large the ledger's batches may be: the topics say.

use kafka_webhooks::kafka::Connection;
use kafka_webhooks::kafka::admin::{Admin, batch_size};
use rdkafka::mocking::MockCluster;

use crate::follower::settings;
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

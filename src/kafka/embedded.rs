//! An embedded broker for the demo: librdkafka's mock cluster, in this process and in memory.
//!
//! Groups, produce, fetch and positions work as with a real one. Transactions are accepted and end without effect: an
//! aborted one would be visible. It shows what the connector does and proves nothing about its guarantees.

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A running embedded broker; it ends when it is dropped.
pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Embedded {
    /// Starts a broker that has these topics, each with one partition.
    ///
    /// # Errors
    /// No port of loopback can be had.
    pub fn start<'a>(topics: impl IntoIterator<Item = &'a str>) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        for topic in topics {
            cluster.create_topic(topic, 1, 1)?;
        }
        Ok(Self { cluster })
    }

    /// Returns its address, as clients want it.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

//! Everything Kafka: the only code that names rdkafka.
//!
//! Each part owns its client. Nothing here decides what is delivered, written or committed; it does what it is told
//! and says what happened.

mod client;
pub mod consumer;
mod context;
pub mod ledger;

pub use client::Connection;
pub use rdkafka::error::KafkaError;

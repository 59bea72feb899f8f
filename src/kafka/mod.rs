//! Everything Kafka: the only code that names rdkafka.
//!
//! Each part owns its client. Nothing here decides what is delivered, written or committed; it does what it is told
//! and says what happened.

pub mod admin;
pub mod bookmark;
mod changes;
mod client;
pub mod cluster;
pub mod consumer;
mod context;
pub mod embedded;
pub mod group;
pub mod ledger;
mod polled;
pub mod positions;
pub mod preflight;
pub mod range;
mod record;
pub mod settled;
pub mod statuses;
pub mod subscriptions;
pub mod table;
pub mod tail;
pub mod topics;
pub mod transactions;
mod version;
pub mod writer;

pub use client::Connection;
pub use rdkafka::error::KafkaError;

//! kafka-webhooks.

pub mod config;
pub mod domain;
pub mod http;
pub mod kafka;
pub mod ops;

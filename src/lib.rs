//! kafka-webhooks.

pub mod config;
pub mod domain;
pub mod kafka;

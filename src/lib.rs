//! kafka-webhooks.

pub mod domain;

//! kafka-webhooks delivers Kafka events as signed webhooks, with no store but Kafka.
//!
//! # The cast
//!
//! - A **record** is what Kafka holds; an **event** is what a record of an event topic says.
//! - A **subscription** says who wants which events, where they go and how. Its definition is a record too.
//! - A **delivery** is one event on its way to one subscription. It is made in **attempts**, each one HTTP request.
//! - A **lane** is what waits for one subscription, with what its endpoint takes: a limit, a rate, a breaker.
//! - An **ending** is what a delivery comes to for now: delivered, to be retried, moved on, or a **dead letter**.
//! - A **redrive** sends a dead letter again, a **replay** past events to one subscription: deliveries that a command
//!   hands over in the deliver topic.
//! - A **tier** is a retry topic whose records wait equally long; the tiers together are the **wheel**.
//! - The **health** of a subscription is folded from what became of its deliveries, and told by its **status**.
//! - A **batch** is endings and positions that are written in one Kafka transaction by the **ledger**.
//! - A **window** is one partition's records between its **watermark** (all before is settled) and its **frontier**
//!   (nothing behind was begun); what is open in it is its **pending set**, which travels in the commit's metadata.
//!
//! # The flow
//!
//! ```text
//! kafka::consumer ─► domain::decode ─► domain::registry ─► domain::engine ─► http ─► domain::outcome
//!        └─► schema ─►┘                     ▲                    ▲                        │
//!                           kafka::subscriptions                 └──── kafka::ledger ◄────┘
//! ```
//!
//! `pipeline` carries things along these arrows and decides nothing; `domain::engine` decides and does nothing.
//!
//! # What is absent, by rule
//!
//! - `domain` has no clock, randomness, tasks, sockets, locks or environment.
//! - Only `kafka` names rdkafka, only `http` names reqwest, only `schema` names the registry's client, only
//!   `domain::expression` names cel, only `config` reads the environment, only `ops::traces` and its way out,
//!   `http::collector`, name OpenTelemetry.
//! - No payload and no secret stands in a log, a metric, an error, an audit record or Debug output.

pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod kafka;
pub mod ops;
pub mod pipeline;
pub mod receiver;
pub mod schema;

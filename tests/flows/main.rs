//! Flow tests against a real Apache Kafka: one binary, so that they share one broker; one file a subject.

#[path = "../support/mod.rs"]
mod support;

mod again;
mod batches;
mod cloudevents;
mod commands;
mod delivery;
mod demo;
mod deployment;
mod failing;
mod figures;
mod fixture;
mod follower;
mod guarantees;
mod harness;
mod health;
mod history;
mod input;
mod instances;
mod member;
mod monitoring;
mod ops;
mod page;
mod range;
mod readme;
mod receivers;
mod registry;
mod retry;
mod secrets;
mod shell;
mod subscriptions;
mod traces;
mod transform;

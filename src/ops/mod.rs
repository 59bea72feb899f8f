//! What operators see: health, metrics, traces, logs, and the port that shows them. Nothing here changes what is delivered.

pub mod failures;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod overview;
mod page;
pub mod recent;
pub mod server;
pub mod snapshot;
pub mod traces;

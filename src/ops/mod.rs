//! What operators see: health, metrics, traces, logs, and the port that shows them. Nothing here changes what is delivered.

pub mod health;
pub mod logs;
pub mod metrics;
pub mod server;
pub mod traces;

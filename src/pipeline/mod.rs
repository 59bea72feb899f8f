//! The pipeline: the tasks that move deliveries along. They carry what the engine decides and bring back what happened.
//!
//! Threads: one drives the engine and reads the consumer (`session`), one writes transactions (`kafka::ledger`), one
//! follows the subscriptions (`kafka::subscriptions`); attempts run as tasks on the runtime. All that happens reaches
//! the driver through one inbox, so that the engine sees a single order of events.

mod inbox;
mod membership;
mod run;
mod session;
mod translations;

pub use run::{Stopped, Stopper, run};

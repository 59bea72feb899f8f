//! The pipeline: the tasks that move deliveries along. They carry what the engine decides and bring back what happened.
//!
//! Threads: one drives the engine and reads the consumer (`session`), one writes transactions (`kafka::ledger`), one
//! follows the subscriptions (`kafka::subscriptions`), one a core makes attempts (`couriers`), and the driver makes short
//! ones by plain HTTP itself while there is little to do. All that happens reaches the driver through one inbox, so that
//! the engine sees a single order of events.

mod couriers;
mod inbox;
mod membership;
mod run;
mod session;
mod translations;

pub use couriers::{Couriers, HireError};
pub use run::{Stopped, Stopper, run};

//! The guarantees of the contract's section 7 that need a real broker, one file each.

mod load;

mod cut_log;
mod full_disk;
mod gaps;
mod kill;
mod leaders;
mod liveness;
mod one_endpoint;
mod outage;
mod rebalance;
mod schedule;
mod shutdown;
mod too_large;
mod zombie;

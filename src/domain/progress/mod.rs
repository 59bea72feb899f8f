//! Exact progress in one partition: which records are done, which are still in the air, and how to say it in a commit.
//!
//! Cast: a record is *opened* when it is taken up, its deliveries are *added* one by one in the order of their
//! subscriptions' hashes, and each is *settled* once its outcome is on its way into a transaction. The *watermark* is
//! the first offset that is not settled; it is what a commit says. What is pending behind the *frontier* (the first
//! offset not opened yet) travels in the commit's metadata, so that a new owner repeats nothing that is done.
//!
//! Nothing here knows what a delivery is, or reads a clock.

mod pending;
mod window;

pub use pending::{METADATA_MAX, Pending, PendingSet};
pub use window::{Plan, Seq, Settled, Window};

#[cfg(test)]
mod tests;

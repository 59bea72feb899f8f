//! The inbox: everything that happens, in one queue, with one thread that waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crate::domain::engine::AttemptId;
use crate::domain::outcome::Attempted;
use crate::domain::subscription::Subscription;
use crate::kafka::consumer::Committed;
use crate::kafka::ledger;
use crate::kafka::subscriptions::News;

/// Something that happened outside the driver's thread.
pub(super) enum Input {
    /// The subscriptions changed.
    Subscriptions(News),
    /// The committed positions of assigned partitions are known.
    Positions(Vec<Committed>),
    /// The ledger says something.
    Ledger(ledger::Report),
    /// An attempt ended.
    Attempted(AttemptId, Arc<Subscription>, Attempted),
}

/// Where inputs gather until the driver takes them.
///
/// Its length is bounded by what causes inputs: attempts in flight, one batch, one lookup an assignment, and the
/// follower's batches, of which it sends the next when the last was taken.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Vec<Input>>,
    /// Set when there is something to look at, here or in a consumer's queue.
    signalled: AtomicBool,
    driver: OnceLock<Thread>,
}

impl Inbox {
    /// Makes the calling thread the one that waits.
    pub(super) fn attach(&self) {
        let driver = self.driver.set(std::thread::current());
        assert!(driver.is_ok(), "an inbox has one driver");
    }

    /// Adds an input.
    pub(super) fn push(&self, input: Input) {
        self.queue.lock().expect("no holder of the lock panics").push(input);
        self.wake();
    }

    /// Makes the driver look around.
    pub(super) fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel)
            && let Some(driver) = self.driver.get()
        {
            driver.unpark();
        }
    }

    /// Takes all inputs. What comes after this call signals anew.
    pub(super) fn take(&self, into: &mut Vec<Input>) {
        self.signalled.store(false, Ordering::Release);
        into.append(&mut self.queue.lock().expect("no holder of the lock panics"));
    }

    /// Waits until something is signalled, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        if !self.signalled.load(Ordering::Acquire) {
            std::thread::park_timeout(at_most);
        }
    }
}

//! The inbox: everything that happens, in one queue, with one thread that waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crate::domain::decode::Translation;
use crate::domain::engine::{AttemptId, PartitionId};
use crate::domain::outcome::Attempted;
use crate::domain::record::Record;
use crate::domain::subscription::Subscription;
use crate::kafka::consumer::Part;
use crate::kafka::ledger;
use crate::kafka::positions::Committed;
use crate::kafka::statuses::Statuses;
use crate::kafka::subscriptions::News;

/// Something that happened outside the driver's thread.
pub(super) enum Input {
    /// The subscriptions changed.
    Subscriptions(News),
    /// The committed positions of partitions assigned to a member are known.
    Positions(Part, Vec<Committed>),
    /// The statuses that belong to the positions of these audit partitions are known.
    Statuses(Vec<PartitionId>, Statuses),
    /// The ledger says something.
    Ledger(ledger::Report),
    /// A schema has said what a record of a member's partition holds.
    Translated(Part, PartitionId, Record, Translation),
    /// An attempt ended.
    Attempted(AttemptId, Arc<Subscription>, Attempted),
}

/// The inputs that wait when further ones have to.
const LONG: usize = 4096;

/// The longest wait of one that has to.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where inputs gather until the driver takes them.
///
/// Its length is bounded by what causes inputs: attempts in flight, one batch, one lookup an assignment, one translation a
/// partition; and who could cause more waits, by [`Inbox::push_in_turn`].
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Vec<Input>>,
    /// Signalled when inputs were taken.
    taken: Condvar,
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

    /// Adds an input when those before it have been taken.
    pub(super) fn push_in_turn(&self, input: Input) {
        let queue = self.queue.lock().expect("no holder of the lock panics");
        let is_long = |queue: &mut Vec<Input>| queue.len() >= LONG;
        // A driver that has ended takes nothing any more; then there is nobody to wait for.
        let waited = self.taken.wait_timeout_while(queue, PATIENCE, is_long);
        let (mut queue, _) = waited.expect("no holder of the lock panics");
        queue.push(input);
        drop(queue);
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
        self.taken.notify_all();
    }

    /// Waits until something is signalled, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        if !self.signalled.load(Ordering::Acquire) {
            std::thread::park_timeout(at_most);
        }
    }
}

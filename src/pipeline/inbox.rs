//! The inbox: everything that happens, in one queue, with one thread that waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

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

/// What rouses the driver; one that was rung while it was busy keeps it from its next rest.
pub(super) type Bell = Arc<Notify>;

/// Where inputs gather until the driver takes them.
///
/// Its length is bounded by what causes inputs: attempts in flight, one batch, one lookup an assignment, one translation a
/// partition; and who could cause more waits, by [`Inbox::push_in_turn`].
pub(super) struct Inbox {
    queue: Mutex<Vec<Input>>,
    /// Signalled when inputs were taken.
    taken: Condvar,
    /// Set, and the bell rung, when there is something to look at, here or in a consumer's queue.
    signalled: AtomicBool,
    bell: Bell,
}

impl Inbox {
    /// Makes one whose driver rests until this bell is rung.
    pub(super) fn new(bell: Bell) -> Self {
        let (queue, taken, signalled) = Default::default();
        Self { queue, taken, signalled, bell }
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
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Takes all inputs. What comes after this call signals anew.
    pub(super) fn take(&self, into: &mut Vec<Input>) {
        self.signalled.store(false, Ordering::Release);
        into.append(&mut self.queue.lock().expect("no holder of the lock panics"));
        self.taken.notify_all();
    }

    /// Waits until there is something to look at, at most this long and two milliseconds. If there is already, or nothing
    /// is to be waited, only the other tasks of the driver's thread have a turn. What was signalled while the driver was
    /// busy, and taken since, still ends one wait at once.
    pub(super) async fn wait(&self, at_most: Duration) {
        if at_most.is_zero() || self.signalled.load(Ordering::Acquire) {
            yield_now().await;
        } else {
            // Either is a reason to look around.
            let _ = timeout(at_most, self.bell.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::time::{Instant, sleep};

    use super::*;

    const REST: Duration = Duration::from_secs(60);

    fn inbox() -> Arc<Inbox> {
        Arc::new(Inbox::new(Bell::default()))
    }

    fn push(inbox: &Inbox) {
        inbox.push(Input::Ledger(ledger::Report::Ready));
    }

    /// Takes what is there, one input, and what may be left of its bell.
    async fn settle(inbox: &Inbox) {
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken.len(), 1);
        inbox.wait(Duration::from_millis(1)).await;
    }

    /// Tells whether a rest ends before its time.
    async fn is_roused(inbox: &Inbox) -> bool {
        let begin = Instant::now();
        inbox.wait(REST).await;
        begin.elapsed() < REST
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_keeps_the_driver_from_its_rest_until_it_is_taken() {
        let inbox = inbox();
        assert!(!is_roused(&inbox).await);
        push(&inbox);
        assert!(is_roused(&inbox).await);
        assert!(is_roused(&inbox).await);
        settle(&inbox).await;
        assert!(!is_roused(&inbox).await);
    }

    #[tokio::test]
    async fn what_comes_while_the_driver_rests_rouses_it_each_time() {
        let inbox = inbox();
        for _ in 0..3 {
            let other = inbox.clone();
            let pushing = thread::spawn(move || push(&other));
            assert!(is_roused(&inbox).await);
            pushing.join().expect("it doesn't panic");
            settle(&inbox).await;
        }
    }

    #[tokio::test]
    async fn a_driver_that_is_never_let_rest_keeps_no_task_of_its_thread_from_its_end() {
        for rest in [Duration::ZERO, REST] {
            let inbox = inbox();
            inbox.wake();
            let task = tokio::spawn(sleep(Duration::from_millis(1)));
            let begin = Instant::now();
            while !task.is_finished() {
                inbox.wait(rest).await;
                assert!(begin.elapsed() < REST, "{rest:?}");
            }
        }
    }
}

//! When a batch is due, and what becomes of one that was aborted.

use super::*;

/// A rig that has committed the event at offset 100.
fn after_a_commit() -> (Rig, PartitionId) {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    deliver(&mut rig, orders, 100);
    rig.commit();
    (rig, orders)
}

fn deliver(rig: &mut Rig, to: PartitionId, offset: i64) {
    rig.event(to, offset, "a");
    for attempt in rig.attempts() {
        rig.answer(&attempt, 200);
    }
}

#[test]
fn nothing_is_written_when_there_is_nothing_to_tell() {
    let (mut rig, orders) = after_a_commit();
    rig.check_quiet();
    assert_eq!(rig.engine.next_wake(rig.now), None);
    rig.event(orders, 101, "a");
    rig.check_quiet();
    assert!(rig.engine.has_work(), "a delivery waits");
}

#[test]
fn endings_gather_for_an_interval() {
    let (mut rig, orders) = after_a_commit();
    let last = rig.now;
    rig.wait(millis(10));
    deliver(&mut rig, orders, 101);
    assert!(rig.engine.poll_batch(rig.now).is_none());
    assert_eq!(rig.engine.next_wake(rig.now), Some(last + INTERVAL));
    rig.wait(millis(10));
    deliver(&mut rig, orders, 102);
    let batch = rig.batch();
    assert_eq!(rig.now, last + INTERVAL);
    assert_eq!(endings(&batch), ["e101 to crm: delivered ok", "e102 to crm: delivered ok"]);
}

#[test]
fn a_commit_that_no_ending_waits_for_takes_its_time() {
    let (mut rig, orders) = after_a_commit();
    let last = rig.now;
    rig.event(orders, 101, "other");
    assert_eq!(commits(&rig.batch()), ["orders/0 at 102:"]);
    assert_eq!(rig.now, last + seconds(1));
}

#[test]
fn a_full_batch_waits_for_nothing() {
    let (mut rig, orders) = after_a_commit();
    for offset in 101..101 + 4096 {
        assert!(rig.engine.poll_batch(rig.now).is_none());
        rig.record(orders, offset, Some(""), Headers::default());
    }
    assert_eq!(rig.engine.poll_batch(rig.now).expect("it is full").endings.len(), 4096);
}

#[test]
fn one_batch_is_on_its_way_at_a_time() {
    let (mut rig, orders) = after_a_commit();
    deliver(&mut rig, orders, 101);
    let batch = rig.batch();
    deliver(&mut rig, orders, 102);
    rig.check_quiet();
    rig.engine.batch_committed(&batch);
    assert_eq!(endings(&rig.commit()), ["e102 to crm: delivered ok"]);
}

#[test]
fn an_aborted_batch_comes_again_with_its_endings_first_and_without_attempts() {
    let (mut rig, orders) = after_a_commit();
    deliver(&mut rig, orders, 101);
    let batch = rig.batch();
    deliver(&mut rig, orders, 102);
    rig.engine.batch_aborted(batch, rig.now);
    assert_eq!(told(&rig.attempts()), [""; 0]);
    let again = rig.commit();
    assert_eq!(endings(&again), ["e101 to crm: delivered ok", "e102 to crm: delivered ok"]);
    assert_eq!(commits(&again), ["orders/0 at 103:"]);
    rig.check_quiet();
    assert_eq!((rig.engine.bytes(), rig.engine.counts().stale), (0, 0));
}

#[test]
fn an_aborted_batch_of_commits_alone_comes_again() {
    let (mut rig, orders) = after_a_commit();
    rig.event(orders, 101, "other");
    let batch = rig.batch();
    rig.engine.batch_aborted(batch, rig.now);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 102:"]);
    rig.check_quiet();
}

#[test]
fn the_wait_after_aborts_doubles_up_to_five_seconds_and_ends_with_a_commit() {
    let (mut rig, orders) = after_a_commit();
    deliver(&mut rig, orders, 101);
    let abort = |rig: &mut Rig| {
        let batch = rig.batch();
        let aborted_at = rig.now;
        rig.engine.batch_aborted(batch, rig.now);
        let due = rig.engine.next_wake(rig.now).expect("it comes again");
        (due - aborted_at).as_millis()
    };
    let waits: Vec<_> = (0..10).map(|_| abort(&mut rig)).collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
    rig.commit();
    deliver(&mut rig, orders, 102);
    assert_eq!(abort(&mut rig), 50);
}

#[test]
#[should_panic(expected = "a batch was committed that wasn't on its way")]
fn a_batch_is_committed_once() {
    let (mut rig, orders) = after_a_commit();
    deliver(&mut rig, orders, 101);
    let batch = rig.commit();
    rig.engine.batch_committed(&batch);
}

//! Letting go of a partition, and taking over where another left off.

use super::*;

/// A subscription that takes two requests at once.
fn narrow() -> Vec<Arc<Subscription>> {
    subscriptions(&[("crm", json!({"maxInFlight": 2}))])
}

/// A rig with two deliveries in the air and one that waits.
fn two_in_the_air() -> (Rig, PartitionId, Vec<Attempt>) {
    let mut rig = Rig::new(&narrow());
    let orders = rig.orders();
    for offset in [100, 101, 102] {
        rig.event(orders, offset, "a");
    }
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1", "e101 to crm #1"]);
    (rig, orders, attempts)
}

/// Takes over `orders/0` where a batch left it, and tells what is attempted of the records from its position on.
fn taken_over(batch: &Batch, offsets: std::ops::Range<i64>) -> (Vec<String>, Counts) {
    let mut heir = Rig::new(&crm());
    let Commit { name, next, metadata, .. } = &batch.commits[0];
    let orders = heir.engine.assign(name.clone(), Role::Events, *next, metadata);
    assert_eq!(heir.engine.position(orders), Some(*next));
    for offset in next.0..offsets.end {
        heir.event(orders, offset, "a");
    }
    (told(&heir.attempts()), heir.engine.counts())
}

#[test]
fn a_record_that_is_handed_over_twice_is_told_from_one_of_a_topic_that_was_made_anew() {
    let (mut rig, orders, attempts) = two_in_the_air();
    let check = |rig: &Rig, offset, later: i64, expected| {
        let timestamp = rig.now + jiff::SignedDuration::from_millis(later);
        let (topic, offset) = ("orders".into(), Offset(offset));
        let origin = Origin { topic, partition: 0, offset, timestamp };
        assert_eq!(rig.engine.sequel(orders, &origin), expected, "{origin} after {later} ms");
    };
    check(&rig, 103, 0, Sequel::Next);
    check(&rig, 102, 0, Sequel::Repeated);
    check(&rig, 102, 1, Sequel::Anew);
    check(&rig, 101, 0, Sequel::Anew);
    // What became of it makes no difference.
    rig.answer(&attempts[0], 200);
    let [last] = rig.attempts().try_into().expect("it has its turn");
    rig.answer(&last, 200);
    check(&rig, 102, 0, Sequel::Repeated);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 101: 101"]);
    check(&rig, 102, 0, Sequel::Repeated);
}

#[test]
fn nothing_is_repeated_before_something_was_taken_up() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    let origin = Origin {
        topic: "orders".into(),
        partition: 0,
        offset: Offset(START.0 - 1),
        timestamp: rig.now,
    };
    assert_eq!(rig.engine.sequel(orders, &origin), Sequel::Anew);
}

#[test]
fn what_is_open_before_a_cut_of_the_log_is_taken_up_again_and_what_is_behind_is_new() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.answer(&attempts[1], 200);
    let [last] = rig.attempts().try_into().expect("it has its turn");
    rig.answer(&last, 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 100: 100"], "all but the first is done");
    assert_eq!(rig.engine.begin_anew(orders, NextOffset(102)), START);
    assert_eq!(rig.engine.position(orders), Some(START));
    // That 102 was done is not true any more: who takes over learns so, whatever is read until then.
    let batch = rig.commit();
    assert_eq!(taken_over(&batch, 100..103).0, ["e100 to crm #1", "e102 to crm #1"]);
    for offset in [100, 101, 102] {
        rig.event(orders, offset, "a");
    }
    assert_eq!(told(&rig.attempts()), ["e100 to crm #1", "e102 to crm #1"]);
    rig.answer(&attempts[0], 200);
    assert_eq!(rig.engine.counts().stale, 1, "it is the attempt of another time");
}

#[test]
fn what_ended_before_a_cut_of_the_log_is_written_though_it_was_not_yet() {
    for is_on_its_way in [false, true] {
        let (mut rig, orders, attempts) = two_in_the_air();
        rig.answer(&attempts[0], 503);
        let on_its_way = is_on_its_way.then(|| rig.batch());
        assert_eq!(rig.engine.begin_anew(orders, NextOffset(102)), NextOffset(101));
        if let Some(batch) = on_its_way {
            rig.engine.batch_aborted(batch, rig.now);
        }
        let batch = rig.commit();
        let [(_, ending)] = batch.endings.as_slice() else { panic!("{:?}", batch.endings) };
        assert!(matches!(ending, Ending::Delivery(it) if matches!(it.next, Next::Retry(..))));
        assert_eq!(commits(&batch), ["orders/0 at 101: 101"]);
        assert_eq!(rig.engine.bytes(), 0, "nothing is held for what is read again");
    }
}

#[test]
fn a_batch_that_tells_of_records_behind_a_cut_of_the_log_is_corrected_by_the_next() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.answer(&attempts[1], 200);
    let batch = rig.batch();
    assert_eq!(commits(&batch), ["orders/0 at 100: 100 102"]);
    rig.engine.begin_anew(orders, NextOffset(101));
    rig.engine.batch_committed(&batch);
    let corrected = rig.commit();
    assert_eq!(taken_over(&corrected, 100..102).0, ["e100 to crm #1", "e101 to crm #1"]);
}

#[test]
fn a_topic_that_was_made_anew_is_read_from_its_first_record() {
    let (mut rig, orders, _) = two_in_the_air();
    assert_eq!(rig.engine.begin_anew(orders, NextOffset(7)), NextOffset(7));
    rig.event(orders, 7, "a");
    assert_eq!(told(&rig.attempts()), ["e7 to crm #1"]);
}

#[test]
fn a_partition_is_let_go_of_after_its_last_commit() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.engine.revoke(orders);
    assert!(!rig.engine.has_room(orders));
    assert_eq!((rig.engine.queued(), told(&rig.attempts())), (0, vec![]));
    rig.answer(&attempts[0], 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 101: 101 102"]);
    assert_eq!(rig.engine.poll_released(), None, "one is in the air");
    rig.answer(&attempts[1], 500);
    assert_eq!(rig.engine.poll_released(), None, "the ending isn't written");
    assert_eq!(rig.engine.batch_due(), Some(Timestamp::MIN), "the last commit waits for nothing");
    let batch = rig.batch();
    assert_eq!(commits(&batch), ["orders/0 at 102: 102"]);
    assert_eq!(rig.engine.poll_released(), None, "the last commit is on its way");
    rig.engine.batch_committed(&batch);
    assert_eq!(rig.engine.poll_released(), Some(orders));
    assert_eq!(rig.engine.poll_released(), None);
    assert_eq!(rig.engine.position(orders), None);
    assert_eq!((rig.engine.bytes(), rig.engine.has_work()), (0, false));
    assert_eq!(taken_over(&batch, 100..104).0, ["e102 to crm #1", "e103 to crm #1"]);
}

#[test]
fn a_last_commit_that_is_aborted_is_made_again_before_letting_go() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.engine.revoke(orders);
    for attempt in &attempts {
        rig.answer(attempt, 200);
    }
    let batch = rig.batch();
    rig.engine.batch_aborted(batch, rig.now);
    assert_eq!(rig.engine.poll_released(), None);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 102: 102"]);
    assert_eq!(rig.engine.poll_released(), Some(orders));
}

#[test]
fn a_partition_with_nothing_in_the_air_is_let_go_of_at_once() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    let tier = rig.moved(Role::Tier(TierIndex(0)));
    rig.event(orders, 100, "a");
    rig.delivery(tier, 100, &due(rig.now + seconds(1)));
    for id in [orders, tier] {
        rig.engine.revoke(id);
        assert_eq!(rig.engine.poll_released(), Some(id));
    }
    rig.check_quiet();
    assert_eq!((rig.engine.bytes(), rig.engine.next_wake(rig.now)), (0, None));
}

#[test]
fn a_delivery_that_waits_out_its_time_stays_with_its_partition() {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(0)));
    rig.delivery(tier, 100, &due(rig.now + millis(1_500)));
    rig.wait(seconds(1));
    assert_eq!(told(&rig.attempts()), [""; 0]);
    rig.engine.revoke(tier);
    rig.wait(seconds(1));
    assert_eq!(told(&rig.attempts()), [""; 0]);
    assert_eq!(rig.engine.poll_released(), Some(tier));
}

#[test]
fn a_new_owner_makes_what_is_pending_and_nothing_else() {
    let (mut rig, _, attempts) = two_in_the_air();
    rig.answer(&attempts[1], 200);
    let batch = rig.commit();
    assert_eq!(commits(&batch), ["orders/0 at 100: 100 102"]);
    let (attempts, counts) = taken_over(&batch, 100..104);
    assert_eq!(attempts, ["e100 to crm #1", "e102 to crm #1", "e103 to crm #1"]);
    assert_eq!((counts.records, counts.already_settled), (4, 1));
}

#[test]
fn a_result_for_an_abandoned_partition_changes_nothing_and_is_counted() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.engine.abandon(orders);
    assert_eq!((rig.engine.in_flight(), rig.engine.queued(), rig.engine.bytes()), (0, 0, 0));
    assert_eq!(rig.engine.poll_released(), None);
    rig.answer(&attempts[0], 200);
    rig.check_quiet();
    assert_eq!(rig.engine.counts().stale, 1);
}

#[test]
fn a_result_that_comes_twice_changes_nothing_and_is_counted() {
    let (mut rig, _, attempts) = two_in_the_air();
    rig.answer(&attempts[0], 200);
    rig.answer(&attempts[0], 500);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: delivered ok"]);
    assert_eq!(rig.engine.counts().stale, 1);
}

#[test]
fn a_result_is_not_taken_for_that_of_a_later_assignment() {
    let (mut rig, orders, late) = two_in_the_air();
    rig.engine.abandon(orders);
    let orders = rig.orders();
    for offset in [100, 101, 102] {
        rig.event(orders, offset, "a");
    }
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1", "e101 to crm #1"], "the lane is free again");
    rig.answer(&late[0], 200);
    rig.check_quiet();
    rig.answer(&attempts[0], 200);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: delivered ok"]);
}

#[test]
fn endings_of_an_abandoned_partition_are_not_written() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.answer(&attempts[0], 200);
    rig.engine.abandon(orders);
    rig.check_quiet();
    assert_eq!((rig.engine.counts().stale, rig.engine.bytes()), (1, 0));
}

#[test]
fn a_batch_that_is_aborted_comes_again_without_an_abandoned_partition() {
    let (mut rig, orders, attempts) = two_in_the_air();
    let other = rig.moved(Role::Deliver);
    rig.record(other, 100, Some(""), Headers::default());
    rig.answer(&attempts[0], 200);
    let batch = rig.batch();
    assert_eq!(batch.endings.len(), 2);
    rig.engine.abandon(orders);
    rig.engine.batch_aborted(batch, rig.now);
    assert_eq!(rig.engine.bytes(), 0, "its bytes are free at once");
    let again = rig.commit();
    assert_eq!(endings(&again), ["moved/0/100: unreadable"]);
    assert_eq!(commits(&again), ["moved/0 at 101:"]);
    assert_eq!((rig.engine.counts().stale, rig.engine.bytes()), (1, 0));
}

#[test]
fn a_batch_may_be_committed_though_its_partition_was_abandoned() {
    let (mut rig, orders, attempts) = two_in_the_air();
    rig.answer(&attempts[0], 200);
    let batch = rig.batch();
    rig.engine.abandon(orders);
    rig.engine.batch_committed(&batch);
    rig.check_quiet();
    assert_eq!(rig.engine.bytes(), 0);
}

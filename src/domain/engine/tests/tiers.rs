//! Deliveries that wait in retry tiers.

use super::*;

/// Checks when a delivery that is written now to a tier, due after a wait, is attempted.
fn check(tier: usize, wait: Duration) {
    let mut rig = Rig::new(&crm());
    let partition = rig.moved(Role::Tier(TierIndex(tier)));
    let due_at = rig.now + wait;
    rig.delivery(partition, 100, &due(due_at));
    let mut attempts = rig.attempts();
    // It wakes at most when the tier is through, and when the delivery is due.
    for _ in 0..2 {
        if attempts.is_empty() {
            let wake = rig.engine.next_wake(rig.now).expect("it is waited for");
            rig.now = wake - millis(1);
            assert_eq!(told(&rig.attempts()), [""; 0], "at {}, due at {due_at}", rig.now);
            rig.now = wake;
            attempts = rig.attempts();
        }
    }
    assert_eq!(told(&attempts), ["e100 to crm #2"]);
    assert_eq!(rig.now, due_at);
}

#[test]
fn nothing_is_attempted_before_it_is_due() {
    check(0, millis(1_000));
    check(1, millis(5_000));
    check(2, millis(30_000));
}

#[test]
fn a_delivery_due_before_its_tier_is_through_is_not_late() {
    check(0, millis(300));
    check(2, millis(10_000));
}

#[test]
fn less_than_the_shortest_tier_is_waited_for() {
    check(0, millis(1_700));
    check(1, millis(5_001));
    check(1, millis(5_999));
}

#[test]
fn what_has_come_due_long_ago_is_attempted_at_once() {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(2)));
    rig.delivery(tier, 100, &due(rig.now - seconds(100)));
    rig.delivery(tier, 101, &Carried { due_at: None, ..due(rig.now) });
    assert_eq!(told(&rig.attempts()), ["e100 to crm #2", "e101 to crm #2"]);
}

#[test]
fn a_delivery_that_waits_holds_up_no_other_that_is_due_before() {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(0)));
    rig.delivery(tier, 100, &due(rig.now + millis(1_900)));
    rig.wait(seconds(1));
    assert_eq!(told(&rig.attempts()), [""; 0]);
    rig.delivery(tier, 101, &due(rig.now + millis(100)));
    rig.wait(millis(100));
    assert_eq!(told(&rig.attempts()), ["e101 to crm #2"]);
    rig.wait(millis(800));
    assert_eq!(told(&rig.attempts()), ["e100 to crm #2"]);
}

#[test]
fn the_head_of_a_tier_is_one_record() {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(1)));
    rig.delivery(tier, 100, &due(rig.now + seconds(5)));
    assert!(!rig.engine.has_room(tier), "one waits for its time");
    assert_eq!(rig.engine.next_wake(rig.now), Some(rig.now + seconds(5)));
    rig.check_quiet();
    rig.wait(seconds(5));
    assert_eq!(told(&rig.attempts()), ["e100 to crm #2"]);
    assert!(rig.engine.has_room(tier));
}

/// Checks to which tier a delivery is moved that is due so long after it came through the tier of 5 seconds.
fn check_moved(remaining: Duration, expect: usize) {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(1)));
    let due_at = rig.now + seconds(5) + remaining;
    rig.delivery(tier, 100, &due(due_at));
    rig.wait(seconds(5));
    assert_eq!(told(&rig.attempts()), [""; 0]);
    let batch = rig.commit();
    assert_eq!(endings(&batch), [format!("e100 to crm: moved to tier {expect}")]);
    assert_eq!(commits(&batch), ["moved/0 at 101:"]);
    let (onward, audit) = batch.endings[0].1.publications("a");
    assert!(audit.is_none(), "a move is no decision");
    let carried = Carried::read(&onward.expect("it goes on").headers).expect("it reads");
    assert_eq!((carried.due_at, carried.attempts), (Some(due_at), 1));
    assert_eq!(rig.engine.bytes(), 0);
}

#[test]
fn what_has_longer_to_wait_moves_to_the_longest_tier_that_is_hardly_longer() {
    check_moved(seconds(1), 0);
    check_moved(millis(4_749), 0);
    check_moved(millis(4_750), 1);
    check_moved(seconds(5), 1);
    check_moved(seconds(30), 2);
    check_moved(seconds(86_400), 2);
}

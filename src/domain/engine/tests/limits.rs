//! Turns and bounds: who is served next, and when no more is taken.

use super::*;

/// Two subscriptions: `many` to events of type `a`, `one` to those of type `b`.
fn many_and_one() -> Vec<Arc<Subscription>> {
    subscriptions(&[("many", json!({})), ("one", json!({"events": ["b"]}))])
}

#[test]
fn a_single_delivery_has_its_turn_before_a_hundred_others() {
    let mut rig = Rig::with(Policy { max_in_flight: 2, ..policy() }, &many_and_one());
    let orders = rig.orders();
    for offset in 100..200 {
        rig.event(orders, offset, "a");
    }
    rig.event(orders, 200, "b");
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to many #1", "e200 to one #1"]);
    rig.answer(&attempts[1], 200);
    assert_eq!(told(&rig.attempts()), ["e101 to many #1"]);
    assert_eq!(rig.engine.queued(), 98);
}

#[test]
fn lanes_are_served_in_turn_and_each_in_its_order() {
    let two = subscriptions(&[("x", json!({"events": ["x"]})), ("y", json!({"events": ["y"]}))]);
    let mut rig = Rig::new(&two);
    let orders = rig.orders();
    for (offset, event_type) in [(100, "x"), (101, "x"), (102, "x"), (103, "y"), (104, "y")] {
        rig.event(orders, offset, event_type);
    }
    let events: Vec<_> =
        rig.attempts().iter().map(|attempt| attempt.event.label.id.to_string()).collect();
    assert_eq!(events, ["e100", "e103", "e101", "e104", "e102"]);
}

#[test]
fn no_more_attempts_run_at_once_than_allowed() {
    let mut rig = Rig::with(Policy { max_in_flight: 3, ..policy() }, &crm());
    let orders = rig.orders();
    for offset in 100..110 {
        rig.event(orders, offset, "a");
    }
    let attempts = rig.attempts();
    assert_eq!((attempts.len(), rig.engine.in_flight(), rig.engine.queued()), (3, 3, 7));
    rig.answer(&attempts[2], 200);
    rig.answer(&attempts[0], 500);
    assert_eq!(told(&rig.attempts()), ["e103 to crm #1", "e104 to crm #1"]);
}

#[test]
fn a_subscription_has_its_own_limit_or_the_common_one() {
    let own = json!({"maxInFlight": 2});
    let two = subscriptions(&[("own", own), ("common", json!({}))]);
    let three = 3.try_into().expect("it is not zero");
    let mut rig = Rig::with(Policy { max_in_flight_per_subscription: three, ..policy() }, &two);
    let orders = rig.orders();
    for offset in 100..110 {
        rig.event(orders, offset, "a");
    }
    let attempts = rig.attempts();
    let of = |name: &str, attempts: &[Attempt]| {
        attempts.iter().filter(|attempt| attempt.subscription.id == id(name)).count()
    };
    assert_eq!((of("own", &attempts), of("common", &attempts)), (2, 3));
    for attempt in &attempts {
        rig.answer(attempt, 200);
    }
    let attempts = rig.attempts();
    assert_eq!((of("own", &attempts), of("common", &attempts)), (2, 3));
}

#[test]
fn a_limit_that_changes_counts_from_the_next_delivery_on() {
    let mut rig = Rig::new(&subscriptions(&[("crm", json!({"maxInFlight": 1}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.event(orders, 101, "a");
    assert_eq!(rig.attempts().len(), 1);
    rig.engine.put_subscription(subscription("crm", &json!({"maxInFlight": 3})), START_AT);
    rig.event(orders, 102, "a");
    assert_eq!(told(&rig.attempts()), ["e101 to crm #1", "e102 to crm #1"]);
}

/// The bytes of an event as the rig writes it, and of its body.
const WITH_BODY: usize = 2 * r#"{"id":"e100","event":"a","data":"hunter2"}"#.len();

/// A rig with room for the bytes of two events, both of which are in the air.
fn full_of_bytes() -> (Rig, PartitionId, Vec<Attempt>) {
    let two_records = Policy { max_bytes_in_flight: 2 * WITH_BODY, ..policy() };
    let mut rig = Rig::with(two_records, &crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.event(orders, 101, "a");
    assert!(!rig.engine.has_room(orders), "the budget is used up");
    let attempts = rig.attempts();
    (rig, orders, attempts)
}

#[test]
fn bytes_stop_the_intake_until_their_delivery() {
    let (mut rig, orders, attempts) = full_of_bytes();
    assert!(!rig.engine.has_room(orders), "what is in the air holds its bytes");
    rig.answer(&attempts[0], 200);
    assert!(rig.engine.has_room(orders), "of what was delivered nothing more is written");
    assert_eq!(rig.engine.bytes(), WITH_BODY);
}

#[test]
fn bytes_of_what_goes_on_stop_the_intake_until_their_commit() {
    let (mut rig, orders, attempts) = full_of_bytes();
    rig.answer(&attempts[0], 500);
    assert!(!rig.engine.has_room(orders), "what isn't written holds its bytes");
    let batch = rig.batch();
    assert!(!rig.engine.has_room(orders), "what isn't committed holds its bytes");
    rig.engine.batch_committed(&batch);
    assert!(rig.engine.has_room(orders));
    assert_eq!(rig.engine.bytes(), WITH_BODY);
}

#[test]
fn a_records_bytes_are_free_with_the_last_of_its_deliveries() {
    let mut rig = Rig::new(&subscriptions(&[("x", json!({})), ("y", json!({}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let held = rig.engine.bytes();
    let attempts = rig.attempts();
    rig.answer(&attempts[0], 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 100: 100(1)"]);
    assert_eq!(rig.engine.bytes(), held);
    rig.answer(&attempts[1], 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 101:"]);
    assert_eq!(rig.engine.bytes(), 0);
}

#[test]
fn a_record_larger_than_the_budget_is_taken_when_nothing_else_is_in_hand() {
    let mut rig = Rig::with(Policy { max_bytes_in_flight: 1, ..policy() }, &crm());
    let orders = rig.orders();
    for offset in [100, 101] {
        rig.event(orders, offset, "a");
        let attempts = rig.attempts();
        assert_eq!(attempts.len(), 1);
        rig.answer(&attempts[0], 200);
        rig.commit();
    }
}

#[test]
fn endings_stop_the_intake_even_of_records_without_a_byte() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    for offset in START.0..START.0 + ENDINGS_MAX as i64 {
        rig.record(orders, offset, Some(""), Headers::default());
    }
    assert_eq!((rig.engine.gathering.len(), rig.engine.bytes()), (ENDINGS_MAX, 0));
    assert!(!rig.engine.has_room(orders));
    rig.batch();
    assert!(rig.engine.has_room(orders));
}

#[test]
fn a_full_window_holds_the_next_record_back_until_there_is_room() {
    let mut rig = Rig::new(&subscriptions(&[("crm", json!({"maxInFlight": 1}))]));
    let orders = rig.orders();
    let full = (START.0..10_000).find(|offset| {
        rig.event(orders, *offset, "a");
        !rig.engine.has_room(orders)
    });
    let last = full.expect("a window has an end");
    assert_eq!(rig.engine.position(orders), Some(NextOffset(last)), "the last one isn't opened");
    let open = rig.engine.queued();
    assert!(open > 1000, "only {open} deliveries fit");
    assert_eq!(rig.engine.next_wake(rig.now), None, "nothing but an ending makes room");
    let attempts = rig.attempts();
    rig.answer(&attempts[0], 200);
    rig.attempts();
    assert_eq!(rig.engine.position(orders), Some(NextOffset(last + 1)));
    assert!(rig.engine.has_room(orders));
}

#[test]
fn a_partition_takes_no_more_than_is_enough_while_deliveries_wait_for_slots() {
    let check = |max_in_flight: usize| {
        let own = json!({"maxInFlight": 1000});
        let policy = Policy { max_in_flight, ..policy() };
        let mut rig = Rig::with(policy, &subscriptions(&[("crm", own)]));
        let orders = rig.orders();
        let more_than_slots = START.0 + rig.engine.capacity() as i64 + 1;
        (START.0..more_than_slots).for_each(|offset| rig.event(orders, offset, "a"));
        let attempts = rig.attempts();
        rig.fill(orders, more_than_slots, "a");
        assert_eq!(attempts.len() + rig.engine.queued(), 512);
    };
    check(10);
    check(1024);
}

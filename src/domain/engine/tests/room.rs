//! Room: what can't go on makes way for what could, in a partition's window and in the bytes that all share.

use super::lanes::{slow_and_fast, waits};
use super::*;

const INVOICES: &str = "invoices";

/// The bytes of an event as the tests write it, and of its body.
const EACH: usize = 2 * r#"{"id":"e100","event":"s","data":"hunter2"}"#.len();

/// A rig with room for so many events, of two topics.
fn room_for(events: usize, subscriptions: &[Arc<Subscription>]) -> Rig {
    let mut both = source(Format::Envelope);
    both.topics.push(INVOICES.into());
    let sources = Sources::new(vec![both]).expect("there are no patterns");
    let max_bytes_in_flight = events * EACH;
    Rig::with(Policy { sources, max_bytes_in_flight, ..policy() }, subscriptions)
}

impl Rig {
    fn invoices(&mut self) -> PartitionId {
        let name = TopicPartition { topic: INVOICES.into(), partition: 0 };
        self.engine.assign(name, Role::Events, START, "")
    }
}

/// Two subscriptions to events of a topic each.
fn a_topic_each() -> Vec<Arc<Subscription>> {
    let of = |event_type: &str, topic: &str| json!({"events": [event_type], "topics": [topic]});
    subscriptions(&[("slow", of("s", "orders")), ("fast", of("f", INVOICES))])
}

#[test]
fn several_slow_lanes_that_fill_a_window_together_make_room() {
    let names: Vec<String> = (0..5).map(|n| format!("s{n}")).collect();
    let own = |name: &String| (name.clone(), json!({"events": [name]}));
    let all: Vec<_> =
        names.iter().map(own).chain([("fast".into(), json!({"events": ["f"]}))]).collect();
    let all: Vec<_> = all.iter().map(|(name, it)| (name.as_str(), it.clone())).collect();
    let mut rig = Rig::new(&subscriptions(&all));
    let orders = rig.orders();
    let mut next = 100;
    while rig.engine.has_room(orders) {
        rig.event(orders, next, &names[next as usize % names.len()]);
        next += 1;
    }
    assert_eq!(rig.attempts().len(), 5 * 16);
    rig.wait(seconds(2));
    rig.attempts();
    assert!(!waits(&rig.commit(), rig.now).is_empty(), "each has a fifth of the window only");
    rig.event(orders, next, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{next} to fast #1")]);
}

#[test]
fn a_record_whose_deliveries_wait_elsewhere_from_the_first_holds_no_bytes() {
    let both = json!({"events": ["both"]});
    let mut rig = Rig::new(&subscriptions(&[("slow", both.clone()), ("late", both)]));
    let orders = rig.orders();
    let next = rig.fill(orders, 100, "both");
    rig.attempts();
    rig.wait(seconds(1));
    rig.make_room();
    let held = rig.engine.bytes();
    rig.event(orders, next, "both");
    let batch = rig.commit();
    assert_eq!(waits(&batch, rig.now).len(), 2, "each lane has enough");
    assert_eq!(rig.engine.bytes(), held);
}

#[test]
fn a_lane_that_can_spare_nothing_keeps_no_other_from_making_room() {
    let eager = json!({"events": ["e"], "maxInFlight": 500});
    let mut all = vec![("eager", eager), ("fast", json!({"events": ["f"]}))];
    all.push(("slow", json!({"events": ["s"], "maxInFlight": 1})));
    let mut rig = Rig::new(&subscriptions(&all));
    let orders = rig.orders();
    for offset in 100..400 {
        rig.event(orders, offset, "s");
    }
    let next = rig.fill(orders, 400, "e");
    // Threads that only wait may have more and more in flight.
    let attempts: usize = (0..5)
        .map(|_| {
            rig.engine.worked(0.0, millis(25));
            rig.attempts().len()
        })
        .sum();
    assert_eq!(attempts, 501);
    rig.wait(millis(500));
    rig.attempts();
    let moved = endings(&rig.commit());
    assert!(moved.iter().all(|ending| ending.contains("to slow: moved")), "{next}");
    rig.event(orders, next, "f");
    assert_eq!(told(&rig.attempts()).last(), Some(&format!("e{next} to fast #1")));
}

#[test]
fn a_slow_lane_that_uses_up_the_bytes_makes_room_for_records_of_another_topic() {
    let mut rig = room_for(100, &a_topic_each());
    let (orders, invoices) = (rig.orders(), rig.invoices());
    rig.fill(orders, 100, "s");
    assert!(!rig.engine.has_room(invoices), "the bytes are everybody's");
    assert_eq!(rig.attempts().len(), 16);
    rig.wait(seconds(1));
    rig.engine.wants_room(invoices);
    rig.attempts();
    let moved = endings(&rig.commit());
    assert!(moved.iter().all(|ending| ending.contains("to slow: moved")), "{moved:?}");
    rig.event(invoices, 100, "f");
    assert_eq!(told(&rig.attempts()), ["e100 to fast #1"]);
}

#[test]
fn a_slow_lane_alone_with_its_topic_keeps_the_bytes_that_nobody_else_wants() {
    let mut rig = room_for(100, &a_topic_each());
    let (orders, invoices) = (rig.orders(), rig.invoices());
    rig.fill(orders, 100, "s");
    rig.attempts();
    for _ in 0..10 {
        rig.wait(seconds(1));
        // What is wanted of its own topic is its own.
        rig.engine.wants_room(orders);
        rig.attempts();
    }
    rig.check_quiet();
    assert!(!rig.engine.has_room(invoices));
}

#[test]
fn a_lane_with_a_few_large_records_has_half_of_the_bytes_in_flight_and_makes_room_with_the_rest() {
    let mut rig = room_for(8, &slow_and_fast());
    let orders = rig.orders();
    let next = rig.fill(orders, 100, "s");
    assert_eq!(next, 108);
    assert_eq!(rig.attempts().len(), 4, "half of eight");
    rig.wait(seconds(1));
    rig.attempts();
    assert_eq!(waits(&rig.commit(), rig.now).len(), 2, "and a quarter may wait");
    rig.event(orders, next, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{next} to fast #1")]);
    // What comes for the slow one doesn't take the room again.
    rig.event(orders, next + 1, "s");
    let moved = endings(&rig.commit());
    assert_eq!(moved, [format!("e{} to slow: moved to tier 0", next + 1)]);
}

#[test]
fn the_audit_topic_is_read_while_the_bytes_are_used_up() {
    let mut rig = room_for(10, &slow_and_fast());
    let (orders, audit) = (rig.orders(), rig.moved(Role::Audit));
    rig.engine.know_statuses(audit, 1, &Default::default(), rig.now);
    rig.fill(orders, 100, "s");
    assert!(!rig.engine.has_room(orders) && rig.engine.has_room(audit));
}

#[test]
fn the_time_in_which_a_lane_had_nothing_to_send_is_not_taken_for_slowness() {
    let rate = json!({"rateLimit": {"requests": 5, "per": "1s"}, "events": ["s"]});
    let mut rig = Rig::new(&subscriptions(&[("slow", rate), ("fast", json!({"events": ["f"]}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.answer(&first[0], 200);
    rig.commit();
    rig.wait(seconds(3600));
    rig.fill(orders, 101, "s");
    assert_eq!(rig.attempts().len(), 1);
    rig.wait(millis(50));
    rig.attempts();
    let first = waits(&rig.commit(), rig.now)[0];
    assert!(first < seconds(2), "{first:?}");
}

#[test]
fn a_partition_makes_room_as_soon_as_it_is_full_though_another_was_looked_at_just_now() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    let other = rig.second_orders();
    rig.fill(orders, 100, "s");
    assert_eq!(rig.attempts().len(), 16);
    rig.wait(millis(5));
    // What was queued just now waits for no slot: its lane has as many as it may have.
    rig.fill(other, 100, "s");
    rig.attempts();
    let batch = rig.commit();
    assert_eq!(waits(&batch, rig.now).len(), 129);
    assert!(batch.endings.iter().all(|(id, _)| *id == other));
}

#[test]
fn room_is_made_a_part_at_a_time_until_the_lane_keeps_what_it_can_send() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.fill(orders, 100, "s");
    rig.attempts();
    rig.wait(seconds(1));
    let parts: Vec<_> = rig.make_room().iter().map(Vec::len).collect();
    // With the first part goes the delivery that there was no room for.
    assert_eq!(parts[..3], [129, 128, 128]);
    assert!(parts.iter().sum::<usize>() > 900, "{parts:?}");
    assert_eq!(rig.engine.queued(), 20, "so many it sends in two seconds");
}

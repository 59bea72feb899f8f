//! Sharing: no lane has slots while others wait for them, however many and however slow its requests are.

use super::lanes::of;
use super::*;

impl Rig {
    /// Takes up so many deliveries to a subscription, which come by the deliver topic, or as many as there is room for.
    fn deliveries(&mut self, of: PartitionId, to: &str, count: i64) {
        for _ in 0..count {
            if !self.engine.has_room(of) {
                return;
            }
            let offset = self.engine.position(of).expect("it is assigned").0;
            let carried = Carried { subscription: id(to), ..due(self.now) };
            self.delivery(of, offset, &carried);
        }
    }
}

/// So many subscriptions that may have any number of requests in flight.
fn eager(names: &[&str]) -> Vec<Arc<Subscription>> {
    let eager: Vec<_> = names.iter().map(|name| (*name, json!({"maxInFlight": 1000}))).collect();
    subscriptions(&eager)
}

#[test]
fn what_a_subscription_allows_itself_holds_up_to_the_common_limit() {
    let three = 3.try_into().expect("it is not zero");
    let policy = Policy { max_in_flight_per_subscription: three, ..policy() };
    let mut rig = Rig::with(policy, &eager(&["greedy", "other"]));
    let deliver = rig.moved(Role::Deliver);
    rig.deliveries(deliver, "greedy", 10);
    assert_eq!(rig.attempts().len(), 3);
}

#[test]
fn slots_go_to_those_who_have_fewest_until_all_have_the_same() {
    let mut rig = Rig::with(Policy { max_in_flight: 10, ..policy() }, &eager(&["slow", "fast"]));
    let deliver = rig.moved(Role::Deliver);
    rig.deliveries(deliver, "slow", 100);
    let mut slow = rig.attempts();
    assert_eq!(slow.len(), 10);
    rig.deliveries(deliver, "fast", 100);
    assert_eq!(rig.attempts().len(), 0);
    let mut of_fast = 0;
    for _ in 0..5 {
        rig.answer(&slow.pop().expect("ten were made"), 200);
        let next = rig.attempts();
        of_fast += of(&next, "fast").len();
        assert_eq!(next.len(), 1);
    }
    assert_eq!(of_fast, 5);
    // And whoever has answers has the next slot.
    for _ in 0..3 {
        rig.answer(&slow.pop().expect("five are left"), 200);
        let next = rig.attempts();
        assert_eq!(of(&next, "slow").len(), 1);
    }
}

/// Both want all there is. One that answers at once isn't held to the pace of the other, as it would be by turns.
#[test]
fn quick_requests_are_made_as_fast_as_half_of_the_slots_allow() {
    let mut rig = Rig::with(Policy { max_in_flight: 10, ..policy() }, &eager(&["slow", "fast"]));
    let deliver = rig.moved(Role::Deliver);
    let mut slow = std::collections::VecDeque::new();
    let (mut made, mut fast) = (0, Vec::new());
    for round in 0..100 {
        rig.deliveries(deliver, "slow", 5);
        rig.deliveries(deliver, "fast", 10);
        for attempt in std::mem::take(&mut fast) {
            rig.answer(&attempt, 200);
        }
        // The other answers one in ten rounds.
        if round % 10 == 0
            && let Some(attempt) = slow.pop_front()
        {
            rig.answer(&attempt, 200);
        }
        for attempt in rig.attempts() {
            if attempt.subscription.id == id("fast") {
                made += 1;
                fast.push(attempt);
            } else {
                slow.push_back(attempt);
            }
        }
        if let Some(due) = rig.engine.batch_due()
            && due <= rig.now
        {
            rig.commit();
        }
        rig.wait(millis(10));
    }
    assert!(slow.len() <= 5 && made >= 450, "{} slow ones, {made} quick ones made", slow.len());
}

/// Subscriptions that hang, and a rig of 64 slots for them and `fast`.
const HANGING: [&str; 8] = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7"];

fn beside_hanging() -> (Rig, PartitionId) {
    let names = [&HANGING[..], &["fast"]].concat();
    let mut rig = Rig::with(Policy { max_in_flight: 64, ..policy() }, &eager(&names));
    let deliver = rig.moved(Role::Deliver);
    (rig, deliver)
}

#[test]
fn the_last_slots_are_left_to_those_who_have_few() {
    let (mut rig, deliver) = beside_hanging();
    for name in HANGING {
        rig.deliveries(deliver, name, 20);
    }
    assert_eq!(rig.attempts().len(), 60, "a sixteenth is left");
    rig.deliveries(deliver, "fast", 20);
    let fast = rig.attempts();
    assert_eq!((fast.len(), of(&fast, "fast").len()), (4, 4));
    rig.answer(&fast[0], 200);
    assert_eq!(told(&rig.attempts()).len(), 1, "the next of the same");
}

#[test]
fn one_that_is_alone_has_all_slots() {
    let mut rig = Rig::with(Policy { max_in_flight: 64, ..policy() }, &eager(&["alone"]));
    let deliver = rig.moved(Role::Deliver);
    rig.deliveries(deliver, "alone", 100);
    assert_eq!(rig.attempts().len(), 64);
}

#[test]
fn room_is_made_while_many_hang_and_the_last_slots_are_free() {
    let (mut rig, deliver) = beside_hanging();
    for name in HANGING {
        rig.deliveries(deliver, name, 20);
    }
    assert_eq!(rig.attempts().len(), 60);
    for name in HANGING.iter().cycle() {
        if !rig.engine.has_room(deliver) {
            break;
        }
        rig.deliveries(deliver, name, 1);
    }
    rig.wait(seconds(1));
    rig.attempts();
    rig.commit();
    rig.deliveries(deliver, "fast", 1);
    assert_eq!(of(&rig.attempts(), "fast").len(), 1);
}

/// Threads at work with quick endpoints have fewer slots than there are; one that comes to hang doesn't keep them.
#[test]
fn slots_that_threads_have_no_time_for_are_added_as_soon_as_they_only_wait() {
    let mut rig = Rig::with(Policy { max_in_flight: 1024, ..policy() }, &eager(&["hangs", "fast"]));
    let deliver = rig.moved(Role::Deliver);
    rig.deliveries(deliver, "hangs", 150);
    assert_eq!((rig.attempts().len(), rig.engine.capacity()), (120, 128));
    rig.deliveries(deliver, "fast", 100);
    assert_eq!(rig.attempts().len(), 4, "the others have of the last ones at once");
    rig.engine.worked(0.0, millis(25));
    let next = rig.attempts();
    assert!(of(&next, "fast").len() >= 92, "{}", of(&next, "fast").len());
}

#[test]
fn slots_are_added_while_most_hang_though_the_others_wait_for_us() {
    let mut rig = Rig::with(Policy { max_in_flight: 1024, ..policy() }, &eager(&["hangs", "fast"]));
    let deliver = rig.moved(Role::Deliver);
    let look = |rig: &mut Rig| {
        rig.deliveries(deliver, "fast", 100);
        let attempts = rig.attempts();
        rig.wait(millis(25));
        let fast = of(&attempts, "fast");
        fast.into_iter().for_each(|attempt| rig.answer_after(attempt, millis(1), 200));
        rig.engine.worked(0.1, millis(25));
    };
    (0..10).for_each(|_| look(&mut rig));
    assert_eq!(rig.engine.capacity(), 64);
    rig.deliveries(deliver, "hangs", 200);
    assert_eq!(rig.attempts().len(), 60);
    let capacity = (0..5).map(|_| {
        look(&mut rig);
        rig.engine.capacity()
    });
    assert!(capacity.max() >= Some(128));
}

fn tenants() -> Vec<Arc<Subscription>> {
    let of_many = json!({"tenant": "many", "events": ["*"]});
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| (name.as_str(), of_many.clone())).collect();
    all.push(("one", json!({"tenant": "one", "events": ["*"]})));
    all.push(("x", json!({})));
    all.push(("y", json!({})));
    subscriptions(&all)
}

fn by_tenant(max_in_flight: usize) -> Rig {
    let fairness = Fairness::Tenant;
    Rig::with(Policy { max_in_flight, fairness, ..policy() }, &tenants())
}

#[test]
fn a_tenant_whose_many_requests_hang_hands_slots_on_until_both_have_the_same() {
    let mut rig = by_tenant(8);
    let deliver = rig.moved(Role::Deliver);
    for n in 0..10 {
        rig.deliveries(deliver, &format!("m{n}"), 5);
    }
    let many = rig.attempts();
    assert_eq!(many.len(), 8);
    rig.deliveries(deliver, "one", 10);
    for attempt in &many[..4] {
        rig.answer(attempt, 200);
    }
    assert_eq!(
        told(&rig.attempts()),
        ["e150 to one #2", "e151 to one #2", "e152 to one #2", "e153 to one #2",]
    );
    rig.answer(&many[4], 200);
    assert_eq!(of(&rig.attempts(), "one").len(), 0, "four each");
}

#[test]
fn those_without_tenant_share_as_one() {
    let mut rig = by_tenant(6);
    let deliver = rig.moved(Role::Deliver);
    for name in ["x", "y", "one"] {
        rig.deliveries(deliver, name, 6);
    }
    let attempts = rig.attempts();
    let of = |name| of(&attempts, name).len();
    assert_eq!((of("one"), of("x") + of("y")), (3, 3));
}

#[test]
fn a_subscription_that_changes_its_tenant_takes_what_it_has_in_flight_with_it() {
    let mut rig = by_tenant(6);
    let deliver = rig.moved(Role::Deliver);
    rig.deliveries(deliver, "m0", 10);
    let first = rig.attempts();
    assert_eq!(first.len(), 6);
    let moved = json!({"url": "https://m0.example.com/hooks", "tenant": "one"});
    rig.engine.put_subscription(subscription("m0", &moved), rig.now);
    rig.deliveries(deliver, "one", 10);
    rig.deliveries(deliver, "m1", 10);
    first.iter().for_each(|attempt| rig.answer(attempt, 200));
    let next = rig.attempts();
    assert_eq!((next.len(), of(&next, "m1").len()), (6, 3), "two tenants share");
    next.iter().for_each(|attempt| rig.answer(attempt, 200));
    rig.engine.remove_subscription(&id("m0"), rig.now);
    rig.engine.abandon(deliver);
    assert_eq!(rig.engine.queued(), 0);
}

#[test]
fn lanes_with_nothing_in_hand_are_forgotten() {
    let mut rig = by_tenant(100);
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    for attempt in rig.attempts() {
        rig.answer(&attempt, 200);
    }
    assert_eq!(rig.engine.lanes.len(), 0);
}

#[test]
fn an_attempt_tells_how_long_it_waited_for_its_lane() {
    let mut rig = Rig::new(&subscriptions(&[("crm", json!({"maxInFlight": 1}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.event(orders, 101, "a");
    let first = rig.attempts();
    rig.wait(seconds(3));
    rig.answer(&first[0], 200);
    let second = rig.attempts();
    rig.wait(seconds(1));
    rig.answer(&second[0], 200);
    let waited = |(_, ending): &(PartitionId, Ending)| match ending {
        Ending::Delivery(ending) => ending.waited,
        Ending::Unreadable(_) => None,
    };
    let waited: Vec<_> = rig.commit().endings.iter().map(waited).collect();
    assert_eq!(waited, [Some(seconds(0)), Some(seconds(3))]);
}

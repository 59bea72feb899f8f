//! One endpoint harms nobody: breakers, rates, and room for the others.

use super::*;

const ALONE: Duration = Duration::from_secs(7);

impl Rig {
    /// Ends an attempt with a 429 that names a time to be left alone for.
    fn refuse(&mut self, attempt: &Attempt, alone: Duration) {
        let answer = Answer { status: 429, retry_after: Some(alone), excerpt: None };
        let attempted = Attempted { latency: millis(10), end: Ok(answer) };
        self.engine.attempted(attempt.id, &attempt.subscription, attempted, self.now, 0.0);
    }

    /// Takes up events of a type until the partition is full; returns the next offset.
    fn fill(&mut self, to: PartitionId, mut offset: i64, event_type: &str) -> i64 {
        while self.engine.has_room(to) {
            self.event(to, offset, event_type);
            offset += 1;
        }
        offset
    }
}

fn slow_and_fast() -> Vec<Arc<Subscription>> {
    subscriptions(&[("slow", json!({"events": ["s"]})), ("fast", json!({"events": ["f"]}))])
}

fn of<'a>(attempts: &'a [Attempt], name: &str) -> Vec<&'a Attempt> {
    attempts.iter().filter(|attempt| attempt.subscription.id == id(name)).collect()
}

#[test]
fn an_endpoint_that_asks_for_it_is_left_alone_and_its_deliveries_wait_in_the_tiers() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.event(orders, 101, "s");
    rig.event(orders, 102, "f");
    assert_eq!(told(&rig.attempts()), ["e102 to fast #1"], "the other goes on");
    let batch = rig.commit();
    assert_eq!(
        endings(&batch),
        ["e100 to slow: retrying http-status", "e101 to slow: moved to tier 1"]
    );
    // It was no attempt.
    let (_, Ending::Delivery(moved)) = &batch.endings[1] else { panic!("it is a delivery") };
    assert_eq!((moved.attempts, moved.attempted.is_none()), (0, true));
}

#[test]
fn after_the_wait_one_probe_is_made_and_its_success_opens_the_way() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.wait(ALONE - millis(1));
    for offset in 101..110 {
        rig.event(orders, offset, "s");
    }
    assert_eq!(rig.attempts().len(), 0, "less than a tier is waited out");
    rig.wait(millis(1));
    let probe = rig.attempts();
    assert_eq!(told(&probe), ["e101 to slow #1"]);
    rig.answer(&probe[0], 200);
    assert_eq!(rig.attempts().len(), 8);
}

#[test]
fn what_is_our_own_fault_opens_no_breaker() {
    for reason in [Reason::Auth, Reason::Proxy, Reason::EgressRefused, Reason::Transform] {
        let mut rig = Rig::new(&slow_and_fast());
        let orders = rig.orders();
        for offset in 100..120 {
            rig.event(orders, offset, "s");
        }
        for _ in 0..2 {
            for attempt in rig.attempts() {
                let end = Err(Failure { reason, error: "it is ours".into() });
                let attempted = Attempted { latency: millis(1), end };
                let subscription = &attempt.subscription;
                rig.engine.attempted(attempt.id, subscription, attempted, rig.now, 0.0);
            }
        }
        rig.event(orders, 120, "s");
        assert_eq!(told(&rig.attempts()), ["e120 to slow #1"], "{reason:?}");
    }
}

#[test]
fn deliveries_that_wait_for_an_endpoint_expire_like_all_others() {
    let mut rig = Rig::new(&slow_and_fast());
    let deliver = rig.moved(Role::Deliver);
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    let long_ago = rig.now - seconds(3599);
    let carried = Carried { subscription: id("slow"), first_at: Some(long_ago), ..due(rig.now) };
    rig.delivery(deliver, 100, &carried);
    assert_eq!(rig.attempts().len(), 0);
    let batch = rig.commit();
    assert_eq!(endings(&batch)[1], "e100 to slow: dead-lettered expired");
}

#[test]
fn a_definition_that_is_written_again_begins_anew() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.engine.put_subscription(subscription("slow", &json!({"events": ["s"]})), rig.now);
    rig.event(orders, 101, "s");
    assert_eq!(told(&rig.attempts()), ["e101 to slow #1"]);
}

#[test]
fn a_slow_lane_makes_room_for_the_others() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    let next = rig.fill(orders, 100, "s");
    let hanging = rig.attempts();
    assert_eq!(hanging.len(), 16);
    // The event behind the full window is the other's.
    rig.wait(seconds(1));
    let attempts = rig.attempts();
    assert_eq!(of(&attempts, "slow").len(), 0);
    let batch = rig.commit();
    assert!(endings(&batch).iter().all(|ending| ending.contains("to slow: moved")));
    rig.event(orders, next, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{next} to fast #1")]);
    // What comes for the slow one now doesn't fill the window again.
    for offset in next + 1..next + 2000 {
        rig.event(orders, offset, "s");
    }
    rig.event(orders, next + 2000, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{} to fast #1", next + 2000)]);
}

#[test]
fn waits_for_a_slow_lane_grow() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.fill(orders, 100, "s");
    rig.attempts();
    rig.wait(seconds(1));
    rig.attempts();
    let dues: Vec<_> = rig
        .commit()
        .endings
        .iter()
        .filter_map(|(_, ending)| match ending {
            Ending::Delivery(ending) => match ending.next {
                Next::Move(due, _) => Some(due),
                _ => None,
            },
            Ending::Unreadable(_) => None,
        })
        .collect();
    assert!(dues.len() > 900, "{}", dues.len());
    assert!(dues.is_sorted() && dues[0] >= rig.now + seconds(1));
    assert!(
        crate::domain::tiers::until(*dues.last().expect("there are many"), dues[0]) > seconds(10)
    );
}

#[test]
fn a_subscription_that_is_alone_with_its_slowness_is_left_to_wait() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.fill(orders, 100, "a");
    rig.attempts();
    rig.wait(seconds(100));
    rig.attempts();
    rig.check_quiet();
    assert!(!rig.engine.has_room(orders), "its backlog stays in its topic");
}

#[test]
fn a_lane_that_is_fast_enough_makes_no_room() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.fill(orders, 100, "s");
    let attempts = rig.attempts();
    rig.wait(millis(1));
    for attempt in &attempts {
        rig.answer(attempt, 200);
    }
    rig.attempts();
    let batch = rig.commit();
    assert!(endings(&batch).iter().all(|ending| ending.ends_with("delivered ok")));
}

#[test]
fn a_rate_is_kept_and_whoever_waits_for_it_is_no_stall() {
    let rate = json!({"rateLimit": {"requests": 50, "per": "1s"}, "events": ["s"]});
    let mut rig = Rig::new(&subscriptions(&[("slow", rate)]));
    let orders = rig.orders();
    for offset in 100..400 {
        rig.event(orders, offset, "s");
    }
    let mut sent = 0;
    for _ in 0..200 {
        for attempt in rig.attempts() {
            rig.answer(&attempt, 200);
            sent += 1;
        }
        rig.wait(millis(10));
    }
    assert!((98..=103).contains(&sent), "{sent} in two seconds");
    for attempt in rig.attempts() {
        rig.answer(&attempt, 200);
    }
    let wake = rig.engine.next_wake(rig.now).expect("something waits for its time");
    assert!(crate::domain::tiers::until(wake, rig.now) <= millis(20));
    while rig.engine.poll_batch(rig.now).map(|batch| rig.engine.batch_committed(&batch)).is_some() {
        rig.wait(INTERVAL);
    }
    assert!(!rig.engine.has_work(), "nothing should move before its time");
}

#[test]
fn a_tenant_with_many_subscriptions_leaves_the_other_its_share() {
    let of_many = json!({"tenant": "many", "events": ["*"]});
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| (name.as_str(), of_many.clone())).collect();
    all.push(("one", json!({"tenant": "one", "events": ["*"]})));
    let policy = Policy { max_in_flight: 4, fairness: Fairness::Tenant, ..policy() };
    let mut rig = Rig::with(policy, &subscriptions(&all));
    let deliver = rig.moved(Role::Deliver);
    let to = names.iter().map(String::as_str).chain(["one", "one"]);
    for (offset, name) in (100..).zip(to) {
        let carried = Carried { subscription: id(name), ..due(rig.now) };
        rig.delivery(deliver, offset, &carried);
    }
    let attempts = rig.attempts();
    assert_eq!((attempts.len(), of(&attempts, "one").len()), (4, 2));
}

#[test]
fn lanes_are_counted_by_what_they_do() {
    let rate = json!({"rateLimit": {"requests": 1, "per": "1h"}, "events": ["r"]});
    let rest = [("slow", json!({"events": ["s"]})), ("fast", json!({"events": ["f"]}))];
    let mut all = rest.to_vec();
    all.push(("rated", rate));
    let mut rig = Rig::new(&subscriptions(&all));
    let orders = rig.orders();
    for (offset, event_type) in (100..).zip(["s", "f", "r", "r"]) {
        rig.event(orders, offset, event_type);
    }
    let attempts = rig.attempts();
    rig.refuse(of(&attempts, "slow")[0], ALONE);
    assert_eq!(rig.engine.lanes(), LaneCounts { active: 1, limited: 1, open: 1 });
}

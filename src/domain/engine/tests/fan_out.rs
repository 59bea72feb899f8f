//! One event to many subscriptions.

use std::collections::BTreeSet;

use super::*;

/// More than a window has room for.
const MANY: usize = 5_000;

fn crowd() -> Vec<Arc<Subscription>> {
    (0..MANY).map(|number| subscription(&format!("s{number}"), &json!({}))).collect()
}

/// Makes attempts, a hundred at a time, until there are no more or so many rounds are over; each round ends with a
/// commit. Returns the last commit.
fn deliver(rig: &mut Rig, reached: &mut BTreeSet<SubscriptionId>, rounds: usize) -> Commit {
    let mut last = None;
    for _ in 0..rounds {
        let attempts = rig.attempts();
        for attempt in &attempts {
            let to = &attempt.subscription.id;
            assert!(reached.insert(to.clone()), "{to} was reached twice");
            rig.answer(attempt, 200);
        }
        if attempts.is_empty() {
            break;
        }
        last = rig.commit().commits.pop();
    }
    last.expect("there was a round")
}

fn rig(crowd: &[Arc<Subscription>]) -> Rig {
    Rig::with(Policy { max_in_flight: 100, ..policy() }, crowd)
}

#[test]
fn an_event_reaches_each_of_a_few_once_and_is_committed_with_the_last() {
    let mut rig = Rig::new(&subscriptions(&[("x", json!({})), ("y", json!({}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.event(orders, 101, "a");
    let attempts = rig.attempts();
    assert_eq!(attempts.len(), 4);
    rig.answer(&attempts[0], 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 100: 100(1) 101(2)"]);
    for attempt in &attempts[1..] {
        rig.answer(attempt, 200);
    }
    assert_eq!(commits(&rig.commit()), ["orders/0 at 102:"]);
}

#[test]
fn a_fan_out_larger_than_the_window_is_admitted_in_parts_and_reaches_all() {
    let mut rig = rig(&crowd());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let admitted = rig.engine.queued();
    assert!((100..MANY / 2).contains(&admitted), "{admitted} were admitted at once");
    assert!(!rig.engine.has_room(orders), "the rest comes before the next record");
    let mut reached = BTreeSet::new();
    let half_way = deliver(&mut rig, &mut reached, MANY / 200);
    assert_eq!(half_way.next, NextOffset(100), "the record isn't done");
    let end = deliver(&mut rig, &mut reached, MANY);
    assert_eq!(reached.len(), MANY);
    assert_eq!((end.next, end.metadata.as_str()), (NextOffset(101), ""));
    assert!(rig.engine.has_room(orders));
    assert_eq!(rig.engine.bytes(), 0);
}

#[test]
fn a_fan_out_under_way_goes_to_what_its_subscriptions_have_become() {
    let mut crowd = crowd();
    crowd.sort_by_key(|it| it.hash);
    let [.., changed, removed] = crowd.as_slice() else { unreachable!("there are many") };
    let (changed, removed) = (changed.id.clone(), removed.id.clone());
    let mut rig = rig(&crowd);
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    assert!(rig.engine.queued() < MANY - 2, "these two wait for room");
    let url = "https://example.org/elsewhere";
    let new = subscription(changed.as_str(), &json!({"url": url}));
    rig.engine.put_subscription(new, rig.now);
    rig.engine.remove_subscription(&removed, rig.now);
    let (mut reached, mut urls) = (0, Vec::new());
    while reached < MANY - 1 {
        let attempts = rig.attempts();
        reached += attempts.len();
        for attempt in &attempts {
            let Subscription { id, url, .. } = &*attempt.subscription;
            assert_ne!(*id, removed);
            urls.extend((*id == changed).then(|| url.to_string()));
            rig.answer(attempt, 200);
        }
        rig.commit();
    }
    assert_eq!(urls, [url]);
}

#[test]
fn a_fan_out_under_way_gives_up_what_a_subscription_that_is_removed_would_have_got() {
    let mut crowd = crowd();
    crowd.sort_by_key(|it| it.hash);
    let removed = crowd.last().expect("there are many").id.clone();
    let mut rig = rig(&crowd);
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.engine.remove_subscription(&removed, rig.now);
    let mut reached = BTreeSet::new();
    deliver(&mut rig, &mut reached, usize::MAX);
    assert_eq!(reached.len(), MANY - 1);
    assert!(!reached.contains(&removed));
}

#[test]
fn a_fan_out_half_done_goes_on_with_the_next_owner_where_it_was() {
    let crowd = crowd();
    let mut first = rig(&crowd);
    let orders = first.orders();
    first.event(orders, 100, "a");
    let mut reached = BTreeSet::new();
    let commit = deliver(&mut first, &mut reached, 12);
    assert_eq!(reached.len(), 1_200);

    let mut heir = rig(&crowd);
    let Commit { name, next, metadata, .. } = commit;
    let orders = heir.engine.assign(name, Role::Events, next, &metadata);
    heir.event(orders, 100, "a");
    let end = deliver(&mut heir, &mut reached, MANY);
    assert_eq!(reached.len(), MANY);
    assert_eq!(end.next, NextOffset(101));
}

#[test]
fn a_fan_out_that_is_revoked_half_admitted_keeps_the_rest_pending() {
    let crowd = crowd();
    let mut first = rig(&crowd);
    let orders = first.orders();
    first.event(orders, 100, "a");
    let mut reached = BTreeSet::new();
    let in_the_air = first.attempts();
    first.engine.revoke(orders);
    for attempt in &in_the_air {
        reached.insert(attempt.subscription.id.clone());
        first.answer(attempt, 200);
    }
    let Commit { name, next, metadata, .. } = first.commit().commits.pop().expect("the last one");
    assert_eq!((next, first.engine.poll_released()), (NextOffset(100), Some(orders)));
    assert_eq!(first.engine.bytes(), 0);

    let mut heir = rig(&crowd);
    let orders = heir.engine.assign(name, Role::Events, next, &metadata);
    heir.event(orders, 100, "a");
    deliver(&mut heir, &mut reached, MANY);
    assert_eq!(reached.len(), MANY);
}

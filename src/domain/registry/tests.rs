use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::types::MayBeEmpty as _;
use super::*;
use crate::domain::subscription::tests::{id, subscription};

thread_local! {
    /// The places of the index that this thread has been to, to find or to change subscriptions.
    static VISITS: Cell<usize> = const { Cell::new(0) };
}

/// Counts a place of the index that is looked at.
pub(super) fn visited() {
    VISITS.set(VISITS.get() + 1);
}

fn ids(found: &[Arc<Subscription>]) -> Vec<&str> {
    let mut ids: Vec<_> = found.iter().map(|subscription| subscription.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn registry(subscriptions: &[(&str, Value)]) -> Registry {
    let mut registry = Registry::new();
    for (id, changes) in subscriptions {
        registry.put(subscription(id, changes));
    }
    registry
}

fn check(
    registry: &Registry,
    (topic, event_type, tenant): (&str, &str, Option<&str>),
    expect: &[&str],
) {
    // What was in the list before is replaced.
    let mut found = vec![subscription("before", &json!({}))];
    registry.matching(topic, event_type, tenant, &mut found);
    assert_eq!(ids(&found), expect, "{topic} {event_type} {tenant:?}");
}

#[test]
fn an_event_finds_whoever_wants_its_type() {
    let registry = registry(&[
        ("all", json!({"events": ["*"]})),
        ("exact", json!({"events": ["a.b.c"]})),
        ("many", json!({"events": ["a.b.c", "a.*", "a.b.c", "*.b.*", "*"]})),
        ("middle", json!({"events": ["a.*.c"]})),
        ("tail", json!({"events": ["a.*"]})),
    ]);
    check(&registry, ("t", "a.b.c", None), &["all", "exact", "many", "middle", "tail"]);
    check(&registry, ("t", "a.x.c", None), &["all", "many", "middle", "tail"]);
    check(&registry, ("t", "a.b", None), &["all", "many", "tail"]);
    check(&registry, ("t", "a", None), &["all", "many"]);
}

#[test]
fn an_event_finds_whoever_wants_its_topic_and_may_see_its_tenant() {
    let registry = registry(&[
        ("acme", json!({"tenant": "acme"})),
        ("any", json!({})),
        ("orders", json!({"topics": ["orders", "orders", "other"]})),
        ("both", json!({"topics": ["orders"], "tenant": "acme"})),
    ]);
    check(&registry, ("orders", "a", Some("acme")), &["acme", "any", "both", "orders"]);
    check(&registry, ("orders", "a", Some("other")), &["any", "orders"]);
    check(&registry, ("orders", "a", None), &["any", "orders"]);
    check(&registry, ("payments", "a", Some("acme")), &["acme", "any"]);
}

#[test]
fn an_inactive_subscription_is_kept_and_not_found() {
    let mut registry = registry(&[("a", json!({"active": false}))]);
    check(&registry, ("t", "a", None), &[]);
    assert_eq!((registry.len(), registry.iter().count()), (1, 1));
    assert!(registry.get(&id("a")).is_some());
    registry.put(subscription("a", &json!({})));
    check(&registry, ("t", "a", None), &["a"]);
    registry.put(subscription("a", &json!({"active": false})));
    check(&registry, ("t", "a", None), &[]);
    assert!(registry.remove(&id("a")).is_some() && registry.is_empty());
    assert!(registry.remove(&id("a")).is_none());
}

#[test]
fn the_index_is_the_same_again_when_another_subscription_has_come_and_gone() {
    for event in ["a", "a.*"] {
        let [one, other] = ["x", "y"].map(|id| (id, json!({"events": [event, event]})));
        let mut grown = registry(&[one.clone(), other]);
        check(&grown, ("t", "a.b", None), if event == "a" { &[] } else { &["x", "y"] });
        grown.remove(&id("y"));
        assert!(grown.any_topic == registry(&[one]).any_topic, "{event}");
    }
}

#[test]
fn a_fan_out_is_ordered_by_hash_and_id() {
    let ids: Vec<_> = (0..100).map(|n| format!("s{n}")).collect();
    let events = |n: usize| json!({"events": [if n < 50 { "a" } else { "*" }]});
    let all: Vec<_> = ids.iter().enumerate().map(|(n, id)| (id.as_str(), events(n))).collect();
    let mut found = Vec::new();
    registry(&all).matching("t", "a", None, &mut found);
    assert_eq!(found.len(), 100);
    assert!(found.is_sorted_by_key(|found| (found.hash, found.id.clone())));
}

/// A few patterns, topics and tenants, so that they often meet.
fn any_subscription() -> impl Strategy<Value = Arc<Subscription>> {
    let segment = select(&["a", "b", "*", "*"]);
    let pattern = prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("."));
    let events = prop::collection::vec(pattern, 1..4);
    let topics = prop::collection::vec(select(&["t", "u"]), 0..3);
    let tenant = select(&[None, None, Some("x"), Some("y")]);
    let active = prop::bool::weighted(0.8);
    (0..16, events, topics, tenant, active).prop_map(|(n, events, topics, tenant, active)| {
        let changes =
            json!({"events": events, "topics": topics, "tenant": tenant, "active": active});
        subscription(&format!("s{n}"), &changes)
    })
}

fn wants(subscription: &Subscription, topic: &str, event_type: &str, tenant: Option<&str>) -> bool {
    subscription.state == Activity::Active
        && subscription.events.iter().any(|pattern| pattern.matches(event_type))
        && (subscription.topics.is_empty() || subscription.topics.iter().any(|t| **t == *topic))
        && subscription.tenant.as_deref().is_none_or(|own| Some(own) == tenant)
}

/// What an event brings: its topic, type and tenant.
fn any_event() -> impl Strategy<Value = (&'static str, String, Option<&'static str>)> {
    let segment = select(&["a", "a", "b", "b", "c", ""]);
    let event_type = prop::collection::vec(segment, 1..4);
    let event_type = event_type.prop_map(|segments| segments.join("."));
    (select(&["t", "u", "v"]), event_type, select(&[None, Some("x"), Some("x"), Some("z")]))
}

/// The properties below say little if what they are tried on seldom meets.
#[test]
fn the_subscriptions_and_events_that_are_tried_often_meet() {
    let mut runner = TestRunner::deterministic();
    let strategy = (prop::collection::vec(any_subscription(), 0..20), any_event());
    let (mut matched, mut by_wildcard, mut by_tenant, mut by_topic, mut several) = (0, 0, 0, 0, 0);
    for _ in 0..1000 {
        let tree = strategy.new_tree(&mut runner).expect("nothing is rejected");
        let (subscriptions, (topic, event_type, tenant)) = tree.current();
        let wants = |it: &&Arc<Subscription>| wants(it, topic, &event_type, tenant);
        let found: Vec<_> = subscriptions.iter().filter(wants).collect();
        let is_exact = |it: &Subscription| it.events.iter().any(|one| one.as_str() == event_type);
        matched += usize::from(!found.is_empty());
        several += usize::from(found.len() > 1);
        by_wildcard += usize::from(found.iter().any(|it| !is_exact(it)));
        by_tenant += usize::from(found.iter().any(|it| it.tenant.is_some()));
        by_topic += usize::from(found.iter().any(|it| !it.topics.is_empty()));
    }
    let shares = [matched, several, by_wildcard, by_tenant, by_topic];
    assert!(shares.iter().all(|share| *share >= 100), "{shares:?} of 1000");
}

fn few() -> Registry {
    let mut registry = Registry::new();
    for n in 0..100 {
        let events = json!([format!("order.t{n}"), format!("order.*.t{n}")]);
        registry.put(subscription(&format!("few{n}"), &json!({ "events": events })));
    }
    registry
}

/// Adds a hundred thousand: of other types, other tenants, other topics, and patterns that begin like those of a few.
fn add_many(registry: &mut Registry) {
    for n in 0..100_000 {
        let (id, changes) = match n % 4 {
            0 => (format!("type{n}"), json!({"events": [format!("other{n}.created"), "x.*"]})),
            1 => (
                format!("tenant{n}"),
                json!({"events": ["*", "order.t7"], "tenant": format!("t{n}")}),
            ),
            2 => (format!("topic{n}"), json!({"events": ["order.*"], "topics": [format!("o{n}")]})),
            _ => (format!("deep{n}"), json!({"events": [format!("order.t7.{n}.*"), "order.*.t0"]})),
        };
        registry.put(subscription(&id, &changes));
    }
    assert_eq!(registry.active(), 100_100);
}

/// Returns how many places a match looks at that finds one of a few.
fn places_of_a_match(registry: &Registry) -> usize {
    let (mut found, before) = (Vec::new(), VISITS.get());
    registry.matching("t", "order.t7", Some("acme"), &mut found);
    assert_eq!(ids(&found), ["few7"]);
    VISITS.get() - before
}

/// A match looks at what matches: as many places among a hundred thousand subscriptions as among a hundred.
#[test]
fn a_match_costs_what_matches_and_not_what_exists() {
    let mut registry = few();
    let before = places_of_a_match(&registry);
    add_many(&mut registry);
    let after = places_of_a_match(&registry);
    // What begins alike is one place more at each segment, however many subscriptions stand behind it.
    assert!(after <= before + 2, "{after} places instead of {before}");
}

#[test]
fn a_match_looks_at_no_other_tenants_places() {
    let mut registry = few();
    let before = places_of_a_match(&registry);
    let events = json!(["*", "*.t7", "*.t7.*", "order.*", "order.t7", "order.t7.*"]);
    registry.put(subscription("other", &json!({"events": events, "tenant": "other"})));
    assert_eq!(places_of_a_match(&registry), before);
}

#[test]
fn a_change_goes_to_its_own_places_only_whatever_else_exists() {
    let mut registry = few();
    let visits = |registry: &mut Registry| {
        let before = VISITS.get();
        let [changed, back] = [json!(["a.b", "order.*"]), json!(["order.t7", "order.*.t7"])]
            .map(|events| subscription("few7", &json!({ "events": events })));
        registry.put(changed);
        registry.remove(&id("few7"));
        registry.put(back);
        VISITS.get() - before
    };
    let before = visits(&mut registry);
    assert!(before > 0);
    add_many(&mut registry);
    assert_eq!(visits(&mut registry), before);
}

proptest! {
    #[test]
    fn the_index_finds_what_brute_force_finds(
        subscriptions in prop::collection::vec(any_subscription(), 0..20),
        (topic, event_type, tenant) in any_event(),
    ) {
        let mut registry = Registry::new();
        subscriptions.iter().for_each(|subscription| registry.put(subscription.clone()));
        let mut found = Vec::new();
        registry.matching(topic, &event_type, tenant, &mut found);
        let mut expect: Vec<_> = registry.iter()
            .filter(|subscription| wants(subscription, topic, &event_type, tenant))
            .cloned()
            .collect();
        expect.sort_by(|a, b| in_order(a, b));
        let ids = |list: &[Arc<Subscription>]| -> Vec<_> { list.iter().map(|s| s.id.clone()).collect() };
        prop_assert_eq!(ids(&found), ids(&expect));
        prop_assert!(found.is_sorted_by(|a, b| in_order(a, b) == Ordering::Less));
    }

    #[test]
    fn the_order_in_which_subscriptions_came_changes_nothing(
        (one, other) in prop::collection::vec(any_subscription(), 0..20).prop_flat_map(|mut all| {
            let mut seen = std::collections::HashSet::new();
            all.retain(|it| seen.insert(it.id.clone()));
            (Just(all.clone()), Just(all).prop_shuffle())
        }),
        (topic, event_type, tenant) in any_event(),
    ) {
        let find = |all: &[Arc<Subscription>]| {
            let (mut registry, mut found) = (Registry::new(), Vec::new());
            all.iter().for_each(|subscription| registry.put(subscription.clone()));
            registry.matching(topic, &event_type, tenant, &mut found);
            found.iter().map(|it| it.id.clone()).collect::<Vec<_>>()
        };
        prop_assert_eq!(find(&one), find(&other));
    }

    #[test]
    fn any_history_leaves_what_a_fresh_build_has(
        history in prop::collection::vec((any_subscription(), any::<bool>()), 0..40),
    ) {
        let mut registry = Registry::new();
        for (subscription, is_put) in &history {
            if *is_put {
                registry.put(subscription.clone());
            } else {
                registry.remove(&subscription.id);
            }
        }
        let mut left: Vec<_> = registry.iter().cloned().collect();
        left.sort_by(|a, b| b.id.cmp(&a.id));
        let mut fresh = Registry::new();
        left.iter().for_each(|subscription| fresh.put(subscription.clone()));
        prop_assert!(registry.any_topic == fresh.any_topic);
        prop_assert!(registry.by_topic == fresh.by_topic);
        for subscription in left {
            registry.remove(&subscription.id);
        }
        prop_assert!(registry.is_empty() && registry.any_topic.is_empty() && registry.by_topic.is_empty());
    }
}

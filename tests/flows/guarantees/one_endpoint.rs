//! Guarantee 4: one endpoint harms nobody, however slow, hanging, refusing or flooded it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::load::LONG;
use crate::fixture::{Fixture, SOON};
use crate::support::exchange::{Answer, Seen};
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};

/// Writes so many events of a type, `<type>_<n>`.
fn produce(flow: &Fixture, event_type: &str, count: usize) {
    let event = |n: usize| {
        let value = json!({"id": format!("{event_type}_{n}"), "event": event_type, "data": n});
        Draft::new(format!("k{n}"), value.to_string())
    };
    flow.scope.produce_all("orders", (0..count).map(event));
}

fn to<'a>(requests: &'a [Arc<Seen>], path: &str) -> Vec<&'a Arc<Seen>> {
    requests.iter().filter(|seen| seen.path == path).collect()
}

/// Waits until the audit tells of so many deliveries, and checks that none is told of twice.
fn check_delivered(flow: &Fixture, deliveries: usize) {
    let times = audited(flow, deliveries);
    assert!(times.values().all(|times| *times == 1), "an outcome is there twice");
}

/// Waits until the audit tells of so many deliveries, and returns how often each was delivered by it: event and
/// subscription.
fn audited(flow: &Fixture, deliveries: usize) -> BTreeMap<(String, String), u32> {
    let mut delivered: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut looked_at = 0;
    flow.scope.wait_for("audit", LONG, |records: &[Record]| {
        for record in &records[looked_at..] {
            let audit: Value = record.json();
            if audit["outcome"] == "delivered" {
                let text = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
                *delivered.entry((text("eventId"), text("subscriptionId"))).or_default() += 1;
            }
        }
        looked_at = records.len();
        delivered.len() >= deliveries
    });
    delivered
}

#[test]
fn the_others_are_served_while_one_of_ten_hangs_and_nothing_of_its_own_is_lost() {
    const EVENTS: usize = 1_500;
    let hangs = Arc::new(AtomicBool::new(true));
    let stuck = hangs.clone();
    let receiver = Receiver::start(move |seen, _| {
        let hang = seen.path == "/s0" && stuck.load(Ordering::Relaxed);
        if hang { Answer::hang() } else { Answer::status(200) }
    });
    let flow = Fixture::new("hanging");
    for n in 0..10 {
        let rules = json!({"retry": {"schedule": vec!["1s"; 50]}, "timeout": "30s"});
        flow.subscribe(&format!("s{n}"), &receiver.url(&format!("/s{n}")), &["*"], rules);
    }
    // In one partition, where more is pending for the one that hangs than a commit could tell of.
    let event = |n| Draft::new("k", json!({"id": format!("a_{n}"), "event": "a"}).to_string());
    flow.scope.produce_all("orders", (0..EVENTS).map(event));
    let connector = flow.start();
    // 13,500 deliveries, of which none waits for one of the 1,500 that hang: the first of those are in the air still.
    receiver.wait_until(LONG, |requests| {
        requests.iter().filter(|seen| seen.path != "/s0").count() >= 9 * EVENTS
    });
    let ended = |record: &Record| record.json()["outcome"] == "retrying";
    let audit = flow.scope.read_committed("audit");
    assert!(!audit.iter().any(ended), "the others had to wait until it was given up");
    let hanging = to(&receiver.requests(), "/s0").len();
    assert!(hanging <= 16, "{hanging} requests to an endpoint that hangs");
    connector.wait_status(LONG, |status| status["load"]["lanes"]["open"] == 1);

    hangs.store(false, Ordering::Relaxed);
    check_delivered(&flow, 10 * EVENTS);
}

#[test]
fn an_endpoint_that_asks_for_it_is_left_alone_and_the_others_are_not() {
    const ALONE: Duration = Duration::from_secs(7);
    let is_busy = AtomicBool::new(true);
    let receiver = Receiver::start(move |seen, _| {
        if seen.path == "/busy" && is_busy.swap(false, Ordering::Relaxed) {
            Answer::status(429).header("retry-after", &ALONE.as_secs().to_string())
        } else {
            Answer::status(200)
        }
    });
    let flow = Fixture::new("retry-after");
    flow.subscribe("busy", &receiver.url("/busy"), &["first", "a"], json!({}));
    flow.subscribe("other", &receiver.url("/other"), &["b"], json!({}));
    let _connector = flow.start();
    produce(&flow, "first", 1);
    receiver.wait_count(SOON, 1);
    flow.audit(1);
    produce(&flow, "a", 50);
    produce(&flow, "b", 50);
    check_delivered(&flow, 101);

    let requests = receiver.requests();
    let busy = to(&requests, "/busy");
    let alone = busy[1].received - busy[0].received;
    assert!(alone >= ALONE, "it was left alone for {alone:?} only");
    let last = to(&requests, "/other").last().map(|seen| seen.received).expect("50 came");
    assert!(last < busy[1].received, "the others waited with it");
}

#[test]
fn a_flood_for_an_endpoint_with_a_rate_limit_slows_nobody_else() {
    const RATE: usize = 50;
    let receiver = Receiver::always(200);
    let flow = Fixture::new("rated");
    let rate = json!({"rateLimit": {"requests": RATE, "per": "1s"}});
    flow.subscribe("rated", &receiver.url("/rated"), &["a"], rate);
    flow.subscribe("other", &receiver.url("/other"), &["b"], json!({}));
    for _ in 0..10 {
        produce(&flow, "a", 900);
        produce(&flow, "b", 100);
    }
    let _connector = flow.start();
    let requests = receiver.wait_until(SOON, |requests| {
        requests.iter().filter(|seen| seen.path == "/other").count() >= 1_000
    });
    let rated = to(&requests, "/rated");
    let took = rated[rated.len() - 1].received - rated[0].received;
    let allowed = RATE as f64 * (took.as_secs_f64() + 0.05) + 2.0;
    assert!((rated.len() as f64) <= allowed, "{} in {took:?}", rated.len());
    // And it has what it is allowed.
    let enough = rated.len() + 3 * RATE;
    let requests = receiver.wait_until(Duration::from_secs(10), |requests| {
        requests.iter().filter(|seen| seen.path == "/rated").count() >= enough
    });
    let rated = to(&requests, "/rated");
    let took = rated[enough - 1].received - rated[enough - 1 - 2 * RATE].received;
    let rate = (2 * RATE) as f64 / took.as_secs_f64();
    assert!((RATE as f64 * 0.95..=RATE as f64 * 1.05).contains(&rate), "{rate} a second");
}

#[test]
fn a_subscription_that_is_alone_with_its_slowness_writes_nothing_to_the_tiers() {
    let receiver = Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(20)));
    let flow = Fixture::new("alone");
    flow.subscribe("slow", &receiver.url("/"), &["*"], json!({"maxInFlight": 20}));
    produce(&flow, "a", 5_000);
    let _connector = flow.start();
    check_delivered(&flow, 5_000);
    for tier in ["1s", "5s", "30s", "2m", "10m"] {
        let waiting = flow.scope.read_committed(&format!("retry.{tier}"));
        assert!(waiting.is_empty(), "{} records in {tier}", waiting.len());
    }
}

#[test]
fn every_instance_leaves_an_endpoint_alone_that_asked_it_to() {
    const ALONE: Duration = Duration::from_secs(7);
    /// What was in the air when the first was refused may still come.
    const IN_THE_AIR: Duration = Duration::from_secs(2);
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = is_busy.clone();
    let receiver = Receiver::start(move |seen, _| {
        let refuses = seen.path == "/busy" && busy.load(Ordering::Relaxed);
        let wish = ALONE.as_secs().to_string();
        if refuses { Answer::status(429).header("retry-after", &wish) } else { Answer::status(200) }
    });
    let flow = Fixture::new("retry-after-two");
    flow.subscribe("busy", &receiver.url("/busy"), &["first", "a"], json!({}));
    flow.subscribe("other", &receiver.url("/other"), &["b"], json!({}));
    let first = flow.start();
    let mut second = flow.setup.clone().instance("b").start();
    second.wait_ready(SOON);
    let half = (4 + 2 + 2 + 7 * 2) / 2;
    for connector in [&first, &second] {
        connector.wait_status(SOON, |status| status["load"]["partitions"] == half);
    }
    produce(&flow, "first", 40);
    let is_of = |record: &Record, instance: &str| {
        let audit = record.json();
        audit["instance"] == instance && audit["statusCode"] == 429
    };
    flow.scope.wait_for("audit", SOON, |records: &[Record]| {
        ["a", "b"].iter().all(|instance| records.iter().any(|record| is_of(record, instance)))
    });
    is_busy.store(false, Ordering::Relaxed);
    produce(&flow, "a", 50);
    produce(&flow, "b", 50);
    check_delivered(&flow, 140);

    // Whose request it was, by event and attempt.
    let audit: Vec<Value> = flow.scope.read_committed("audit").iter().map(Record::json).collect();
    let requests = receiver.requests();
    for instance in ["a", "b"] {
        let is_its = |seen: &&&Arc<Seen>| {
            audit.iter().any(|record| {
                record["instance"] == instance
                    && record["eventId"] == seen.webhook_id()
                    && record["attempt"].as_u64() == seen.header("x-webhook-attempt").parse().ok()
            })
        };
        let busy = to(&requests, "/busy");
        let its: Vec<_> = busy.iter().filter(is_its).collect();
        let refused = its.iter().find(|seen| seen.answer.get() == Some(&429));
        let refused = refused.expect("each was refused").received;
        let since: Vec<_> = its.iter().map(|seen| seen.received.duration_since(refused)).collect();
        let early = since.iter().find(|since| (IN_THE_AIR..ALONE).contains(*since));
        assert_eq!(early, None, "{instance} was refused, and didn't wait");
    }
    let last = to(&requests, "/other").last().map(|seen| seen.received).expect("50 came");
    let busy = to(&requests, "/busy");
    let served = busy.iter().find(|seen| seen.answer.get() == Some(&200));
    assert!(last < served.expect("it was served at last").received, "the others waited with it");
}

#[test]
fn an_endpoint_that_uses_up_the_bytes_in_flight_leaves_room_for_another_topic() {
    let hangs = Arc::new(AtomicBool::new(true));
    let stuck = hangs.clone();
    let receiver = Receiver::start(move |seen, _| {
        let hang = seen.path == "/slow" && stuck.load(Ordering::Relaxed);
        if hang { Answer::hang() } else { Answer::status(200) }
    });
    let flow = Fixture::new("bytes");
    flow.scope.create_topic("invoices", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "invoices", "envelope", "");
    let setup = setup.set("delivery", "max_bytes_in_flight", r#""1MiB""#);
    let setup = setup.set("delivery", "max_body", r#""1MiB""#);
    let only = |topic: &str| {
        let rules = json!({"retry": {"schedule": vec!["1s"; 50]}, "timeout": "30s"});
        let mut rules = rules.as_object().expect("an object").clone();
        rules.insert("topics".into(), json!([flow.scope.topic(topic)]));
        Value::Object(rules)
    };
    flow.subscribe("slow", &receiver.url("/slow"), &["*"], only("orders"));
    flow.subscribe("fast", &receiver.url("/fast"), &["*"], only("invoices"));
    // With their bodies, ten times what there is room for.
    let text = "x".repeat(16 << 10);
    let event = |n: usize| {
        let value = json!({"id": format!("a_{n}"), "event": "a", "data": text});
        Draft::new(format!("k{n}"), value.to_string())
    };
    flow.scope.produce_all("orders", (0..320).map(event));
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    receiver.wait_until(SOON, |requests| requests.iter().any(|seen| seen.path == "/slow"));
    let event = |n: usize| {
        Draft::new(format!("k{n}"), json!({"id": format!("b_{n}"), "event": "b"}).to_string())
    };
    flow.scope.produce_all("invoices", (0..200).map(event));
    receiver.wait_until(SOON, |requests| {
        requests.iter().filter(|seen| seen.path == "/fast").count() >= 200
    });
    let ended = |record: &Record| record.json()["outcome"] == "retrying";
    let audit = flow.scope.read_committed("audit");
    assert!(!audit.iter().any(ended), "they had to wait until the other was given up");
    connector.wait_status(SOON, |status| status["load"]["waiting"]["limit"].as_u64() > Some(0));

    hangs.store(false, Ordering::Relaxed);
    check_delivered(&flow, 520);
}

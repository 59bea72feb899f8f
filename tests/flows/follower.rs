//! The follower of subscriptions and their statuses, used as the pipeline uses it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kafka_webhooks::config::Config;
use kafka_webhooks::kafka::Connection;
use kafka_webhooks::kafka::subscriptions::{Change, Follower, News};
use serde_json::json;

use crate::support::broker::Broker;
use crate::support::record::Draft;
use crate::support::scope::{OFTEN_COMPACTED, Scope};

const SOON: Duration = Duration::from_secs(30);

/// Settings as a library user has them.
pub fn settings(bootstrap: &str, prefix: &str) -> Config {
    let flags = [
        ("kafka.bootstrap_servers", bootstrap),
        ("kafka.instance_id", "a"),
        ("topics.prefix", prefix),
        ("sources", r#"[{ topics = ["orders"], format = "envelope" }]"#),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::load(None, [], flags).expect("the settings are good")
}

/// A follower and what it told.
struct Watched {
    news: Receiver<News>,
    _follower: Follower,
}

impl Watched {
    fn start(scope: &Scope) -> Self {
        let config = settings(scope.bootstrap(), scope.prefix());
        let (report, news) = channel();
        // The test may have ended: nobody listens then.
        let report = move |it| drop(report.send(it));
        let rules = config.subscription_rules();
        let follower = Follower::start(&Connection::new(&config), rules, report);
        Self { news, _follower: follower.expect("the settings are good") }
    }

    fn next(&self) -> News {
        self.news.recv_timeout(SOON).expect("there is news")
    }

    /// Gathers what comes before the end.
    fn read_to_end(&self) -> Vec<String> {
        let mut changes = Vec::new();
        loop {
            match self.next() {
                News::Changes(more) => {
                    assert!((1..=1024).contains(&more.len()));
                    changes.extend(more.iter().map(show));
                }
                News::ReadToEnd => return changes,
                News::Fatal(reason) => panic!("the follower failed: {reason}"),
            }
        }
    }

    /// Returns the next changes when they are as many.
    fn changes(&self, count: usize) -> Vec<String> {
        let mut changes = Vec::new();
        while changes.len() < count {
            match self.next() {
                News::Changes(more) => changes.extend(more.iter().map(show)),
                other => panic!("unexpected: {other:?}"),
            }
        }
        changes
    }
}

fn show(change: &Change) -> String {
    match change {
        Change::Put(it) => {
            format!("put {} {} at {}", it.id, it.audit_url(), it.definition_offset.0)
        }
        Change::Invalid { id, offset, reason } => format!("invalid {id} at {}: {reason}", offset.0),
        Change::Removed(id) => format!("removed {id}"),
        Change::Status(id, Some(status)) => format!("status {id} of {}", status.definition_offset),
        Change::Status(id, None) => format!("status {id}: none"),
        Change::BadKey { partition, offset } => format!("bad key {partition}/{}", offset.0),
    }
}

fn definition(url: &str) -> String {
    json!({"url": url, "events": ["a"], "secret": "s"}).to_string()
}

fn put(scope: &Scope, partition: i32, key: &str, url: &str) {
    let draft = Draft::new(key, definition(url)).partition(partition);
    scope.produce_all("subscriptions", [draft]);
}

#[test]
fn subscriptions_are_read_to_the_end_and_followed() {
    let scope = Scope::new("follower");
    scope.create_topic("subscriptions", 3, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    put(&scope, 1, "a", "https://a.example");
    put(&scope, 1, "a", "https://b.example");
    scope.produce_all("subscriptions", [Draft::new("a b", "{}").partition(1)]);
    let watched = Watched::start(&scope);
    let expected =
        ["put a https://a.example/ at 0", "put a https://b.example/ at 1", "bad key 1/2"];
    assert_eq!(watched.read_to_end(), expected);

    put(&scope, 2, "b", "https://b.example");
    assert_eq!(watched.changes(1), ["put b https://b.example/ at 0"]);
    let bad = Draft::new("b", r#"{"url": "https://b.example", "evnts": []}"#).partition(2);
    scope.produce_all("subscriptions", [bad]);
    let reason =
        "events: is missing; secret: is missing, and so is `secrets`; evnts: is not a known field";
    assert_eq!(watched.changes(1), [format!("invalid b at 1: {reason}")]);
    scope.produce_all("subscriptions", [Draft::tombstone("b").partition(2)]);
    assert_eq!(watched.changes(1), ["removed b"]);
}

#[test]
fn a_change_is_reported_at_once() {
    let scope = Scope::new("follower-fast");
    scope.create_topic("subscriptions", 3, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    let watched = Watched::start(&scope);
    assert_eq!(watched.read_to_end(), Vec::<String>::new());
    let mut shortest = Duration::MAX;
    for at in 0..5 {
        put(&scope, at % 3, "a", "https://a.example");
        let begun = Instant::now();
        watched.changes(1);
        shortest = shortest.min(begun.elapsed());
    }
    // One of them shows what the follower can do; a busy machine may delay any other.
    assert!(shortest < Duration::from_millis(100), "{shortest:?}");
}

#[test]
fn the_later_definition_counts_wherever_it_stands() {
    let scope = Scope::new("follower-later");
    scope.create_topic("subscriptions", 2, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    put(&scope, 1, "a", "https://old.example");
    put(&scope, 0, "a", "https://new.example");
    let watched = Watched::start(&scope);
    let told = watched.read_to_end();
    assert_eq!(
        told.last().map(String::as_str),
        Some("put a https://new.example/ at 0"),
        "{told:?}"
    );
}

#[test]
fn a_missing_topic_is_named_with_what_to_do() {
    let scope = Scope::new("follower-missing");
    scope.create_topic("subscriptions", 1, &[("cleanup.policy", "compact")]);
    let watched = Watched::start(&scope);
    let News::Fatal(reason) = watched.next() else { panic!("the status topic doesn't exist") };
    let topic = scope.topic("subscription-status");
    let expected = format!("topic {topic} does not exist: run `kafka-webhooks topics create`");
    assert_eq!(reason, expected);
}

#[test]
fn statuses_are_followed_beside_subscriptions() {
    let scope = Scope::new("follower-status");
    scope.create_topic("subscriptions", 2, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 2, &[("cleanup.policy", "compact")]);
    let status = json!({"state": "disabled", "consecutiveDeadLetters": 10, "failingSince": null,
        "reason": "gone", "since": "2026-01-15T10:30:00Z", "definitionOffset": 4});
    scope.produce("subscription-status", "a", status.to_string(), &[]);
    let watched = Watched::start(&scope);
    assert_eq!(watched.read_to_end(), ["status a of 4"]);

    scope.produce("subscription-status", "a", "{}", &[]);
    assert_eq!(watched.changes(1), ["status a: none"]);
    // What no subscription can be called says nothing.
    scope.produce("subscription-status", "a b", status.to_string(), &[]);
    scope.produce("subscription-status", "b", status.to_string(), &[]);
    assert_eq!(watched.changes(1), ["status b of 4"]);
    scope.produce_all("subscription-status", [Draft::tombstone("b")]);
    assert_eq!(watched.changes(1), ["status b: none"]);
}

/// What a follower knows in the end: each subscription with the offset that defines it.
fn registry(watched: &Watched) -> BTreeMap<String, i64> {
    let mut known = BTreeMap::new();
    loop {
        match watched.next() {
            News::Changes(changes) => changes.iter().for_each(|change| match change {
                Change::Put(it) => {
                    known.insert(it.id.to_string(), it.definition_offset.0);
                }
                Change::Removed(id) => {
                    known.remove(id.as_str());
                }
                other => panic!("unexpected: {other:?}"),
            }),
            News::ReadToEnd => return known,
            News::Fatal(reason) => panic!("the follower failed: {reason}"),
        }
    }
}

#[test]
fn a_topic_that_was_compacted_says_the_same() {
    let scope = Scope::new("follower-compacted");
    scope.create_topic("subscriptions", 2, OFTEN_COMPACTED);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    let write = |round: usize| {
        let drafts = (0..20).map(|n| match (round + n) % 7 {
            0 => Draft::tombstone(format!("s{n}")).partition(n as i32 % 2),
            _ => Draft::new(format!("s{n}"), definition(&format!("https://{round}.example")))
                .partition(n as i32 % 2),
        });
        scope.produce_all("subscriptions", drafts.collect::<Vec<_>>());
    };
    (0..30).for_each(write);
    let before = registry(&Watched::start(&scope));
    assert!((10..20).contains(&before.len()), "{before:?}");
    scope.wait_compacted("subscriptions", 2, 20 + 2);
    assert_eq!(registry(&Watched::start(&scope)), before);
}

#[test]
fn a_hundred_thousand_subscriptions_are_read_in_seconds() {
    const MANY: usize = 100_000;
    let scope = Scope::new("follower-many");
    scope.create_topic("subscriptions", 6, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    let value = |n: usize| {
        json!({"url": format!("https://{n}.example"), "events": ["order.*"], "secret": "s",
            "tenant": format!("t{n}"), "filter": format!("data.amount > {}", n % 100)})
    };
    let drafts = (0..MANY).map(|n| Draft::new(format!("s{n}"), value(n).to_string()));
    scope.produce_all("subscriptions", drafts);
    let begun = Instant::now();
    assert_eq!(registry(&Watched::start(&scope)).len(), MANY);
    let took = begun.elapsed();
    println!("{MANY} subscriptions were read in {took:?}");
    // Some seconds; the bound leaves room for a debug build on a busy machine.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn an_outage_of_the_broker_is_waited_out() {
    let mut broker = Broker::start();
    let scope = Scope::on(&broker, "follower-outage");
    scope.create_topic("subscriptions", 2, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    put(&scope, 0, "a", "https://a.example");
    let watched = Watched::start(&scope);
    assert_eq!(watched.read_to_end(), ["put a https://a.example/ at 0"]);
    broker.kill();
    broker.start_again();
    put(&scope, 1, "b", "https://b.example");
    // Nothing is told twice.
    assert_eq!(watched.changes(1), ["put b https://b.example/ at 0"]);
}

#[test]
fn a_dropped_follower_ends() {
    let scope = Scope::new("follower-drop");
    scope.create_topic("subscriptions", 1, &[("cleanup.policy", "compact")]);
    scope.create_topic("subscription-status", 1, &[("cleanup.policy", "compact")]);
    let Watched { news, _follower: follower } = Watched::start(&scope);
    drop(follower);
    // The channel closes when the thread lets go of its end.
    let deadline = Instant::now() + SOON;
    while news.recv_timeout(deadline - Instant::now()).is_ok() {}
    assert!(Instant::now() < deadline, "the follower goes on");
}

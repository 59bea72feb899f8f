//! Health: dead letters in a row, counted across instances and crashes, and what follows from them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SECRET, SOON, told};
use crate::support::connector::Setup;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};

/// One attempt only.
fn once() -> Value {
    json!({"retry": {"schedule": []}})
}

fn limit(count: u32) -> impl FnOnce(Setup) -> Setup {
    move |setup| setup.set("disable", "after_dead_letters", &count.to_string())
}

/// Tells a status as `<state> <count> <reason>`.
fn status(record: &Record) -> String {
    if record.value.is_none() {
        return format!("{} is gone", record.key_text());
    }
    let status = record.json();
    let reason = status["reason"].as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {reason}",
        status["state"].as_str().unwrap_or("?"),
        status["consecutiveDeadLetters"]
    )
}

fn wait_for_status(flow: &Fixture, expected: &str) -> Vec<String> {
    let holds = |records: &[Record]| records.iter().any(|record| status(record) == expected);
    flow.scope.wait_for("subscription-status", SOON, holds).iter().map(status).collect()
}

fn run(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.run(&[&["subscriptions"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

#[test]
fn dead_letters_in_a_row_disable_a_subscription_everywhere_until_it_is_enabled() {
    let receiver = Receiver::always(500);
    let other = Receiver::always(200);
    let flow = Fixture::with("disabled", limit(4));
    flow.subscribe("crm", &receiver.url("/"), &["order.*"], once());
    flow.subscribe("other", &other.url("/"), &["other"], json!({}));
    let first = flow.start();
    let mut second = flow.setup.clone().instance("b").start();
    second.wait_ready(SOON);
    for n in 0..4 {
        flow.event(&format!("evt_{n}"), "order.created");
        receiver.wait_count(SOON, n + 1);
    }
    wait_for_status(&flow, "disabled 4 dead-letters:4");
    // Every instance obeys: what comes a second later is sent by none of them.
    for connector in [&first, &second] {
        connector.wait_status(Duration::from_secs(1), |status| {
            status["load"]["disabledSubscriptions"] == 1
        });
    }
    let sent = receiver.count();
    for n in 0..8 {
        flow.event(&format!("late_{n}"), "order.created");
        flow.event(&format!("other_{n}"), "other");
    }
    other.wait_count(SOON, 8);
    flow.wait_settled(4 + 16);
    assert_eq!(receiver.count(), sent, "a disabled subscription was sent to");

    let list = run(&flow.setup, &["list"]);
    assert!(list.contains("disabled: dead-letters:4"), "{list}");
    let shown: Value = serde_json::from_str(&run(&flow.setup, &["get", "crm"])).expect("JSON");
    assert_eq!(shown["status"]["consecutiveDeadLetters"], 4);
    // It fails since the first of them, in the order of the audit topic, and is disabled since the last.
    let audit = flow.audit(4 + 8);
    let dead = audit.iter().filter(|record| record["outcome"] == "dead-lettered");
    let times: Vec<Timestamp> = dead.map(|record| time(&record["at"])).collect();
    let status = &shown["status"];
    assert_eq!(
        (time(&status["failingSince"]), time(&status["since"])),
        (times[0], times[times.len() - 1])
    );
    let enabled = flow.setup.run(&["subscriptions", "enable", "crm"]);
    let said = String::from_utf8_lossy(&enabled.stderr);
    let replay = "kafka-webhooks replay --subscription crm --topic TOPIC --from ";
    assert!(enabled.status.success() && said.contains(replay), "{said}");
    let deadline = Instant::now() + SOON;
    while receiver.count() == sent {
        flow.event("again", "order.created");
        std::thread::sleep(Duration::from_millis(50));
        assert!(Instant::now() < deadline, "it never came back");
    }
}

#[test]
fn a_status_tells_of_50_70_and_90_percent_and_of_the_way_back() {
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id().starts_with("good") { 200 } else { 400 })
    });
    let flow = Fixture::with("alerts", limit(10));
    flow.subscribe("crm", &receiver.url("/"), &["*"], once());
    let _connector = flow.start();
    for n in 0..9 {
        flow.event(&format!("bad_{n}"), "a");
        receiver.wait_count(SOON, n + 1);
    }
    let mut told = wait_for_status(&flow, "failing 9 dead-letters:90%");
    told.retain(|line| line.starts_with("failing"));
    told.dedup_by_key(|line| line.split(' ').next_back().map(str::to_owned));
    let reasons: Vec<_> = told.iter().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(reasons, ["dead-letters:50%", "dead-letters:70%", "dead-letters:90%"]);
    flow.event("good_1", "a");
    wait_for_status(&flow, "active 0 -");
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_at_once() {
    let receiver = Receiver::always(410);
    let flow = Fixture::new("gone");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    let statuses = wait_for_status(&flow, "disabled 1 http-status:410");
    assert_eq!(statuses.len(), 1);
    connector.wait_status(SOON, |status| status["load"]["disabledSubscriptions"] == 1);
    flow.event("evt_2", "a");
    flow.wait_settled(2);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn deliveries_that_come_due_for_a_disabled_subscription_are_given_up() {
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id() == "gone" { 410 } else { 500 })
    });
    let flow = Fixture::new("due");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["3s", "1h"]}}));
    let _connector = flow.start();
    flow.event("waits", "a");
    receiver.wait_count(SOON, 1);
    flow.event("gone", "a");
    let audit: Vec<_> = flow.audit(3).iter().map(told).collect();
    assert_eq!(
        audit,
        [
            "crm waits #1 retrying http-status",
            "crm gone #1 dead-lettered gone",
            "crm waits #1 dead-lettered subscription-disabled",
        ]
    );
}

/// The fold is exact: it is committed with the position it belongs to, and the next owner goes on from there.
#[test]
fn no_dead_letter_is_counted_twice_or_missed_over_a_crash() {
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id() == "last" { 200 } else { 400 })
    });
    let flow = Fixture::with("fold", limit(1000));
    flow.subscribe("crm", &receiver.url("/"), &["*"], once());
    let mut first = flow.start();
    for n in 0..300 {
        flow.event(&format!("evt_{n}"), "a");
        if n == 150 {
            flow.scope.wait_for("subscription-status", SOON, |records| !records.is_empty());
            first.kill9();
        }
    }
    // The one that comes back ends the transaction in which it was killed; the other takes its share.
    let mut second = flow.setup.clone().instance("b").start();
    let _again = flow.start();
    second.wait_ready(SOON);
    flow.wait_settled(300);
    // What is told at once can stand for many records: the delivery comes when all before it have been told.
    flow.scope.wait_for("subscription-status", SOON, |records| {
        records.iter().any(|record| status(record).starts_with("active 300 "))
    });
    flow.event("last", "a");
    let told = wait_for_status(&flow, "active 0 -");
    let audit = flow.audit(301);
    let is_dead = |record: &&Value| record["outcome"] == "dead-lettered";
    let dead = audit.iter().filter(is_dead).count();
    let counts: Vec<usize> =
        told.iter().filter_map(|it| it.split(' ').nth(1)?.parse().ok()).collect();
    let [rising @ .., most, 0] = counts.as_slice() else { panic!("{counts:?}") };
    assert_eq!(*most, dead, "the last count before the delivery, of {} records", audit.len());
    assert!(rising.iter().chain([most]).is_sorted_by(|a, b| a < b), "{counts:?}");
}

#[test]
fn a_definition_that_is_broken_and_mended_is_told_and_obeyed() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("broken");
    let state = || {
        let list = run(&flow.setup, &["list", "--output", "json"]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        list[0]["state"].as_str().unwrap_or_default().to_owned()
    };
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("good", "a");
    receiver.wait_count(SOON, 1);
    assert_eq!(state(), "active");

    let broken = json!({"url": receiver.url("/"), "events": [], "secret": "s"});
    flow.scope.produce("subscriptions", "crm", broken.to_string(), &[]);
    let invalid = "invalid 0 events: must have 1 to 100 entries";
    assert_eq!(wait_for_status(&flow, invalid), [invalid]);
    connector.wait_status(SOON, |status| status["load"]["invalidSubscriptions"] == 1);
    assert_eq!(state(), "invalid");
    flow.event("meanwhile", "a");
    flow.wait_settled(2);

    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    assert_eq!(wait_for_status(&flow, "active 0 -"), [invalid, "active 0 -"]);
    assert_eq!(state(), "active");
    connector.wait_status(SOON, |status| status["load"]["invalidSubscriptions"] == 0);
    flow.event("again", "a");
    let requests = receiver.wait_count(SOON, 2);
    let ids: Vec<_> = requests.iter().map(|seen| seen.webhook_id()).collect();
    assert_eq!(ids, ["good", "again"]);
    // Each status speaks of its definition.
    let definitions = flow.scope.read_committed("subscriptions");
    let statuses = flow.scope.read_committed("subscription-status");
    let spoken: Vec<_> = statuses.iter().map(|it| it.json()["definitionOffset"].as_i64()).collect();
    assert_eq!(spoken, [Some(definitions[1].offset), Some(definitions[2].offset)]);
}

/// A definition that moved to a smaller offset, as when the topic gets partitions or is made anew, is still the later one.
#[test]
fn a_definition_in_another_partition_starts_afresh_and_can_be_disabled_again() {
    let receiver = Receiver::always(410);
    let flow = Fixture::new("smaller");
    let definition = |path: &str| {
        json!({"url": receiver.url(path), "events": ["*"], "secret": SECRET}).to_string()
    };
    let put = |partition, key: &str, path: &str| {
        let draft = Draft::new(key, definition(path)).partition(partition);
        flow.scope.produce_all("subscriptions", [draft]);
    };
    for n in 0..5 {
        put(0, "crm", &format!("/old{n}"));
    }
    let connector = flow.start();
    flow.event("one", "a");
    wait_for_status(&flow, "disabled 1 http-status:410");
    put(1, "crm", "/new");
    let last = |state: &str| {
        flow.scope.wait_for("subscription-status", SOON, |records| {
            let last = records.last().map(Record::json);
            last.is_some_and(|it| it["state"] == state && it["definitionOffset"] == 0)
        });
    };
    last("active");
    connector.wait_status(SOON, |status| status["load"]["disabledSubscriptions"] == 0);
    flow.event("two", "a");
    last("disabled");
    connector.wait_status(SOON, |status| status["load"]["disabledSubscriptions"] == 1);
    flow.event("three", "a");
    flow.wait_settled(3);
    let paths: Vec<_> = receiver.requests().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["/old4", "/new"]);
}

/// How long after the record that disables a subscription it was still sent to, by either of two instances.
#[test]
fn two_instances_obey_within_a_second_of_the_record_that_disables() {
    const ROUNDS: usize = 3;
    let receiver = Receiver::start(|seen, _| {
        Answer::status(if seen.webhook_id().starts_with("gone") { 410 } else { 200 })
    });
    let flow = Fixture::new("obey");
    let _first = flow.start();
    let mut second = flow.setup.clone().instance("b").start();
    second.wait_ready(SOON);
    let (mut lags, mut events) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
        let ids = |n: usize| format!("r{round}_{n}");
        // Both have to be at it, so that both have something to give up.
        let deadline = Instant::now() + SOON;
        let is_sent_by_both = |flow: &Fixture| {
            let audit = flow.scope.read_committed("audit");
            let own = audit.iter().map(Record::json).filter(|record| {
                record["eventId"].as_str().is_some_and(|id| id.starts_with(&ids(0)[..3]))
            });
            own.map(|record| record["instance"].to_string()).collect::<HashSet<_>>().len() == 2
        };
        let mut n = 0;
        while !is_sent_by_both(&flow) {
            assert!(Instant::now() < deadline, "an instance sends nothing");
            for _ in 0..8 {
                flow.event(&ids(n), "a");
                n += 1;
            }
        }
        // Events keep coming until long after the record, at some hundred a second.
        let stop = AtomicBool::new(false);
        let disabled = std::thread::scope(|threads| {
            let producing = threads.spawn(|| {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    flow.event(&format!("{}_late_{sent}", ids(n)), "a");
                    sent += 1;
                    std::thread::sleep(Duration::from_millis(3));
                }
                sent
            });
            flow.event(&format!("gone_{round}"), "a");
            let told = flow.scope.wait_for("subscription-status", SOON, |records| {
                let told = records.iter().filter(|it| status(it) == "disabled 1 http-status:410");
                told.count() == round + 1
            });
            let told = told.iter().filter(|it| status(it) == "disabled 1 http-status:410");
            let at = told.map(|it| it.timestamp_ms).max().expect("there is one");
            while Timestamp::now().as_millisecond() < at + 2_000 {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
            events += n + 1 + producing.join().expect("it panics nowhere");
            at
        });
        flow.wait_settled(i64::try_from(events).expect("so few"));
        let last = receiver.requests().last().expect("there are some").received_at;
        let last = Timestamp::try_from(last).expect("in range").as_millisecond();
        lags.push(last - disabled);
    }
    println!("the last request came {lags:?} ms after the record");
    // Each time long before the events end; a busy machine may delay any of them, but hardly all.
    assert!(lags.iter().min().is_some_and(|lag| *lag <= 1_000), "{lags:?}");
    assert!(lags.iter().all(|lag| *lag < 2_000), "{lags:?}");
}

//! Finding out what happened: the audit topic listed, the story of one event, figures.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON, told};
use crate::support::connector::Setup;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};
use crate::support::scope::Scope;

/// Runs a command and returns exit code, output and errors.
fn finish(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = setup.run(arguments);
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    (status.code(), text(stdout), text(stderr))
}

/// Runs a command that succeeds, and returns what it prints.
#[track_caller]
fn run(setup: &Setup, arguments: &[&str]) -> String {
    let (code, out, err) = finish(setup, arguments);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    out
}

#[track_caller]
fn json_of(setup: &Setup, arguments: &[&str]) -> Value {
    let out = run(setup, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Lists audit records as [`told`] shortens them.
#[track_caller]
fn list(setup: &Setup, arguments: &[&str]) -> Vec<String> {
    let records = json_of(setup, &[&["deliveries", "list"], arguments].concat());
    let records = records.as_array().expect("a listing is an array");
    let at = |record: &Value| -> Timestamp {
        record["at"].as_str().and_then(|at| at.parse().ok()).expect("it has a time")
    };
    // Partitions are merged by when records were written, which is a moment later.
    let follows = |a: &Value, b: &Value| at(a) < at(b) + Duration::from_secs(1);
    assert!(records.is_sorted_by(follows), "{records:#?}");
    records.iter().map(told).collect()
}

/// The audit records of what [`scene`] plays.
const PLAYED: usize = 10;

/// Plays three events and a record that is none: `crm` takes what it gets, `billing` at the second attempt, `legacy` never
/// does, `partner` makes it wait an hour.
fn scene(name: &str) -> (Fixture, Receiver) {
    let receiver = Receiver::start(|seen, nth| match (seen.path.as_str(), nth) {
        ("/legacy" | "/partner", _) | ("/billing", 1) => Answer::status(503).body("not now"),
        _ => Answer::status(200),
    });
    let scope = Scope::new(name);
    scope.create_topic("orders", 4, &[]);
    let setup = Setup::new(&scope)
        .source(&scope, "orders", "envelope", r#"tenant = { header = "tenant" }"#)
        .set("topics", "partitions", "2");
    run(&setup, &["topics", "create"]);
    let flow = Fixture { scope, setup };
    let schedule = |delay: &str| json!({ "retry": { "schedule": [delay] } });
    flow.subscribe("crm", &receiver.url("/crm"), &["order.*"], json!({}));
    flow.subscribe("billing", &receiver.url("/billing"), &["payment.*"], schedule("1s"));
    flow.subscribe("legacy", &receiver.url("/legacy"), &["order.*"], schedule("1s"));
    flow.subscribe("partner", &receiver.url("/partner"), &["order.created"], schedule("1h"));
    (flow, receiver)
}

fn play(flow: &Fixture) {
    for (id, event_type, tenant) in [
        ("evt_1", "order.created", ""),
        ("evt_2", "order.changed", ""),
        ("evt_3", "payment.failed", "acme"),
    ] {
        let value = json!({ "id": id, "event": event_type, "data": null });
        flow.scope.produce("orders", id, value.to_string(), &[("tenant", tenant)]);
    }
    flow.scope.produce("orders", "k", "no event", &[("tenant", "")]);
    let is_told = |record: &&Record| record.json()["at"].is_string();
    let enough = |records: &[Record]| records.iter().filter(is_told).count() >= PLAYED;
    flow.scope.wait_for("audit", SOON, enough);
    flow.wait_settled(4);
}

#[test]
fn deliveries_are_listed_by_all_that_tells_them_apart() {
    let (flow, _receiver) = scene("list");
    let _connector = flow.start();
    play(&flow);
    let check = |arguments: &[&str], expect: &[&str]| {
        let found: BTreeSet<_> = list(&flow.setup, arguments).into_iter().collect();
        assert_eq!(found, expect.iter().map(|told| (*told).to_owned()).collect(), "{arguments:?}");
    };
    let crm = ["crm evt_1 #1 delivered ok", "crm evt_2 #1 delivered ok"];
    let billing = ["billing evt_3 #1 retrying http-status", "billing evt_3 #2 delivered ok"];
    let unreadable = "null null #0 dead-lettered unreadable";
    let exhausted =
        ["legacy evt_1 #2 dead-lettered exhausted", "legacy evt_2 #2 dead-lettered exhausted"];
    check(&["--subscription", "crm"], &crm);
    check(&["--subscription", "crm", "--subscription", "billing"], &[crm, billing].concat());
    check(&["--tenant", "acme"], &billing);
    check(&["--event-type", "payment.*"], &billing);
    check(&["--event-type", "order.created", "--outcome", "delivered"], &crm[..1]);
    check(&["--event-id", "evt_2", "--reason", "ok"], &crm[1..]);
    check(&["--reason", "unreadable"], &[unreadable]);
    check(&["--outcome", "dead-lettered"], &[exhausted[0], exhausted[1], unreadable]);
    check(&["--reason", "exhausted", "--reason", "gone"], &exhausted);
    check(&["--since", "2h", "--until", "1h"], &[]);
    check(&["--since", "now"], &[]);

    // What is printed is what stands in the topic.
    let listed = json_of(&flow.setup, &["deliveries", "list"]);
    let listed = listed.as_array().expect("a listing is an array");
    let stored = flow.audit(PLAYED);
    assert_eq!(listed.len(), PLAYED);
    assert!(listed.iter().all(|record| stored.contains(record)), "{listed:#?}");
    let last = json_of(&flow.setup, &["deliveries", "list", "--limit", "3"]);
    assert_eq!(last.as_array().map(Vec::as_slice), Some(&listed[PLAYED - 3..]));

    let narrow = run(&flow.setup, &["deliveries", "list", "--subscription", "billing"]);
    let (heading, rows) = narrow.split_once('\n').expect("it has lines");
    assert!(heading.starts_with("AT") && heading.ends_with("REASON"), "{narrow}");
    assert!(
        rows.contains("billing       evt_3  payment.failed  1  retrying   http-status 503"),
        "{narrow}"
    );
    let wide = run(&flow.setup, &["deliveries", "list", "--output", "wide"]);
    assert_eq!(wide.lines().count(), PLAYED + 1);
    assert!(
        wide.contains("acme") && wide.contains("/billing") && wide.contains("orders/"),
        "{wide}"
    );
}

#[test]
fn only_the_partition_of_a_subscription_is_read() {
    let (flow, _receiver) = scene("partition");
    // Both partitions have been there for a while.
    for partition in [0, 1] {
        flow.scope.produce_all("audit", [Draft::new("k", "{}").partition(partition)]);
    }
    let _connector = flow.start();
    play(&flow);
    let records = flow.scope.read_committed("audit");
    let crms = records.iter().find(|record| record.key_text() == "crm").expect("crm has some");
    let mut forged = crms.json();
    let now = Timestamp::now();
    (forged["at"], forged["eventId"]) = (format!("{now:.3}").into(), "evt_forged".into());
    let elsewhere = Draft::new("crm", forged.to_string()).partition(1 - crms.partition);
    flow.scope.produce_all("audit", [elsewhere]);
    let since = format!("{:.3}", now);
    assert_eq!(list(&flow.setup, &["--since", &since]), ["crm evt_forged #1 delivered ok"]);
    assert!(list(&flow.setup, &["--since", &since, "--subscription", "crm"]).is_empty());
    let (code, _, err) = finish(&flow.setup, &["deliveries", "list"]);
    assert_eq!(code, Some(0));
    assert!(err.starts_with("2 records of ") && err.contains("are no audit records"), "{err}");
}

#[test]
fn deliveries_are_followed_as_they_are_made() {
    let (flow, _receiver) = scene("follow-list");
    let _connector = flow.start();
    play(&flow);
    let arguments = ["deliveries", "list", "--follow", "--subscription", "crm", "--output", "json"];
    let follower = flow.setup.start_command(&arguments);
    follower.wait_log(SOON, "evt_2");
    let value = json!({ "id": "evt_4", "event": "order.paid" }).to_string();
    flow.scope.produce("orders", "k", value, &[("tenant", "")]);
    follower.wait_log(SOON, "evt_4");
    let told: Vec<_> = follower
        .log()
        .lines()
        .map(|line| {
            told(&serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        })
        .collect();
    let expect =
        ["crm evt_1 #1 delivered ok", "crm evt_2 #1 delivered ok", "crm evt_4 #1 delivered ok"];
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len());
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(expect));
}

#[test]
fn the_story_of_an_event_tells_what_was_tried_what_waits_and_what_was_given_up() {
    let (flow, _receiver) = scene("story");
    let _connector = flow.start();
    play(&flow);
    let story = json_of(&flow.setup, &["deliveries", "show", "evt_1"]);
    assert_eq!(
        (&story["eventId"], &story["eventType"]),
        (&json!("evt_1"), &json!("order.created"))
    );
    let source = &story["sources"][0];
    assert_eq!(source["topic"], flow.scope.topic("orders"));
    assert_eq!((&source["present"], &source["settled"]), (&json!(true), &json!(true)));
    let of = |id: &str| {
        let deliveries = story["deliveries"].as_array().expect("it is a list");
        deliveries.iter().find(|delivery| delivery["subscriptionId"] == id).expect(id)
    };
    let states = ["crm", "legacy", "partner"].map(|id| of(id)["state"].as_str());
    assert_eq!(states, ["delivered", "dead-lettered", "waiting"].map(Some));
    let attempts = of("legacy")["attempts"].as_array().expect("it is a list");
    assert_eq!(
        attempts.iter().map(told).collect::<Vec<_>>(),
        ["legacy evt_1 #1 retrying http-status", "legacy evt_1 #2 dead-lettered exhausted"]
    );
    let letter = &of("legacy")["deadLetters"][0];
    let letters = flow.scope.read_committed("dead-letter");
    let is_it = |record: &&Record| record.header("webhooks-id").as_deref() == Some("evt_1");
    let stored = letters.iter().find(is_it).expect("it is there");
    assert_eq!(
        (&letter["partition"], &letter["offset"]),
        (&json!(stored.partition), &json!(stored.offset))
    );
    let waiting = &of("partner")["waiting"][0];
    assert_eq!(waiting["topic"], flow.scope.topic("retry.1h"));
    let due: Timestamp =
        waiting["dueAt"].as_str().and_then(|due| due.parse().ok()).expect("a time");
    assert!(due > Timestamp::now() + Duration::from_secs(3000), "{waiting}");
    assert_eq!(waiting["attempt"], 1);
    assert_eq!(of("crm")["waiting"], json!([]));

    let text = run(&flow.setup, &["deliveries", "show", "evt_1"]);
    for part in [
        "evt_1  order.created\n",
        "crm: delivered\n",
        "legacy: dead-lettered\n",
        "partner: waiting\n",
        "not now",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let only = json_of(&flow.setup, &["deliveries", "show", "evt_1", "--subscription", "partner"]);
    assert_eq!(only["deliveries"], json!([of("partner")]));

    // What is no event is found by its place.
    let unreadable = json_of(&flow.setup, &["deliveries", "list", "--reason", "unreadable"]);
    let source = &unreadable[0]["source"];
    let topic = source["topic"].as_str().expect("a text");
    let place = format!("{topic}/{}/{}", source["partition"], source["offset"]);
    let story = json_of(&flow.setup, &["deliveries", "show", &place]);
    let delivery = &story["deliveries"][0];
    assert_eq!(
        (&delivery["subscriptionId"], &delivery["state"]),
        (&Value::Null, &json!("dead-lettered"))
    );
    assert_eq!(delivery["deadLetters"].as_array().map(Vec::len), Some(1));

    // What nobody wants is found in its own topic.
    let value = json!({ "id": "evt_5", "event": "nobody.cares" }).to_string();
    flow.scope.produce("orders", "k", value, &[("tenant", "acme")]);
    flow.wait_settled(5);
    let story = json_of(&flow.setup, &["deliveries", "show", "evt_5"]);
    let known = ["eventId", "eventType", "tenant", "deliveries"].map(|name| story[name].clone());
    assert_eq!(known, [json!("evt_5"), json!("nobody.cares"), json!("acme"), json!([])]);
    assert_eq!(story["sources"][0]["settled"], json!(true));
    let text = run(&flow.setup, &["deliveries", "show", "evt_5"]);
    assert!(text.contains("no delivery of it is known"), "{text}");

    // What the producer called it finds it too, where that can't stand in `webhook-id`.
    let value = json!({ "id": "ord.6", "event": "order.created" }).to_string();
    flow.scope.produce("orders", "k", value, &[("tenant", "acme")]);
    flow.wait_settled(6);
    let listed = list(&flow.setup, &["--event-id", "ord.6", "--subscription", "crm"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let story = json_of(&flow.setup, &["deliveries", "show", "ord.6"]);
    let id = story["eventId"].as_str().expect("it has an id");
    assert_eq!(list(&flow.setup, &["--event-id", id, "--subscription", "crm"]), listed);

    let (code, _, err) = finish(&flow.setup, &["deliveries", "show", "evt_77"]);
    assert!(code == Some(1) && err.starts_with("nothing is known of evt_77 since "), "{err}");
    assert_eq!(err.lines().count(), 1);
}

#[test]
fn figures_agree_with_what_the_receiver_saw() {
    let (flow, receiver) = scene("stats");
    let _connector = flow.start();
    play(&flow);
    let stats = json_of(&flow.setup, &["stats"]);
    let latency = stats["latencyMs"].clone();
    let expect = json!({
        "total": 6, "delivered": 3, "failed": 3, "successRate": 0.5, "latencyMs": latency,
    });
    assert_eq!(stats, expect);
    let [mean, p50, p95, p99] = ["mean", "p50", "p95", "p99"].map(|name| latency[name].as_f64());
    assert!(mean > Some(0.0) && p50 > Some(0.0) && p50 <= p95 && p95 <= p99, "{latency}");
    let groups = json_of(&flow.setup, &["stats", "--by", "reason"]);
    let figure = |group: &Value, name: &str| group[name].as_u64().expect("a number");
    let sum = |name: &str| -> u64 {
        groups.as_array().expect("it is a list").iter().map(|group| figure(group, name)).sum()
    };
    assert_eq!((sum("total"), sum("delivered"), sum("failed")), (6, 3, 3));
    assert_eq!(sum("attempts"), receiver.count() as u64);
    let by_subscription = json_of(&flow.setup, &["stats", "--by", "subscription"]);
    let told: Vec<_> = by_subscription
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|group| {
            let figures = ["delivered", "failed", "attempts"].map(|name| figure(group, name));
            format!("{} {figures:?}", group["subscriptionId"].as_str().expect("a text"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "(none) [0, 1, 0]",
            "billing [1, 0, 2]",
            "crm [2, 0, 2]",
            "legacy [0, 2, 4]",
            "partner [0, 0, 1]"
        ]
    );
    let of_crm = json_of(&flow.setup, &["stats", "--subscription", "crm"]);
    assert_eq!((&of_crm["total"], &of_crm["successRate"]), (&json!(2), &json!(1.0)));
    let earlier = json_of(&flow.setup, &["stats", "--since", "2d", "--until", "1d"]);
    assert_eq!((&earlier["total"], &earlier["successRate"]), (&json!(0), &Value::Null));
    let table = run(&flow.setup, &["stats", "--by", "subscription"]);
    let all = table.lines().last().expect("it has lines");
    assert!(all.starts_with("all") && all.contains("50.00 %"), "{table}");
}

#[test]
fn what_is_asked_wrongly_or_in_vain_is_said_in_a_sentence() {
    let scope = Scope::new("history-wrong");
    scope.create_topic("orders", 1, &[]);
    let setup = Setup::new(&scope).source(&scope, "orders", "envelope", "");
    let check = |line: &str, expect: i32, says: &str| {
        let (code, out, err) = finish(&setup, &line.split(' ').collect::<Vec<_>>());
        assert!(
            code == Some(expect) && err.contains(says) && out.is_empty(),
            "{line}: {code:?} {err}"
        );
    };
    check(
        "deliveries list --outcome lost",
        2,
        "[possible values: delivered, retrying, dead-lettered, skipped]",
    );
    check("deliveries list --reason bored", 2, "possible values: ok, http-status");
    check("deliveries list --since yesterday", 2, "write it like");
    check("deliveries list --follow --until now", 2, "cannot be used with");
    check("deliveries list --event-type a..b", 2, "has an empty segment");
    check("deliveries list --subscription a.b", 2, "a subscription id has");
    check("deliveries list --since 1h --until 2h", 2, "--until must be later than --since");
    check("stats --since 1h --until 2h", 2, "--until must be later than --since");
    for line in ["deliveries list", "deliveries show evt_1", "stats"] {
        check(line, 1, "audit doesn't exist: create it with `kafka-webhooks topics create`");
    }
    let unreachable = setup.set("kafka", "bootstrap_servers", "\"127.0.0.1:1\"");
    let (code, _, err) = finish(&unreachable, &["stats"]);
    assert!(code == Some(1) && err.starts_with("no broker of 127.0.0.1:1 answered"), "{err}");
}

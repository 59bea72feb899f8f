//! Sending again: dead letters and past events, by commands, through a running connector.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON, told};
use crate::support::connector::Setup;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};
use crate::support::scope::Scope;

/// A receiver that answers 500 until it is healed.
fn ill() -> (Receiver, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let status = move || if is_healed.load(Ordering::Relaxed) { 200 } else { 500 };
    (Receiver::start(move |_, _| Answer::status(status())), healed)
}

/// Runs a command that succeeds, and returns the lines that it prints.
#[track_caller]
fn run(setup: &Setup, line: &str) -> Vec<String> {
    let (code, out, err) = finish(setup, line);
    assert_eq!(code, Some(0), "{line}: {out}{err}");
    out.lines().map(str::to_owned).collect()
}

/// Runs a command that fails, and returns what it says.
#[track_caller]
fn fail(setup: &Setup, line: &str) -> String {
    let (code, out, err) = finish(setup, line);
    assert_eq!(code, Some(1), "{line}: {out}{err}");
    out + &err
}

fn finish(setup: &Setup, line: &str) -> (Option<i32>, String, String) {
    let words: Vec<_> = line.split(' ').collect();
    let Output { status, stdout, stderr } = setup.run(&words);
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    (status.code(), text(stdout), text(stderr))
}

#[track_caller]
fn json_of(setup: &Setup, line: &str) -> Value {
    let out = run(setup, &format!("{line} --output json")).join("\n");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn letters(flow: &Fixture, count: usize) -> Vec<Record> {
    let is_letter =
        |record: &&Record| record.header("webhooks-kind").as_deref() != Some("redriven");
    let enough = |records: &[Record]| records.iter().filter(is_letter).count() >= count;
    let records = flow.scope.wait_for("dead-letter", SOON, enough);
    records.into_iter().filter(|record| is_letter(&record)).collect()
}

/// A dead letter of a delivery to `crm`.
fn given_up(id: &str) -> Draft {
    let value = json!({ "id": id, "event": "a" }).to_string();
    let headers = [
        ("subscription", "crm"),
        ("id", id),
        ("origin", "orders/0/0"),
        ("origin-timestamp", "2026-01-15T10:30:00Z"),
        ("reason", "exhausted"),
        ("kind", "delivery"),
    ];
    headers.iter().fold(Draft::new(id, value), |letter, (name, value)| {
        letter.header(&format!("webhooks-{name}"), value)
    })
}

/// Returns the ids of the events in the deliver topic, sorted.
fn handed_over(flow: &Fixture) -> Vec<String> {
    let records = flow.scope.read_committed("deliver");
    let mut ids: Vec<_> = records.iter().filter_map(|it| it.header("webhooks-id")).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_redrive_delivers_what_was_given_up_and_does_not_run_twice() {
    let (receiver, healed) = ill();
    let flow = Fixture::new("redrive");
    let one_attempt = json!({"retry": {"schedule": []}});
    flow.subscribe("crm", &receiver.url("/crm"), &["order.*"], one_attempt.clone());
    flow.subscribe("other", &receiver.url("/other"), &["other"], one_attempt);
    let _connector = flow.start();
    for id in ["evt_1", "evt_2", "evt_3"] {
        flow.event(id, "order.created");
    }
    flow.event("evt_4", "other");
    letters(&flow, 4);

    let listed = json_of(&flow.setup, "dead-letters list --subscription crm");
    let listed = listed.as_array().expect("a listing is an array");
    assert_eq!(listed.len(), 3);
    let first = &listed[0];
    assert_eq!(
        (&first["reason"], &first["statusCode"], &first["kind"], &first["redriven"]),
        (&json!("exhausted"), &json!(500), &json!("delivery"), &json!(false))
    );
    let typed = json_of(&flow.setup, "dead-letters list --event-type other --since 1h");
    assert_eq!(
        (typed[0]["eventId"].clone(), typed.as_array().map(Vec::len)),
        (json!("evt_4"), Some(1))
    );
    assert_eq!(run(&flow.setup, "dead-letters list --reason expired --output json"), ["[]"]);

    healed.store(true, Ordering::Relaxed);
    let dry = run(&flow.setup, "dead-letters redrive --subscription crm --dry-run");
    assert_eq!(dry.last().map(String::as_str), Some("would redrive 3 of 3, deliveries: 3"));
    assert_eq!((dry.len(), handed_over(&flow)), (5, vec![]), "it lists them and sends nothing");

    let redrive = "dead-letters redrive --subscription crm";
    assert_eq!(run(&flow.setup, redrive), ["redriven 3 of 3, deliveries: 3"]);
    let audit = flow.audit(7);
    let again: Vec<_> = audit.iter().filter(|record| record["trigger"] == "redrive").collect();
    let mut delivered: Vec<_> = again.iter().map(|record| told(record)).collect();
    delivered.sort_unstable();
    let expect = ["evt_1", "evt_2", "evt_3"].map(|id| format!("crm {id} #1 delivered ok"));
    assert_eq!(delivered, expect);
    let requests = receiver.wait_count(SOON, 7);
    let ids: BTreeSet<_> = requests[4..].iter().map(|seen| seen.webhook_id()).collect();
    assert_eq!(ids, BTreeSet::from(["evt_1", "evt_2", "evt_3"]), "the event keeps its id");

    let second = run(&flow.setup, redrive);
    assert_eq!(second[0], "redriven 0 of 3, deliveries: 0");
    assert_eq!(second[1], "3 stay: redriven before; --again takes them too");
    let place = format!("{}/{}", first["partition"], first["offset"]);
    let stays = flow.setup.run(&["dead-letters", "redrive", &place]);
    assert_eq!(stays.status.code(), Some(1));
    let sentence = format!(
        "the dead letter at {place} stays where it is: redriven before; --again takes them too\n"
    );
    assert_eq!(String::from_utf8_lossy(&stays.stderr), sentence);
    let listed = json_of(&flow.setup, "dead-letters list");
    let marked = |record: &&Value| record["redriven"] == json!(true);
    assert_eq!(listed.as_array().map(|all| all.iter().filter(marked).count()), Some(3));
    let again = run(&flow.setup, "dead-letters redrive --event-id evt_1 --again");
    assert_eq!(again, ["redriven 1 of 1, deliveries: 1"]);
    flow.audit(8);

    let usage = flow.setup.run(&["dead-letters", "redrive"]);
    assert_eq!(usage.status.code(), Some(2), "all of them must be asked for");
}

#[test]
fn two_who_redrive_at_once_send_nothing_twice() {
    let flow = Fixture::new("redrive-twice");
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    let ids: Vec<_> = (0..2000).map(|n| format!("evt_{n:04}")).collect();
    flow.scope.produce_all("dead-letter", ids.iter().map(|id| given_up(id)));
    std::thread::scope(|threads| {
        let both =
            [(); 2].map(|()| threads.spawn(|| finish(&flow.setup, "dead-letters redrive --all")));
        for one in both {
            let (code, out, err) = one.join().expect("it runs");
            let superseded = code == Some(1) && err.contains("another command writes as");
            assert!(code == Some(0) || superseded, "{code:?} {out}{err}");
        }
    });
    // Whoever came first may have been stopped in the middle; nothing is left by both.
    assert_eq!(handed_over(&flow), ids, "each once");
}

#[test]
fn what_the_deliver_topic_does_not_take_stays_and_holds_up_no_other() {
    let (receiver, _) = ill();
    let scope = Scope::new("redrive-large");
    scope.create_topic("deliver", 2, &[("max.message.bytes", "3000")]);
    let flow = Fixture::on(scope, |setup| setup);
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": []}}));
    let _connector = flow.start();
    let large = json!({ "id": "large", "event": "a", "data": "x".repeat(4000) }).to_string();
    flow.scope.produce("orders", "k", large, &[]);
    flow.event("small", "a");
    letters(&flow, 2);
    let said = run(&flow.setup, "dead-letters redrive --all");
    assert_eq!(said[0], "redriven 1 of 2, deliveries: 1");
    assert_eq!(said[1], "1 stay: too large for the deliver topic; raise its max.message.bytes");
    assert_eq!(handed_over(&flow), ["small"]);
    let orders = flow.scope.topic("orders");
    let said = run(&flow.setup, &format!("replay --subscription crm --topic {orders} --from 1h"));
    assert_eq!(said[0], "1 of 2 events sent to crm");
    assert!(said[1].starts_with("1 are too large for the deliver topic"), "{said:?}");
}

#[test]
fn a_dead_letter_is_shown_without_what_it_holds_unless_that_is_asked_for() {
    let (receiver, _) = ill();
    let flow = Fixture::new("show-letter");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": []}}));
    let _connector = flow.start();
    let value = r#"{"id":"evt_1","event":"a","data":"hunter2"}"#;
    flow.scope.produce("orders", "k1", value, &[("mine", "hunter2")]);
    let letter = letters(&flow, 1).remove(0);
    let place = format!("{}/{}", letter.partition, letter.offset);
    let shown = run(&flow.setup, &format!("dead-letters show {place}")).join("\n");
    assert!(shown.contains("evt_1") && shown.contains("the receiver answered 500"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let whole = format!("dead-letters show {}/{place} --value", flow.scope.topic("dead-letter"));
    let whole = json_of(&flow.setup, &whole);
    assert_eq!((&whole["value"], &whole["key"]), (&json!(value), &json!("k1")));
    assert_eq!(whole["headers"], json!([{"name": "mine", "value": "hunter2"}]));

    let missing = fail(&flow.setup, "dead-letters show 0/4711");
    assert!(missing.contains("there is no dead letter at 0/4711"), "{missing}");
    let other = fail(&flow.setup, "dead-letters show orders/0/1");
    assert!(other.contains("is not the dead-letter topic"), "{other}");
}

#[test]
fn what_always_comes_back_is_not_redriven_for_ever() {
    let (receiver, _) = ill();
    let flow = Fixture::new("redrive-guard");
    let retry = json!({"retry": {"schedule": ["100ms"]}});
    flow.subscribe("crm", &receiver.url("/"), &["*"], retry);
    let _connector = flow.start();
    flow.event("evt_1", "a");
    letters(&flow, 1);
    let redrive = "dead-letters redrive --all --max-redrives 1";
    assert_eq!(run(&flow.setup, redrive)[0], "redriven 1 of 1, deliveries: 1");
    // Its second life ends in a second dead letter, which is counted there, by way of a tier.
    let both = letters(&flow, 2);
    let mut redrives: Vec<_> =
        both.iter().map(|letter| letter.header("webhooks-redrives")).collect();
    redrives.sort_unstable();
    assert_eq!(redrives, [None, Some("1".to_owned())]);
    let said = run(&flow.setup, redrive);
    assert_eq!(said[0], "redriven 0 of 2, deliveries: 0");
    let stay: BTreeSet<_> = said[1..].iter().map(String::as_str).collect();
    let expect = [
        "1 stay: redriven in vain as often as --max-redrives allows (1)",
        "1 stay: redriven before; --again takes them too",
    ];
    assert_eq!(stay, BTreeSet::from(expect));

    flow.scope.produce_all("subscriptions", [Draft::tombstone("crm")]);
    let place = both.iter().find(|letter| letter.header("webhooks-redrives").is_some());
    let place = place.map(|letter| format!("{}/{}", letter.partition, letter.offset));
    let one = format!("dead-letters redrive {}", place.expect("it was found above"));
    let said = fail(&flow.setup, &one);
    assert!(said.contains("1 stay: the subscription doesn't exist"), "{said}");
}

#[test]
fn what_could_not_be_read_goes_back_to_all_that_want_it_once_it_can_be() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("redrive-record");
    flow.scope.create_topic("things", 1, &[]);
    let selected = |selector: &str| {
        let selector = format!("event_type = {{ {selector} }}");
        flow.setup.clone().source(&flow.scope, "things", "json", &selector)
    };
    let (wrong, right) = (selected("header = \"typ\""), selected("header = \"type\""));
    flow.subscribe("crm", &receiver.url("/crm"), &["made"], json!({"filter": "data.n < 10"}));
    flow.subscribe("all", &receiver.url("/all"), &["*"], json!({}));
    let mut connector = wrong.start();
    connector.wait_ready(SOON);
    let thing = |n: u32| Draft::new("k", json!({ "n": n }).to_string()).header("type", "made");
    flow.scope.produce_all(
        "things",
        [thing(1), thing(10), Draft::new("k", "hunter2").header("type", "made")],
    );
    letters(&flow, 3);

    let before = run(&wrong, "dead-letters redrive --kind record");
    assert_eq!(before[0], "redriven 0 of 3, deliveries: 0");
    let missing = r#"2 stay: still unreadable: event_type: header "typ" is missing"#;
    assert_eq!(before[1], missing);
    let after = run(&right, "dead-letters redrive --kind record");
    assert_eq!(after[0], "redriven 2 of 3, deliveries: 3");
    assert_eq!(after[1], "1 stay: still unreadable: not JSON, at line 1 column 1");
    let requests = receiver.wait_count(SOON, 3);
    let mut got: Vec<_> =
        requests.iter().map(|seen| format!("{} {}", seen.path, seen.json()["data"]["n"])).collect();
    got.sort_unstable();
    assert_eq!(got, ["/all 1", "/all 10", "/crm 1"]);
    let again = run(&right, "dead-letters redrive --all");
    assert_eq!(again[0], "redriven 0 of 3, deliveries: 0");
}

#[test]
fn a_replay_sends_past_events_to_a_subscription_that_came_later() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("replay");
    for (id, event_type) in [("evt_1", "order.a"), ("evt_2", "order.b"), ("evt_3", "other")] {
        flow.event(id, event_type);
    }
    flow.scope.produce("orders", "k", "hunter2", &[]);
    let connector = flow.start();
    flow.wait_settled(4);
    let orders = flow.scope.topic("orders");
    let to = format!("replay --topic {orders} --subscription");
    let missing = fail(&flow.setup, &format!("{to} crm --from 1h"));
    assert!(missing.contains("the subscription crm doesn't exist"), "{missing}");

    let filter = json!({"filter": "data.order != 'evt_2'"});
    flow.subscribe("crm", &receiver.url("/"), &["order.*"], filter);
    flow.subscribe("other", &receiver.url("/other"), &["*"], json!({}));
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 2);
    let counts = json_of(&flow.setup, &format!("{to} crm --from 1h --dry-run"));
    let expect = json!({
        "dryRun": true, "resumed": false, "read": 4, "sent": 1, "unmatched": 1, "filtered": 1,
        "filterErrors": 0, "unreadable": 1, "tooLarge": 0,
    });
    assert_eq!((counts, handed_over(&flow)), (expect, vec![]));

    let said = run(&flow.setup, &format!("{to} crm --from 1h"));
    assert_eq!(said[0], "1 of 4 events sent to crm");
    let audit = flow.audit(2);
    let replayed = audit.iter().find(|record| record["trigger"] == "replay");
    assert_eq!(replayed.map(told).as_deref(), Some("crm evt_1 #1 delivered ok"));
    assert_eq!(receiver.requests()[0].webhook_id(), "evt_1");
    assert_eq!(letters(&flow, 1).len(), 1, "what can't be read is no dead letter once more");

    let again = run(&flow.setup, &format!("{to} crm --from 1h"));
    assert_eq!(again, ["0 of 0 events sent to crm; those before were sent by an earlier run"]);
    let anew = run(&flow.setup, &format!("{to} crm --from 1h --restart"));
    assert_eq!(anew[0], "1 of 4 events sent to crm");
    assert_eq!(handed_over(&flow), ["evt_1", "evt_1"]);

    let nowhere = fail(&flow.setup, "replay --subscription crm --topic nowhere --from 1h");
    assert!(nowhere.contains("nowhere is the topic of no source"), "{nowhere}");
    run(&flow.setup, "subscriptions disable crm");
    let disabled = fail(&flow.setup, &format!("{to} crm --from 1h"));
    assert!(disabled.contains("subscriptions enable crm"), "{disabled}");
}

#[test]
fn a_replay_of_offsets_sends_these_and_no_others() {
    let flow = Fixture::new("replay-offsets");
    let event =
        |id: String| Draft::new("k", json!({ "id": id, "event": "a" }).to_string()).partition(2);
    flow.scope.produce_all("orders", (0..5).map(|n| event(format!("evt_{n}"))));
    flow.event("elsewhere", "a");
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    let range = "--from-offset 2:1 --to-offset 2:3";
    let orders = flow.scope.topic("orders");
    let said = run(&flow.setup, &format!("replay --subscription crm --topic {orders} {range}"));
    assert_eq!(said, ["2 of 2 events sent to crm"]);
    assert_eq!(handed_over(&flow), ["evt_1", "evt_2"]);
    let wrong =
        fail(&flow.setup, &format!("replay --subscription crm --topic {orders} --from-offset 9:0"));
    assert!(wrong.contains("has no partition 9"), "{wrong}");
}

#[test]
fn a_replay_that_is_killed_goes_on_where_it_stopped() {
    const EVENTS: usize = 60;
    let flow = Fixture::new("replay-killed");
    let event = |n| Draft::new(format!("{n}"), format!(r#"{{"id":"evt_{n:02}","event":"a"}}"#));
    flow.scope.produce_all("orders", (0..EVENTS).map(event));
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    let orders = flow.scope.topic("orders");
    let words = ["replay", "--subscription", "crm", "--topic", &orders, "--from", "1h", "--rate"];
    let mut replay = flow.setup.start_command(&[&words[..], &["20/s"]].concat());
    flow.scope.wait_for("deliver", SOON, |records| records.len() >= 10);
    replay.kill9();
    let before = handed_over(&flow).len();
    assert!((10..EVENTS).contains(&before), "it was killed in the middle: {before}");
    // What comes after the replay began is not of its range.
    flow.event("later", "a");

    let words = words.join(" ");
    let rest = EVENTS - before;
    let counts = json_of(&flow.setup, &format!("{words} 1000/s --dry-run"));
    assert_eq!((&counts["sent"], &counts["resumed"]), (&json!(rest), &json!(true)));
    let said = run(&flow.setup, &format!("{words} 1000/s"));
    let expect =
        format!("{rest} of {rest} events sent to crm; those before were sent by an earlier run");
    assert_eq!(said, [expect]);
    let ids: Vec<_> = (0..EVENTS).map(|n| format!("evt_{n:02}")).collect();
    assert_eq!(handed_over(&flow), ids, "each once");
}

//! Dead letters sent again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{fail, finish, given_up, handed_over, ill, json_of, letters, run};
use crate::fixture::{Fixture, SOON, told};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

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
fn what_is_disabled_gets_nothing_again_until_it_is_enabled() {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let receiver = Receiver::start(move |_, _| {
        Answer::status(if is_healed.load(Ordering::Relaxed) { 200 } else { 410 })
    });
    let flow = Fixture::new("again-disabled");
    flow.subscribe("crm", &receiver.url("/"), &["a"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    letters(&flow, 1);
    connector.wait_status(SOON, |status| status["load"]["disabledSubscriptions"] == 1);
    flow.event("evt_2", "a");
    flow.wait_settled(2);
    let orders = flow.scope.topic("orders");
    let replay = format!("replay --subscription crm --topic {orders} --from 1h");
    let redrive = "dead-letters redrive --subscription crm";
    for line in [&replay, redrive, &format!("{redrive} --dry-run")] {
        let (code, out, err) = finish(&flow.setup, line);
        let sentence = "the subscription crm is disabled: switch it on first, with `kafka-webhooks subscriptions enable crm`\n";
        assert_eq!((code, out.as_str(), err.as_str()), (Some(1), "", sentence), "{line}");
    }
    let all = run(&flow.setup, "dead-letters redrive --all");
    let stays = ["redriven 0 of 1, deliveries: 0", "1 stay: the subscription is disabled"];
    assert_eq!(all, stays);
    assert!(handed_over(&flow).is_empty());

    healed.store(true, Ordering::Relaxed);
    // One right after the other: the connector knows of the first when the second comes to it.
    run(&flow.setup, "subscriptions enable crm");
    assert_eq!(run(&flow.setup, redrive), ["redriven 1 of 1, deliveries: 1"]);
    assert_eq!(run(&flow.setup, &replay)[0], "2 of 2 events sent to crm");
    let audit = flow.audit(4);
    let again: Vec<_> = audit.iter().filter(|record| record["trigger"] != "event").collect();
    let mut again: Vec<_> = again
        .iter()
        .map(|record| format!("{} {}", record["trigger"].as_str().unwrap_or("?"), told(record)))
        .collect();
    again.sort_unstable();
    let expect = [
        "redrive crm evt_1 #1 delivered ok",
        "replay crm evt_1 #1 delivered ok",
        "replay crm evt_2 #1 delivered ok",
    ];
    assert_eq!(again, expect);
}

#[test]
fn a_redrive_that_is_killed_goes_on_where_it_stopped() {
    const LETTERS: usize = 60;
    let flow = Fixture::new("redrive-killed");
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    let ids: Vec<_> = (0..LETTERS).map(|n| format!("evt_{n:02}")).collect();
    flow.scope.produce_all("dead-letter", ids.iter().map(|id| given_up(id)));
    let words = ["dead-letters", "redrive", "--all", "--rate", "20/s"];
    let mut redrive = flow.setup.start_command(&words);
    flow.scope.wait_for("deliver", SOON, |records| records.len() >= 10);
    redrive.kill9();
    let said = run(&flow.setup, "dead-letters redrive --all");
    // What the first had committed is known by the second only: it ends what was left open.
    let [rest, before] = {
        let stay = said.get(1).and_then(|line| line.split(' ').next()?.parse().ok());
        let before: usize = stay.unwrap_or_else(|| panic!("nothing was redriven before: {said:?}"));
        [LETTERS - before, before]
    };
    assert!((10..LETTERS).contains(&before), "it was killed in the middle: {before}");
    let expect = [
        format!("redriven {rest} of {LETTERS}, deliveries: {rest}"),
        format!("{before} stay: redriven before; --again takes them too"),
    ];
    assert_eq!(said, expect);
    assert_eq!(handed_over(&flow), ids, "each once");
    let listed = json_of(&flow.setup, "dead-letters list");
    let listed = listed.as_array().expect("a listing is an array");
    assert!(listed.iter().all(|letter| letter["redriven"] == true), "each is marked");
}

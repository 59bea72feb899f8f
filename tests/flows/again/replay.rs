//! Past events sent again.

use serde_json::json;

use super::{fail, given_up, handed_over, json_of, letters, run};
use crate::fixture::{Fixture, SOON, told};
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};

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

#[test]
fn a_replay_and_a_redrive_keep_their_rate() {
    const COUNT: usize = 8;
    // Slower than transactions are on a busy machine: one alone is sent with each, and none goes before its time.
    const EACH_MS: i64 = 250;
    let flow = Fixture::new("rate");
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    let ids: Vec<_> = (0..COUNT).map(|n| format!("evt_{n:02}")).collect();
    let event = |id| Draft::new(id, json!({ "id": id, "event": "a" }).to_string());
    flow.scope.produce_all("orders", ids.iter().map(event));
    flow.scope.produce_all("dead-letter", ids.iter().map(|id| given_up(id)));
    let orders = flow.scope.topic("orders");
    let replay = format!("replay --subscription crm --topic {orders} --from 1h --rate 4/s");
    run(&flow.setup, &replay);
    run(&flow.setup, "dead-letters redrive --all --rate 4/s");
    let records = flow.scope.read_committed("deliver");
    for trigger in ["replay", "redrive"] {
        let of = |record: &&Record| record.header("webhooks-trigger").as_deref() == Some(trigger);
        let mut at: Vec<_> = records.iter().filter(of).map(|it| it.timestamp_ms).collect();
        at.sort_unstable();
        assert_eq!(at.len(), COUNT, "{trigger}");
        // Kafka's times are whole milliseconds.
        let keeps = |pair: &[i64]| pair[1] - pair[0] >= EACH_MS - 1;
        assert!(at.windows(2).all(keeps), "{trigger}: {at:?}");
    }
}

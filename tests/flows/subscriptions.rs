//! The life of subscriptions: filters, encrypted and rotated secrets, tests, files.

use std::time::Duration;

use jiff::Timestamp;
use kafka_webhooks::domain::signature::verify_standard;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SECRET, SOON, told};
use crate::support::connector::Setup;
use crate::support::exchange::Seen;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;

/// Two keys, as the variable for them wants them.
pub const OLD: &str = r#"{ id = "old", key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }"#;
pub const NEW: &str = r#"{ id = "new", key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }"#;

pub fn with_keys(setup: Setup, keys: &[&str]) -> Setup {
    setup.env("KAFKA_WEBHOOKS__ENCRYPTION__KEYS", &format!("[{}]", keys.join(", ")))
}

/// Runs a command that must succeed, and returns what it prints.
#[track_caller]
pub fn run(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.run(&[&["subscriptions"], arguments].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    out
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tells whether one of a request's signatures is made with a secret.
pub fn verifies(request: &Seen, secret: &str) -> bool {
    let (id, at) = (request.webhook_id(), request.header("webhook-timestamp"));
    let list = request.header("webhook-signature");
    let tolerance = Duration::from_secs(300);
    verify_standard(secret, id, at, list, &request.body, Timestamp::now(), tolerance).is_ok()
}

#[test]
fn only_events_that_a_filter_is_true_of_are_sent() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("filter");
    let filter = |text: &str| json!({ "filter": text });
    flow.subscribe("large", &receiver.url("/"), &["*"], filter("data.amount > 100"));
    flow.subscribe("wrong", &receiver.url("/"), &["*"], filter("data.missing > 100"));
    flow.subscribe("bad", &receiver.url("/"), &["*"], filter("amount > 100"));
    let endless = "data.n.exists(a, data.n.exists(b, a + b == -1))";
    flow.subscribe("endless", &receiver.url("/"), &["b"], filter(endless));
    let connector = flow.start();
    let numbers: Vec<_> = (0..1000).collect();
    let many = json!({"id": "evt_b", "event": "b", "data": {"amount": 1, "n": numbers}});
    flow.scope.produce("orders", "k", many.to_string(), &[]);
    for amount in [50, 150, 100, 250] {
        let value =
            json!({"id": format!("evt_{amount}"), "event": "a", "data": {"amount": amount}});
        flow.scope.produce("orders", "k", value.to_string(), &[]);
    }
    let mut audit: Vec<_> = flow.audit(2).iter().map(told).collect();
    // Both may be in the air at once.
    audit.sort_unstable();
    assert_eq!(audit, ["large evt_150 #1 delivered ok", "large evt_250 #1 delivered ok"]);
    flow.wait_settled(5);
    assert_eq!(receiver.count(), 2);
    connector.wait_metrics(SOON, "webhooks_filtered_total 3");
    connector.wait_metrics(SOON, "webhooks_filter_errors_total{error=\"missing\"} 5");
    connector.wait_metrics(SOON, "webhooks_filter_errors_total{error=\"budget\"} 1");
    let status = flow.scope.wait_for("subscription-status", SOON, |records| !records.is_empty());
    let reason = status[0].json()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(
        reason.starts_with("filter: line 1 column 1: there is no variable `amount`"),
        "{reason}"
    );
}

/// The first word on a subscription stands far before its last one, and events wait already.
#[test]
fn no_event_is_matched_before_the_last_word_on_every_subscription_is_read() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("read-to-end");
    for id in ["moved", "deleted", "switched-off", "broken"] {
        flow.subscribe(id, &receiver.url("/too-early"), &["*"], json!({}));
    }
    let filler = |n: usize| {
        let value = json!({"url": receiver.url("/other"), "events": ["other"], "secret": SECRET});
        Draft::new(format!("filler{n}"), value.to_string())
    };
    flow.scope.produce_all("subscriptions", (0..100_000).map(filler));
    flow.subscribe("moved", &receiver.url("/last"), &["*"], json!({}));
    flow.subscribe("switched-off", &receiver.url("/off"), &["*"], json!({"active": false}));
    flow.scope.produce("subscriptions", "broken", "{}", &[]);
    flow.scope.produce_all("subscriptions", [Draft::tombstone("deleted")]);
    flow.numbered_events(0..100);
    let _connector = flow.start();
    flow.wait_settled(100);
    let paths: Vec<_> = receiver.requests().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, vec!["/last"; 100]);
}

#[test]
fn secrets_are_encrypted_in_the_topic_and_sign_all_the_same() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("encrypted", |setup| with_keys(setup, &[OLD]));
    let create = ["create", "crm", "--url", &receiver.url("/"), "--event", "*", "--secret", SECRET];
    run(&flow.setup, &create);
    let stored = || flow.scope.read_committed("subscriptions").pop().expect("it is there").json();
    let sealed = stored()["secret"].as_str().expect("a text").to_owned();
    assert!(sealed.starts_with("enc:v1:old:"), "{sealed}");

    // Keys change over: the new one first, all is encrypted anew, and the old one may go.
    let both = with_keys(flow.setup.clone(), &[NEW, OLD]);
    assert_eq!(run(&both, &["re-encrypt"]), "re-encrypted crm\n");
    assert_eq!(run(&both, &["re-encrypt"]), "");
    assert!(stored()["secret"].as_str().is_some_and(|text| text.starts_with("enc:v1:new:")));
    let mut connector = with_keys(flow.setup.clone(), &[NEW]).start();
    connector.wait_ready(SOON);
    flow.event("evt_1", "a");
    let requests = receiver.wait_count(SOON, 1);
    assert!(verifies(&requests[0], SECRET));
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());
    assert!(!connector.log().contains(SECRET));

    // Without its key the subscription is invalid, and says which one is missing.
    let _connector = flow.start();
    let statuses = flow.scope.wait_for("subscription-status", SOON, |records| !records.is_empty());
    let status = statuses[0].json();
    let reason = "secret: is encrypted with the key new, which is not in encryption.keys";
    assert_eq!(
        (status["state"].as_str(), status["reason"].as_str()),
        (Some("invalid"), Some(reason))
    );
}

#[test]
fn plain_secrets_can_be_forbidden() {
    let flow = Fixture::with("required", |setup| {
        with_keys(setup, &[OLD]).set("encryption", "required", "true")
    });
    flow.subscribe("plain", "http://127.0.0.1:9999", &["*"], json!({}));
    run(&flow.setup, &["create", "sealed", "--url", "http://127.0.0.1:9999", "--event", "*"]);
    let list: Value =
        serde_json::from_str(&run(&flow.setup, &["list", "--output", "json"])).expect("it is JSON");
    let state = |at: usize| list[at]["state"].as_str().unwrap_or_default().to_owned();
    assert_eq!((state(0), state(1)), ("invalid".into(), "active".into()));
    assert_eq!(list[0]["invalid"][0], "secret: must be encrypted (encryption.required is true)");
}

#[test]
fn after_a_rotation_both_secrets_verify_until_the_overlap_is_over() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("rotate");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let _connector = flow.start();
    let rotated = run(&flow.setup, &["rotate-secret", "crm"]);
    let new = rotated.lines().find_map(|line| line.strip_prefix("secret ")).expect("it is printed");
    let definition = flow.scope.read_committed("subscriptions").pop().expect("it is there").json();
    let expires: Timestamp = definition["secrets"][1]["expiresAt"]
        .as_str()
        .expect("the old one expires")
        .parse()
        .expect("a time");
    let hours = expires.duration_since(Timestamp::now()).as_hours();
    assert!((23..=24).contains(&hours), "{hours}");

    // The change is in force within a second of its commit; whatever comes later is signed with both.
    let both = |request: &Seen| verifies(request, new) && verifies(request, SECRET);
    let mut sent = 0;
    let requests = loop {
        sent += 1;
        flow.event(&format!("evt_{sent}"), "a");
        let requests = receiver.wait_count(SOON, sent);
        if requests.last().is_some_and(|last| both(last)) {
            break requests;
        }
        assert!(sent < 200, "the new secret never signs");
    };
    assert!(requests.iter().all(|request| verifies(request, SECRET)));

    run(
        &flow.setup,
        &[
            "rotate-secret",
            "crm",
            "--overlap",
            "0s",
            "--secret",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ],
    );
    let last = flow.scope.read_committed("subscriptions").pop().expect("it is there").json();
    assert_eq!(last["secrets"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_test_event_goes_the_real_way_and_is_told_of() {
    let receiver = Receiver::start(|seen, _| {
        crate::support::exchange::Answer::status(if seen.path == "/ok" { 200 } else { 500 })
    });
    let flow = Fixture::new("test-event");
    flow.subscribe("good", &receiver.url("/ok"), &["order.*"], json!({}));
    flow.subscribe("bad", &receiver.url("/no"), &["order.*"], json!({}));
    let _connector = flow.start();
    let told: Value = serde_json::from_str(&run(&flow.setup, &["test", "good"])).expect("JSON");
    assert_eq!(
        (told["outcome"].as_str(), told["trigger"].as_str()),
        (Some("delivered"), Some("test"))
    );
    let request = receiver.wait_count(SOON, 1)[0].clone();
    assert_eq!(request.header("x-webhook-event"), "webhook.test");
    assert!(verifies(&request, SECRET));

    let failed = flow.setup.run(&["subscriptions", "test", "bad"]);
    assert_eq!(failed.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!(
        (told["outcome"].as_str(), told["statusCode"].as_u64()),
        (Some("retrying"), Some(500))
    );
    let said = text(&failed.stderr);
    let said = said.trim_end();
    assert!(said.ends_with("it is retrying, for the reason http-status"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let unknown = flow.setup.run(&["subscriptions", "test", "nobody"]);
    assert!(text(&unknown.stderr).contains("no subscription has the id nobody"));
}

#[test]
fn a_folder_is_applied_shown_before_and_pruned() {
    let flow = Fixture::new("gitops");
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("the temporary folder is writable");
    };
    let path = folder.path().to_str().expect("its name is text");
    let apply = |more: &[&str]| run(&flow.setup, &[&["apply", "-f", path], more].concat());
    write(
        "a.yaml",
        "id: a\nurl: https://a.example\nevents: [order.*]\nsecret: s\ntenant: acme\n---\nid: b\nurl: https://b.example\nevents: ['*']\nsecret: s\n",
    );
    write("c.json", r#"{"id": "c", "url": "https://c.example", "events": ["a"], "secret": "s"}"#);
    assert_eq!(
        apply(&["--dry-run"]),
        "would be created a\nwould be created b\nwould be created c\n"
    );
    assert_eq!(flow.scope.read_committed("subscriptions"), []);
    assert_eq!(apply(&[]), "created a\ncreated b\ncreated c\n");
    let list = |more: &[&str]| {
        let list = run(&flow.setup, &[&["list", "--output", "json"], more].concat());
        let list: Vec<Value> = serde_json::from_str(&list).expect("JSON");
        list.iter().map(|one| one["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&["--tenant", "acme"]), ["a"]);
    assert_eq!(list(&["--event", "order.created"]), ["a", "b"]);
    assert_eq!(run(&flow.setup, &["disable", "b"]), "disabled b\n");
    assert_eq!(list(&["--state", "inactive"]), ["b"]);
    assert_eq!(run(&flow.setup, &["enable", "b"]), "enabled b\n");
    assert_eq!(list(&["--state", "active"]), ["a", "b", "c"]);

    write("a.yaml", "id: a\nurl: https://a.example\nevents: [order.*]\nsecret: other\n");
    let shown = "would be updated a\n  ~ secret: another secret\n  - tenant: \"acme\"\nunchanged c\nwould be deleted b\n";
    assert_eq!(apply(&["--dry-run", "--prune"]), shown);
    assert_eq!(list(&[]), ["a", "b", "c"]);
    assert_eq!(apply(&["--prune"]), "updated a\nunchanged c\ndeleted b\n");
    assert_eq!(list(&[]), ["a", "c"]);

    let empty = tempfile::tempdir().expect("the temporary folder is writable");
    let empty = empty.path().to_str().expect("its name is text");
    let refused = flow.setup.run(&["subscriptions", "apply", "-f", empty, "--prune"]);
    assert!(text(&refused.stderr).contains("would delete every subscription"));
    assert_eq!(list(&[]), ["a", "c"]);
}

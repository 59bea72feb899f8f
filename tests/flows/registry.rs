//! Events by schemas: a real registry, serialisers of other people, and a registry that is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON, told};
use crate::support::connector::{Connector, Setup, quoted};
use crate::support::exchange::Answer;
use crate::support::gate::Gate;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::registry::{in_wire_format, shared};
use crate::support::third_party::python;

const SELECTORS: &str = "event_type = { header = \"type\" }\nevent_id = { header = \"id\" }";

const THING: &str =
    r#"{"type":"record","name":"Thing","fields":[{"name":"name","type":"string"}]}"#;

/// Makes a flow with the topic `things`, read by schemas.
fn flow(name: &str, url: &str) -> (Fixture, Setup) {
    let flow = Fixture::new(name);
    flow.scope.create_topic("things", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "things", "registry", SELECTORS);
    let setup = setup
        .set("registry", "url", &quoted(url))
        .set("registry", "retry_wait", "\"100ms\"")
        .set("registry", "unknown_retries", "2");
    (flow, setup)
}

fn thing(id: u32, name: &str) -> Draft {
    let length = u8::try_from(name.len()).expect("it is short");
    let payload = [&[length * 2], name.as_bytes()].concat();
    Draft::new(name, in_wire_format(id, &payload)).header("type", "made").header("id", name)
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a body with a golden file of `tests/flows/golden`.
fn check_golden(name: &str, body: &[u8]) {
    let golden = repository("tests/flows/golden").join(format!("{name}.json"));
    let expect = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(body), expect.trim_end(), "{name}");
}

#[test]
fn what_confluents_serialisers_write_is_delivered_as_json() {
    let receiver = Receiver::always(200);
    let (flow, setup) = flow("serialisers", &shared().url());
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"payload": "cloudevents-binary"}));
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let protos = repository("tests/third_party");
    let descriptors = protox::compile([protos.join("wide.proto")], [protos]);
    let descriptors = descriptors.expect("the schemas are good");
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    let set = prost_reflect::prost::Message::encode_to_vec(&descriptors);
    fs::write(file.path(), set).expect("a new temporary file is writable");
    let topic = flow.scope.topic("things");
    let path = file.path().to_string_lossy().into_owned();
    python("serialise.py", &[flow.scope.bootstrap(), &shared().url(), &topic, &path], "");

    let mut told: Vec<_> = flow.audit(3).iter().map(told).collect();
    told.sort();
    assert_eq!(
        told,
        ["crm avro #1 delivered ok", "crm json #1 delivered ok", "crm protobuf #1 delivered ok"]
    );
    for request in receiver.requests() {
        assert_eq!(request.header("content-type"), "application/json");
        check_golden(request.header("ce-id"), &request.body);
    }
    let (_, metrics) = connector.get("/metrics");
    let answered = r#"webhooks_registry_requests_total{outcome="answered"} 3"#;
    assert!(metrics.contains(answered), "each schema is asked for once: {metrics}");
}

#[test]
fn schemas_as_text_are_followed_into_their_references_and_json_stays_as_it_is() {
    let receiver = Receiver::always(200);
    let (flow, setup) = flow("registry-text", &shared().url());
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"payload": "cloudevents-binary"}));
    flow.subscribe("raw", &receiver.url("/raw"), &["*"], json!({"payload": "raw"}));
    let protos = repository("tests/third_party");
    let text = |name: &str| fs::read_to_string(protos.join(name)).expect("it is there");
    let subject = flow.scope.topic("money");
    shared().register(&subject, "PROTOBUF", &text("money.proto"), &[]);
    let references = [("money.proto", subject.as_str())];
    let wide = flow.scope.topic("wide");
    let wide = shared().register(&wide, "PROTOBUF", &text("wide.proto"), &references);
    let object = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}"#;
    let object = shared().register(&flow.scope.topic("object"), "JSON", object, &[]);
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    // shop.Orders.Wide is the second message in the second: total { cents: 7 }.
    let message = in_wire_format(wide, &[4, 2, 2, 0x0a, 2, 8, 7]);
    let json = r#"{"n": 1.0,"n":12345678901234567890, "s":"\u0041"}"#;
    let record =
        |name: &str, value| Draft::new("k", value).header("type", "made").header("id", name);
    let object = in_wire_format(object, json.as_bytes());
    let values = [message.clone(), object.clone()];
    flow.scope.produce_all("things", [record("protobuf", message), record("json", object)]);
    let (raw, read): (Vec<_>, Vec<_>) =
        receiver.wait_count(SOON, 4).into_iter().partition(|request| request.path == "/raw");
    for value in values {
        assert!(raw.iter().any(|request| request.body == value), "raw is byte for byte");
    }
    assert!(raw.iter().all(|it| it.header("content-type") == "application/octet-stream"));
    assert_eq!(read.len(), 2);
    for request in read {
        let expect = match request.header("ce-id") {
            "json" => json,
            _ => r#"{"total":{"cents":"7"}}"#,
        };
        assert_eq!(std::str::from_utf8(&request.body), Ok(expect));
    }
}

#[test]
fn a_registry_that_is_away_holds_its_partitions_back_and_loses_nothing() {
    let receiver = Receiver::always(200);
    let gate = Gate::closed(shared().port());
    let url = format!("http://127.0.0.1:{}/apis/ccompat/v7", gate.port());
    let (flow, setup) = flow("registry-away", &url);
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let id = shared().register(&flow.scope.topic("thing"), "AVRO", THING, &[]);
    flow.scope.produce_all("things", ["a", "b", "c"].map(|name| thing(id, name)));
    connector.wait_status(SOON, |status| status["registryReachable"] == false);
    assert_eq!(connector.get("/ready").0, 503);
    assert_eq!(connector.get("/live").0, 200);
    let (_, metrics) = connector.get("/metrics");
    assert!(metrics.contains("webhooks_waiting_for_schema_records 1"), "{metrics}");
    // What needs no schema goes on.
    flow.event("evt_1", "order.made");
    assert_eq!(told(&flow.audit(1)[0]), "crm evt_1 #1 delivered ok");

    gate.open();
    let mut told: Vec<_> = flow.audit(4).iter().skip(1).map(told).collect();
    told.sort();
    assert_eq!(told, ["a", "b", "c"].map(|name| format!("crm {name} #1 delivered ok")));
    connector.wait_ready(SOON);
    assert_eq!(receiver.requests().len(), 4);
}

#[test]
fn a_connector_that_dies_while_the_registry_is_away_loses_nothing() {
    let receiver = Receiver::always(200);
    let gate = Gate::closed(shared().port());
    let url = format!("http://127.0.0.1:{}/apis/ccompat/v7", gate.port());
    let (flow, setup) = flow("registry-killed", &url);
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let id = shared().register(&flow.scope.topic("thing"), "AVRO", THING, &[]);
    let names = ["a", "b", "c", "d"];
    flow.scope.produce_all("things", names.map(|name| thing(id, name)));
    let is_held = |connector: &Connector| {
        connector.wait_log(SOON, "the schema registry can't be reached");
        connector.wait_status(SOON, |status| status["registryReachable"] == false);
        assert_eq!(connector.get("/ready").0, 503);
        connector.wait_metrics(SOON, "webhooks_waiting_for_schema_records 1");
    };
    let mut first = setup.start();
    is_held(&first);
    first.kill9();
    let mut second = setup.start();
    is_held(&second);
    assert_eq!(receiver.requests().len(), 0);

    gate.open();
    let mut told: Vec<_> = flow.audit(4).iter().map(told).collect();
    told.sort();
    assert_eq!(told, names.map(|name| format!("crm {name} #1 delivered ok")));
    assert_eq!(receiver.requests().len(), 4);
    second.wait_ready(SOON);
}

#[test]
fn a_schema_that_nobody_knows_and_a_value_without_one_are_dead_letters() {
    let receiver = Receiver::always(200);
    let (flow, setup) = flow("registry-unknown", &shared().url());
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let id = shared().register(&flow.scope.topic("thing"), "AVRO", THING, &[]);
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let plain = Draft::new("k", r#"{"name":"hunter2"}"#).header("type", "made").header("id", "p");
    let long = Draft::new("k", in_wire_format(id, b"\x7fhunter2"));
    flow.scope.produce_all(
        "things",
        [thing(1_999_999_999, "x"), plain, long.header("type", "made"), thing(id, "last")],
    );
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| records.len() >= 3);
    let errors: Vec<_> =
        letters.iter().filter_map(|letter| letter.header("webhooks-error")).collect();
    assert_eq!(
        errors,
        [
            "the registry has no schema 1999999999",
            "the value is not in the wire format: no zero and schema id",
            "the Avro value at \"/name\": a length is negative",
        ]
    );
    receiver.wait_count(SOON, 1);
    assert_eq!(receiver.requests()[0].webhook_id(), "last");
    assert!(!connector.log().contains("hunter2"));
    let (_, metrics) = connector.get("/metrics");
    let unknown = r#"webhooks_registry_requests_total{outcome="unknown"} 3"#;
    assert!(metrics.contains(unknown), "it is asked for again twice: {metrics}");
}

#[test]
fn a_retry_is_read_as_it_was_first_read_when_the_settings_have_changed() {
    let receiver = Receiver::start(|_, nth| Answer::status(if nth == 1 { 503 } else { 200 }));
    let (flow, setup) = flow("registry-retry", &shared().url());
    let schedule = json!({"retry": {"schedule": ["5s"]}});
    flow.subscribe("crm", &receiver.url("/"), &["*"], schedule);
    let money = r#"{"type":"record","namespace":"shop","name":"Money","fields":[{"name":"cents","type":"long"}]}"#;
    let price = r#"{"type":"record","namespace":"shop","name":"Price","fields":[{"name":"of","type":"shop.Money"}]}"#;
    let subject = flow.scope.topic("money");
    shared().register(&subject, "AVRO", money, &[]);
    let references = [("shop.Money", subject.as_str())];
    let id = shared().register(&flow.scope.topic("price"), "AVRO", price, &references);
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let record =
        Draft::new("k", in_wire_format(id, &[14])).header("type", "made").header("id", "p1");
    flow.scope.produce_all("things", [record]);
    receiver.wait_count(SOON, 1);
    flow.scope.wait_for("audit", SOON, |records| !records.is_empty());
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());

    // Now the topic is said to hold envelopes.
    let changed = flow.setup.clone().source(&flow.scope, "things", "envelope", "");
    let changed = changed.set("registry", "url", &quoted(&shared().url()));
    let mut connector = changed.start();
    connector.wait_ready(SOON);
    let requests = receiver.wait_count(SOON + Duration::from_secs(10), 2);
    let [first, second] = [0, 1].map(|at: usize| requests[at].json());
    assert_eq!(first["data"], json!({"of": {"cents": 7}}));
    assert_eq!((&first["data"], &first["event"]), (&second["data"], &second["event"]));
    assert_eq!(told(&flow.audit(2)[1]), "crm p1 #2 delivered ok");
}

#[test]
fn a_retry_that_cannot_be_read_any_more_is_a_dead_letter_of_its_delivery_and_can_be_redriven() {
    let receiver = Receiver::start(|_, nth| match nth {
        1 => Answer::status(503),
        _ => Answer::status(200),
    });
    let (flow, setup) = flow("registry-gone", &shared().url());
    let schedule = json!({"retry": {"schedule": ["2s"]}});
    flow.subscribe("crm", &receiver.url("/"), &["*"], schedule);
    let id = shared().register(&flow.scope.topic("thing"), "AVRO", THING, &[]);
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    flow.scope.produce_all("things", [thing(id, "a")]);
    flow.scope.wait_for("audit", SOON, |records| !records.is_empty());
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());

    // Now there is neither the source nor a registry. Somebody who wants everything came meanwhile.
    flow.subscribe("other", &receiver.url("/other"), &["*"], json!({}));
    let mut without = flow.start();
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| !records.is_empty());
    let header = |name: &str| letters[0].header(name).unwrap_or_default();
    let place = format!("{}/0/0", flow.scope.topic("things"));
    for (name, expect) in [
        ("webhooks-kind", "delivery"),
        ("webhooks-subscription", "crm"),
        ("webhooks-id", "a"),
        ("webhooks-attempts", "1"),
        ("webhooks-origin", &place),
        ("webhooks-reason", "unreadable"),
        ("webhooks-error", "it needs a schema, and there is no registry.url"),
    ] {
        assert_eq!(header(name), expect, "{name}");
    }
    let end = &flow.audit(2)[1];
    assert_eq!(told(end), "crm a #1 dead-lettered unreadable");
    assert_eq!(end["source"]["topic"], flow.scope.topic("things"));
    without.sigterm();
    assert!(without.wait_exit(SOON).success());

    // With a registry again, it goes to whom it was for, and to nobody else.
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let redriven = setup.run(&["dead-letters", "redrive", "--subscription", "crm"]);
    assert!(redriven.status.success(), "{}", String::from_utf8_lossy(&redriven.stderr));
    assert_eq!(told(&flow.audit(3)[2]), "crm a #1 delivered ok");
    let [first, last] = [0, 1].map(|at: usize| receiver.requests()[at].json());
    assert_eq!((&last["data"], &last["id"]), (&first["data"], &first["id"]));
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn what_is_read_by_schemas_is_found_shown_and_sent_again() {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let receiver = Receiver::start(move |_, _| {
        Answer::status(if is_healed.load(Ordering::Relaxed) { 200 } else { 500 })
    });
    let (flow, setup) = flow("registry-again", &shared().url());
    flow.subscribe("crm", &receiver.url("/"), &["made"], json!({"retry": {"schedule": []}}));
    let id = shared().register(&flow.scope.topic("thing"), "AVRO", THING, &[]);
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let long = "a".repeat(70);
    let bytes = in_wire_format(id, &[b"\x8c\x01", long.as_bytes()].concat());
    let first = Draft::new("a", &bytes).header("type", "made").header("id", "a");
    // The second has no type where the settings look for it: it is no event.
    let untyped = Draft::new("b", in_wire_format(id, b"\x02b")).header("id", "b");
    flow.scope.produce_all("things", [first, untyped]);
    let stored = flow.scope.wait_for("dead-letter", SOON, |records| records.len() >= 2);
    let run = |setup: &Setup, line: &str| -> Value {
        let words: Vec<_> = line.split(' ').chain(["--output", "json"]).collect();
        let Output { status, stdout, stderr } = setup.run(&words);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{line}: {said}");
        serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{line}: {error} {said}"))
    };
    // What the type is stands in what the schema reads.
    let typed = run(&setup, "dead-letters list --event-type made");
    assert_eq!(typed.as_array().map(Vec::len), Some(1));
    let place = format!("{}/{}", typed[0]["partition"], typed[0]["offset"]);
    let shown = run(&setup, &format!("dead-letters show {place} --value"));
    let letter = stored.iter().find(|it| it.header("webhooks-id").as_deref() == Some("a"));
    let value = letter.and_then(|it| it.value.clone()).expect("it is kept as it came");
    assert_eq!(value, bytes);
    assert_eq!((&shown["value"], &shown["eventId"]), (&Value::Null, &json!("a")));
    assert_eq!(shown["valueBase64"], BASE64_STANDARD.encode(&value));

    healed.store(true, Ordering::Relaxed);
    let redriven = run(&setup, "dead-letters redrive --all");
    assert_eq!((&redriven["redriven"], &redriven["deliveries"]), (&json!(1), &json!(1)));
    assert_eq!(
        redriven["stay"][0]["reason"],
        r#"still unreadable: event_type: header "type" is missing"#
    );
    // Where the settings take the type from elsewhere, it is read by its schema and goes to whoever wants it.
    let selectors = "event_type = { pointer = \"/name\" }\nevent_id = { header = \"id\" }";
    let other = flow.setup.clone().source(&flow.scope, "things", "registry", selectors);
    let other = other.set("registry", "url", &quoted(&shared().url()));
    flow.subscribe("late", &receiver.url("/late"), &["b"], json!({}));
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 2);
    let redriven = run(&other, "dead-letters redrive --kind record");
    assert_eq!((&redriven["redriven"], &redriven["deliveries"]), (&json!(1), &json!(1)));
    let things = flow.scope.topic("things");
    let replayed = run(&setup, &format!("replay --subscription crm --topic {things} --from 1h"));
    assert_eq!((&replayed["sent"], &replayed["unreadable"]), (&json!(1), &json!(1)));

    let requests = receiver.wait_until(SOON, |seen| {
        seen.iter().filter(|request| request.answer.get() == Some(&200)).count() >= 3
    });
    let mut got: Vec<_> = requests[1..]
        .iter()
        .map(|seen| format!("{} {} {}", seen.path, seen.webhook_id(), seen.json()["data"]))
        .collect();
    got.sort_unstable();
    let first = format!(r#"/ a {{"name":"{long}"}}"#);
    assert_eq!(got, [&first, &first, r#"/late b {"name":"b"}"#]);

    // What nobody wants is found in its own topic by its id, beside values of a schema that nobody knows.
    let stranger = thing(1_999_999_999, "x");
    let unwanted = Draft::new("c", in_wire_format(id, b"\x02c")).header("type", "lost");
    flow.scope.produce_all("things", [stranger, unwanted.header("id", "c")]);
    let story = run(&setup, "deliveries show c");
    let known = ["eventId", "eventType", "deliveries"].map(|name| story[name].clone());
    assert_eq!(known, [json!("c"), json!("lost"), json!([])]);
}

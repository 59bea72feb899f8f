//! What people do at the command line: topics, checks, subscriptions.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use crate::support::connector::Setup;
use crate::support::record::{Draft, Record};
use crate::support::scope::Scope;
use crate::support::{free_port, reader};

const SOON: Duration = Duration::from_secs(30);

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Asserts the exit code.
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Finds the one line that `check` prints of a subject.
    #[track_caller]
    fn of(&self, subject: &str) -> &str {
        let is_of = |line: &&str| line[9..].starts_with(&format!("{subject}: "));
        let lines: Vec<&str> = self.out.lines().filter(is_of).collect();
        assert_eq!(lines.len(), 1, "one line of {subject} in {self}");
        lines[0]
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, out, err } = self;
        write!(f, "exit code {code}\n-- out\n{out}-- err\n{err}")
    }
}

fn run(setup: &Setup, arguments: &[&str]) -> Said {
    said(setup.run(arguments))
}

fn said(Output { status, stdout, stderr }: Output) -> Said {
    Said {
        code: status.code().expect("nobody kills it"),
        out: String::from_utf8(stdout).expect("it writes text"),
        err: String::from_utf8(stderr).expect("it writes text"),
    }
}

/// A scope with the event topic `orders`, and settings that read it.
fn scope(name: &str, config: &[(&str, &str)]) -> (Scope, Setup) {
    let scope = Scope::new(name);
    scope.create_topic("orders", 1, config);
    let setup = Setup::new(&scope).source(&scope, "orders", "envelope", "");
    (scope, setup)
}

/// A scope in which the own topics exist too.
fn ready(name: &str) -> (Scope, Setup) {
    let (scope, setup) = scope(name, &[]);
    run(&setup, &["topics", "create"]).exits(0);
    (scope, setup)
}

fn topic_config(scope: &Scope, topic: &str, key: &str) -> String {
    let admin: AdminClient<DefaultClientContext> =
        reader::client(scope.bootstrap()).create().expect("the settings of a client are valid");
    let topic = scope.topic(topic);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let options = AdminOptions::new().request_timeout(Some(SOON));
    let described = runtime
        .expect("a runtime without drivers can be built")
        .block_on(admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &options));
    let described = described.expect("the broker answers").remove(0).expect("the topic exists");
    let value = described.get(key).and_then(|entry| entry.value.clone());
    value.unwrap_or_else(|| panic!("{topic} has no {key}"))
}

const OWN: [&str; 12] = [
    "subscriptions",
    "subscription-status",
    "deliver",
    "dead-letter",
    "audit",
    "retry.1s",
    "retry.5s",
    "retry.30s",
    "retry.2m",
    "retry.10m",
    "retry.1h",
    "retry.6h",
];

#[test]
fn missing_topics_are_created_and_others_left_alone() {
    let (scope, setup) = scope("create", &[("max.message.bytes", "12000000")]);
    scope.create_topic("audit", 1, &[("retention.ms", "1234567")]);
    let setup = setup.set("topics", "partitions", "2");
    let line = |word: &str, topic: &str| format!("{word} {}", scope.topic(topic));

    let said = run(&setup, &["topics", "create"]).exits(0);
    let word = |topic: &str| if topic == "audit" { "exists " } else { "created" };
    let expected: Vec<_> = OWN.iter().map(|topic| line(word(topic), topic)).collect();
    assert_eq!(said.lines(), expected);
    let check = |topic, key, value: &str| assert_eq!(topic_config(&scope, topic, key), value);
    check("subscriptions", "cleanup.policy", "compact");
    check("subscription-status", "cleanup.policy", "compact");
    check("audit", "retention.ms", "1234567");
    check("dead-letter", "retention.ms", "7776000000");
    check("retry.6h", "retention.ms", "626400000");
    for topic in ["deliver", "dead-letter", "retry.1s"] {
        check(topic, "cleanup.policy", "delete");
        check(topic, "max.message.bytes", "12065536");
    }

    let again = run(&setup, &["topics", "create"]).exits(0);
    let expected: Vec<_> = OWN.iter().map(|topic| line("exists ", topic)).collect();
    assert_eq!(again.lines(), expected);
}

#[test]
fn topics_are_created_by_several_at_once() {
    let (_scope, setup) = scope("create-race", &[]);
    std::thread::scope(|threads| {
        let create = || run(&setup, &["topics", "create"]).exits(0).lines().len();
        let all: Vec<_> = (0..3).map(|_| threads.spawn(create)).collect();
        for one in all {
            assert_eq!(one.join().expect("it succeeds"), OWN.len());
        }
    });
    let said = run(&setup, &["check"]).exits(0);
    assert!(said.lines().iter().all(|line| line.starts_with("ok ")), "{said}");
}

#[test]
fn a_check_says_what_is_wrong_and_what_to_do() {
    let scope = Scope::new("check");
    scope.create_topic("orders", 1, &[("max.message.bytes", "12000000")]);
    scope.create_topic("subscriptions", 1, &[("cleanup.policy", "delete")]);
    scope.create_topic("retry.1s", 1, &[("retention.ms", "1000")]);
    scope.create_topic("retry.5s", 1, &[("retention.ms", "86400000")]);
    scope.create_topic("audit", 1, &[("cleanup.policy", "compact")]);
    let setup = Setup::new(&scope)
        .source(&scope, "orders", "envelope", "")
        .source(&scope, "payments", "envelope", "");
    let pattern = format!("^{}", scope.prefix().replace('.', "\\\\."));
    let sources = format!(
        r#"[{{ topics = ["{0}", "{1}", "{pattern}none.*", "{pattern}.*"], format = "envelope" }}]"#,
        scope.topic("orders"),
        scope.topic("payments"),
    );
    let setup = setup.env("KAFKA_WEBHOOKS__SOURCES", &sources);

    let said = run(&setup, &["check"]).exits(1);
    let check = |subject: &str, mark: &str, has: &str| {
        let line = said.of(subject);
        assert!(line.starts_with(mark) && line.contains(has), "{has:?} in {line:?}");
    };
    check("settings", "ok ", "");
    check("broker", "ok ", scope.bootstrap());
    check("transactions", "ok ", "permitted");
    check(&scope.topic("orders"), "ok ", "1 partition,");
    check(&scope.topic("payments"), "problem ", "doesn't exist");
    check(&scope.topic("deliver"), "problem ", "create it with `kafka-webhooks topics create`");
    check(&scope.topic("subscriptions"), "problem ", "set cleanup.policy=compact");
    check(&scope.topic("audit"), "problem ", "set cleanup.policy=delete");
    check("sources[0].topics[2]", "warning ", "matches no topic yet");
    check("sources[0].topics[3]", "problem ", "which is no event topic");
    let retry = |tier: &str, mark: &str| {
        let topic = scope.topic(tier);
        let lines: Vec<_> = said.lines().into_iter().filter(|l| l.contains(&topic)).collect();
        let has = |mark: &str, what: &str| {
            let found = lines.iter().any(|line| line.starts_with(mark) && line.contains(what));
            assert!(found, "{mark} {what} in {lines:?}");
        };
        has(mark, "set retention.ms=");
        has("warning ", "set max.message.bytes to 12000000 or more");
    };
    retry("retry.1s", "problem ");
    retry("retry.5s", "warning ");
}

#[test]
fn a_broker_that_is_away_is_named() {
    let (_scope, setup) = scope("unreachable", &[]);
    let nowhere = format!("127.0.0.1:{}", free_port());
    let setup = setup.set("kafka", "bootstrap_servers", &format!("{nowhere:?}"));
    let said = run(&setup, &["check"]).exits(1);
    let line = said.of("broker");
    assert!(line.starts_with("problem ") && line.contains(&nowhere), "{line}");
    assert!(
        line.contains("Connection refused") && line.contains("check kafka.bootstrap"),
        "{line}"
    );
    let said = run(&setup, &["subscriptions", "list"]).exits(1);
    assert!(said.err.contains(&nowhere) && said.err.lines().count() == 1, "{said}");
}

#[test]
fn a_broker_without_tls_is_told_from_one_that_is_away() {
    let (_scope, setup) = scope("tls", &[]);
    let setup = setup.env("KAFKA_WEBHOOKS__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SSL");
    let said = run(&setup, &["check"]).exits(1);
    let line = said.of("broker");
    assert!(line.starts_with("problem  broker: no TLS connection to the broker ("), "{line}");
    assert!(line.ends_with("; check security.protocol and ssl.* in [kafka.properties]"), "{line}");
}

#[test]
fn bad_settings_are_all_told() {
    let (_scope, setup) = scope("bad-settings", &[]);
    let setup = setup
        .set("retry", "jitter", "7")
        .set("delivery", "timeuot", r#""5s""#)
        .env("KAFKA_WEBHOOKS__LEDGER__COMMIT_INTERVAL", "never");
    for command in [&["check"][..], &["topics", "create"], &["subscriptions", "list"]] {
        let said = run(&setup, command).exits(64);
        let starts: Vec<_> =
            said.err.lines().map(|line| line.split(": ").nth(1).unwrap_or_default()).collect();
        let keys = ["retry.jitter", "ledger.commit_interval", "delivery.timeuot"];
        assert_eq!(starts, keys, "{said}");
        assert_eq!(said.out, "");
    }
}

#[test]
fn a_property_that_librdkafka_refuses_is_a_bad_setting() {
    let (_scope, setup) = scope("bad-property", &[]);
    let setup = setup.env("KAFKA_WEBHOOKS__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "hunter2");
    let said = run(&setup, &["subscriptions", "list"]).exits(64);
    assert!(said.err.contains("kafka.properties.\"security.protocol\""), "{said}");
    assert!(!said.err.contains("hunter2"), "{said}");
}

const GOOD: [&str; 4] = ["--url", "https://u:pw@example.com/a?token=t0p", "--event", "order.*"];

#[test]
fn a_subscription_is_created_shown_and_deleted() {
    let (scope, setup) = ready("round-trip");
    let create = [&["subscriptions", "create", "crm"], &GOOD[..], &["--schedule", "5s,2m"]];
    let said = run(&setup, &create.concat()).exits(0);
    let secret = said.lines()[1].strip_prefix("secret whsec_").expect("it is printed").to_owned();
    assert_eq!((said.lines()[0], secret.len()), ("created crm", 44));
    let stored = scope.read_committed("subscriptions").remove(0);
    assert_eq!(stored.json()["secret"], format!("whsec_{secret}"));
    assert_eq!(stored.json()["retry"], json!({"schedule": ["5s", "2m"]}));

    let again = run(&setup, &create.concat()).exits(1);
    assert!(again.err.contains("crm exists already"), "{again}");

    let shown = run(&setup, &["subscriptions", "get", "crm"]).exits(0);
    assert_eq!(shown.json()["url"], "https://***@example.com/a?***");
    assert_eq!(shown.json()["secret"], "***");
    let table = run(&setup, &["subscriptions", "list"]).exits(0);
    assert_eq!(
        table.out,
        "ID   URL                    EVENTS   STATE\n\
         crm  https://example.com/a  order.*  active\n"
    );
    let list = run(&setup, &["subscriptions", "list", "--output", "json"]).exits(0);
    assert_eq!(list.json(), json!([shown.json()]));
    for said in [&shown, &table, &list] {
        assert!(!said.out.contains(&secret) && !said.out.contains("t0p"), "{said}");
    }

    let deleted = run(&setup, &["subscriptions", "delete", "crm"]).exits(0);
    assert_eq!(deleted.out, "deleted crm\n");
    let records = scope.read_committed("subscriptions");
    let last = records.last().expect("two were written");
    assert_eq!((last.value.as_deref(), last.partition), (None, stored.partition));
    for command in ["get", "delete"] {
        let said = run(&setup, &["subscriptions", command, "crm"]).exits(1);
        assert!(said.err.contains("no subscription has the id crm"), "{said}");
    }
    assert_eq!(run(&setup, &["subscriptions", "list", "--output", "json"]).json(), json!([]));
}

#[test]
fn a_bad_definition_is_refused_and_nothing_is_written() {
    let (scope, setup) = ready("refused");
    let check = |arguments: &[&str], problems: &[&str]| {
        let said = run(&setup, &[&["subscriptions", "create"], arguments].concat()).exits(1);
        assert_eq!(said.err.lines().collect::<Vec<_>>(), problems);
    };
    check(
        &["crm", "--url", "ftp://example.com", "--event", "a..b", "--secret", "whsec_hunter2"],
        &[
            "crm: url: must start with https: or http:",
            "crm: events[0]: has an empty segment",
            "crm: secret: must have base64 of 24 to 64 bytes after `whsec_`",
        ],
    );
    check(
        &["c r m", "--url", "https://example.com", "--event", "a"],
        &["\"c r m\": a subscription id has 1 to 64 of the characters A-Z a-z 0-9 _ -"],
    );
    check(
        &["crm", "--url", "https://example.com", "--event", "a", "--secret", "***"],
        &["crm: secret: is what is shown instead of a secret: write the secret itself"],
    );
    assert_eq!(scope.read_committed("subscriptions"), []);
}

fn apply(setup: &Setup, folder: &Path, text: &str) -> Said {
    let file = folder.join("subscriptions.json");
    std::fs::write(&file, text).expect("a temporary folder is writable");
    let file = file.to_str().expect("its name is text");
    run(setup, &["subscriptions", "apply", "-f", file])
}

#[test]
fn definitions_are_applied_when_all_are_good() {
    let (scope, setup) = ready("apply");
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let one = |id: &str, url: &str| json!({"id": id, "url": url, "events": ["a"], "secret": "s"});
    let good = [one("a", "https://a.example"), one("b", "https://b.example")];
    let mixed = json!([good[0], {"id": "b", "url": "https://b.example", "events": [7]}, good[0]]);
    let said = apply(&setup, folder.path(), &mixed.to_string()).exits(1);
    for problem in ["b: events[0]: must be a string", "b: secret: is missing", "a: stands in "] {
        assert!(said.err.contains(problem), "{problem} in {said}");
    }
    assert_eq!(scope.read_committed("subscriptions"), []);

    let said = apply(&setup, folder.path(), &good[0].to_string()).exits(0);
    assert_eq!(said.out, "created a\n");
    let lines = format!("{}\n{}\n", one("a", "https://other.example"), good[1]);
    let said = apply(&setup, folder.path(), &lines).exits(0);
    assert_eq!(said.lines(), ["updated a", "created b"]);
    let said = apply(&setup, folder.path(), &json!(good).to_string()).exits(0);
    assert_eq!(said.lines(), ["updated a", "unchanged b"]);
    assert_eq!(scope.read_committed("subscriptions").len(), 4);
}

#[test]
fn definitions_come_from_standard_input_too() {
    let (_scope, setup) = ready("piped");
    let yaml = "id: a\nurl: https://a.example\nevents: [a]\nsecret: s\n";
    let output = setup.run_with(&["subscriptions", "apply", "-f", "-"], yaml);
    assert_eq!(said(output).exits(0).lines(), ["created a"]);
}

#[test]
fn invalid_definitions_of_others_are_listed_with_their_reason() {
    let (scope, setup) = ready("invalid");
    let bad = json!({"url": "https://example.com", "events": ["a"], "secert": "hunter2"});
    scope.produce("subscriptions", "crm", bad.to_string(), &[]);
    scope.produce("subscriptions", "not an id", "{}", &[]);
    let said = run(&setup, &["subscriptions", "list"]).exits(0);
    let line = said.lines()[1];
    assert!(
        line.starts_with("crm  https://example.com/  -       invalid: secret: is miss"),
        "{said}"
    );
    assert!(said.err.contains("is no subscription id"), "{said}");
    let shown = run(&setup, &["subscriptions", "get", "crm"]).exits(0);
    assert_eq!(shown.json()["secert"], "***");
    assert_eq!(shown.json()["invalid"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_key_in_two_partitions_has_one_definition_and_goes_altogether() {
    let (scope, setup) = ready("two-partitions");
    let definition = |url: &str| json!({"url": url, "events": ["a"], "secret": "s"}).to_string();
    for (partition, url) in [(0, "https://old.example"), (1, "https://new.example")] {
        let draft = Draft::new("crm", definition(url)).partition(partition);
        scope.produce_all("subscriptions", [draft]);
    }
    let shown = run(&setup, &["subscriptions", "get", "crm"]).exits(0);
    assert_eq!(shown.json()["url"], "https://new.example/");
    run(&setup, &["subscriptions", "delete", "crm"]).exits(0);
    let records = scope.read_committed("subscriptions");
    let tombstones = records.iter().filter(|record| record.value.is_none());
    assert_eq!(tombstones.map(|record: &Record| record.partition).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn commands_ask_for_topics_that_are_missing() {
    let (_scope, setup) = scope("no-topic", &[]);
    let create = [&["subscriptions", "create", "crm"], &GOOD[..]].concat();
    let said = run(&setup, &create).exits(1);
    assert!(said.err.contains("doesn't exist: create it with `kafka-webhooks topics"), "{said}");
}

#[test]
fn every_field_that_create_has_a_flag_for_is_written() {
    let (scope, setup) = ready("flags");
    let create = |id: &str, more: &[&str]| {
        run(&setup, &[&["subscriptions", "create", id, "--secret", "s"], more].concat())
    };
    let url = ["--url", "https://example.com/hooks"];
    let flags = [
        "--event",
        "order.*",
        "--event",
        "payment.failed",
        "--tenant",
        "acme",
        "--topic",
        "orders",
        "--topic",
        "payments",
        "--filter",
        "data.amount > 1",
        "--description",
        "CRM",
        "--payload",
        "raw",
        "--signature",
        "standard",
        "--signature",
        "github",
        "--header",
        "x-env=prod",
        "--header",
        "x-sum=1=1",
        "--timeout",
        "5s",
        "--schedule",
        "5s,2m",
        "--no-retry-on",
        "400,422",
        "--max-in-flight",
        "3",
        "--inactive",
    ];
    assert_eq!(create("all", &[&url[..], &flags].concat()).exits(0).out, "created all\n");
    let written = |id: &str| {
        let records = scope.read_committed("subscriptions");
        records.iter().find(|record| record.key_text() == id).expect("it was created").json()
    };
    assert_eq!(
        written("all"),
        json!({
            "url": "https://example.com/hooks", "events": ["order.*", "payment.failed"],
            "secret": "s", "tenant": "acme", "topics": ["orders", "payments"],
            "filter": "data.amount > 1", "description": "CRM", "payload": "raw",
            "signatures": ["standard", "github"], "headers": {"x-env": "prod", "x-sum": "1=1"},
            "timeout": "5s", "retry": {"schedule": ["5s", "2m"]}, "noRetryOn": [400, 422],
            "maxInFlight": 3, "active": false,
        })
    );
    create("once", &[&url[..], &["--event", "a", "--schedule", ""]].concat()).exits(0);
    assert_eq!(written("once")["retry"], json!({"schedule": []}));
    create("none", &[&url[..], &["--event", "a", "--header", "x-env"]].concat()).exits(2);
    create("none", &[&url[..], &["--event", "a", "--max-in-flight", "many"]].concat()).exits(2);
    create("none", &url).exits(2);
    create("none", &["--event", "a"]).exits(2);
    assert_eq!(scope.read_committed("subscriptions").len(), 2);
}

#[test]
fn a_list_is_narrowed_by_state_tenant_and_event_type() {
    let (scope, setup) = ready("narrowed");
    let states = ["active", "disabled", "failing", "inactive", "invalid"];
    for id in states {
        let definition = match id {
            "active" => json!({"events": ["order.*"], "tenant": "acme"}),
            "disabled" => json!({"events": ["order.created"], "tenant": "other"}),
            "failing" => json!({"events": ["*"], "tenant": "acme"}),
            "inactive" => json!({"events": ["payment.*.failed"], "active": false}),
            _ => json!({"events": [], "tenant": "acme"}),
        };
        let mut whole = json!({"url": "https://example.com", "secret": "s"});
        let fields = whole.as_object_mut().expect("an object");
        fields.extend(definition.as_object().expect("an object").clone());
        scope.produce("subscriptions", id, whole.to_string(), &[]);
    }
    let definitions = scope.read_committed("subscriptions");
    let status = |id: &str, state: &str, behind: i64| {
        let definition = definitions.iter().find(|record| record.key_text() == id);
        let offset = definition.expect("it is there").offset + behind;
        let status = json!({"state": state, "consecutiveDeadLetters": 10, "failingSince": null,
            "reason": "dead-letters:10", "since": "2026-01-15T10:30:00Z", "definitionOffset": offset});
        scope.produce("subscription-status", id, status.to_string(), &[]);
    };
    status("disabled", "disabled", 0);
    status("failing", "failing", 0);
    // What speaks of another definition says nothing.
    status("active", "disabled", 100);
    let check = |arguments: &[&str], expected: &[&str]| {
        let list = [&["subscriptions", "list", "--output", "json"], arguments].concat();
        let list = run(&setup, &list).exits(0).json();
        let ids: Vec<_> = list.as_array().expect("a list").iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, expected, "{arguments:?}");
        let table = run(&setup, &[&["subscriptions", "list"], arguments].concat()).exits(0);
        let rows = table.lines().into_iter().skip(1).map(|row| row.split(' ').next().unwrap_or(""));
        assert_eq!(rows.collect::<Vec<_>>(), expected, "{arguments:?}");
    };
    check(&[], &states);
    for state in states {
        check(&["--state", state], &[state]);
    }
    check(&["--state", "failing", "--state", "invalid"], &["failing", "invalid"]);
    // A definition that can't be used is of no tenant, and wants no event.
    check(&["--tenant", "acme"], &["active", "failing"]);
    check(&["--tenant", "nobody"], &[]);
    check(&["--event", "order.created"], &["active", "disabled", "failing"]);
    check(&["--event", "payment.eu.failed"], &["failing", "inactive"]);
    check(&["--event", "order.created", "--tenant", "acme", "--state", "failing"], &["failing"]);
    run(&setup, &["subscriptions", "list", "--state", "gone"]).exits(2);
}

#[test]
fn a_file_that_is_broken_prunes_nothing() {
    let (scope, setup) = ready("prune-broken");
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let one =
        |id: &str| json!({"id": id, "url": "https://a.example", "events": ["a"], "secret": "s"});
    apply(&setup, folder.path(), &json!([one("a"), one("b")]).to_string()).exits(0);
    let before = scope.read_committed("subscriptions");
    let path = folder.path().to_str().expect("its name is text");
    let prune = ["subscriptions", "apply", "--prune", "-f", path];
    let good = one("a").to_string();
    // A whole definition stands before each fault, and so would be all that is kept.
    for (name, broken, problem) in [
        ("z.json", format!("{good}\n{{"), "not JSON, at line 2"),
        ("z.yaml", "id: b\nurl: [".to_owned(), "neither JSON nor YAML"),
        ("z.json", format!("[{good}, {{\"url\": 1}}]"), "id: is missing"),
        ("z.json", format!("{good}{}", json!({"id": "b", "url": "x"})), "b: events: is missing"),
        ("z.json", format!("{good}{good}"), "a: stands in"),
        ("z.json", String::new(), "would delete every subscription"),
    ] {
        let keep = folder.path().join("subscriptions.json");
        let _ = std::fs::remove_file(keep);
        std::fs::write(folder.path().join(name), broken).expect("it is writable");
        let said = run(&setup, &prune).exits(1);
        assert!(said.err.contains(problem) && said.out.is_empty(), "{problem} in {said}");
        std::fs::remove_file(folder.path().join(name)).expect("it was just written");
    }
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().expect("its name is text");
    let said = run(&setup, &["subscriptions", "apply", "--prune", "-f", nowhere]).exits(1);
    assert!(said.err.contains("can't be read"), "{said}");
    assert_eq!(scope.read_committed("subscriptions"), before);
}

#[test]
fn a_test_without_a_connector_ends_in_time_and_says_what_is_missing() {
    let (scope, setup) = ready("test-alone");
    run(&setup, &[&["subscriptions", "create", "crm"], &GOOD[..]].concat()).exits(0);
    let begun = Instant::now();
    let said = run(&setup, &["subscriptions", "test", "crm", "--timeout", "1s"]).exits(1);
    // A second of waiting; the bound leaves room for a busy machine.
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!((said.out.as_str(), said.err.lines().count()), ("", 1), "{said}");
    let group = scope.group();
    let expected = format!("within 1s: is a connector of the group {group} running?");
    assert!(said.err.trim_end().ends_with(&expected), "{said}");
}

//! What receivers have: published libraries verify what the connector sends, live, and so do the commands for receivers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::fixture::{Fixture, SECRET, SOON, told};
use crate::support::free_port;
use crate::support::libraries::{Language, Snippet};
use crate::support::process::Process;
use crate::support::receiver::Receiver;

#[path = "../receivers/genuine.rs"]
mod genuine;

const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Starts the README's receivers, each with both libraries where there are two.
fn receivers() -> Vec<(String, Snippet)> {
    let kinds = [
        (Language::Python, "standardwebhooks"),
        (Language::Python, "svix"),
        (Language::Node, "standardwebhooks"),
        (Language::Node, "svix"),
        (Language::Go, "standardwebhooks"),
    ];
    let there = kinds.into_iter().filter(|(language, _)| language.is_there());
    let start = |(language, library): (Language, &str)| {
        (format!("{language:?}-{library}"), language.start(library, SECRET))
    };
    there.map(start).collect()
}

#[test]
fn published_libraries_verify_what_is_sent() {
    let receivers = receivers();
    let flow = Fixture::new("libraries");
    let mut expected = Vec::new();
    for (name, receiver) in &receivers {
        let subscribe = |kind: &str, more| {
            flow.subscribe(&format!("{name}-{kind}"), &receiver.url(), &["*"], more);
        };
        subscribe("good", json!({}));
        // The receiver has the older of two secrets.
        let both = json!([{"key": OTHER}, {"key": SECRET, "expiresAt": "2100-01-01T00:00:00Z"}]);
        subscribe("rotated", json!({"secret": null, "secrets": both}));
        subscribe("forged", json!({"secret": OTHER, "noRetryOn": [401]}));
        for (kind, end) in [
            ("good", "delivered ok"),
            ("rotated", "delivered ok"),
            ("forged", "dead-lettered http-status"),
        ] {
            expected.push(format!("{name}-{kind} evt_1 #1 {end}"));
        }
    }
    let _connector = flow.start();
    let value = r#"{"id":"evt_1","event":"order.created","data":{"name":"Müller €","n":1.0}}"#;
    flow.scope.produce("orders", "k", value, &[]);
    let mut found: Vec<_> = flow.audit(expected.len()).iter().map(told).collect();
    found.sort();
    expected.sort();
    let logs = || receivers.iter().map(|(name, it)| format!("{name}: {}", it.log()));
    assert_eq!(found, expected, "{}", logs().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_readmes_receiver_in_rust_and_the_command_verify_what_is_sent() {
    assert!(include_str!("../../README.md").contains(include_str!("../receivers/genuine.rs")));
    let receiver = Receiver::always(200);
    let flow = Fixture::new("verify");
    let schemes = json!({"signatures": ["standard", "x-webhook", "github", "stripe"]});
    flow.subscribe("crm", &receiver.url("/"), &["*"], schemes);
    let _connector = flow.start();
    flow.event("evt_1", "order.created");
    let request = &receiver.wait_count(SOON, 1)[0];
    assert!(genuine::is_genuine(SECRET, &request.headers, &request.body));
    assert!(!genuine::is_genuine(OTHER, &request.headers, &request.body));

    let [id, timestamp] = ["webhook-id", "webhook-timestamp"].map(|name| request.header(name));
    let standard = ["--id", id, "--timestamp", timestamp];
    let check = |flags: &[&str], body: &[u8], expect: (i32, &str)| {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_kafka-webhooks"))
            .arg("verify")
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the program");
        let mut stdin = verify.stdin.take().expect("it is piped");
        // It may end before it reads.
        let _ = stdin.write_all(body);
        drop(stdin);
        let output = verify.wait_with_output().expect("it ends");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert_eq!(output.status.code(), Some(expect.0), "{told}");
        assert!(told.contains(expect.1), "{told}");
    };
    for (scheme, name, more) in [
        ("standard", "webhook-signature", &standard[..]),
        ("x-webhook", "x-webhook-signature", &[]),
        ("github", "x-hub-signature-256", &[]),
        ("stripe", "stripe-signature", &[]),
    ] {
        let given = ["--scheme", scheme, "--signature", request.header(name)];
        let flags = |secrets: &[&str]| {
            let secrets = secrets.iter().flat_map(|secret| ["--secret", *secret]);
            given
                .into_iter()
                .chain(more.iter().copied())
                .chain(secrets)
                .map(str::to_owned)
                .collect()
        };
        let run = |secrets: &[&str], body: &[u8], expect| {
            let flags: Vec<String> = flags(secrets);
            check(&flags.iter().map(String::as_str).collect::<Vec<_>>(), body, expect);
        };
        run(&[SECRET], &request.body, (0, "verified"));
        run(&[OTHER, SECRET], &request.body, (0, "verified"));
        run(&[OTHER], &request.body, (1, "rejected: no signature matches"));
        run(&[SECRET], b"{}", (1, "rejected: no signature matches"));
    }
    let signature = request.header("webhook-signature");
    let old = ["--secret", SECRET, "--id", id, "--timestamp", "1", "--signature", signature];
    check(&old, &request.body, (1, "rejected: the timestamp is too old"));
    check(&["--secret", SECRET, "--signature", signature], b"", (2, "--id"));
}

#[test]
fn the_listening_command_verifies_and_answers_as_it_is_told() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let address = format!("127.0.0.1:{}", free_port());
    let mut listen = Command::new(env!("CARGO_BIN_EXE_kafka-webhooks"));
    listen.args([
        "listen",
        "--bodies",
        "--address",
        &address,
        "--secret",
        OTHER,
        "--secret",
        SECRET,
        "--signature-header",
        "stripe=acme-signature",
    ]);
    let log = folder.path().join("listen.log");
    let listen = Process::start("listen", &mut listen, &log, folder.path());
    let flow = Fixture::new("listen");
    let subscribe = |id: &str, query: &str, more| {
        flow.subscribe(id, &format!("http://{address}/{id}?{query}"), &["*"], more);
    };
    subscribe("fails-once", "fail=1&retry-after=1", json!({"retry": {"schedule": ["0s"]}}));
    subscribe("gone", "status=410", json!({}));
    subscribe("redirects", "redirect=http://127.0.0.1:9/", json!({"noRetryOn": [307]}));
    subscribe("hangs", "hang", json!({"timeout": "300ms", "retry": {"schedule": []}}));
    subscribe("forged", "", json!({"secret": "another", "noRetryOn": [401]}));
    let own = json!([{"scheme": "stripe", "header": "acme-signature"}]);
    subscribe("names", "", json!({ "signatures": own }));
    let _connector = flow.start();
    flow.event("evt_1", "order.created");
    let mut found: Vec<_> = flow.audit(7).iter().map(told).collect();
    found.sort();
    let expected = [
        "fails-once evt_1 #1 retrying http-status",
        "fails-once evt_1 #2 delivered ok",
        "forged evt_1 #1 dead-lettered http-status",
        "gone evt_1 #1 dead-lettered gone",
        "hangs evt_1 #1 dead-lettered exhausted",
        "names evt_1 #1 delivered ok",
        "redirects evt_1 #1 dead-lettered http-status",
    ];
    assert_eq!(found, expected, "{}", listen.log());
    let log = listen.log();
    for line in [
        "/fails-once evt_1 order.created attempt 2, ",
        "signature verified -> 200",
        "signature rejected (no signature matches) -> 401",
        "signature verified -> nothing",
        r#""data":{"order":"evt_1"}"#,
    ] {
        assert!(log.contains(line), "{line}:\n{log}");
    }
}

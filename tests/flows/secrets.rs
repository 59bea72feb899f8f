//! Secrets of subscriptions: encrypted where they stand, whatever command writes them, and changed while events go on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SECRET, SOON};
use crate::subscriptions::{NEW, OLD, run, text, verifies, with_keys};
use crate::support::connector::Setup;
use crate::support::exchange::{Answer, Seen};
use crate::support::receiver::Receiver;

/// Another secret than [`SECRET`].
const NEXT: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Has the keys stand in the settings file.
fn keys_in_file(setup: Setup, keys: &[&str]) -> Setup {
    setup.set("encryption", "keys", &format!("[{}]", keys.join(", ")))
}

/// Applies definitions from standard input.
fn apply(setup: &Setup, definitions: &[Value]) -> String {
    let output =
        setup.run_with(&["subscriptions", "apply", "-f", "-"], &json!(definitions).to_string());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns the last definition of a subscription as it stands in the topic.
fn stored(flow: &Fixture, id: &str) -> Value {
    let records = flow.scope.read_committed("subscriptions");
    records.iter().rfind(|record| record.key_text() == id).expect("it is there").json()
}

#[test]
fn every_credential_is_encrypted_in_the_topic_and_used_all_the_same() {
    let receiver = Receiver::start(|seen, _| match seen.path.as_str() {
        "/token" => Answer::status(200)
            .header("content-type", "application/json")
            .body(r#"{"access_token":"fetched","token_type":"bearer","expires_in":3600}"#),
        _ => Answer::status(200),
    });
    let flow = Fixture::with("credentials", |setup| {
        keys_in_file(setup, &[OLD]).set("encryption", "required", "true")
    });
    let define = |id: &str, auth: Value| {
        let url = receiver.url(&format!("/{id}"));
        json!({"id": id, "url": url, "events": ["*"], "auth": auth,
            "secrets": [{"key": SECRET}, {"key": NEXT, "expiresAt": "2999-01-01T00:00:00Z"}]})
    };
    let pem =
        |name: &str, body: &str| format!("-----BEGIN {name}-----\n{body}\n-----END {name}-----\n");
    let mut mtls = define(
        "mtls",
        json!({"type": "mtls", "certificate": pem("CERTIFICATE", "MIIB"), "key": pem("PRIVATE KEY", "hunter2hunter2KK")}),
    );
    mtls["active"] = false.into();
    let definitions = [
        define("basic", json!({"type": "basic", "username": "u", "password": "hunter2-basic"})),
        define("bearer", json!({"type": "bearer", "token": "hunter2-bearer"})),
        define("header", json!({"type": "header", "name": "x-key", "value": "hunter2-header"})),
        mtls,
        define(
            "oauth2",
            json!({"type": "oauth2", "tokenUrl": receiver.url("/token"), "clientId": "c", "clientSecret": "hunter2-client"}),
        ),
    ];
    apply(&flow.setup, &definitions);
    for (id, field) in [
        ("basic", "password"),
        ("bearer", "token"),
        ("header", "value"),
        ("mtls", "key"),
        ("oauth2", "clientSecret"),
    ] {
        let stored = stored(&flow, id);
        let secrets =
            [&stored["auth"][field], &stored["secrets"][0]["key"], &stored["secrets"][1]["key"]];
        for secret in secrets {
            let text = secret.as_str().unwrap_or_default();
            assert!(text.starts_with("enc:v1:old:"), "{stored}");
        }
        let stored = stored.to_string();
        let plain = ["hunter2", SECRET, NEXT];
        assert!(plain.iter().all(|secret| !stored.contains(secret)), "{stored}");
    }
    assert_eq!(apply(&flow.setup, &definitions).matches("unchanged").count(), definitions.len());

    let connector = flow.start();
    flow.event("evt_1", "a");
    let requests = receiver.wait_count(SOON, 5);
    let of = |path: &str| requests.iter().find(|seen| seen.path == path).expect("it came").clone();
    let authorization = |path: &str| of(path).header("authorization").to_owned();
    // printf 'u:hunter2-basic' | base64, and the same of c:hunter2-client
    assert_eq!(authorization("/basic"), "Basic dTpodW50ZXIyLWJhc2lj");
    assert_eq!(authorization("/bearer"), "Bearer hunter2-bearer");
    assert_eq!(of("/header").header("x-key"), "hunter2-header");
    assert_eq!(authorization("/token"), "Basic YzpodW50ZXIyLWNsaWVudA==");
    assert_eq!(authorization("/oauth2"), "Bearer fetched");
    for request in requests.iter().filter(|seen| seen.path != "/token") {
        assert!(verifies(request, SECRET) && verifies(request, NEXT), "{}", request.path);
    }
    flow.audit(4);
    let told: Vec<_> =
        flow.scope.read_committed("audit").iter().map(|it| it.value_text()).collect();
    let told = told.concat() + &connector.log();
    assert!(!told.contains("hunter2") && !told.contains(SECRET), "{told}");
}

#[test]
fn commands_change_encrypted_definitions_and_leave_them_encrypted() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("sealed-edits", |setup| keys_in_file(setup, &[OLD]));
    let url = receiver.url("/");
    run(&flow.setup, &["create", "crm", "--url", &url, "--event", "*", "--secret", SECRET]);
    let check = |key: &str| {
        let stored = stored(&flow, "crm");
        let list = stored["secrets"].as_array().cloned().unwrap_or_default();
        let secrets: Vec<_> =
            list.iter().map(|it| &it["key"]).chain(stored.get("secret")).collect();
        assert!(!secrets.is_empty());
        for secret in secrets {
            let text = secret.as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("enc:v1:{key}:")), "{stored}");
        }
        stored
    };
    run(&flow.setup, &["disable", "crm"]);
    assert_eq!(check("old")["active"], false);
    run(&flow.setup, &["enable", "crm"]);
    assert_eq!(check("old").get("active"), None);
    run(&flow.setup, &["rotate-secret", "crm", "--secret", NEXT]);
    let rotated = check("old");
    let expires = &rotated["secrets"][1]["expiresAt"];

    // What is the same when it is decrypted is not written again; what differs is encrypted.
    let mut definition = json!({"id": "crm", "url": url, "events": ["*"],
        "secrets": [{"key": NEXT}, {"key": SECRET, "expiresAt": expires}]});
    assert_eq!(apply(&flow.setup, std::slice::from_ref(&definition)), "unchanged crm\n");
    definition["timeout"] = "7s".into();
    assert_eq!(apply(&flow.setup, std::slice::from_ref(&definition)), "updated crm\n");
    assert_eq!(check("old")["timeout"], "7s");

    // Without its key nothing can be changed, and it is said which one is missing.
    let before = flow.scope.read_committed("subscriptions").len();
    let other = keys_in_file(flow.setup.clone(), &[NEW]);
    for arguments in [&["enable", "crm"][..], &["rotate-secret", "crm"], &["re-encrypt"]] {
        let refused = other.run(&[&["subscriptions"], arguments].concat());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let expected = "is encrypted with the key old, which is not in encryption.keys";
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(flow.scope.read_committed("subscriptions").len(), before);

    // Every command that writes uses the newest key.
    let both = keys_in_file(flow.setup.clone(), &[NEW, OLD]);
    run(&both, &["enable", "crm"]);
    check("new");
    let mut connector = with_keys(flow.setup.clone(), &[NEW]).start();
    connector.wait_ready(SOON);
    flow.event("evt_1", "a");
    let request = receiver.wait_count(SOON, 1)[0].clone();
    assert!(verifies(&request, SECRET) && verifies(&request, NEXT));
}

/// The second in which an attempt was signed.
fn signed_at(request: &Seen) -> i64 {
    request.header("webhook-timestamp").parse().expect("seconds")
}

#[test]
fn receivers_with_either_secret_accept_during_the_overlap_and_not_the_old_one_after_it() {
    let verifying = |secret: &'static str| {
        Receiver::start(move |seen, _| {
            Answer::status(if verifies(seen, secret) { 200 } else { 401 })
        })
    };
    let (old, new) = (verifying(SECRET), verifying(NEXT));
    let flow = Fixture::with("overlap", |setup| setup.set("disable", "after_dead_letters", "0"));
    for (id, receiver) in [("old", &old), ("new", &new)] {
        flow.subscribe(id, &receiver.url("/"), &["*"], json!({"retry": {"schedule": []}}));
    }
    let _connector = flow.start();
    let expires = ["old", "new"].map(|id| {
        run(&flow.setup, &["rotate-secret", id, "--secret", NEXT, "--overlap", "10s"]);
        let expires = stored(&flow, id)["secrets"][1]["expiresAt"].clone();
        let expires: Timestamp = expires.as_str().and_then(|it| it.parse().ok()).expect("a time");
        expires.as_second()
    });
    let deadline = Instant::now() + SOON + Duration::from_secs(10);
    let mut sent = 0;
    loop {
        flow.event(&format!("evt_{sent}"), "a");
        sent += 1;
        let seen = [old.wait_count(SOON, sent), new.wait_count(SOON, sent)];
        let last = seen
            .iter()
            .zip(expires)
            .all(|(seen, expires)| seen.last().is_some_and(|last| signed_at(last) > expires + 1));
        if last {
            break;
        }
        assert!(Instant::now() < deadline, "the old secret never expires");
    }
    flow.wait_settled(i64::try_from(sent).expect("so few"));

    let [old_expires, new_expires] = expires;
    let status = |seen: &Seen| seen.answer.get().copied();
    let in_force = |seen: &&std::sync::Arc<Seen>| verifies(seen, NEXT);
    let (mut during, mut after) = (HashSet::new(), 0);
    for seen in old.requests().iter().filter(in_force) {
        if signed_at(seen) < old_expires {
            assert_eq!(status(seen), Some(200), "{} in the overlap", seen.webhook_id());
            during.insert(seen.webhook_id().to_owned());
        } else if signed_at(seen) > old_expires {
            assert_eq!(status(seen), Some(401), "{} after it", seen.webhook_id());
            after += 1;
        }
    }
    assert!(after > 0, "nothing came after the overlap");
    let (mut both, mut later) = (0, 0);
    for seen in new.requests().iter().filter(in_force) {
        assert_eq!(status(seen), Some(200), "{}", seen.webhook_id());
        both += usize::from(during.contains(seen.webhook_id()));
        later += usize::from(signed_at(seen) > new_expires);
    }
    assert!(both > 0, "no event reached both in the overlap");
    assert!(later > 0, "nothing came after the overlap");
    // Before the rotation was in force, the receiver with only the new secret refused.
    let refused = new.requests().iter().filter(|seen| status(seen) == Some(401)).count();
    println!("{both} events of the overlap were taken by both, {refused} before it by one");
}

mod answers;
mod credentials;
mod egress;
mod failures;
mod hostile;
mod http2;
mod memory;
mod permission;
mod proxy;
mod requests;
mod server;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::domain::decode::tests::{event, record, source};
use crate::domain::source::Format;
use crate::domain::subscription::HttpUrls;
use crate::domain::subscription::tests::{rules, subscription};

/// What stands in no text about a request.
const SECRET: &str = "hunter2";
const EVENT: &str = r#"{"id":"evt_1","event":"order.created","data":{"total": 1.0}}"#;
/// Bounds every test; nothing waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    Settings {
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(10),
        max_body: 1024,
        max_in_flight: 16,
        egress: rules(HttpUrls::Allowed).egress,
        proxy: None,
        ca: None,
    }
}

fn sender() -> Sender {
    Sender::new(&settings()).expect("the settings are good")
}

/// Returns a sender that trusts this certificate only.
fn trusting(certificate: reqwest::Certificate) -> Sender {
    let client = client::builder(&settings(), Lookup::System).expect("the settings are good");
    let client = client.tls_certs_only([certificate]);
    Sender::with_client(&settings(), client).expect("the certificate is good")
}

/// The time of all attempts: 2025-01-15T10:30:00Z.
fn now() -> Timestamp {
    Timestamp::from_second(1_736_937_000).expect("in range")
}

/// Returns a URL whose every part but host and port is a secret.
fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://{SECRET}:{SECRET}@127.0.0.1:{port}/hooks?token={SECRET}")
}

/// Builds the second attempt at an event, to a subscription that `changes` define beside its secret.
fn attempt(value: &str, headers: &[(&str, &str)], changes: &Value) -> Attempt {
    let event = event(source(Format::Envelope), record(value, headers));
    Attempt::of_none(event, subscription("crm", changes), 2)
}

async fn send(sender: &Sender, attempt: &Attempt) -> Attempted {
    let attempted = tokio::time::timeout(PATIENCE, sender.send(attempt, now())).await;
    attempted.expect("an attempt ends with its deadline")
}

/// Sends the usual event to a URL.
async fn send_to(sender: &Sender, url: &str) -> Attempted {
    send(sender, &attempt(EVENT, &[], &json!({ "url": url }))).await
}

#[test]
fn settings_that_contradict_each_other_make_no_sender() {
    let check = |adjust: fn(&mut Settings)| {
        let mut settings = settings();
        adjust(&mut settings);
        assert!(matches!(Sender::new(&settings), Err(SetupError::Settings(_))), "{settings:?}");
    };
    check(|settings| settings.timeout = Duration::from_secs(9));
    check(|settings| settings.connect_timeout = Duration::ZERO);
    check(|settings| settings.max_body = 0);
    check(|settings| settings.max_in_flight = 0);
}

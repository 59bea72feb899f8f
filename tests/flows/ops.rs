//! The ops port: that its figures are those of the run, that it only answers, and that it tells no secret.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SECRET, SOON};
use crate::page::{DESK, row, text, url};
use crate::support::browser::Browser;
use crate::support::connector::{fetch, parse_response};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;

const PATHS: [&str; 5] = ["/", "/live", "/ready", "/metrics", "/status"];

/// Returns the texts of these places of the page, all of one moment.
fn texts<const N: usize>(browser: &mut Browser, ids: [&str; N]) -> [String; N] {
    let script =
        format!("{}.map(id => document.getElementById(id).innerText)", json!(ids.as_slice()));
    let told: Vec<String> =
        serde_json::from_value(browser.evaluate(&script)).expect("they are texts");
    told.try_into().expect("as many as were asked for")
}

/// Reads a time as the page writes it.
fn millis(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} is no time"));
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{text:?} is no time"));
    match unit {
        "ms" => number,
        "s" => number * 1000.0,
        _ => panic!("{text:?} is longer than this test"),
    }
}

/// The share of attempts, 0 to 1, that took at most what is returned, by counting.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.max(1) - 1]
}

#[test]
fn the_figures_of_the_page_are_those_of_the_run() {
    let receiver = Receiver::start(|seen, _| match seen.path.as_str() {
        "/held-a" | "/held-b" => Answer::hang(),
        path if path.starts_with("/down-") => Answer::status(503).header("retry-after", "3600"),
        _ => Answer::status(200).after(Duration::from_millis(100)),
    });
    let flow = Fixture::new("ops-figures");
    let subscribe = |id: &str, event_type: &str, more| {
        flow.subscribe(id, &receiver.url(&format!("/{id}")), &[event_type], more);
    };
    subscribe("fast", "fast", json!({}));
    subscribe("held-a", "held.a", json!({"timeout": "5m"}));
    subscribe("held-b", "held.b", json!({"timeout": "5m"}));
    subscribe("limited", "limited", json!({"rateLimit": {"requests": 1, "per": "1d"}}));
    for n in 0..5 {
        subscribe(&format!("down-{n}"), "down", json!({"retry": {"schedule": ["1h"]}}));
    }
    subscribe("off", "off", json!({"active": false}));
    let connector = flow.start();
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 10);
    let (mut browser, page) = (Browser::start(), url(&connector));
    browser.open(&page, DESK);
    browser.wait(SOON, &text("total"), "0 deliveries since the start");

    let produced = Instant::now();
    // No two figures are alike, so that none can stand in another's place.
    for (event_type, count) in
        [("held.a", 2), ("held.b", 1), ("limited", 5), ("down", 1), ("fast", 20)]
    {
        for n in 0..count {
            flow.event(&format!("{}-{n}", event_type.replace('.', "-")), event_type);
        }
    }
    // Deliveries of the last five to ten seconds, by the second: it is some time until there are none.
    browser.wait(SOON, &format!("Number({}) > 0", text("rate")), true);
    let rate: f64 = texts(&mut browser, ["rate"])[0].parse().expect("it is a number");
    assert!(rate <= 21.0, "{rate} a second, of 21 deliveries altogether");
    for (id, figure) in [
        ("in-flight", "3"),
        ("queued", "4"),
        ("lanes-active", "2"),
        ("lanes-limited", "1"),
        ("lanes-open", "5"),
    ] {
        browser.wait(SOON, &text(id), figure);
    }
    let all_are_delivered = "startsWith('21 deliveries since the start')";
    browser.wait(SOON, &format!("{}.{all_are_delivered}", text("total")), true);
    browser.wait(SOON, &text("retrying"), "5");
    let minute = texts(&mut browser, ["delivered", "retrying", "dead-lettered", "success"]);
    assert_eq!(minute, ["21", "5", "0", "80.76\u{a0}%"], "21 of 26 that ended");
    let attempts = texts(&mut browser, ["attempt", "attempt-p95", "attempt-p99"]);
    let arrivals = texts(&mut browser, ["arrival", "arrival-p95", "arrival-p99"]);
    let audit = flow.audit(26);
    check(attempts, audit.iter().filter_map(|record| record["latencyMs"].as_f64()));
    let delivered = audit.iter().filter(|record| record["outcome"] == "delivered");
    check(arrivals, delivered.map(from_event_to_end));

    // What is open: what is held, and what waits for its rate. Ends of partitions are told every five seconds.
    browser.wait(SOON, &text("lag"), "7");
    browser.wait(SOON, &format!("/^[1-9][0-9.]* s$/.test({})", text("oldest")), true);
    let oldest = millis(&texts(&mut browser, ["oldest"])[0]);
    let since = produced.elapsed().as_secs_f64() * 1000.0;
    assert!(oldest >= 1000.0 && oldest <= since + 500.0, "{oldest} ms, of {since} ms");
    for column in ["lag", "open-records"] {
        let sum = format!(
            "[...document.querySelectorAll('#partitions > *')]
                .filter(row => row.querySelector('th').innerText.includes('orders/'))
                .reduce((sum, row) => sum + Number(row.querySelector('.{column}').innerText), 0)"
        );
        browser.wait(SOON, &sum, 7);
    }
    // At most: behind records stand the markers of their transactions, and each may have its own.
    let waiting = format!("Number({})", text("waiting"));
    browser.wait(SOON, &format!("{waiting} >= 5 && {waiting} <= 10"), true);
    browser.wait(SOON, &row("tiers", &["1h "]), true);
    for tier in ["1s", "5s", "30s", "2m", "10m", "6h"] {
        browser.wait(SOON, &row("tiers", &[&format!("{tier} 0")]), true);
    }
    let rest = texts(&mut browser, ["active", "partition-count"]);
    // Four of orders; two each of the deliver topic, the audit topic and seven tiers.
    assert_eq!(rest, ["9 of 10", "22"]);
}

/// Returns the milliseconds from when an event was produced to when its delivery ended, as its audit record says.
fn from_event_to_end(record: &Value) -> f64 {
    let time = |value: &Value| -> Timestamp {
        value.as_str().and_then(|text| text.parse().ok()).expect("it is a time")
    };
    let lasted = time(&record["at"]).duration_since(time(&record["source"]["timestamp"]));
    lasted.as_secs_f64() * 1000.0
}

/// Checks median, p95 and p99 as the page has them: they are exact to a sixteenth, and written with two digits at least.
#[track_caller]
fn check(told: [String; 3], all: impl Iterator<Item = f64>) {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    for (told, share) in told.iter().zip([0.5, 0.95, 0.99]) {
        let (told, counted) = (millis(told), quantile(&all, share));
        let wrong = counted / 16.0 + counted / 20.0 + 1.0;
        assert!((told - counted).abs() <= wrong, "{told} is not {counted}, of {all:?}");
    }
}

/// Makes a request and returns all that is answered.
fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it isn't zero");
    write!(stream, "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers text");
    answer
}

#[test]
fn the_ops_port_only_answers() {
    let flow = Fixture::new("ops-methods");
    let connector = flow.start();
    for path in PATHS {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
            let answer = ask(connector.ops(), method, path);
            let (status, body) = parse_response(&answer).expect("it is HTTP");
            assert_eq!((status, body.as_str()), (405, ""), "{method} {path}: {answer}");
            assert!(answer.to_lowercase().contains("\r\nallow: get,head\r\n"), "{answer}");
        }
        let head = parse_response(&ask(connector.ops(), "HEAD", path));
        assert_eq!(head, Some((200, String::new())), "{path}");
        assert_eq!(connector.get(path).0, 200, "{path}");
    }
    assert_eq!(parse_response(&ask(connector.ops(), "GET", "/nowhere")).map(|it| it.0), Some(404));
}

#[test]
fn the_ops_port_tells_no_secret_and_no_payload() {
    const HIDDEN: &str = "hunter2";
    let receiver = Receiver::start(|_, _| Answer::status(503).body(HIDDEN).header("x-a", HIDDEN));
    let flow = Fixture::with("ops-secrets", |setup| {
        let keys = r#"[{ id = "k", key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }]"#;
        setup.env("KAFKA_WEBHOOKS__ENCRYPTION__KEYS", keys)
    });
    let address = format!("{}?key={HIDDEN}", receiver.url("/hooks"));
    let user = address.replace("//", &format!("//{HIDDEN}:{HIDDEN}@"));
    let credentials = [
        ("bearer", json!({"type": "bearer", "token": HIDDEN})),
        ("basic", json!({"type": "basic", "username": HIDDEN, "password": HIDDEN})),
        ("named", json!({"type": "header", "name": "x-key", "value": HIDDEN})),
        ("mtls", json!({"type": "mtls", "certificate": HIDDEN, "key": HIDDEN})),
        (
            "oauth2",
            json!({
                "type": "oauth2", "tokenUrl": receiver.url(&format!("/token?key={HIDDEN}")),
                "clientId": "c", "clientSecret": HIDDEN,
            }),
        ),
    ];
    for (id, auth) in credentials {
        let more = json!({
            "auth": auth, "headers": {"x-env": HIDDEN}, "retry": {"schedule": []},
            "filter": format!("data.of != '{HIDDEN}-not'"),
        });
        flow.subscribe(id, &address, &["a"], more);
    }
    flow.subscribe("user", &user, &["a"], json!({"retry": {"schedule": []}}));
    // One that is invalid, and what it says may be a secret in the wrong place.
    flow.subscribe("broken", &user, &["a"], json!({"secert": HIDDEN, "retry": HIDDEN}));
    let connector = flow.start();
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 5);
    let value = json!({"id": "evt_1", "event": "a", "data": {"of": HIDDEN}}).to_string();
    flow.scope.produce("orders", "k", value, &[("mine", HIDDEN)]);
    flow.scope.produce("orders", "k", HIDDEN, &[("mine", HIDDEN)]);
    flow.audit(6);
    connector.wait_status(SOON, |status| {
        let total = &status["activity"]["total"];
        total["deadLettered"] == 6 && status["lastFailures"].as_array().map(Vec::len) == Some(6)
    });
    let secret = SECRET.trim_start_matches("whsec_");
    for path in PATHS {
        let (_, told) = fetch(connector.ops(), path).expect("it answers");
        let parts = [HIDDEN, secret, "AAAAAAAAAAAAAAAA"];
        let found: Vec<_> = parts.iter().filter(|part| told.contains(**part)).collect();
        assert!(found.is_empty(), "{path} tells {found:?}: {told}");
    }
    let (_, status) = connector.get("/status");
    assert!(
        status.contains("exhausted") && status.contains("/hooks"),
        "it tells of them: {status}"
    );
}

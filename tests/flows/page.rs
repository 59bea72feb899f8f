//! The status page, as a browser shows it: what the run did, without reload, and nothing else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON};
use crate::support::browser::{Browser, Noted, Offline, View};
use crate::support::connector::Connector;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;

pub const DESK: View = View { size: (1400, 900), scheme: "light" };

const VIEWS: [(&str, View); 4] = [
    ("light", DESK),
    ("dark", View { scheme: "dark", ..DESK }),
    ("phone-light", View { size: (360, 740), scheme: "light" }),
    ("phone-dark", View { size: (360, 740), scheme: "dark" }),
];

/// The texts of a list's rows.
fn rows(id: &str) -> String {
    format!(
        "[...document.querySelectorAll('#{id} > *')].map(row => row.innerText.replace(/\\s+/g, ' ').trim())"
    )
}

/// True if some row of a list has all these texts, else the rows.
pub fn row(id: &str, texts: &[&str]) -> String {
    let (rows, texts) = (rows(id), json!(texts));
    format!("{rows}.some(row => {texts}.every(text => row.includes(text))) || {rows}")
}

pub fn text(id: &str) -> String {
    format!("document.getElementById('{id}').innerText")
}

const TITLE: &str = "document.querySelector('#state strong').innerText";

/// Names what sticks out of the page at the right.
const STICKS_OUT: &str = "[...document.querySelectorAll('body *')]
    .filter(node => node.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(node => node.outerHTML)";

pub fn url(connector: &Connector) -> String {
    format!("http://{}/", connector.ops())
}

/// Checks that a page was quiet and spoke with the ops port only.
fn check_quiet(browser: &mut Browser, url: &str) {
    let Noted { told, requests } = browser.noted();
    assert_eq!(told, Vec::<String>::new());
    let (page, rest) = requests.split_first().expect("it was loaded");
    assert_eq!(*page, format!("GET {url}"));
    let status = format!("GET {url}status");
    let other: Vec<_> =
        rest.iter().filter(|it| **it != status && !it.starts_with("GET data:image/")).collect();
    assert!(other.is_empty() && !rest.is_empty(), "{other:?}");
}

#[test]
fn the_page_shows_what_the_run_does_without_reload() {
    let receiver = Receiver::start(|seen, _| match seen.path.split('?').next() {
        Some("/down") => Answer::status(503).body("hunter2"),
        Some("/gone") => Answer::status(410),
        Some("/bad") => Answer::status(422),
        _ => Answer::status(200),
    });
    let flow = Fixture::with("page", |setup| setup.set("disable", "after_dead_letters", "4"));
    let subscribe = |id, path: &str, events: &[&str], more| {
        let address = receiver.url(path).replace("//", "//user:hunter2@");
        flow.subscribe(id, &format!("{address}?key=hunter2"), events, more);
    };
    subscribe("fine", "/", &["order.*"], json!({}));
    subscribe("down", "/down", &["order.*"], json!({"retry": {"schedule": ["1h"]}}));
    subscribe("gone", "/gone", &["gone"], json!({}));
    subscribe("bad", "/bad", &["bad"], json!({"noRetryOn": [422]}));
    subscribe("broken", "/", &[], json!({}));
    let connector = flow.start();
    let (mut browser, url) = (Browser::start(), url(&connector));
    let opened = browser.open(&url, DESK);
    assert_eq!(opened["status"], 200);
    let headers = &opened["headers"];
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    let policy = headers["content-security-policy"].as_str().unwrap_or_default();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");

    browser.wait(SOON, TITLE, "Nothing to do");
    browser.wait(SOON, &row("troubled", &["invalid", "broken", "events"]), true);
    let who = browser.evaluate(&text("who"));
    let who = who.as_str().expect("it is a text");
    assert!(who.starts_with(&format!("instance a · group {}", flow.scope.group())), "{who}");
    browser.evaluate("mark = 'not reloaded'");

    // What stands in an event is its producer's: the page shows it and does nothing of what it says.
    let hostile = "order.<img src=x onerror=\"mark='hurt'\"><script>mark='hurt'</script>";
    flow.event("evt_1", "order.created");
    browser.wait(SOON, &row("failures", &["down", "order.created", "evt_1"]), true);
    flow.event("evt_2", hostile);
    flow.event("evt_3", "gone");
    flow.event("evt_4", "bad");
    flow.event("evt_5", "bad");
    let shown = [
        (row("troubled", &["disabled", "gone", "http-status:410", "127.0.0.1"]), true),
        (row("troubled", &["failing", "bad", "dead-letters:50%"]), true),
        (row("failures", &["retrying", "down", "http-status", "503", "2 times", hostile]), true),
        (row("failures", &["dead-lettered", "bad", "422", "2 times"]), true),
        (row("failures", &["dead-lettered", "gone", "410", "evt_3"]), true),
        (row("tiers", &["10m 0"]), true),
        // At most: behind a record stands its transaction's marker.
        (format!("{}.some(row => /^1h [2-4]$/.test(row))", rows("tiers")), true),
        (row("partitions", &["orders/", " 0 0 –"]), true),
    ];
    for (script, expected) in shown {
        browser.wait(SOON, &script, expected);
    }
    browser.wait(SOON, &text("total"), "2 deliveries since the start");
    let minute = ["delivered", "retrying", "dead-lettered"].map(|id| browser.evaluate(&text(id)));
    assert_eq!(minute, ["2", "2", "3"]);
    assert_eq!(browser.evaluate(&text("success")), "28.57\u{a0}%");
    browser.wait(SOON, TITLE, "Waiting");
    assert_eq!(browser.evaluate("mark"), "not reloaded");
    let all = browser.evaluate("document.documentElement.outerHTML");
    let (_, status) = connector.get("/status");
    for (what, text) in [("page", all.as_str().expect("it is a text")), ("status", &status)] {
        assert!(!text.contains("hunter2"), "the {what} shows what it should hide: {text}");
    }
    check_quiet(&mut browser, &url);
    check_views(&mut browser, &url);
}

/// Looks at the page as it is in every view, and leaves pictures of it in `target/page`.
fn check_views(browser: &mut Browser, url: &str) {
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    fs::create_dir_all(&pictures).expect("target/ is writable");
    for (name, view) in VIEWS {
        browser.open(url, view);
        browser.wait(SOON, &text("beat"), "live");
        assert_eq!(browser.evaluate(STICKS_OUT), json!([]), "{name}");
        check_quiet(browser, url);
        assert_eq!(browser.audit(), Vec::<String>::new(), "{name}");
        browser.screenshot(&pictures.join(name).with_extension("png"));
    }
}

/// Makes the page hear a status that is the connector's own but for a change.
fn hear(browser: &mut Browser, status: &Value, change: impl FnOnce(&mut Value)) {
    let mut told = status.clone();
    change(&mut told);
    let answer = json!(told.to_string());
    browser.evaluate(&format!("void (fetch = async () => new Response({answer}))"));
}

#[test]
fn the_page_has_words_for_every_state() {
    let receiver = Receiver::start(|_, nth| Answer::status(if nth == 1 { 503 } else { 200 }));
    let flow = Fixture::new("page-states");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["1s"]}}));
    let connector = flow.start();
    let (mut browser, url) = (Browser::start(), url(&connector));
    browser.open(&url, DESK);
    browser.wait(SOON, TITLE, "Nothing to do");

    // When all is through, nothing is left but the markers of transactions, which are nothing to do.
    flow.event("evt_1", "a");
    browser.wait(SOON, &row("failures", &["retrying", "crm"]), true);
    browser.wait(SOON, &text("total"), "1 delivery since the start");
    browser.wait(SOON, TITLE, "Nothing to do");
    browser.wait(SOON, &row("tiers", &["1s 0"]), true);

    // It has lost the connector, says so, and finds it again.
    browser.set_offline(Offline::Yes);
    browser.wait(SOON, TITLE, "Connection lost");
    browser.set_offline(Offline::No);
    browser.wait(SOON, TITLE, "Nothing to do");

    let (_, body) = connector.get("/status");
    let status: Value = serde_json::from_str(&body).expect("it is JSON");
    let states: [(&str, &str, Value); 11] = [
        ("/live", "Stalled", json!(false)),
        ("/reportedSecondsAgo", "Not reporting", json!(6)),
        ("/subscriptionsRead", "Starting", json!(false)),
        ("/brokerReachable", "No broker", json!(false)),
        ("/producerInitialised", "Starting", json!(false)),
        ("/partitionsAssigned", "Starting", json!(false)),
        ("/registryReachable", "No schema registry", json!(false)),
        ("/activity/deliveredPerSecond", "Delivering", json!(0.1)),
        ("/activity/failedPerSecond", "Failing", json!(0.1)),
        ("/load/inFlight", "Attempting", json!(1)),
        ("/partitions/lag", "Reading", json!(1)),
    ];
    for (pointer, title, value) in states {
        hear(&mut browser, &status, |told| {
            *told.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        });
        browser.wait(SOON, TITLE, title);
    }
    for (name, view) in VIEWS {
        browser.open(&url, view);
        hear(&mut browser, &status, crowd);
        browser.wait(SOON, &text("rate"), "1.23M");
        assert_eq!(browser.evaluate(STICKS_OUT), json!([]), "{name}");
        browser.evaluate("document.getElementById('partitions-all').click()");
        assert_eq!(browser.evaluate(&format!("{}.length", rows("partitions"))), 50);
    }
}

/// As much of everything, and as long, as there can be.
fn crowd(status: &mut Value) {
    let name = "a-name-without-an-end-".repeat(9);
    let many = |count, one: &Value| Value::from(vec![one.clone(); count]);
    status["activity"]["deliveredPerSecond"] = json!(1_234_567);
    status["activity"]["total"]["delivered"] = json!(123_456_789_012_u64);
    let slot = json!({"delivered": 1_000_000, "failed": 9_000_000, "attemptP99Ms": 123_456.7});
    status["activity"]["history"]["slots"] = many(60, &slot);
    let quantiles = json!({"p50": 86_400_000, "p95": 86_400_000, "p99": 86_400_000});
    status["activity"]["lastMinute"]["attemptMs"] = quantiles.clone();
    status["activity"]["lastMinute"]["eventToDeliveryMs"] = quantiles;
    status["activity"]["lastMinute"]["successRate"] = json!(0.9999);
    let partition = json!({
        "topic": name, "partition": 1000, "role": "events", "lag": 9_999_999_999_u64,
        "open": 100_000, "watermarkAgeSeconds": 86_400.5,
    });
    let shown = many(50, &partition);
    let lag = 999_999_999_999_u64;
    status["partitions"] =
        json!({"lag": lag, "watermarkAgeSeconds": 86_400.5, "shown": shown, "more": 5000});
    status["tiers"] = many(16, &json!({"tier": "100000ms", "waiting": lag}));
    let trouble = json!({
        "id": "x".repeat(64), "state": "disabled", "url": format!("https://{name}"),
        "reason": name, "since": "2020-01-01T00:00:00Z",
    });
    status["troubledSubscriptions"] = json!({"shown": many(50, &trouble), "more": 100_000});
    let failure = json!({
        "count": lag, "at": "2020-01-01T00:00:00Z", "outcome": "dead-lettered", "reason": "http-status",
        "statusCode": 503, "error": name, "subscriptionId": "x".repeat(64), "url": name, "eventId": name,
        "eventType": name, "tenant": name, "attempt": 50, "nextAttemptAt": "2020-01-01T00:00:00Z", "source": name,
    });
    status["lastFailures"] = many(20, &failure);
}

#[test]
fn the_page_runs_and_asks_nothing_that_is_not_its_own() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("page-policy");
    let connector = flow.start();
    let mut browser = Browser::start();
    browser.open(&url(&connector), DESK);
    browser.wait(SOON, &text("beat"), "live");
    let elsewhere = json!(receiver.url("/"));
    let asked = format!("fetch({elsewhere}).then(() => 'answered', () => 'refused')");
    assert_eq!(browser.evaluate(&asked), "refused");
    let ran = "(() => {
        const script = document.createElement('script');
        script.textContent = 'mark = 1';
        document.body.append(script);
        return typeof mark;
    })()";
    assert_eq!(browser.evaluate(ran), "undefined");
    assert_eq!(receiver.count(), 0);
}

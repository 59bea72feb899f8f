//! CloudEvents' abuse protection.

use super::server::{Reply, Seen, Server, answer};
use super::*;
use crate::domain::outcome::Reason;

const ORIGIN: &str = "hooks.example.com";

fn granting(allowed: &str) -> Reply {
    answer(&format!("200 OK\r\n{allowed}"), b"")
}

fn attempt_at(server: &Server, more: &Value) -> Attempt {
    let mut changes = json!({
        "url": url("http", server.port), "abuseProtection": {"origin": ORIGIN}, "timeout": "1s",
    });
    for (name, value) in more.as_object().expect("an object") {
        changes[name] = value.clone();
    }
    attempt(EVENT, &[], &changes)
}

fn methods(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.line.split(' ').next().expect("a method")).collect()
}

#[tokio::test]
async fn permission_is_asked_for_once_and_before_anything_is_sent() {
    for allowed in ["webhook-allowed-origin: *", "webhook-allowed-origin: Hooks.Example.com"] {
        let mut server = Server::start(|_| granting(allowed)).await;
        let sender = sender();
        let attempt = attempt_at(&server, &json!({}));
        let (one, other) = tokio::join!(send(&sender, &attempt), send(&sender, &attempt));
        assert!(one.end.is_ok() && other.end.is_ok(), "{one:?} {other:?}");
        let seen = server.seen();
        assert_eq!(methods(&seen), ["OPTIONS", "POST", "POST"]);
        assert_eq!(seen[0].header("webhook-request-origin"), ORIGIN);
        // printf hunter2:hunter2 | base64
        assert_eq!(seen[0].header("authorization"), "Basic aHVudGVyMjpodW50ZXIy");
    }
}

#[tokio::test]
async fn the_credentials_of_requests_are_those_of_the_question() {
    let mut server = Server::start(|_| granting("webhook-allowed-origin: *")).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    let more = json!({"url": url, "auth": {"type": "bearer", "token": "t"}});
    assert!(send(&sender(), &attempt_at(&server, &more)).await.end.is_ok());
    assert_eq!(server.seen()[0].header("authorization"), "Bearer t");
}

#[tokio::test]
async fn without_permission_nothing_is_sent_and_the_next_attempt_asks_again() {
    for (reply, status) in [
        (answer("200 OK", b""), 200),
        (granting("webhook-allowed-origin: other.example.com"), 200),
        (answer("405 No\r\nwebhook-allowed-origin: *", b""), 405),
    ] {
        let mut server = Server::start(|_| reply).await;
        let (sender, attempt) = (sender(), attempt_at(&server, &json!({})));
        for _ in 0..2 {
            let failure = send(&sender, &attempt).await.end.expect_err("there is no permission");
            let words = format!("the receiver gave no permission to send ({status})");
            assert_eq!((failure.reason, &*failure.error), (Reason::Auth, &*words));
        }
        assert_eq!(methods(&server.seen()), ["OPTIONS", "OPTIONS"]);
    }
}

#[tokio::test]
async fn an_answer_about_the_endpoint_itself_is_the_receivers() {
    for (head, expect) in [
        ("410 Gone", (410, None)),
        ("429 Slow Down", (429, None)),
        ("429 Slow Down\r\nretry-after: 7", (429, Some(7))),
        ("502 Bad\r\nretry-after: 7", (502, Some(7))),
        ("503 Busy\r\nretry-after: 7", (503, Some(7))),
        ("504 Late", (504, None)),
        ("403 No\r\nretry-after: 7", (403, Some(7))),
    ] {
        let mut server = Server::start(|_| answer(head, b"why")).await;
        let (sender, attempt) = (sender(), attempt_at(&server, &json!({})));
        for _ in 0..2 {
            let answer = send(&sender, &attempt).await.end.expect("it is an answer");
            let wish = answer.retry_after.map(|wish| wish.as_secs());
            assert_eq!((answer.status, wish), expect, "{head}");
            assert_eq!(answer.excerpt.as_deref(), Some("why"));
        }
        assert_eq!(methods(&server.seen()), ["OPTIONS", "OPTIONS"], "{head}");
    }
}

#[tokio::test]
async fn a_success_without_permission_is_no_delivery_whatever_it_wishes() {
    let mut server = Server::start(|_| answer("200 OK\r\nretry-after: 7", b"")).await;
    let failure = send(&sender(), &attempt_at(&server, &json!({}))).await.end.expect_err("none");
    assert_eq!(failure.reason, Reason::Auth, "{failure:?}");
    assert_eq!(methods(&server.seen()), ["OPTIONS"]);
}

#[tokio::test]
async fn the_allowed_rate_is_kept() {
    // One a second: the second waits, and the third would wait beyond its deadline.
    let allowed = "webhook-allowed-origin: *\r\nwebhook-allowed-rate: 60";
    let mut server = Server::start(|_| granting(allowed)).await;
    let (sender, attempt) = (sender(), attempt_at(&server, &json!({"timeout": "1900ms"})));
    let send = || send(&sender, &attempt);
    let three = tokio::join!(send(), send(), send());
    let mut three = [three.0, three.1, three.2];
    three.sort_by_key(|attempted| attempted.end.is_err());
    let [first, second, third] = three;
    assert!(first.end.is_ok() && second.end.is_ok(), "{first:?} {second:?}");
    assert!(first.latency.max(second.latency) >= Duration::from_secs(1));
    let failure = third.end.expect_err("its turn is too late");
    let words = "the rate that the receiver allows is used up";
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, words));
    assert_eq!(methods(&server.seen()), ["OPTIONS", "POST", "POST"]);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_the_question_is_not_waited_for() {
    let server = Server::start(|_| Reply::Stall(Vec::new())).await;
    let attempt = attempt_at(&server, &json!({"timeout": "200ms"}));
    let failure = send(&sender(), &attempt).await.end.expect_err("it fails");
    assert_eq!(failure.reason, Reason::Timeout, "{failure:?}");
}

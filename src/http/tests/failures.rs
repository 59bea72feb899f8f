//! What goes wrong.

use super::server::{Reply, Server, answer, listen, tls, with_length};
use super::*;
use crate::domain::outcome::Reason;

/// Checks with which reason and words an attempt fails; one that is to run into its deadline has 300 ms.
async fn check(url: &str, expect: (Reason, &str)) {
    let timeout = Duration::from_millis(if expect.0 == Reason::Timeout { 300 } else { 20_000 });
    let changes = json!({"url": url, "timeout": format!("{}ms", timeout.as_millis())});
    let attempted = send(&sender(), &attempt(EVENT, &[], &changes)).await;
    let latency = attempted.latency;
    let failure = attempted.end.expect_err("it fails");
    assert!(failure.error.contains(expect.1), "{failure:?}");
    assert_eq!(failure.reason, expect.0, "{failure:?}");
    assert!(failure.error.len() <= 256 && !failure.error.contains(SECRET), "{failure:?}");
    assert!(!failure.error.contains(|c: char| c.is_control()), "{failure:?}");
    assert_eq!(latency >= timeout, failure.reason == Reason::Timeout, "{failure:?} {latency:?}");
}

async fn check_reply(reply: Reply, expect: (Reason, &str)) {
    let server = Server::start(|_| reply).await;
    check(&url("http", server.port), expect).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_deadline() {
    check_reply(Reply::Stall(Vec::new()), (Reason::Timeout, "no answer within 300ms")).await;
    let half = b"HTTP/1.1 200 OK\r\ncontent-".to_vec();
    check_reply(Reply::Stall(half), (Reason::Timeout, "no answer within 300ms")).await;
    let body = Reply::Stall(with_length("200 OK", 100, b"begun"));
    let expect = "an answer of status 200 did not end within 300ms";
    check_reply(body, (Reason::Timeout, expect)).await;
}

#[tokio::test]
async fn without_a_deadline_of_its_own_a_subscription_has_the_senders() {
    let server = Server::start(|_| Reply::Stall(Vec::new())).await;
    let timeout = Duration::from_millis(200);
    let settings = Settings { timeout, connect_timeout: timeout, ..settings() };
    let sender = Sender::new(&settings).expect("the settings are good");
    let failure = send_to(&sender, &url("http", server.port)).await.end.expect_err("it fails");
    assert_eq!((failure.reason, &*failure.error), (Reason::Timeout, "no answer within 200ms"));
}

#[tokio::test]
async fn a_refused_connection_is_no_connection() {
    let (listener, port) = listen().await;
    drop(listener);
    check(&url("http", port), (Reason::Connect, "Connection refused")).await;
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_no_connection() {
    // The kernel accepts it, and nobody answers to TLS.
    let (_listener, port) = listen().await;
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..settings() };
    let sender = Sender::new(&settings).expect("the settings are good");
    let failure = send_to(&sender, &url("https", port)).await.end.expect_err("it fails");
    assert_eq!((failure.reason, &*failure.error), (Reason::Connect, "no connection in time"));
}

#[tokio::test]
async fn a_name_without_an_address_is_a_failure_of_dns() {
    // No label is longer than 63 bytes: the system knows without asking the network.
    let url = format!("http://{}.invalid/{SECRET}", "x".repeat(64));
    check(&url, (Reason::Dns, "failed to lookup address information")).await;
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_a_reset() {
    let expect = (Reason::Reset, "connection closed before message completed");
    check_reply(Reply::Last(Vec::new()), expect).await;
    check_reply(Reply::Last(b"HTTP/1.1 200 OK\r\n".to_vec()), expect).await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_failure_of_the_protocol() {
    let garbage = Reply::Last(b"SSH-2.0-OpenSSH_9.2 hunter2\r\n\r\n".to_vec());
    check_reply(garbage, (Reason::Protocol, "invalid HTTP version parsed")).await;
    let bad = Reply::Last(b"HTTP/1.1 200 OK\r\nhunter2 : x\r\n\r\n".to_vec());
    check_reply(bad, (Reason::Protocol, "invalid HTTP header parsed")).await;
    let many = "x: y\r\n".repeat(200_000);
    let many = Reply::Last(format!("HTTP/1.1 200 OK\r\n{many}\r\n").into());
    check_reply(many, (Reason::Protocol, "message head is too large")).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_failure_of_tls() {
    let (config, _) = tls("http/1.1");
    let mut server = Server::start_tls(answer("200 OK", b""), config).await;
    check(&url("https", server.port), (Reason::Tls, "invalid peer certificate")).await;
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_failure_of_tls() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            stream.read_u8().await.expect("a handshake begins");
            stream.write_all(words).await.expect("it is read");
        }
    });
    check(&url("https", port), (Reason::Tls, "")).await;
    check(&url("https", port), (Reason::Tls, "")).await;
    server.await.expect("the server doesn't panic");
}

#[tokio::test]
async fn a_tls_connection_that_ends_without_an_answer_is_a_reset() {
    let (config, certificate) = tls("http/1.1");
    let server = Server::start_tls(Reply::Last(Vec::new()), config).await;
    let sender = trusting(certificate);
    let failure = send_to(&sender, &url("https", server.port)).await.end.expect_err("it fails");
    let text = "peer closed connection without sending TLS close_notify";
    assert_eq!((failure.reason, &*failure.error), (Reason::Reset, text));
}

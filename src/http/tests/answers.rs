//! What comes back.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::server::{Reply, Server, answer, endless, with_length};
use super::*;
use crate::domain::outcome::Reason;

/// Checks what an answer is read as: its status, the seconds of `Retry-After`, and the excerpt.
async fn check(reply: Reply, expect: (u16, Option<u64>, Option<&str>)) {
    let server = Server::start(|_| reply).await;
    let attempted = send_to(&sender(), &url("http", server.port)).await;
    let answer = attempted.end.expect("there is an answer");
    let retry_after = answer.retry_after.map(|wait| wait.as_secs());
    assert_eq!((answer.status, retry_after, answer.excerpt.as_deref()), expect);
}

#[tokio::test]
async fn a_success_has_no_excerpt() {
    check(answer("200 OK", b"thanks"), (200, None, None)).await;
    check(Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()), (204, None, None)).await;
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_its_location_is_not_asked() {
    for status in [301, 302, 303, 307, 308] {
        // The second leads round and round.
        for path in ["/other", "/hooks?token=hunter2"] {
            let reply = |port| {
                let place = format!("http://127.0.0.1:{port}{path}");
                answer(&format!("{status} Elsewhere\r\nlocation: {place}"), b"")
            };
            let mut server = Server::start(reply).await;
            let attempted = send_to(&sender(), &url("http", server.port)).await;
            assert_eq!(attempted.end.map(|answer| answer.status), Ok(status));
            let lines: Vec<_> = server.seen().into_iter().map(|seen| seen.line).collect();
            assert_eq!(lines, ["POST /hooks?token=hunter2 HTTP/1.1"]);
        }
    }
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date() {
    let busy = |value: &str| answer(&format!("503 Busy\r\nretry-after: {value}"), b"");
    check(busy("120"), (503, Some(120), None)).await;
    check(busy("Wed, 15 Jan 2025 10:29:00 GMT"), (503, Some(0), None)).await;
    check(busy("soon"), (503, None, None)).await;
}

#[tokio::test]
async fn a_date_in_retry_after_counts_from_the_answer() {
    let head = "429 Slow Down\r\nretry-after: Wed, 15 Jan 2025 10:40:00 GMT";
    let server = Server::start(|_| answer(head, b"")).await;
    let attempted = send_to(&sender(), &url("http", server.port)).await;
    let wait = attempted.end.ok().and_then(|answer| answer.retry_after).expect("a date is read");
    let ten_minutes = Duration::from_secs(600);
    assert!((ten_minutes - attempted.latency..ten_minutes).contains(&wait), "{wait:?}");
}

#[tokio::test]
async fn an_excerpt_is_the_beginning_as_clean_text() {
    let check = async |body: &[u8], expect: &str| {
        check(answer("500 Oops", body), (500, None, Some(expect))).await;
    };
    check("schön".as_bytes(), "schön").await;
    check(b"a\r\n\x1b[31mb\x00\xc2\x9bc", "a   [31mb  c").await;
    check(b"a\xffb", "a\u{fffd}b").await;
    let (x, e) = ("x".repeat(1022), "é".repeat(512));
    check("x".repeat(4096).as_bytes(), &"x".repeat(1024)).await;
    check("é".repeat(600).as_bytes(), &e).await;
    check(format!("{x}€€").as_bytes(), &x).await;
    check(b"\xff".repeat(2000).as_slice(), &"\u{fffd}".repeat(341)).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_answer_as_it_is() {
    let cut = |status| Reply::Last(with_length(status, 100, b"begun"));
    check(cut("200 OK"), (200, None, None)).await;
    check(cut("410 Gone"), (410, None, Some("begun"))).await;
    let head = "HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbad\r\nnonsense";
    check(Reply::Last(head.into()), (400, None, Some("bad"))).await;
}

#[tokio::test]
async fn an_endless_body_ends_after_16_kib() {
    for status in ["200 OK", "500 Oops"] {
        let server = Server::start(|_| endless(with_length(status, 1 << 40, b""))).await;
        let attempted = send_to(&sender(), &url("http", server.port)).await;
        let answer = attempted.end.expect("there is an answer");
        assert_eq!(answer.excerpt.map_or(0, |text| text.len()) % 1024, 0);
        // What the sockets' buffers took is the kernel's and bounded by it.
        assert!(server.sent() < 32 << 20, "{}", server.sent());
    }
}

/// Packs bytes by gzip without ending it.
fn begun_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("memory takes it");
    packed.flush().expect("memory takes it");
    packed.get_ref().clone()
}

#[tokio::test]
async fn a_body_is_read_to_16_kib_as_it_is_or_unpacked() {
    /// Checks whether an attempt waits for the rest of a body that says it is longer.
    async fn check(coding: &str, status: u16, body: &[u8], is_enough: bool) {
        let head = format!("{status} So\r\ncontent-encoding: {coding}");
        let server = Server::start(|_| Reply::Stall(with_length(&head, 1 << 30, body))).await;
        let timeout = if is_enough { "20s" } else { "300ms" };
        let changes = json!({"url": url("http", server.port), "timeout": timeout});
        let end = send(&sender(), &attempt(EVENT, &[], &changes)).await.end;
        let end = end.map(|answer| answer.status).map_err(|failure| failure.reason);
        let expect = if is_enough { Ok(status) } else { Err(Reason::Timeout) };
        assert_eq!(end, expect, "{coding} {status} {}", body.len());
    }
    let longer = vec![b'x'; (16 << 10) + 1];
    let enough = &longer[1..];
    for status in [200, 500] {
        check("identity", status, enough, false).await;
        check("identity", status, &longer, true).await;
        check("br", status, enough, false).await;
        check("br", status, &longer, true).await;
        check("gzip", status, &begun_gzip(enough), false).await;
        check("gzip", status, &begun_gzip(&longer), true).await;
    }
    // A head of gzip that has a name without an end unpacks to nothing.
    let head = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    check("gzip", 500, &[&head, &[b'x'; 17 << 10][..]].concat(), true).await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_attempt() {
    for status in ["200 OK", "503 Busy"] {
        let mut server = Server::start(|_| answer(status, &[b'x'; 16 << 10])).await;
        let sender = sender();
        for sender in [&sender, &sender.clone(), &sender] {
            send_to(sender, &url("http", server.port)).await.end.expect("there is an answer");
        }
        assert_eq!((server.connections(), server.seen().len()), (1, 3));
    }
}

#[tokio::test]
async fn a_connection_that_lies_idle_is_not_used_again() {
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let sender = sender();
    let mut connections = Vec::new();
    for idle in [0, 40, 60] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        send_to(&sender, &url("http", server.port)).await.end.expect("there is an answer");
        connections.push(server.connections());
    }
    assert_eq!(connections, [1, 1, 2]);
}

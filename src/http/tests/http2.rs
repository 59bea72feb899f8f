//! HTTP/2, which a server chooses by ALPN.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Response;
use h2::Reason as Code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::server::http2::{HEADERS, Stream, frame};
use super::server::{listen, read_h2_request, serve_h2, tls};
use super::*;
use crate::domain::outcome::Reason;

/// Sends the usual event, three attempts one after the other, to a server whose streams `respond` answers on one
/// connection.
async fn send_three(respond: impl FnMut(usize, Stream) + Send + 'static) -> Vec<Attempted> {
    let (config, certificate) = tls("h2");
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it listens");
        serve_h2(stream, config, respond).await;
    });
    let sender = trusting(certificate);
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(send_to(&sender, &url("https", port)).await);
    }
    server.abort();
    ends
}

fn ok((_, mut place): Stream) {
    let response = Response::builder().status(200).body(()).expect("a response");
    place.send_response(response, true).expect("the client listens");
}

#[tokio::test]
async fn attempts_share_a_connection_and_keep_userinfo_out_of_the_authority() {
    let ends = send_three(|_, stream| {
        let request = &stream.0;
        let authority = request.uri().authority().expect("there is an authority").as_str();
        assert!(authority.starts_with("127.0.0.1:"), "{authority}");
        assert_eq!(request.headers()["authorization"], "Basic aHVudGVyMjpodW50ZXIy");
        assert_eq!(request.headers()["x-webhook-attempt"], "2");
        ok(stream);
    });
    for attempted in ends.await {
        assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    }
}

#[tokio::test]
async fn what_the_server_says_it_has_not_processed_is_sent_again() {
    let ends = send_three(|count, mut stream| match count {
        0 | 1 => stream.1.send_reset(Code::REFUSED_STREAM),
        _ => ok(stream),
    });
    for attempted in ends.await {
        assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    }
}

/// Checks that the first attempt ends as a reset and the others do well, when the server resets so many streams.
async fn check_reset(first: usize, code: Code) {
    let ends = send_three(
        move |count, mut stream| {
            if count < first { stream.1.send_reset(code) } else { ok(stream) }
        },
    );
    let ends = ends.await;
    let failure = ends[0].end.as_ref().expect_err("it fails");
    assert_eq!(failure.reason, Reason::Reset, "{failure:?}");
    assert!(ends[1].end.is_ok() && ends[2].end.is_ok());
}

#[tokio::test]
async fn what_the_server_never_processes_is_sent_three_times_and_no_more() {
    check_reset(3, Code::REFUSED_STREAM).await;
}

#[tokio::test]
async fn a_token_is_asked_for_again_when_the_request_was_not_processed() {
    let (config, certificate) = tls("h2");
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it listens");
        let respond = |count, mut stream: Stream| match count {
            0 => stream.1.send_reset(Code::REFUSED_STREAM),
            1 => {
                let head = Response::builder().status(200).body(()).expect("a response");
                let mut body = stream.1.send_response(head, false).expect("the client listens");
                let token = br#"{"access_token":"t","token_type":"bearer"}"#;
                body.send_data(token[..].into(), true).expect("the client listens");
            }
            _ => {
                assert_eq!(stream.0.headers()["authorization"], "Bearer t");
                ok(stream);
            }
        };
        serve_h2(stream, config, respond).await;
    });
    let at = |path| format!("https://127.0.0.1:{port}{path}");
    let auth = json!({
        "type": "oauth2", "tokenUrl": at("/token"), "clientId": "i", "clientSecret": "s",
    });
    let attempt = attempt(EVENT, &[], &json!({"url": at("/hooks"), "auth": auth}));
    let attempted = send(&trusting(certificate), &attempt).await;
    assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    server.abort();
}

/// RFC 9113, section 6.8.
fn go_away(last: u32, code: Code) -> Vec<u8> {
    let payload = [last.to_be_bytes(), u32::from(code).to_be_bytes()].concat();
    frame(7, 0, 0, &payload)
}

/// Makes one attempt at a server that answers each connection's request with these bytes, and closes it. Returns what it
/// came to, and how many requests there were.
async fn end_after<const N: usize>(replies: [Vec<u8>; N]) -> (Result<u16, Reason>, usize) {
    let (config, certificate) = tls("h2");
    let (listener, port) = listen().await;
    let requests = Arc::<AtomicUsize>::default();
    let seen = requests.clone();
    let server = tokio::spawn(async move {
        for reply in replies {
            let (stream, _) = listener.accept().await.expect("it listens");
            let mut stream = read_h2_request(stream, config.clone()).await;
            seen.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&reply).await.expect("it is taken");
            stream.shutdown().await.expect("it is taken");
            // Until the client closes.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        // Nobody answers another connection.
        std::future::pending::<()>().await;
    });
    let changes = json!({"url": url("https", port), "timeout": "5s"});
    let attempted = send(&trusting(certificate), &attempt(EVENT, &[], &changes)).await;
    server.abort();
    let end = attempted.end.map(|answer| answer.status).map_err(|failure| failure.reason);
    (end, requests.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_server_that_goes_away_without_having_processed_the_request_is_sent_it_again() {
    // `:status: 200`: RFC 7541, appendix A; the end of headers and stream.
    let ok = frame(HEADERS, 0x5, 1, &[0x88]);
    let gone = go_away(0, Code::NO_ERROR);
    assert_eq!(end_after([gone.clone(), ok.clone()]).await, (Ok(200), 2));
    assert_eq!(end_after([gone.clone(), gone.clone(), ok.clone()]).await, (Ok(200), 3));
    assert_eq!(
        end_after([gone.clone(), gone.clone(), gone, ok.clone()]).await,
        (Err(Reason::Reset), 3)
    );
    // One that goes away with the request in hand answers it.
    let last = [go_away(1, Code::NO_ERROR), ok].concat();
    assert_eq!(end_after([last]).await, (Ok(200), 1));
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_sent_again() {
    for reply in [
        go_away(1, Code::NO_ERROR),
        go_away(0, Code::INTERNAL_ERROR),
        go_away(1, Code::INTERNAL_ERROR),
        go_away(0, Code::ENHANCE_YOUR_CALM),
        frame(3, 0, 1, &u32::from(Code::INTERNAL_ERROR).to_be_bytes()),
        Vec::new(),
    ] {
        assert_eq!(end_after([reply.clone()]).await, (Err(Reason::Reset), 1), "{reply:?}");
    }
}

#[tokio::test]
async fn a_stream_that_the_server_resets_is_a_reset() {
    check_reset(1, Code::INTERNAL_ERROR).await;
}

#[tokio::test]
async fn a_server_that_promises_http2_and_does_not_speak_it_fails_the_protocol() {
    let (config, certificate) = tls("h2");
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it listens");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(stream).await.expect("it is trusted");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it is taken");
        stream.flush().await.expect("it is taken");
        // Until the client closes.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let sender = trusting(certificate);
    let failure = send_to(&sender, &url("https", port)).await.end.expect_err("it fails");
    assert_eq!(failure.reason, Reason::Protocol, "{failure:?}");
    server.await.expect("the server doesn't panic");
}

/// The first bytes of a connection: RFC 8446, section 4.1.2, and RFC 7301, section 3.1.
#[tokio::test]
async fn tls_1_2_or_later_is_offered_with_http2_and_http1() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it listens");
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.expect("a record has a head");
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut hello).await.expect("the record is whole");
        hello
    });
    send_to(&sender(), &url("https", port)).await.end.expect_err("nobody answers");
    let hello = server.await.expect("the server doesn't panic");
    let holds = |bytes: &[u8]| hello.windows(bytes.len()).any(|window| window == bytes);
    // supported_versions: TLS 1.3 and 1.2, and no other.
    let versions = [0x00, 0x2b, 0x00, 0x05, 0x04, 0x03, 0x04, 0x03, 0x03];
    assert!(holds(&versions), "{hello:02x?}");
    assert!(holds(b"\x02h2\x08http/1.1"), "{hello:02x?}");
}

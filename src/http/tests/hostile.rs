//! Receivers that mean harm: each attempt at them is one request, ends in time, and says what was wrong.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;

use super::server::http2::{HEADERS, frame};
use super::server::{
    Reply, Server, certificate, endless, listen, read_h2_request, tls, tls_of, with_length,
};
use super::*;
use crate::domain::outcome::Reason;

/// What an attempt came to: its status and excerpt, or its reason and words.
type End = Result<(u16, Option<String>), (Reason, String)>;

/// The types of frames, and the flag of headers that are whole: RFC 9113, section 6.
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The deadline of attempts that run into it; nothing takes much longer.
const SHORT: Duration = Duration::from_millis(500);
/// That of attempts that end before, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(20);

async fn end_of(sender: &Sender, url: &str, timeout: Duration) -> End {
    let changes = json!({"url": url, "timeout": format!("{}ms", timeout.as_millis())});
    let attempted = send(sender, &attempt(EVENT, &[], &changes)).await;
    assert!(attempted.latency < SHORT * 4 + timeout, "{attempted:?}");
    let end = attempted.end.map(|answer| (answer.status, answer.excerpt.map(String::from)));
    end.map_err(|failure| (failure.reason, failure.error.into()))
}

async fn check(reply: Reply, expect: End) {
    let mut server = Server::start(|_| reply).await;
    let is_late = matches!(expect, Err((Reason::Timeout, _)));
    let timeout = if is_late { SHORT } else { LONG };
    assert_eq!(end_of(&sender(), &url("http", server.port), timeout).await, expect);
    assert_eq!(server.seen().len(), 1);
    // What the sockets' buffers took is the kernel's and bounded by it.
    assert!(server.sent() < 32 << 20, "{}", server.sent());
}

fn failed(reason: Reason, error: &str) -> End {
    Err((reason, error.to_owned()))
}

#[tokio::test]
async fn endless_headers_are_not_taken() {
    let expect = || failed(Reason::Protocol, "message head is too large");
    check(endless(b"HTTP/1.1 200 OK\r\nx".to_vec()), expect()).await;
    check(endless(b"HTTP/1.1 200 OK\r\nx: y".to_vec()), expect()).await;
    let header = format!("x: {}\r\n", "y".repeat(1000));
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", header.repeat(40));
    let words = "an answer of status 200 has more than 32 KiB of headers";
    check(Reply::Bytes(many.into()), failed(Reason::Protocol, words)).await;
    let fits = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", header.repeat(30));
    check(Reply::Bytes(fits.into()), Ok((200, None))).await;
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline() {
    let words = "no answer within 500ms";
    check(Reply::Drip(Vec::new()), failed(Reason::Protocol, "invalid HTTP version parsed")).await;
    check(Reply::Drip(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), failed(Reason::Timeout, words)).await;
    let words = "an answer of status 200 did not end within 500ms";
    let body = with_length("200 OK", 1 << 30, b"");
    check(Reply::Drip(body), failed(Reason::Timeout, words)).await;
}

#[tokio::test]
async fn endless_interim_answers_end_at_the_deadline() {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it listens");
        stream.read_u8().await.expect("a request begins");
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await.is_ok() {}
    });
    let sender = sender();
    let end = end_of(&sender, &url("http", port), SHORT).await;
    assert_eq!(end, failed(Reason::Timeout, "no answer within 500ms"));
    server.await.expect("the server doesn't panic");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("memory takes it");
    packed.finish().expect("memory takes it")
}

#[tokio::test]
async fn a_gzip_bomb_is_unpacked_as_far_as_an_excerpt_goes() {
    let answer = |coding: &str, body: &[u8]| {
        Reply::Bytes(with_length(
            &format!("500 Oops\r\ncontent-encoding: {coding}"),
            body.len(),
            body,
        ))
    };
    let bomb = gzip(&vec![b'x'; 10 << 20]);
    check(answer("gzip", &bomb), Ok((500, Some("x".repeat(1024))))).await;
    check(answer("gzip", &gzip(b"no such hook")), Ok((500, Some("no such hook".into())))).await;
    check(answer("gzip", b"not packed"), Ok((500, None))).await;
    check(answer("br", b"\x8b\x05\x80"), Ok((500, None))).await;
    check(answer("identity", b"plain"), Ok((500, Some("plain".into())))).await;
}

#[tokio::test]
async fn lengths_that_lie_harm_nobody() {
    check(Reply::Bytes(with_length("200 OK", 2, b"and much more")), Ok((200, None))).await;
    check(Reply::Last(with_length("500 Oops", 100, b"short")), Ok((500, Some("short".into()))))
        .await;
    let two = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec();
    check(Reply::Bytes(two), failed(Reason::Protocol, "invalid content-length parsed")).await;
    let negative = b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec();
    check(Reply::Bytes(negative), failed(Reason::Protocol, "invalid content-length parsed")).await;

    // What came behind an answer is not the next one's.
    let smuggled = b"ok".iter().chain(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n");
    let smuggled = with_length("200 OK", 2, &smuggled.copied().collect::<Vec<_>>());
    let server = Server::start(|_| Reply::Bytes(smuggled)).await;
    let sender = sender();
    for _ in 0..3 {
        assert_eq!(end_of(&sender, &url("http", server.port), LONG).await, Ok((200, None)));
    }
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_failures_of_tls() {
    let mut expired = certificate("127.0.0.1");
    expired.not_after = rcgen::date_time_ymd(2024, 1, 1);
    for (certificate, words) in [
        (expired, "invalid peer certificate: certificate expired"),
        (certificate("example.com"), "invalid peer certificate: certificate not valid for name"),
    ] {
        let (config, pem) = tls_of(certificate, |builder| builder.with_no_client_auth());
        let mut server = Server::start_tls(Reply::Last(Vec::new()), config).await;
        let sender = trusting(reqwest::Certificate::from_pem(pem.as_bytes()).expect("PEM"));
        let (reason, error) =
            end_of(&sender, &url("https", server.port), LONG).await.expect_err("nobody is trusted");
        assert_eq!(reason, Reason::Tls, "{error}");
        assert!(error.starts_with(words), "{error}");
        assert_eq!(server.seen().len(), 0);
    }
}

/// What an HTTP/2 server sends behind a request: some frames once, and one over and over.
#[derive(Clone)]
pub struct Flood {
    name: &'static str,
    once: Vec<u8>,
    forever: Vec<u8>,
}

impl Flood {
    /// Floods one connection; ends when the client has closed it.
    pub async fn serve(self, listener: TcpListener, tls: ServerConfig) {
        let (stream, _) = listener.accept().await.expect("it listens");
        let (mut reader, mut writer) = tokio::io::split(read_h2_request(stream, tls).await);
        let drain = async {
            let mut scratch = [0; 4096];
            while reader.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
        };
        let flood = async {
            writer.write_all(&self.once).await?;
            let frames = self.forever.repeat(8192_usize.div_ceil(self.forever.len()));
            loop {
                writer.write_all(&frames).await?;
                writer.flush().await?;
            }
        };
        let ended: Result<(), std::io::Error> = tokio::select! {
            () = drain => Ok(()),
            end = flood => end,
        };
        // Either way it is the client that has ended it.
        drop(ended);
    }
}

/// Every kind of frame (RFC 9113, section 6) that a server may flood a request with, and what an attempt comes to.
pub fn floods() -> Vec<(Flood, Result<u16, Reason>)> {
    // `:status: 200`: RFC 7541, appendix A.
    const OK: &[u8] = &[0x88];
    let number = |number: u32| number.to_be_bytes();
    let kilobyte = [b'y'; 1024];
    let ok = || frame(HEADERS, END_HEADERS, 1, OK);
    // The same, and the beginning of a value of 2 MiB.
    let long = || frame(HEADERS, 0, 1, &[OK, &[0x00, 1, b'x', 0x7f, 0x81, 0xff, 0x7f]].concat());
    let interim = frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']);
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]);
    let behind = |once, name, forever, end| (Flood { name, once, forever }, end);
    let only = |name, forever, end| (Flood { name, once: Vec::new(), forever }, end);
    let (hung, broken) = (Err(Reason::Timeout), Err(Reason::Protocol));
    vec![
        behind(ok(), "data", frame(DATA, 0, 1, &kilobyte), Ok(200)),
        behind(ok(), "empty data", frame(DATA, 0, 1, &[]), Ok(200)),
        only("data before headers", frame(DATA, 0, 1, &kilobyte), broken),
        only("data that is too large", frame(DATA, 0, 1, &[0; 20_000]), broken),
        only("headers", frame(HEADERS, 0, 1, OK), broken),
        only("interim headers", interim, hung),
        behind(long(), "continuation", frame(CONTINUATION, 0, 1, &kilobyte), broken),
        behind(long(), "short continuation", frame(CONTINUATION, 0, 1, b"y"), broken),
        behind(long(), "empty continuation", frame(CONTINUATION, 0, 1, &[]), broken),
        only("continuation of nothing", frame(CONTINUATION, 0, 1, OK), broken),
        only("priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), hung),
        only("reset", frame(RST_STREAM, 0, 1, &number(2)), Err(Reason::Reset)),
        only("settings", frame(SETTINGS, 0, 0, &[]), hung),
        only("push promise", promise, broken),
        only("ping", frame(PING, 0, 0, &[7; 8]), hung),
        only("window update", frame(WINDOW_UPDATE, 0, 0, &number(1)), hung),
        only("window update of the stream", frame(WINDOW_UPDATE, 0, 1, &number(1)), hung),
        only("large window update", frame(WINDOW_UPDATE, 0, 0, &number(u32::MAX >> 1)), broken),
        only("unknown", frame(0xfa, 0, 1, &kilobyte), hung),
    ]
}

#[tokio::test]
async fn floods_of_http2_frames_end_with_the_attempt_and_their_connections_soon() {
    for (flood, expect) in floods() {
        let name = flood.name;
        let (config, certificate) = tls("h2");
        let (listener, port) = listen().await;
        let server = tokio::spawn(flood.serve(listener, config));
        let sender = trusting(certificate);
        let timeout = if expect == Err(Reason::Timeout) { SHORT } else { LONG };
        let end = end_of(&sender, &url("https", port), timeout).await;
        let end = end.map(|(status, _)| status).map_err(|(reason, _)| reason);
        assert_eq!(end, expect, "{name}");
        if end != Err(Reason::Protocol) {
            // What keeps to the protocol loses its connection when that has lain idle; what comes behind an answer does so
            // at the latest then.
            for _ in 0..2 {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(60)).await;
                tokio::time::resume();
            }
        }
        let ended = tokio::time::timeout(PATIENCE, server).await;
        ended.unwrap_or_else(|_| panic!("{name} goes on")).expect("it doesn't panic");
    }
}

#[tokio::test]
async fn headers_of_http2_are_limited_alike() {
    let (config, certificate) = tls("h2");
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it listens");
        super::server::serve_h2(stream, config, |_, (_, mut place)| {
            let mut response = axum::http::Response::builder().status(200);
            for at in 0..40 {
                response = response.header(format!("x-{at}"), "y".repeat(1000));
            }
            let response = response.body(()).expect("a response");
            // The client said how much it takes.
            let _ = place.send_response(response, true);
        })
        .await;
    });
    let sender = trusting(certificate);
    let (reason, error) =
        end_of(&sender, &url("https", port), LONG).await.expect_err("there are too many headers");
    assert!(matches!(reason, Reason::Protocol | Reason::Reset), "{reason:?} {error}");
    server.abort();
}

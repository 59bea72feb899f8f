//! Through a proxy: what it does wrong is told apart from what the receiver does.

use std::io::Write as _;
use std::str::FromStr as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::server::{Server, answer, listen, tls, tls_with};
use super::*;
use crate::config::Config;
use crate::domain::outcome::{Failure, Reason};

/// A proxy that answers the first words of each connection with `reply`, and passes on what comes then if `target` is a
/// port.
struct Proxy {
    port: u16,
    task: JoinHandle<Vec<Vec<u8>>>,
}

impl Proxy {
    /// Starts an HTTP proxy for one connection.
    async fn http(reply: &'static str, target: Option<u16>) -> Self {
        Self::http_on(listen().await, reply, target)
    }

    fn http_on(
        (listener, port): (TcpListener, u16),
        reply: &'static str,
        target: Option<u16>,
    ) -> Self {
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request has a head"));
            }
            stream.write_all(reply.as_bytes()).await.expect("the client listens");
            pass_on(stream, target).await;
            vec![head]
        });
        Self { port, task }
    }

    /// Starts a SOCKS5 proxy without authentication for one connection: RFC 1928.
    async fn socks(reply: u8, target: Option<u16>) -> Self {
        let (listener, port) = listen().await;
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut greeting = vec![0; 2];
            stream.read_exact(&mut greeting).await.expect("a greeting");
            let mut methods = vec![0; greeting[1].into()];
            stream.read_exact(&mut methods).await.expect("methods");
            stream.write_all(&[5, 0]).await.expect("the client listens");
            let mut request = vec![0; 5];
            stream.read_exact(&mut request).await.expect("a request");
            let rest = match request[3] {
                1 => 5,
                3 => usize::from(request[4]) + 2,
                kind => panic!("an address of kind {kind}"),
            };
            let mut address = vec![0; rest];
            stream.read_exact(&mut address).await.expect("an address");
            request.extend(address);
            stream
                .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
                .await
                .expect("the client listens");
            pass_on(stream, target).await;
            vec![request]
        });
        Self { port, task }
    }

    /// Starts a SOCKS5 proxy that answers a greeting with `method`, what comes then with `verdict`, and closes: RFC 1928,
    /// section 3, and RFC 1929.
    async fn socks_asking(method: u8, verdict: &'static [u8]) -> Self {
        let (listener, port) = listen().await;
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut greeting = vec![0; 64];
            let length = stream.read(&mut greeting).await.expect("a greeting");
            greeting.truncate(length);
            stream.write_all(&[5, method]).await.expect("the client listens");
            let mut credentials = vec![0; 64];
            let length = stream.read(&mut credentials).await.expect("a connection that stands");
            credentials.truncate(length);
            // The client may have closed.
            let _ = stream.write_all(verdict).await;
            vec![greeting, credentials]
        });
        Self { port, task }
    }

    async fn seen(self) -> Vec<Vec<u8>> {
        self.task.await.expect("the proxy doesn't panic")
    }
}

async fn pass_on(mut stream: TcpStream, target: Option<u16>) {
    let Some(target) = target else { return };
    let mut onward = TcpStream::connect(("127.0.0.1", target)).await.expect("the target listens");
    // Either side may end it.
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// Returns the settings of a sender behind a proxy, read as an operator's.
fn behind(proxy: &str) -> Settings {
    let flags =
        [("egress.proxy", proxy), ("sources", r#"[{ topics = ["a"], format = "envelope" }]"#)];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::load(None, [], flags).expect("the settings are good");
    Settings { proxy: config.egress.proxy, ..settings() }
}

fn client(settings: &Settings, certificate: reqwest::Certificate) -> Sender {
    let client = client::builder(settings, Lookup::System).expect("the settings are good");
    Sender::with_client(settings, client.tls_certs_only([certificate])).expect("a client")
}

async fn check_failure(settings: &Settings, url: &str, expect: (Reason, &str)) {
    let failure = failure(settings, url).await;
    assert_eq!((failure.reason, &*failure.error), expect);
}

async fn failure(settings: &Settings, url: &str) -> Failure {
    let sender = Sender::new(settings).expect("the settings are good");
    send_to(&sender, url).await.end.expect_err("it fails")
}

/// Checks that a SOCKS proxy is at fault, and that the error has these words.
async fn check_socks(user: &str, proxy: &Proxy, words: &str) {
    let settings = behind(&format!("socks5://{user}127.0.0.1:{}", proxy.port));
    let failure = failure(&settings, &url("http", 8080)).await;
    assert_eq!(failure.reason, Reason::Proxy, "{failure:?}");
    assert!(failure.error.starts_with("SOCKS error: "), "{failure:?}");
    assert!(failure.error.contains(words), "{failure:?}");
}

#[tokio::test]
async fn a_tunnel_leads_to_the_receiver_with_its_own_tls() {
    let (config, certificate) = tls("http/1.1");
    let mut server = Server::start_tls(answer("200 OK", b""), config).await;
    let proxy = Proxy::http("HTTP/1.1 200 Connected\r\n\r\n", Some(server.port)).await;
    let sender =
        client(&behind(&format!("http://user:hunter2@127.0.0.1:{}", proxy.port)), certificate);
    let attempted = send_to(&sender, &url("https", server.port)).await;
    assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    assert_eq!(
        server.seen()[0].headers.iter().filter(|(name, _)| name.starts_with("proxy")).count(),
        0
    );
    drop(sender);
    let head = String::from_utf8(proxy.seen().await.remove(0)).expect("a head of ASCII");
    assert!(head.starts_with(&format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", server.port)), "{head}");
    // printf user:hunter2 | base64
    assert!(head.contains("Basic dXNlcjpodW50ZXIy"), "{head}");
}

#[tokio::test]
async fn what_the_proxy_refuses_is_not_the_receivers_failure() {
    for (reply, words) in [
        ("HTTP/1.1 407 Who?\r\n\r\n", "tunnel error: proxy authorization required"),
        ("HTTP/1.1 502 Bad\r\n\r\n", "tunnel error: unsuccessful"),
        ("SSH-2.0\r\n\r\n", "tunnel error: unsuccessful"),
        ("", "tunnel error: unexpected end of file"),
    ] {
        let proxy = Proxy::http(reply, None).await;
        let settings = behind(&format!("http://127.0.0.1:{}", proxy.port));
        check_failure(&settings, &url("https", 443), (Reason::Proxy, words)).await;
    }
    let (listener, port) = listen().await;
    drop(listener);
    let settings = behind(&format!("http://127.0.0.1:{port}"));
    let words = "Connection refused (os error 111)";
    check_failure(&settings, &url("https", 443), (Reason::Proxy, words)).await;
    let settings = behind(&format!("http://{}.invalid:3128", "x".repeat(63)));
    let failure = failure(&settings, &url("https", 443)).await;
    assert_eq!(failure.reason, Reason::Proxy, "{failure:?}");
}

#[tokio::test]
async fn a_proxy_that_hangs_is_not_the_receivers_failure() {
    let (_listener, port) = listen().await;
    let settings = behind(&format!("http://127.0.0.1:{port}"));
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..settings };
    let words = "no connection through the proxy in time";
    check_failure(&settings, &url("https", 443), (Reason::Proxy, words)).await;
}

#[tokio::test]
async fn a_certificate_behind_the_proxy_is_the_receivers() {
    let (config, _) = tls("http/1.1");
    let server = Server::start_tls(answer("200 OK", b""), config).await;
    let proxy = Proxy::http("HTTP/1.1 200 Connected\r\n\r\n", Some(server.port)).await;
    let sender = Sender::new(&behind(&format!("http://127.0.0.1:{}", proxy.port)));
    let sender = sender.expect("the settings are good");
    let failure = send_to(&sender, &url("https", server.port)).await.end.expect_err("it fails");
    assert_eq!(failure.reason, Reason::Tls, "{failure:?}");
}

#[tokio::test]
async fn socks_leads_to_the_receiver_and_says_what_it_refuses() {
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let proxy = Proxy::socks(0, Some(server.port)).await;
    let sender = Sender::new(&behind(&format!("socks5://127.0.0.1:{}", proxy.port)));
    let sender = sender.expect("the settings are good");
    let attempted = send_to(&sender, &url("http", server.port)).await;
    assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    drop(sender);
    let [high, low] = server.port.to_be_bytes();
    assert_eq!(proxy.seen().await, [[5, 1, 0, 1, 127, 0, 0, 1, high, low]]);

    check_socks("", &Proxy::socks(5, None).await, "").await;
}

#[tokio::test]
async fn what_a_socks_proxy_minds_is_told_apart() {
    let check = async |user: &str, method, verdict: &'static [u8], words: &str| {
        let proxy = Proxy::socks_asking(method, verdict).await;
        check_socks(user, &proxy, words).await;
        proxy.seen().await
    };
    check("", 0xff, &[], "authentication").await;
    check("user:hunter2@", 0xff, &[], "authentication").await;
    let seen = check("user:hunter2@", 2, &[1, 1], "credentials not accepted").await;
    assert_eq!(seen[1], b"\x01\x04user\x07hunter2");
    for (code, words) in [
        (1, "general server failure"),
        (2, "connection not allowed"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
    ] {
        check_socks("", &Proxy::socks(code, None).await, words).await;
    }
}

#[tokio::test]
async fn an_operators_settings_are_those_of_the_requests() {
    let (config, pem) = tls_with(|builder| builder.with_no_client_auth());
    let mut server = Server::start_tls(answer("200 OK", b""), config).await;
    // It has an address of its own, for the proxy's is refused to subscriptions.
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let proxy =
        Proxy::http_on((listener, port), "HTTP/1.1 200 Connected\r\n\r\n", Some(server.port));
    let mut ca_file = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    ca_file.write_all(pem.as_bytes()).expect("a scratch file can be written");
    let flags = [
        ("egress.proxy", format!("http://127.0.0.2:{port}")),
        ("egress.ca_file", ca_file.path().display().to_string()),
        ("egress.allow", "127.0.0.0/8".to_owned()),
        ("delivery.max_body", "1KiB".to_owned()),
        ("delivery.timeout", "19s".to_owned()),
        ("sources", r#"[{ topics = ["a"], format = "envelope" }]"#.to_owned()),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value));
    let config = Config::load(None, [], flags).expect("the settings are good");
    let settings = Settings::from(&config);
    assert_eq!((settings.timeout, settings.max_body), (Duration::from_secs(19), 1024));
    assert_eq!((&settings.proxy, &settings.ca), (&config.egress.proxy, &config.egress.ca));
    let sender = Sender::new(&settings).expect("the settings are good");

    let to = |host: &str, event: &str| {
        let url = format!("https://{host}:{}/", server.port);
        attempt(event, &[], &json!({ "url": url }))
    };
    let attempted = send(&sender, &to("127.0.0.1", EVENT)).await;
    assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    let large = format!(r#"{{"event":"a","data":"{}"}}"#, "x".repeat(1024));
    for (attempt, reason) in [
        (to("127.0.0.1", &large), Reason::TooLarge),
        (to("127.0.0.2", EVENT), Reason::EgressRefused),
    ] {
        let failure = send(&sender, &attempt).await.end.expect_err("it isn't sent");
        assert_eq!(failure.reason, reason, "{failure:?}");
    }
    assert_eq!(server.seen().len(), 1);
    drop(sender);
    assert_eq!(proxy.seen().await.len(), 1);
}

#[tokio::test]
async fn addresses_that_we_look_up_for_a_socks_proxy_are_judged() {
    let address = std::net::IpAddr::from_str("10.0.0.1").expect("an address");
    let table = [("one.example", vec![address])].into();
    let settings = behind("socks5://127.0.0.1:9");
    let client = client::builder(&settings, Lookup::Table(Arc::new(std::sync::Mutex::new(table))));
    let sender = Sender::with_client(&settings, client.expect("the settings are good"));
    let sender = sender.expect("a client");
    let failure = send_to(&sender, "http://one.example:8080/").await.end.expect_err("it fails");
    assert_eq!(failure.reason, Reason::EgressRefused, "{failure:?}");
}

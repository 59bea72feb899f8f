//! Who we say we are: headers, tokens, certificates.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request as HttpRequest;
use axum::response::IntoResponse as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::server::{Server, answer, listen, tls_with};
use super::*;
use crate::config::Authorities;
use crate::domain::outcome::Reason;

/// A token endpoint and a receiver in one: it issues `token-1`, `token-2` and so on, and takes the last one only.
struct Provider {
    port: u16,
    issued: Arc<AtomicUsize>,
    /// What the token endpoint was sent.
    requests: Arc<Mutex<Vec<String>>>,
    /// What the receiver was shown.
    shown: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What the token endpoint answers, told how many it has issued with this one.
type Issue = fn(usize) -> (u16, String);

impl Provider {
    async fn start(issue: Issue) -> Self {
        Self::slow(Duration::ZERO, issue).await
    }

    /// Starts one whose token endpoint takes so long.
    async fn slow(delay: Duration, issue: Issue) -> Self {
        let (listener, port) = listen().await;
        let issued = Arc::<AtomicUsize>::default();
        let [requests, shown] = [(); 2].map(|()| Arc::<Mutex<Vec<String>>>::default());
        let (count, log, bearers) = (issued.clone(), requests.clone(), shown.clone());
        let handle = move |request: HttpRequest| {
            let (count, log, bearers) = (count.clone(), log.clone(), bearers.clone());
            async move {
                let (head, body) = request.into_parts();
                let authorization = head.headers.get("authorization");
                let authorization =
                    authorization.map(|value| value.to_str().expect("ASCII").to_owned());
                let authorization = authorization.unwrap_or_default();
                if head.uri.path() != "/token" {
                    let last = format!("Bearer token-{}", count.load(Ordering::SeqCst));
                    bearers.lock().expect("no panic").push(authorization.clone());
                    return if authorization == last { 200 } else { 401 }.respond();
                }
                let body = to_bytes(axum::body::Body::new(body), 4096).await.expect("a short body");
                let body = String::from_utf8(body.to_vec()).expect("ASCII");
                log.lock().expect("no panic").push(format!("{authorization} {body}"));
                tokio::time::sleep(delay).await;
                let (status, text) = issue(count.load(Ordering::SeqCst) + 1);
                if status == 200 {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                (axum::http::StatusCode::from_u16(status).expect("a status"), text).into_response()
            }
        };
        let app = Router::new().fallback(handle);
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it listens");
        });
        Self { port, issued, requests, shown, task }
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }

    /// Returns how often the token endpoint was asked.
    fn asked(&self) -> usize {
        self.requests.lock().expect("no panic").len()
    }

    /// Returns what the receiver was shown last.
    fn last_shown(&self) -> String {
        self.shown.lock().expect("no panic").last().cloned().unwrap_or_default()
    }

    /// Returns an attempt at the receiver by a subscription with this provider's tokens.
    fn attempt(&self, more: &[(&str, &str)]) -> Attempt {
        self.attempt_within("5s", more)
    }

    /// Returns one that has so much time.
    fn attempt_within(&self, timeout: &str, more: &[(&str, &str)]) -> Attempt {
        let (url, token_url) = (self.url("/hooks"), self.url("/token"));
        let mut auth = json!({
            "type": "oauth2", "tokenUrl": token_url, "clientId": "id:1", "clientSecret": SECRET,
        });
        for (name, value) in more {
            auth[*name] = (*value).into();
        }
        attempt(EVENT, &[], &json!({"url": url, "auth": auth, "timeout": timeout}))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Respond {
    fn respond(self) -> axum::response::Response;
}

impl Respond for u16 {
    fn respond(self) -> axum::response::Response {
        axum::http::StatusCode::from_u16(self).expect("a status").into_response()
    }
}

fn token(count: usize) -> (u16, String) {
    let text = json!({"access_token": format!("token-{count}"), "token_type": "Bearer", "expires_in": 3600});
    (200, text.to_string())
}

#[tokio::test]
async fn a_header_is_sent_with_every_request() {
    let mut server = Server::start(|_| answer("200 OK", b"")).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    for (auth, header) in [
        (
            json!({"type": "basic", "username": "u", "password": "p"}),
            ("authorization", "Basic dTpw"),
        ),
        (json!({"type": "bearer", "token": "t"}), ("authorization", "Bearer t")),
        (json!({"type": "header", "name": "X-Key", "value": "k"}), ("x-key", "k")),
    ] {
        let attempt = attempt(EVENT, &[], &json!({"url": url, "auth": auth}));
        assert!(send(&sender(), &attempt).await.end.is_ok());
        assert_eq!(server.seen().remove(0).header(header.0), header.1);
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_by_all() {
    let provider = Provider::start(token).await;
    let attempt = provider.attempt(&[("scope", "hooks:write all"), ("audience", "https://a")]);
    let sender = sender();
    let (one, other) = tokio::join!(send(&sender, &attempt), send(&sender, &attempt));
    for attempted in [one, other, send(&sender, &attempt).await] {
        assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    }
    // printf id%3A1:hunter2 | base64
    let expect = "Basic aWQlM0ExOmh1bnRlcjI= grant_type=client_credentials&scope=hooks%3Awrite+all&audience=https%3A%2F%2Fa";
    assert_eq!(*provider.requests.lock().expect("no panic"), [expect]);
}

#[tokio::test]
async fn the_clients_secret_may_stand_in_the_body() {
    let provider = Provider::start(token).await;
    let attempt = provider.attempt(&[("clientAuthentication", "body")]);
    assert!(send(&sender(), &attempt).await.end.is_ok());
    let expect = " grant_type=client_credentials&client_id=id%3A1&client_secret=hunter2";
    assert_eq!(*provider.requests.lock().expect("no panic"), [expect]);
}

#[tokio::test]
async fn a_token_that_the_receiver_refuses_is_replaced_at_once_but_not_over_and_over() {
    let provider = Provider::start(token).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    let status = async || send(&sender, &attempt).await.end.map(|answer| answer.status);
    assert_eq!(status().await, Ok(200));
    // The receiver doesn't take the first one any more.
    provider.issued.fetch_add(1, Ordering::SeqCst);
    assert_eq!(status().await, Ok(200));
    assert_eq!(provider.requests.lock().expect("no panic").len(), 2);
    provider.issued.fetch_add(1, Ordering::SeqCst);
    assert_eq!(status().await, Ok(401));
    assert_eq!(provider.requests.lock().expect("no panic").len(), 2);
}

#[tokio::test]
async fn a_refused_token_that_cannot_be_replaced_is_no_answer_of_the_receiver() {
    let once = |count| if count == 1 { token(1) } else { (500, String::new()) };
    let provider = Provider::start(once).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    assert!(send(&sender, &attempt).await.end.is_ok());
    // The receiver doesn't take it any more, and there is no other.
    provider.issued.fetch_add(1, Ordering::SeqCst);
    for _ in 1..=2 {
        let failure = send(&sender, &attempt).await.end.expect_err("there is no token");
        assert_eq!(failure.reason, Reason::Auth);
    }
    assert_eq!(
        provider.requests.lock().expect("no panic").len(),
        2,
        "it is not asked over and over"
    );
}

#[tokio::test]
async fn of_two_attempts_whose_token_is_refused_one_fetches_for_both() {
    let provider = Provider::slow(Duration::from_millis(200), token).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    assert!(send(&sender, &attempt).await.end.is_ok());
    // The receiver doesn't take it any more.
    provider.issued.fetch_add(1, Ordering::SeqCst);
    let (one, other) = tokio::join!(send(&sender, &attempt), send(&sender, &attempt));
    for attempted in [one, other] {
        assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn a_token_without_a_life_is_used_once() {
    let short = |count| {
        let text = json!({"access_token": format!("token-{count}"), "token_type": "bearer", "expires_in": "0"});
        (200, text.to_string())
    };
    let provider = Provider::start(short).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    for count in 1..=2 {
        assert!(send(&sender, &attempt).await.end.is_ok());
        assert_eq!(provider.issued(), count);
    }
}

/// A token that lives for 100 s, of which the last 10 s are for its replacement.
fn lasting(count: usize) -> (u16, String) {
    let text = json!({"access_token": format!("token-{count}"), "token_type": "Bearer", "expires_in": 100});
    (200, text.to_string())
}

async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_used_meanwhile() {
    let provider = Provider::start(lasting).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    let taken = async || assert!(send(&sender, &attempt).await.end.is_ok());
    let begun = Instant::now();
    taken().await;
    pass(85).await;
    taken().await;
    assert_eq!((provider.last_shown().as_str(), provider.asked()), ("Bearer token-1", 1));
    pass(6).await;
    while provider.last_shown() != "Bearer token-2" {
        taken().await;
        assert!(begun.elapsed() < Duration::from_secs(100), "the first would have ended");
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn a_token_whose_replacement_cannot_be_had_is_used_to_its_end() {
    let once = |count| if count == 1 { lasting(1) } else { (500, String::new()) };
    let provider = Provider::start(once).await;
    let (attempt, sender) = (provider.attempt(&[]), sender());
    let status = async || send(&sender, &attempt).await.end.map(|answer| answer.status);
    assert_eq!(status().await, Ok(200));
    pass(91).await;
    while provider.asked() < 2 {
        assert_eq!(status().await, Ok(200));
    }
    for _ in 0..3 {
        assert_eq!(status().await, Ok(200));
        assert_eq!(provider.last_shown(), "Bearer token-1");
    }
    pass(10).await;
    let failure = status().await.expect_err("it has ended");
    let words = "no token from the token endpoint: it answered 500";
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, words));
}

#[tokio::test]
async fn a_provider_slower_than_an_attempt_gives_its_token_to_a_later_one() {
    let provider = Provider::slow(Duration::from_millis(400), token).await;
    let (attempt, sender) = (provider.attempt_within("200ms", &[]), sender());
    let failure = send(&sender, &attempt).await.end.expect_err("its time is over");
    let words = "the token endpoint gave no token in time";
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, words));
    let begun = Instant::now();
    while send(&sender, &attempt).await.end.is_err() {
        assert!(begun.elapsed() < PATIENCE, "there is no token");
    }
    assert_eq!((provider.last_shown().as_str(), provider.asked()), ("Bearer token-1", 1));
}

#[tokio::test]
async fn a_provider_that_hangs_is_asked_once_at_a_time() {
    let provider = Provider::slow(PATIENCE * 100, token).await;
    let (attempt, sender) = (provider.attempt_within("200ms", &[]), sender());
    let check = async || {
        let attempted = send(&sender, &attempt).await;
        assert!(attempted.latency < PATIENCE / 2, "{attempted:?}");
        assert_eq!(attempted.end.expect_err("there is no token").reason, Reason::Auth);
    };
    for _ in 0..2 {
        tokio::join!(check(), check());
    }
    assert_eq!(provider.asked(), 1);
    // The request has its own deadline, behind which there is another.
    pass(31).await;
    while provider.asked() < 2 {
        check().await;
    }
    tokio::join!(check(), check());
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn a_new_definition_fetches_a_token_of_its_own() {
    let provider = Provider::start(token).await;
    let sender = sender();
    for count in 1..=2 {
        assert!(send(&sender, &provider.attempt(&[])).await.end.is_ok());
        assert_eq!(provider.issued(), count);
    }
}

async fn check_no_token(issue: Issue, words: &str) {
    let provider = Provider::start(issue).await;
    let failure = send(&sender(), &provider.attempt(&[])).await.end.expect_err("it fails");
    let expect = format!("no token from the token endpoint: {words}");
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, &*expect));
}

#[tokio::test]
async fn without_a_token_an_attempt_is_a_failure_of_credentials() {
    let refused =
        |_| (401, r#"{"error":"invalid_client","error_description":"hunter2"}"#.to_owned());
    check_no_token(refused, "it answered 401 (invalid_client)").await;
    check_no_token(|_| (400, r#"{"error":"hunter2 is wrong"}"#.to_owned()), "it answered 400")
        .await;
    check_no_token(|_| (302, "x".repeat(100_000)), "it answered 302").await;
    let none = "its answer holds no bearer token";
    check_no_token(|_| (200, "hunter2".to_owned()), none).await;
    check_no_token(
        |_| (200, r#"{"access_token":"a\r\nb","token_type":"bearer"}"#.to_owned()),
        none,
    )
    .await;
    check_no_token(|_| (200, r#"{"access_token":"a","token_type":"mac"}"#.to_owned()), none).await;
    check_no_token(|_| (200, " ".repeat(1 << 20)), none).await;
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_ends_with_the_attempt() {
    let (_listener, port) = listen().await;
    let auth = json!({
        "type": "oauth2", "tokenUrl": format!("http://127.0.0.1:{port}/"), "clientId": "i", "clientSecret": "s",
    });
    let attempt = attempt(
        EVENT,
        &[],
        &json!({"url": "http://127.0.0.1:9/", "auth": auth, "timeout": "200ms"}),
    );
    let failure = send(&sender(), &attempt).await.end.expect_err("it fails");
    let words = "the token endpoint gave no token in time";
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, words));
}

/// Makes a certificate authority of one: its certificate, and its key as PEM.
fn identity(name: &str) -> (rcgen::Certificate, String) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (own.cert, own.signing_key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_is_shown_and_an_own_authority_is_trusted() {
    let (certificate, key) = identity("sender");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder(roots.into()).build().expect("a verifier");
    let (config, server_pem) = tls_with(|builder| builder.with_client_cert_verifier(verifier));
    let server = Server::start_tls(answer("200 OK", b""), config).await;
    let url = format!("https://127.0.0.1:{}/", server.port);
    let settings = Settings { ca: Some(Authorities::new(server_pem.into_bytes())), ..settings() };
    let sender = Sender::new(&settings).expect("the settings are good");

    let auth = json!({"type": "mtls", "certificate": certificate.pem(), "key": key});
    let with = attempt(EVENT, &[], &json!({"url": url, "auth": auth}));
    for _ in 0..2 {
        assert_eq!(send(&sender, &with).await.end.map(|answer| answer.status), Ok(200));
    }
    assert_eq!(server.connections(), 1);
    let failure = send_to(&sender, &url).await.end.expect_err("it has no certificate");
    assert_eq!(failure.reason, Reason::Tls, "{failure:?}");

    let (_, other_key) = identity("sender");
    let auth = json!({"type": "mtls", "certificate": certificate.pem(), "key": other_key});
    let unfit = attempt(EVENT, &[], &json!({"url": url, "auth": auth}));
    let failure = send(&sender, &unfit).await.end.expect_err("the key is another's");
    let words = "the certificate and the key make no identity for TLS";
    assert_eq!((failure.reason, &*failure.error), (Reason::Auth, words));
}

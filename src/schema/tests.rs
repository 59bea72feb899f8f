use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::config::Credentials;
use crate::domain::record::Offset;
use crate::http;

/// What a registry of these tests answers to its `n`th request, from 0; `None` closes the connection.
type Script = fn(&str, usize) -> Option<(u16, String)>;

/// A registry on loopback that answers by a script and remembers what it was asked.
struct Stub {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => answer(stream, script, &heads).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => answer(stream, script, &heads).await,
                        Err(_) => continue,
                    },
                }
            }
        });
        Self { port, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test has panicked").clone()
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("it is ASCII");
    let nth = {
        let mut heads = heads.lock().expect("no test has panicked");
        heads.push(head.clone());
        heads.len() - 1
    };
    let Some((status, body)) = script(&head, nth) else { return };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // Whoever has gone doesn't want it.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn text_schema(_: &str, _: usize) -> Option<(u16, String)> {
    Some((200, json!({"schema": "\"string\""}).to_string()))
}

fn unknown(_: &str, _: usize) -> Option<(u16, String)> {
    Some((404, json!({"error_code": 40403, "message": "hunter2"}).to_string()))
}

/// An order of lines, whose prices are money, and a total that is money too; the lines' schema refers to that for itself.
fn order_schema(head: &str, _: usize) -> Option<(u16, String)> {
    let money = json!({"name": "money", "subject": "money", "version": 1});
    let line = json!({"name": "line", "subject": "line", "version": 1});
    let record = |name: &str, fields: serde_json::Value| {
        json!({"type": "record", "name": name, "fields": fields}).to_string()
    };
    let field = |name: &str, of: &str| json!({"name": name, "type": of});
    let (schema, references) = if head.contains("/subjects/money/") {
        (record("Money", json!([field("cents", "long")])), json!([]))
    } else if head.contains("/subjects/line/") {
        (record("Line", json!([field("price", "Money")])), json!([money]))
    } else {
        let order = record("Order", json!([field("line", "Line"), field("total", "Money")]));
        let lines_first = head.contains("/schemas/ids/7");
        (order, if lines_first { json!([line, money]) } else { json!([money, line]) })
    };
    let subject =
        json!({"schema": schema, "references": references, "id": 1, "version": 1, "subject": "s"});
    Some((200, subject.to_string()))
}

#[tokio::test]
async fn schemas_that_refer_to_one_both_are_read_in_whatever_order_they_are_named() {
    let stub = Stub::start(order_schema, None).await;
    let translator = translator(&settings(&[&stub.url()]));
    for id in [7, 8] {
        let json = translated_as(&translator, &[0, 0, 0, 0, id, 2, 4]).await;
        let expect = r#"{"line":{"price":{"cents":1}},"total":{"cents":2}}"#;
        assert_eq!(json, Ok(Bytes::from_static(expect.as_bytes())), "{id}");
    }
}

fn settings(urls: &[&str]) -> config::Registry {
    config::Registry {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        credentials: Credentials::None,
        ca: None,
        cache_max: 10,
        timeout: Duration::from_secs(5),
        unknown_retries: 2,
        retry_wait: Duration::from_millis(10),
    }
}

fn translator(settings: &config::Registry) -> Translator {
    Translator::of(settings, 1000, Handle::current()).expect("the settings are good")
}

/// Translates the text `a` by schema 7.
async fn translated(translator: &Translator) -> Translation {
    translated_as(translator, &[0, 0, 0, 0, 7, 2, b'a']).await
}

/// Translates a value by the schema that its first bytes name.
async fn translated_as(translator: &Translator, value: &[u8]) -> Translation {
    let origin = Origin {
        topic: "t".into(),
        partition: 0,
        offset: Offset(1),
        timestamp: Timestamp::UNIX_EPOCH,
    };
    let end = translator.translate(Bytes::copy_from_slice(value), &origin);
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("it comes to an end")
}

#[tokio::test]
async fn a_schema_is_asked_for_once_and_then_it_is_here() {
    let stub = Stub::start(text_schema, None).await;
    let translator = translator(&settings(&[&stub.url()]));
    let value = Bytes::from_static(&[0, 0, 0, 0, 7, 2, b'a']);
    assert!(translator.at_once(&value).is_none());
    let (one, two) = tokio::join!(translated(&translator), translated(&translator));
    assert_eq!((one.as_deref(), two.as_deref()), (Ok(&b"\"a\""[..]), Ok(&b"\"a\""[..])));
    assert_eq!(translator.at_once(&value), Some(Ok(Bytes::from_static(b"\"a\""))));
    let asked = stub.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("GET /schemas/ids/7?deleted=true HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(!asked[0].contains("authorization"));
}

#[tokio::test]
async fn large_values_are_translated_elsewhere() {
    let stub = Stub::start(text_schema, None).await;
    let translator = Translator::of(&settings(&[&stub.url()]), 1 << 20, Handle::current())
        .expect("the settings are good");
    translated(&translator).await.expect("it is read");
    let value = text_of(100_003);
    assert_eq!(translator.at_once(&value), None);
    let origin = Origin {
        topic: "t".into(),
        partition: 0,
        offset: Offset(1),
        timestamp: Timestamp::UNIX_EPOCH,
    };
    let json = translator.translate(value, &origin).await.expect("it is read");
    assert_eq!(json.len(), 100_002);
}

/// Makes a value of schema 7 whose payload has so many bytes: a text, its length ahead.
fn text_of(payload: usize) -> Bytes {
    // A varint of three bytes holds lengths from 8 KiB to 1 MiB.
    let length = payload - 3;
    [&[0, 0, 0, 0, 7][..], &varint(length as u64 * 2), &vec![b'x'; length]].concat().into()
}

/// Writes a number as Avro and Protobuf do: seven bits a byte, the lowest first.
pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[tokio::test]
async fn values_up_to_a_length_are_read_at_once_and_few_larger_ones_beside_each_other() {
    let stub = Stub::start(text_schema, None).await;
    let settings = settings(&[&stub.url()]);
    let translator = Translator::of(&settings, 1 << 20, Handle::current()).expect("they are good");
    translated(&translator).await.expect("it is read");
    let at_once = translator.at_once(&text_of(AT_ONCE_MAX)).expect("it is small");
    assert_eq!(at_once.map(|json| json.len()), Ok(AT_ONCE_MAX - 3 + 2));
    let large = text_of(AT_ONCE_MAX + 1);
    assert_eq!(translator.at_once(&large), None);

    let turns = translator.0.large.clone();
    assert_eq!(turns.available_permits(), LARGE_AT_ONCE);
    let all = turns.acquire_many(LARGE_AT_ONCE as u32).await.expect("nobody closes it");
    let mut waits = Box::pin(translated_as(&translator, &large));
    let too_soon = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
    assert!(too_soon.is_err(), "it did not wait for its turn");
    translated(&translator).await.expect("a small one doesn't wait");
    drop(all);
    assert_eq!(waits.await.map(|json| json.len()), Ok(AT_ONCE_MAX + 1 - 3 + 2));
    // The turn is given back by the thread that had it.
    let all = turns.acquire_many(LARGE_AT_ONCE as u32).await;
    assert!(all.is_ok());
}

/// Refers to another schema, and that to another, without an end. Each has 3 MiB.
fn endless_schema(head: &str, _: usize) -> Option<(u16, String)> {
    let before = head.split("/subjects/").nth(1).and_then(|rest| rest.split('/').next());
    let next = before.map_or(0, |name| name.parse::<u32>().expect("a number")) + 1;
    let reference = json!({"name": next.to_string(), "subject": next.to_string(), "version": 1});
    let text = format!("\"string\"{}", " ".repeat(3 << 20));
    let subject =
        json!({"schema": text, "references": [reference], "id": 1, "version": 1, "subject": "s"});
    Some((200, subject.to_string()))
}

#[tokio::test]
async fn a_schema_that_is_too_long_cannot_be_used_and_is_not_read_to_its_end() {
    let unusable = Err(Unreadable("schema 7 can't be used; the log says why".into()));
    let too_long: Script = |_, _| Some((200, " ".repeat(http::ANSWER_MAX + 1)));
    let stub = Stub::start(too_long, None).await;
    assert_eq!(translated(&translator(&settings(&[&stub.url()]))).await, unusable);
    assert_eq!(stub.asked().len(), 1);

    let stub = Stub::start(endless_schema, None).await;
    assert_eq!(translated(&translator(&settings(&[&stub.url()]))).await, unusable);
    assert_eq!(stub.asked().len(), 6, "with the sixth there are more than 16 MiB");
}

#[tokio::test]
async fn a_failure_that_is_too_long_is_a_failure_and_waited_out() {
    let script: Script = |head, nth| match nth {
        0 => Some((500, " ".repeat(http::ANSWER_MAX + 1))),
        _ => text_schema(head, nth),
    };
    let stub = Stub::start(script, None).await;
    translated(&translator(&settings(&[&stub.url()]))).await.expect("then it answers");
    assert_eq!(stub.asked().len(), 2);
}

/// Reads settings with these lines in `[registry]` as the program does, and makes what follows from them.
fn loaded(lines: &str) -> Translator {
    let mut file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    let source =
        "sources = [{ topics = [\"t\"], format = \"registry\", event_type = { key = true } }]";
    std::io::Write::write_all(&mut file, format!("{source}\n[registry]\n{lines}").as_bytes())
        .expect("a new temporary file is writable");
    let host = [("HOSTNAME".into(), "host-1".into())];
    let config = Config::load(Some(file.path()), host, []).expect("the settings are good");
    Translator::new(&config, Handle::current()).expect("the settings are good")
}

#[tokio::test]
async fn every_setting_of_the_registry_is_followed() {
    let stub = Stub::start(text_schema, None).await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = hanging.local_addr().expect("it is bound").port();
    let urls = format!("url = [\"http://127.0.0.1:{port}/\", \"{}/path/\"]", stub.url());

    // Addresses in their order, the timeout of the first, basic authentication, room for a single schema.
    let basic = "timeout = \"200ms\"\nusername = \"me\"\npassword = \"pw\"\ncache_max = 1";
    let translator = loaded(&format!("{urls}\n{basic}"));
    for (id, asked) in [(7, 1), (7, 1), (8, 2), (7, 3)] {
        let json = translated_as(&translator, &[0, 0, 0, 0, id, 2, b'a']).await;
        assert_eq!(json.as_deref(), Ok(&b"\"a\""[..]));
        assert_eq!(stub.asked().len(), asked, "with {id}");
    }
    let head = stub.asked().pop().expect("it was asked");
    assert!(head.starts_with("GET /path/schemas/ids/7?"), "{head}");
    assert!(head.contains("authorization: Basic bWU6cHc=\r\n"), "{head}");

    let bearer = loaded(&format!("url = \"{}\"\ntoken = \"t0ken\"", stub.url()));
    translated(&bearer).await.expect("it is read");
    let head = stub.asked().pop().expect("it was asked");
    assert!(head.contains("authorization: Bearer t0ken\r\n"), "{head}");

    let stub = Stub::start(unknown, None).await;
    let patience = "unknown_retries = 1\nretry_wait = \"10ms\"";
    let patient = loaded(&format!("url = \"{}\"\n{patience}", stub.url()));
    translated(&patient).await.expect_err("nobody knows it");
    assert_eq!(stub.asked().len(), 2);

    let (acceptor, pem) = tls();
    let stub = Stub::start(text_schema, Some(acceptor)).await;
    let ca = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(ca.path(), pem).expect("a new temporary file is writable");
    let path = ca.path().display();
    let secure =
        loaded(&format!("url = \"https://127.0.0.1:{}\"\nca_file = \"{path}\"", stub.port));
    translated(&secure).await.expect("it is trusted");
}

#[tokio::test]
async fn registries_are_asked_in_order_with_credentials() {
    let stub = Stub::start(text_schema, None).await;
    let dead = "http://127.0.0.1:1".to_owned();
    let mut settings = settings(&[&dead, &stub.url()]);
    for (credentials, expect) in [
        (
            Credentials::Basic { username: "me".into(), password: "pw".into() },
            "authorization: Basic bWU6cHc=",
        ),
        (Credentials::Bearer("t0ken".into()), "authorization: Bearer t0ken"),
    ] {
        settings.credentials = credentials;
        let translator = translator(&settings);
        translated(&translator).await.expect("the second answers");
        let head = stub.asked().pop().expect("it was asked");
        assert!(head.contains(expect), "{head}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_answer_in_time_is_passed_over() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = hanging.local_addr().expect("it is bound").port();
    let stub = Stub::start(text_schema, None).await;
    let mut settings = settings(&[&format!("http://127.0.0.1:{port}"), &stub.url()]);
    settings.timeout = Duration::from_millis(100);
    translated(&translator(&settings)).await.expect("the second answers");
}

#[tokio::test]
async fn an_id_that_is_not_known_is_asked_for_again_and_then_given_up() {
    let stub = Stub::start(unknown, None).await;
    let translator = translator(&settings(&[&stub.url()]));
    let expect = Unreadable("the registry has no schema 7".into());
    assert_eq!(translated(&translator).await, Err(expect));
    assert_eq!(stub.asked().len(), 3);
}

#[tokio::test]
async fn an_id_that_becomes_known_meanwhile_is_read() {
    let script: Script =
        |head, nth| if nth < 2 { unknown(head, nth) } else { text_schema(head, nth) };
    let stub = Stub::start(script, None).await;
    translated(&translator(&settings(&[&stub.url()]))).await.expect("the third time it is known");
}

#[tokio::test]
async fn whatever_else_goes_wrong_is_waited_out() {
    let script: Script = |head, nth| match nth {
        0 => None,
        1 => Some((401, json!({"error_code": 40101, "message": "no"}).to_string())),
        2 => Some((404, "<html>not here</html>".to_owned())),
        3 => Some((500, json!({"error_code": 50001, "message": "no"}).to_string())),
        4 => Some((200, "{}".to_owned())),
        5 => Some((200, "hunter2".to_owned())),
        _ => text_schema(head, nth),
    };
    let stub = Stub::start(script, None).await;
    let translator = translator(&settings(&[&stub.url()]));
    translated(&translator).await.expect("in the end it answers");
    assert_eq!(stub.asked().len(), 7);
    assert_eq!(translator.waiting(), 0);
}

#[tokio::test]
async fn a_value_that_waits_is_counted_until_nobody_wants_it() {
    let mut settings = settings(&["http://127.0.0.1:1"]);
    settings.retry_wait = Duration::from_millis(1);
    let translator = translator(&settings);
    let waits = translator.clone();
    let task = tokio::spawn(async move { translated(&waits).await });
    while translator.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(translator.waiting(), 0);
}

#[tokio::test]
async fn a_schema_that_cannot_be_used_makes_its_records_unreadable() {
    let script: Script =
        |_, _| Some((200, json!({"schema": "{\"type\":\"hunter2\"}"}).to_string()));
    let stub = Stub::start(script, None).await;
    let unreadable = translated(&translator(&settings(&[&stub.url()]))).await.unwrap_err();
    assert_eq!(unreadable.0, "schema 7 can't be used; the log says why");
}

#[tokio::test]
async fn without_a_registry_nothing_is_asked() {
    let translator = translator(&settings(&[]));
    let unreadable = translated(&translator).await.unwrap_err();
    assert_eq!(unreadable.0, "it needs a schema, and there is no registry.url");
    let plain = translator.at_once(&Bytes::from_static(b"{\"a\":1}"));
    let expect = "the value is not in the wire format: no zero and schema id";
    assert_eq!(plain, Some(Err(Unreadable(expect.into()))));
    let beyond = translator.at_once(&Bytes::from_static(&[0, 0x80, 0, 0, 0, 1]));
    let expect = "no schema has the id 2147483648: they go to 2147483647";
    assert_eq!(beyond, Some(Err(Unreadable(expect.into()))));
}

/// Makes a server's end of TLS, and the PEM of whom to trust for it.
fn tls() -> (TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate can be made");
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("the certificate is good");
    let pem = STANDARD.encode(cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    (TlsAcceptor::from(Arc::new(server)), pem.into_bytes())
}

#[tokio::test]
async fn a_registry_is_trusted_by_the_authorities_of_the_file() {
    let (acceptor, pem) = tls();
    let stub = Stub::start(text_schema, Some(acceptor)).await;
    let mut settings = settings(&[&format!("https://127.0.0.1:{}", stub.port)]);
    settings.ca = Some(pem);
    translated(&translator(&settings)).await.expect("it is trusted");

    settings.ca = Some(b"no certificate".to_vec());
    assert!(Translator::of(&settings, 1000, Handle::current()).is_err());
    settings.ca = None;
    let translator = translator(&settings);
    let waits = translator.clone();
    let task = tokio::spawn(async move { translated(&waits).await });
    while translator.waiting() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    assert_eq!(stub.asked().len(), 1, "nothing was asked of whom nobody trusts");
}

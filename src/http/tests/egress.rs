//! Where requests may go: judged at connect, on every address of a name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Server, answer};
use super::*;
use crate::domain::outcome::Reason;

type Table = Arc<Mutex<HashMap<&'static str, Vec<IpAddr>>>>;

fn table(name: &'static str, addresses: &[&str]) -> Table {
    let table = Table::default();
    point(&table, name, addresses);
    table
}

fn point(table: &Table, name: &'static str, addresses: &[&str]) {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    table.lock().expect("no test panics while it holds it").insert(name, addresses);
}

/// Returns a sender whose names are those of the table, and that may call what `allow` names.
fn sender_to(table: &Table, allow: &[&str]) -> Sender {
    let allow = allow.iter().map(|entry| entry.parse().expect("an entry")).collect();
    let egress = Egress::new(allow, Vec::new(), vec![1024..=u16::MAX]);
    let settings = Settings { egress: egress.into(), ..settings() };
    let client = client::builder(&settings, Lookup::Table(table.clone()));
    Sender::with_client(&settings, client.expect("the settings are good")).expect("a client")
}

async fn check_refused(sender: &Sender, url: &str, words: &str) {
    let failure = send_to(sender, url).await.end.expect_err("it is refused");
    assert_eq!((failure.reason, &*failure.error), (Reason::EgressRefused, words));
}

#[tokio::test]
async fn a_name_that_leads_inward_is_refused_before_anything_is_sent() {
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let url = format!("http://one.example:{}/", server.port);
    let sender = sender_to(&table("one.example", &["127.0.0.1"]), &[]);
    check_refused(&sender, &url, "the address is loopback and not in egress.allow").await;
    // One bad address among good ones could be the one that is connected to.
    let sender = sender_to(&table("one.example", &["127.0.0.1", "10.0.0.1"]), &["127.0.0.1"]);
    check_refused(&sender, &url, "the address is private and not in egress.allow").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_whose_addresses_all_pass_is_called() {
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let url = format!("http://one.example:{}/", server.port);
    for allow in ["127.0.0.1", "one.example"] {
        let sender = sender_to(&table("one.example", &["127.0.0.1"]), &[allow]);
        assert_eq!(send_to(&sender, &url).await.end.map(|answer| answer.status), Ok(200));
    }
}

#[tokio::test]
async fn a_name_is_judged_anew_for_each_connection_and_its_connections_are_pooled() {
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let url = format!("http://one.example:{}/", server.port);
    let table = table("one.example", &["127.0.0.1"]);
    let sender = sender_to(&table, &["127.0.0.1"]);
    for _ in 0..3 {
        assert!(send_to(&sender, &url).await.end.is_ok());
    }
    assert_eq!(server.connections(), 1);
    point(&table, "one.example", &["169.254.169.254"]);
    let elsewhere = Server::start(|_| answer("200 OK", b"")).await;
    let url = format!("http://one.example:{}/", elsewhere.port);
    check_refused(&sender, &url, "the address is link-local and not in egress.allow").await;
}

#[tokio::test]
async fn an_address_in_the_url_is_judged_again_when_it_is_called() {
    // The subscription was read by rules that allow loopback.
    let server = Server::start(|_| answer("200 OK", b"")).await;
    let sender = sender_to(&Table::default(), &[]);
    let words = "the address is loopback and not in egress.allow";
    check_refused(&sender, &url("http", server.port), words).await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_failure_of_dns() {
    let sender = sender_to(&Table::default(), &[]);
    let failure = send_to(&sender, "http://one.example:8080/").await.end.expect_err("it fails");
    assert_eq!(failure.reason, Reason::Dns, "{failure:?}");
}

#[tokio::test]
async fn a_name_whose_servers_hang_is_looked_up_once_however_many_ask() {
    let asked = Arc::<AtomicUsize>::default();
    let client = client::builder(&settings(), Lookup::Hanging(asked.clone()));
    let sender = Sender::with_client(&settings(), client.expect("the settings are good"));
    let sender = sender.expect("a client");
    let attempt = |name: &str| {
        let url = format!("http://{name}.example:8080/");
        attempt(EVENT, &[], &json!({"url": url, "timeout": "200ms"}))
    };
    for _ in 0..2 {
        let (one, other) = (attempt("one"), attempt("one"));
        let (one, other) = tokio::join!(send(&sender, &one), send(&sender, &other));
        for attempted in [one, other] {
            let failure = attempted.end.expect_err("nobody answers");
            assert_eq!(failure.reason, Reason::Timeout, "{failure:?}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(send(&sender, &attempt("two")).await.end.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

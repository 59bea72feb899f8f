//! What receivers that mean harm cost in memory. A process of its own tells, which runs this one test and nothing else.

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::hostile::floods;
use super::server::{Reply, Server, answer, endless, listen, tls, with_length};
use super::*;

/// Says to the test that it is the process that is measured.
const MEASURED: &str = "KAFKA_WEBHOOKS_TEST_MEASURED";
/// What the last line of that process begins with; the bytes follow.
const GROWN: &str = "grown by ";
/// The most that it may grow by: what a connection's windows take, and what the allocator keeps.
const GROWTH_MAX: u64 = 32 << 20;

#[test]
fn hostile_receivers_cost_a_bounded_memory() {
    if std::env::var_os(MEASURED).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let grown = runtime.expect("there are threads").block_on(grown());
        println!("\n{GROWN}{grown}");
        return;
    }
    let name = "http::tests::memory::hostile_receivers_cost_a_bounded_memory";
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(MEASURED, "1")
        .output()
        .expect("it can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    let grown = told.lines().find_map(|line| line.strip_prefix(GROWN));
    let grown: u64 = grown.and_then(|bytes| bytes.parse().ok()).unwrap_or_else(|| {
        panic!(
            "it ended with {}:\n{told}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    });
    assert!(grown < GROWTH_MAX, "{} MiB", grown >> 20);
}

/// Makes attempts at all of them, one after the other, and returns the bytes by which the process has grown at its peak.
async fn grown() -> u64 {
    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100);
    let packed = "500 Oops\r\ncontent-encoding: gzip";
    let chunked = "500 Oops\r\ntransfer-encoding: chunked\r\n";
    let replies = [
        endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
        Reply::Endless(Vec::new(), interim),
        endless(with_length("200 OK", 1 << 40, b"")),
        endless(with_length("500 Oops", 1 << 40, b"")),
        Reply::Endless(format!("HTTP/1.1 {chunked}\r\n").into(), b"1\r\nx\r\n".repeat(1000)),
        Reply::Endless(with_length(packed, 1 << 40, &GZIP_HEAD), zeros()),
    ];
    let harmless = Server::start(|_| answer("200 OK", b"")).await;
    check(&sender(), &url("http", harmless.port)).await;
    let before = peak();
    for reply in replies {
        let server = Server::start(|_| reply).await;
        check(&sender(), &url("http", server.port)).await;
    }
    for (flood, _) in floods() {
        let (config, certificate) = tls("h2");
        let (listener, port) = listen().await;
        let server = tokio::spawn(flood.serve(listener, config));
        check(&trusting(certificate), &url("https", port)).await;
        server.abort();
    }
    peak() - before
}

/// The head of gzip without a name: RFC 1952, section 2.3.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Returns a mebibyte of zeros, packed so that they may stand there again and again.
fn zeros() -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![0; 1 << 20]).expect("memory takes it");
    packed.flush().expect("memory takes it");
    packed.get_ref().clone()
}

/// Makes an attempt, whatever it comes to.
async fn check(sender: &Sender, url: &str) {
    let changes = json!({"url": url, "timeout": "500ms"});
    send(sender, &attempt(EVENT, &[], &changes)).await;
}

/// Returns the most memory in bytes that the process has had at once: proc(5).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.and_then(|peak| peak.parse::<u64>().ok()).expect("it is a number of kB") << 10
}

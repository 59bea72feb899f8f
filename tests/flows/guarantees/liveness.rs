//! Liveness follows progress; a bug ends the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kafka_webhooks::cli;
use kafka_webhooks::config::Config;
use serde_json::json;

use super::load::LONG;
use crate::fixture::{Fixture, SOON};
use crate::support::connector::Connector;
use crate::support::exchange::Answer;
use crate::support::free_port;
use crate::support::process::Process;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

/// Longer than the stall that these tests set.
const LONGER: Duration = Duration::from_secs(4);

fn stays_live(connector: &Connector) {
    let end = Instant::now() + LONGER;
    while Instant::now() < end {
        assert_eq!(connector.get("/live").0, 200);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn nothing_to_do_and_slow_receivers_are_no_stall() {
    let receiver = Receiver::start(|_, _| Answer::hang());
    let flow = Fixture::with("no-stall", |setup| setup.set("ops", "stall_after", r#""2s""#));
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"timeout": "60s"}));
    let connector = flow.start();
    stays_live(&connector);
    flow.event("evt_1", "a");
    receiver.wait_count(SOON, 1);
    stays_live(&connector);
}

#[test]
fn work_that_waits_while_nothing_moves_is_a_stall() {
    let receiver = Receiver::always(200);
    let scope = Scope::new("stall");
    // No audit record fits, so that no outcome can be committed.
    scope.create_topic("audit", 1, &[("max.message.bytes", "100")]);
    let flow = Fixture::on(scope, |setup| {
        setup.set("ops", "stall_after", r#""2s""#).set("delivery", "timeout", r#""1s""#).set(
            "delivery",
            "connect_timeout",
            r#""1s""#,
        )
    });
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    let deadline = Instant::now() + LONG;
    while connector.get("/live").0 != 503 {
        assert!(Instant::now() < deadline, "/live never noticed");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(
        receiver.requests().len(),
        1,
        "an outcome that can't be written is no reason to send again"
    );
    let committed = flow.scope.committed(&flow.scope.group(), "orders");
    assert!(committed.iter().all(|partition| partition.offset == 0), "{committed:?}");
}

/// Run as a process of its own by the test below; does nothing otherwise.
///
/// It is the connector as the program runs it, with one task of its runtime that panics when a file appears.
#[test]
fn runs_a_connector_that_panics_when_asked() {
    let Some(folder) = std::env::var_os("PANIC_ON_PURPOSE").map(PathBuf::from) else { return };
    let config = Config::load(Some(&folder.join("connector.toml")), [], []);
    let config = config.expect("the parent's settings are valid");
    std::thread::spawn(move || {
        while !folder.join("now").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
        let task = runtime.spawn(async { panic!("on purpose") });
        // With the hook at work, nothing comes behind this.
        drop(runtime.block_on(task));
        println!("went on after a panic");
    });
    drop(cli::run::run(&config));
}

#[test]
fn a_panic_in_any_task_ends_the_process_with_nothing_committed_that_was_not_done() {
    let receiver = Receiver::start(|_, nth| match nth {
        1 => Answer::hang(),
        _ => Answer::status(200),
    });
    let flow = Fixture::new("panic");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a new temporary folder is writable");
    };
    write("connector.toml", &flow.setup.toml(ops));
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command
        .args(["--exact", "--nocapture"])
        .arg("guarantees::liveness::runs_a_connector_that_panics_when_asked")
        .env("PANIC_ON_PURPOSE", folder.path());
    let log = folder.path().join("log");
    let mut process = Process::start("a connector that panics", &mut command, &log, folder.path());
    flow.event("evt_1", "a");
    receiver.wait_count(SOON, 1);
    write("now", "");
    assert!(!process.wait_exit(SOON).success());
    let told = process.log();
    assert!(told.contains("this is a bug") && !told.contains("went on"), "{told}");
    let committed = flow.scope.committed(&flow.scope.group(), "orders");
    assert!(committed.iter().all(|partition| partition.offset == 0), "{committed:?}");
    assert_eq!(flow.scope.read_committed("audit"), []);

    let _again = flow.start();
    receiver.wait_count(SOON, 2);
    flow.wait_settled(1);
}

//! The README's commands: every block of them is run in its order, as a reader would, on a broker of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use jiff::Timestamp;
use kafka_webhooks::config::Config;
use kafka_webhooks::domain::event::EventId;
use kafka_webhooks::domain::record::Offset;
use kafka_webhooks::domain::subscription::{Subscription, SubscriptionId};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::SOON;
use crate::support::broker::Broker;
use crate::support::connector::fetch;
use crate::support::free_port;
use crate::support::process::{LOOK_EVERY, Process};
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

const README: &str = include_str!("../../README.md");

/// What can't be run from within a test, or not on every machine, and who does it instead.
const ELSEWHERE: [(&str, &str); 3] = [
    ("cargo run --release -- demo", "the test of the demo, with the binary that is there"),
    ("cargo build --release", "the benchmark"),
    ("cargo test", "whoever reads this"),
];

/// What commands print of which the README says what it is, each by its beginning; what differs from run to run is left
/// out. Every command of that beginning is held against it.
const PRINTED: [(&str, &[&str]); 18] = [
    (
        "kafka-webhooks topics create",
        &["created webhooks.subscriptions\n", "created webhooks.audit\n"],
    ),
    (
        "kafka-webhooks check",
        &["ok       settings: read\n", "ok       orders: 4 partitions, events\n"],
    ),
    ("kafka-webhooks subscriptions create crm", &["created crm\nsecret whsec_"]),
    ("kafka-webhooks subscriptions create billing", &["created billing\nsecret whsec_"]),
    ("kafka-webhooks subscriptions test", &["webhook.test", r#""outcome": "delivered""#]),
    ("kafka-webhooks subscriptions rotate-secret", &["secret whsec_"]),
    (
        "kafka-webhooks deliveries list --outcome dead-lettered --since",
        &["AT", "SUBSCRIPTION", "REASON"],
    ),
    ("kafka-webhooks deliveries list --outcome dead-lettered --event", &["TENANT", "URL"]),
    ("kafka-webhooks deliveries list --reason unreadable", &["[]\n"]),
    ("kafka-webhooks deliveries show evt_1", &["evt_1  order.created\n", "crm: delivered\n"]),
    ("kafka-webhooks stats", &["SUCCESS", "P99", "\nall", "100.00 %"]),
    (
        "kafka-webhooks dead-letters redrive --subscription billing",
        &["redriven 0 of 0, deliveries: 0\n"],
    ),
    ("kafka-webhooks dead-letters redrive --subscription crm --dry-run", &["would redrive 0 of 0"]),
    (
        "kafka-webhooks replay --subscription billing",
        &["0 of 100 events sent to billing\n100 are not of its events"],
    ),
    (
        "kafka-webhooks replay --subscription crm --topic orders --from 2026-01-15",
        &["events would be sent to crm\n"],
    ),
    ("kafka-webhooks subscriptions list --state failing", &["[]\n"]),
    ("kafka-webhooks subscriptions get crm", &[r#""secret": "***""#]),
    ("kafka-webhooks verify", &["verified\n"]),
];

/// A shell in a folder of its own, with the program on its path and what a reader would have.
struct Shell {
    environment: Vec<(String, String)>,
    /// What to put for the names in the text.
    names: Vec<(&'static str, String)>,
    ops: SocketAddr,
    running: Vec<Process>,
    // After `running`, so that it is removed when nothing uses it any more.
    folder: TempDir,
}

impl Shell {
    fn new(names: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a new folder is writable");
        symlink(env!("CARGO_BIN_EXE_kafka-webhooks"), bin.join("kafka-webhooks"))
            .expect("a new folder is writable");
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let environment = [
            ("PATH", path),
            ("KAFKA_WEBHOOKS__OPS__LISTEN", ops.to_string()),
            ("KAFKA_WEBHOOKS__KAFKA__INSTANCE_ID", "reader".to_owned()),
            // What is called stands on loopback here.
            ("KAFKA_WEBHOOKS__EGRESS__ALLOW_HTTP", "true".to_owned()),
            ("KAFKA_WEBHOOKS__EGRESS__ALLOW", r#"["127.0.0.0/8"]"#.to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { environment, names, ops, running: Vec::new(), folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one line as it stands in the README.
    fn run(&mut self, line: &str) {
        let mut text = line.to_owned();
        for (name, put) in &self.names {
            text = text.replace(name, put);
        }
        if let Some(assignment) = text.strip_prefix("export ") {
            let (name, _) = assignment.split_once('=').expect("it assigns something");
            let value = self.output(&format!("{text}; printf %s \"${name}\""));
            self.environment.push((name.to_owned(), value));
        } else if text == "kafka-webhooks run" {
            self.begin(&text);
            self.wait_ready();
        } else if text.starts_with("kafka-webhooks listen") || text.ends_with("--follow") {
            self.begin(&text);
        } else if !ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == text) {
            let printed = self.output(&text);
            for (_, parts) in PRINTED.iter().filter(|(beginning, _)| line.starts_with(beginning)) {
                for part in *parts {
                    assert!(printed.contains(part), "no {part:?} of {line}\n{printed}");
                }
            }
        }
    }

    /// Runs a line to its end and returns what it prints.
    ///
    /// # Panics
    ///
    /// When it fails; shows what it said.
    fn output(&self, line: &str) -> String {
        let output = self.shell(line).stdin(Stdio::null()).output().expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}\n{}\n{said}\n{told}", output.status);
        told.into_owned()
    }

    /// Starts what goes on until it is ended.
    fn begin(&mut self, line: &str) {
        let log = self.path().join(format!("{}.log", self.running.len()));
        let process =
            Process::start(line, &mut self.shell(&format!("exec {line}")), &log, self.path());
        self.running.push(process);
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + SOON;
        while !fetch(self.ops, "/ready").is_ok_and(|(status, _)| status == 200) {
            let process = self.running.last_mut().expect("it was started");
            assert!(process.exited().is_none(), "{}", process.last_lines());
            assert!(Instant::now() < deadline, "{}", process.last_lines());
            thread::sleep(LOOK_EVERY);
        }
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KAFKA_WEBHOOKS_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Returns the README's commands in their order, each with the heading that it stands under.
fn commands() -> Vec<(&'static str, String)> {
    let (mut heading, mut is_block) = ("", false);
    let (mut commands, mut begun) = (Vec::new(), String::new());
    for line in README.lines() {
        match line {
            "```sh" => is_block = true,
            "```" => is_block = false,
            _ if !is_block => heading = line.strip_prefix("## ").unwrap_or(heading),
            _ => {
                let line = line.split_once("  #").map_or(line, |(command, _)| command).trim();
                if let Some(line) = line.strip_suffix('\\') {
                    begun += line;
                } else if !line.is_empty() {
                    commands.push((heading, format!("{begun}{line}")));
                    begun.clear();
                }
            }
        }
    }
    commands
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let broker = Broker::start();
    let scope = Scope::plain(&broker);
    scope.create_topic("orders", 4, &[]);
    let receiver = Receiver::always(200);
    let mut shell = Shell::new(vec![
        ("localhost:9092", broker.bootstrap()),
        ("https://example.com/hooks", receiver.url("/hooks")),
    ]);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/subscriptions");
    symlink(examples, shell.path().join("subscriptions")).expect("a new folder is writable");
    let Shown { event, headers, body } = shown();
    fs::write(shell.path().join("body.json"), body).expect("a new folder is writable");
    let other = |n| {
        let value = json!({"id": format!("evt_{n}"), "event": "order.created", "data": n});
        Draft::new(format!("k{n}"), value.to_string())
    };
    scope.produce_all("orders", (2..101).map(other).chain([Draft::new("k1", event)]));

    let commands = commands();
    for (beginning, _) in PRINTED {
        let is_there = commands.iter().any(|(_, command)| command.starts_with(beginning));
        assert!(is_there, "the README has no {beginning}");
    }
    let ours = commands.iter().filter(|(_, command)| command.starts_with("kafka-webhooks"));
    assert!(ours.count() > 10, "{commands:?}");
    for (heading, command) in &commands {
        println!("{heading}: {command}");
        shell.run(command);
    }
    // What the README shows of one request is what came, but for what differs each time.
    let requests = receiver.requests();
    let first = requests.iter().find(|it| it.webhook_id() == "evt_1").expect("it was delivered");
    assert_eq!(String::from_utf8_lossy(&first.body), body);
    for (name, value) in headers {
        match name {
            "webhook-timestamp" | "webhook-signature" | "x-webhook-signature" => {
                assert_eq!(first.header(name).is_empty(), value.is_empty(), "{name}");
            }
            _ => assert_eq!(first.header(name), value, "{name}"),
        }
    }
}

/// The record that the README follows.
struct Shown {
    event: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

fn shown() -> Shown {
    let section = README.split("\n## ").find(|section| section.starts_with("Follow one record"));
    let section = section.expect("there is such a section");
    let event = section.split_once(" to `orders`: `").and_then(|(_, rest)| rest.split_once("`."));
    let (_, request) = section.split_once("   POST /hooks\n").expect("a request is shown");
    let (head, rest) = request.split_once("\n\n").expect("a body follows");
    let headers = head.lines().filter_map(|line| line.trim().split_once(": "));
    let body = rest.lines().next().expect("it has a line").trim();
    Shown { event: event.expect("an event is shown").0, headers: headers.collect(), body }
}

#[test]
fn the_request_of_the_readme_is_signed_as_it_shows() {
    let Shown { headers, body, .. } = shown();
    let value = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("no {wanted} in {headers:?}")).1
    };
    let commands = commands();
    let verify = commands.iter().find(|(_, command)| command.starts_with("kafka-webhooks verify"));
    let (_, verify) = verify.expect("there is such a command");
    // The flow above runs it: the signature is good.
    let words: Vec<_> = verify.split(' ').collect();
    for (option, header) in [
        ("--id", "webhook-id"),
        ("--timestamp", "webhook-timestamp"),
        ("--signature", "webhook-signature"),
    ] {
        let at = words.iter().position(|word| *word == option).expect("it is given");
        assert_eq!(words[at + 1], value(header), "{header}");
    }
    let secret = words.iter().position(|word| *word == "--secret").map(|at| words[at + 1]);
    let definition = json!({
        "url": "https://example.com/hooks", "events": ["*"], "secret": secret, "signatures": ["x-webhook"],
    });
    let sources = r#"[{ topics = ["orders"], format = "envelope" }]"#.to_owned();
    let config = Config::load(None, [], [("sources".to_owned(), sources)]).expect("they are good");
    let id = SubscriptionId::parse("crm").expect("it is an id");
    let definition = definition.to_string();
    let rules = config.subscription_rules();
    let crm = Subscription::parse(id, definition.as_bytes(), Offset(0), &rules);
    let crm = crm.expect("it keeps the rules");
    let at = Timestamp::from_second(value("webhook-timestamp").parse().expect("a number"));
    let signed = crm.signing.sign(&EventId::new("evt_1"), at.expect("in range"), body.as_bytes());
    let signed = signed.expect("its secret is live");
    let (_, signature) = signed.first().expect("there is one scheme");
    let beginning = value("x-webhook-signature").trim_end_matches('…');
    assert!(beginning.len() > 16 && signature.starts_with(beginning), "{signature}");
}

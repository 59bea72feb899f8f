//! Commands that can't do what they are asked to: each says so in one clear sentence, fails, and doesn't take long.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, Instant};

use clap::{Command, CommandFactory as _};
use kafka_webhooks::cli::Cli;
use serde_json::json;

use crate::fixture::SECRET;
use crate::support::connector::Setup;
use crate::support::free_port;
use crate::support::scope::Scope;

/// No command takes longer to find out: the cluster is asked for ten seconds, and for records it is waited a little
/// longer. With a margin for a busy machine, on which all of them run at once.
const SOON_ENOUGH: Duration = Duration::from_secs(60);

/// Every command that needs a cluster, with arguments that are right.
const COMMANDS: [&str; 21] = [
    "run",
    "check",
    "topics create",
    "subscriptions list",
    "subscriptions get crm",
    "subscriptions create crm --url https://example.com/hooks --event a",
    "subscriptions apply -f FILE",
    "subscriptions delete crm",
    "subscriptions enable crm",
    "subscriptions disable crm",
    "subscriptions rotate-secret crm",
    "subscriptions re-encrypt",
    "subscriptions test crm",
    "deliveries list",
    "deliveries show evt_1",
    "stats",
    "dead-letters list",
    "dead-letters show 0/1",
    "dead-letters redrive --all",
    "dead-letters redrive --all --dry-run",
    "replay --subscription crm --topic ORDERS --from 1h",
];

/// Those that need none.
const ALONE: [&str; 4] = ["demo", "listen", "verify", "completions"];

/// Returns what is written to call each command that does something.
fn leaves(command: &Command, before: &str) -> Vec<String> {
    let inner: Vec<_> = command.get_subcommands().collect();
    if inner.is_empty() {
        return vec![before.trim_start().to_owned()];
    }
    let leaf = |command: &&Command| leaves(command, &format!("{before} {}", command.get_name()));
    inner.iter().flat_map(leaf).collect()
}

#[test]
fn no_command_is_left_out() {
    let all: BTreeSet<String> = leaves(&Cli::command(), "").into_iter().collect();
    let is_called = |name: &&String| {
        let calls = COMMANDS.iter().chain(&ALONE);
        calls.copied().any(|call| call == *name || call.starts_with(&format!("{name} ")))
    };
    let missing: Vec<_> = all.iter().filter(|name| !is_called(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Runs each of the commands, and checks what it says: `says` looks at what is neither a log nor empty, line by line.
fn check(scope: &Scope, setup: &Setup, commands: &[&str], says: impl Fn(&str, &[&str]) + Sync) {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let file = folder.path().join("crm.json");
    let definition =
        json!({"id": "crm", "url": "https://example.com/hooks", "events": ["a"], "secret": SECRET});
    std::fs::write(&file, definition.to_string()).expect("a new folder is writable");
    let keys = r#"[{ id = "k", key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }]"#;
    let setup = setup.clone().env("KAFKA_WEBHOOKS__ENCRYPTION__KEYS", keys);
    std::thread::scope(|threads| {
        for line in commands {
            let orders = scope.topic("orders");
            let file = file.to_str().expect("its name is text");
            let (setup, says) = (&setup, &says);
            threads.spawn(move || {
                let words: Vec<_> = line
                    .split(' ')
                    .map(|word| match word {
                        "FILE" => file,
                        "ORDERS" => &orders,
                        word => word,
                    })
                    .collect();
                let start = Instant::now();
                let Output { status, stdout, stderr } = setup.run(&words);
                let (took, text) = (start.elapsed(), |bytes| String::from_utf8(bytes));
                let (out, err) = (text(stdout).expect("text"), text(stderr).expect("text"));
                assert_eq!(status.code(), Some(1), "{line}:\n{out}{err}");
                assert!(took < SOON_ENOUGH, "{line} took {took:?}:\n{out}{err}");
                // A check is a list of what it looked at; the connector tells what it does in its log.
                let told = if *line == "check" { &out } else { &err };
                assert!(*line == "check" || out.is_empty(), "{line}: {out}");
                let is_said = |line: &&str| !line.starts_with('{') && !line.starts_with("ok ");
                says(line, &told.lines().filter(is_said).collect::<Vec<_>>());
            });
        }
    });
}

/// Checks that there is one sentence, and that it holds these texts.
#[track_caller]
fn one(line: &str, told: &[&str], parts: &[&str]) {
    let [sentence] = told else { panic!("{line} says {told:?}") };
    assert!(parts.iter().all(|part| sentence.contains(part)), "{line}: {sentence:?}: {parts:?}");
}

#[test]
fn without_a_broker_every_command_names_it() {
    let scope = Scope::new("no-broker");
    let nowhere = format!("127.0.0.1:{}", free_port());
    let setup = Setup::new(&scope).source(&scope, "orders", "envelope", "").set(
        "kafka",
        "bootstrap_servers",
        &format!("{nowhere:?}"),
    );
    let answered = format!("no broker of {nowhere} answered within 10s");
    check(&scope, &setup, &COMMANDS, |line, told| {
        one(line, told, &[&answered, "check kafka.bootstrap_servers"]);
    });
}

#[test]
fn without_topics_every_command_says_which_one_to_create() {
    let scope = Scope::new("no-topics");
    let setup = Setup::new(&scope).source(&scope, "orders", "envelope", "");
    let others: Vec<_> = COMMANDS.into_iter().filter(|line| *line != "topics create").collect();
    check(&scope, &setup, &others, |line, told| {
        if ["run", "check"].contains(&line) {
            assert!(told.len() > 1 && told.iter().all(|line| line.contains("exist")), "{told:?}");
            return;
        }
        let advice = "doesn't exist: create it with `kafka-webhooks topics create`";
        one(line, told, &[scope.prefix(), advice]);
    });
}

/// Makes all topics but one, with a subscription `crm`, and runs commands that need that one.
fn check_without(missing: &str, commands: &[&str], advice: &str) {
    let scope = Scope::new(&format!("no-{missing}"));
    let all = ["orders", "subscriptions", "subscription-status", "deliver", "dead-letter", "audit"];
    for topic in all.iter().filter(|topic| **topic != missing) {
        scope.create_topic(topic, 1, &[]);
    }
    let definition = json!({"url": "https://example.com/hooks", "events": ["a"], "secret": SECRET});
    scope.produce("subscriptions", "crm", definition.to_string(), &[]);
    let setup = Setup::new(&scope).source(&scope, "orders", "envelope", "");
    let missing = format!("topic {} doesn't exist: {advice}", scope.topic(missing));
    check(&scope, &setup, commands, |line, told| one(line, told, &[&missing]));
}

#[test]
fn a_single_topic_that_is_missing_is_named_by_the_commands_that_need_it() {
    let create = "create it with `kafka-webhooks topics create`";
    let (redrive, replay) = ("dead-letters redrive --all", COMMANDS[COMMANDS.len() - 1]);
    check_without("deliver", &["subscriptions test crm", redrive, replay], create);
    check_without("audit", &["subscriptions test crm", "deliveries list", "stats"], create);
    let letters = ["dead-letters list", "dead-letters show 0/1", redrive];
    check_without("dead-letter", &letters, create);
    check_without("orders", &[replay], "create it, or take it out of [[sources]]");
}

//! Sending again: dead letters and past events, by commands, through a running connector.

mod letters;
mod redrive;
mod replay;

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON};
use crate::support::connector::Setup;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};

/// A receiver that answers 500 until it is healed.
pub fn ill() -> (Receiver, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let status = move || if is_healed.load(Ordering::Relaxed) { 200 } else { 500 };
    (Receiver::start(move |_, _| Answer::status(status())), healed)
}

/// Runs a command that succeeds, and returns the lines that it prints.
#[track_caller]
pub fn run(setup: &Setup, line: &str) -> Vec<String> {
    let (code, out, err) = finish(setup, line);
    assert_eq!(code, Some(0), "{line}: {out}{err}");
    out.lines().map(str::to_owned).collect()
}

/// Runs a command that fails, and returns what it says.
#[track_caller]
pub fn fail(setup: &Setup, line: &str) -> String {
    let (code, out, err) = finish(setup, line);
    assert_eq!(code, Some(1), "{line}: {out}{err}");
    out + &err
}

pub fn finish(setup: &Setup, line: &str) -> (Option<i32>, String, String) {
    let words: Vec<_> = line.split(' ').collect();
    let Output { status, stdout, stderr } = setup.run(&words);
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    (status.code(), text(stdout), text(stderr))
}

#[track_caller]
pub fn json_of(setup: &Setup, line: &str) -> Value {
    let out = run(setup, &format!("{line} --output json")).join("\n");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

pub fn letters(flow: &Fixture, count: usize) -> Vec<Record> {
    let is_letter =
        |record: &&Record| record.header("webhooks-kind").as_deref() != Some("redriven");
    let enough = |records: &[Record]| records.iter().filter(is_letter).count() >= count;
    let records = flow.scope.wait_for("dead-letter", SOON, enough);
    records.into_iter().filter(|record| is_letter(&record)).collect()
}

/// A dead letter of a delivery to `crm`.
pub fn given_up(id: &str) -> Draft {
    let value = json!({ "id": id, "event": "a" }).to_string();
    let headers = [
        ("subscription", "crm"),
        ("id", id),
        ("origin", "orders/0/0"),
        ("origin-timestamp", "2026-01-15T10:30:00Z"),
        ("reason", "exhausted"),
        ("kind", "delivery"),
    ];
    headers.iter().fold(Draft::new(id, value), |letter, (name, value)| {
        letter.header(&format!("webhooks-{name}"), value)
    })
}

/// Returns the ids of the events in the deliver topic, sorted.
pub fn handed_over(flow: &Fixture) -> Vec<String> {
    let records = flow.scope.read_committed("deliver");
    let mut ids: Vec<_> = records.iter().filter_map(|it| it.header("webhooks-id")).collect();
    ids.sort_unstable();
    ids
}

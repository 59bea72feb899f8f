//! The shipped file, the defaults and the README say the same.

use std::collections::BTreeSet;

use ::config::{FileFormat, Map, Source as _, Value, ValueKind};

use super::*;
use crate::domain::engine::Fairness;

const SHIPPED: &str = include_str!("../../../config/connector.toml");

#[test]
fn the_shipped_file_is_accepted_and_changes_no_default() {
    let shipped = load(SHIPPED, &[], &[]).expect("the shipped file is fine");
    assert_eq!(shipped.sources.all()[0].topics, ["orders", "^payments\\..+"]);
    let least = accept("", &[], &[]);
    assert_eq!(least, Config { sources: least.sources.clone(), ..shipped });
}

#[test]
fn defaults_are_the_contract_s() {
    let config = accept("", &[], &[]);
    assert_eq!(config.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(config.kafka.instance, Instance::HostName("host-1".into()));
    assert_eq!(config.kafka.transactional_id(), "kafka-webhooks-host-1");
    assert_eq!(
        config.kafka.properties.iter().collect::<Vec<_>>(),
        [("auto.offset.reset", "earliest")]
    );
    let names: Vec<&str> = config.topics.names().map(|(_, name)| &**name).collect();
    assert_eq!(
        names,
        [
            "webhooks.subscriptions",
            "webhooks.subscription-status",
            "webhooks.deliver",
            "webhooks.dead-letter",
            "webhooks.audit",
            "webhooks.retry.1s",
            "webhooks.retry.5s",
            "webhooks.retry.30s",
            "webhooks.retry.2m",
            "webhooks.retry.10m",
            "webhooks.retry.1h",
            "webhooks.retry.6h",
        ]
    );
    assert_eq!(
        (config.topics.partitions, config.topics.replication),
        (6, Replication::BrokerDefault)
    );
    let seconds =
        |durations: &[Duration]| durations.iter().map(Duration::as_secs).collect::<Vec<_>>();
    assert_eq!(seconds(&config.retry.schedule), [5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200]);
    assert_eq!(config.retry.jitter, 0.1);
    assert_eq!(
        seconds(&[config.retry.retry_after_max, config.retry.expire_after]),
        [86_400, 259_200]
    );
    let delivery = Delivery {
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        max_in_flight: 1024,
        max_in_flight_per_subscription: 256,
        fairness: Fairness::Subscription,
        max_bytes_in_flight: 64 << 20,
        max_body: 4 << 20,
    };
    assert_eq!(config.delivery, delivery);
    assert!(!config.egress.allow_http);
    assert_eq!(config.ledger.commit_interval, Duration::from_millis(50));
    assert_eq!(config.shutdown.timeout, Duration::from_secs(25));
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.ops.stall_after, Duration::from_secs(120));
    assert_eq!((config.log.level, config.log.format), (tracing::Level::INFO, LogFormat::Auto));
}

/// The shipped file with its commented-out settings in force: "#" without a space before the key.
fn shipped_in_full() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    SHIPPED.lines().map(|line| uncomment(line) + "\n").collect()
}

fn collect_keys(path: &str, table: &Map<String, Value>, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match &value.kind {
            ValueKind::Table(inner) if !is_free(&path) => collect_keys(&path, inner, keys),
            ValueKind::Array(items) => {
                for item in items {
                    if let ValueKind::Table(inner) = &item.kind {
                        collect_keys(&path, inner, keys);
                    }
                }
            }
            _ => {}
        }
        keys.insert(path);
    }
}

/// Tables whose keys are the user's, or one of several of which the file can show only one at a time.
fn is_free(path: &str) -> bool {
    let tables = [
        "kafka.properties",
        "topics.retry",
        "sources.event_type",
        "sources.event_id",
        "sources.event_time",
        "sources.tenant",
        "traces.headers",
    ];
    tables.contains(&path)
}

#[test]
fn the_shipped_file_shows_every_key_and_no_other() {
    let mut ca = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    ca.write_all(b"-----BEGIN CERTIFICATE-----").expect("a scratch file can be written");
    let ca = ca.path().to_str().expect("its path is plain");
    let text = shipped_in_full().replace("/etc/ssl/certs/internal.pem", ca);
    load(&text, &[], &[]).expect("the shipped file's examples are fine together");

    let parsed = ::config::File::from_str(&text, FileFormat::Toml).collect().expect("it is TOML");
    let mut shown = BTreeSet::new();
    collect_keys("", &parsed, &mut shown);

    let mut file = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    file.write_all(text.as_bytes()).expect("a scratch file can be written");
    let layer = layers::file(file.path()).expect("it is TOML");
    let mut reader = Reader::default();
    reader.walk(layers::merge([layer]), |root| Config::read(root, Some("host-1")));
    let in_free_table =
        |key: &&String| key.rsplit_once('.').is_some_and(|(table, _)| is_free(table));
    let asked: BTreeSet<String> =
        reader.asked().iter().filter(|key| !in_free_table(key)).cloned().collect();
    assert_eq!(shown, asked);
}

/// Returns the keys of the settings file in its order, with their defaults as they stand there.
fn keys_of_the_file() -> Vec<(String, String)> {
    let mut section = "";
    let mut keys: Vec<(String, String)> = Vec::new();
    for line in SHIPPED.lines() {
        let setting = line.strip_prefix('#').unwrap_or(line);
        if setting.starts_with('[') && setting.ends_with(']') {
            section = setting.trim_matches(['[', ']']);
            if section == "kafka.properties" {
                keys.push((section.to_owned(), String::new()));
            }
        } else if let Some((key, value)) = setting.split_once(" = ")
            && section != "kafka.properties"
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            let key = format!("{section}.{key}");
            let has_default = !line.starts_with('#') && section != "sources";
            let default = if has_default { format!("`{value}`") } else { String::new() };
            if !keys.iter().any(|(known, _)| *known == key) {
                keys.push((key, default));
            }
        }
    }
    keys
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = include_str!("../../../README.md");
    let table = readme.split("\n## ").find(|section| section.starts_with("Settings\n"));
    let rows = table.expect("there is such a section").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_end_matches('`');
        Some((key.to_owned(), cells.next()?.trim().to_owned()))
    });
    assert_eq!(rows.collect::<Vec<_>>(), keys_of_the_file());
}

//! Behaviour of the settings as a whole: text in, checked settings or problems out.

mod egress;
mod others;
mod precedence;
mod shipped;
mod sources;

use std::io::Write;
use std::time::Duration;

use super::*;

/// The least a file must say.
const LEAST: &str = "sources = [{ topics = [\"orders\"], format = \"envelope\" }]\n";

fn load(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, Vec<Problem>> {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    file.write_all(text.as_bytes()).expect("a scratch file can be written");
    let host = ("HOSTNAME", "host-1");
    let environment = [&host].into_iter().chain(environment);
    Config::load(
        Some(file.path()),
        environment.map(|(name, value)| (name.into(), value.into())),
        flags.iter().map(|(key, value)| (key.to_string(), value.to_string())),
    )
}

/// Loads the least file with the given lines, variables and flags, and expects it to be fine.
#[track_caller]
fn accept(lines: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Config {
    load(&format!("{LEAST}{lines}"), environment, flags).expect("the settings are fine")
}

/// Loads the least file with the given lines and expects exactly these problems, one a line.
#[track_caller]
fn check(lines: &str, problems: &str) {
    check_with(&format!("{LEAST}{lines}"), &[], &[], problems);
}

#[track_caller]
fn check_with(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], problems: &str) {
    let found = load(text, environment, flags).err().unwrap_or_default();
    let found: Vec<String> = found.iter().map(Problem::to_string).collect();
    let expected: Vec<&str> =
        problems.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(found, expected);
}

#[test]
fn all_problems_are_reported_at_once_with_their_paths() {
    check_with(
        r#"
        colour = "red"
        sources = [
            { topics = ["orders"], format = "envelope" },
            { topics = [], format = "xml" },
        ]
        [kafka]
        group_id = ""
        properties = { "group.id" = "other", "client.id" = ["a"] }
        [retry]
        jitter = 0.2
        tiers = ["5s", "1s", "soon"]
        [delivery]
        timeout = "0s"
        max_in_flight = "many"
        max_bdy = "1MiB"
        [log]
        level = "loud"
        stall_after = "2m"
        "#,
        &[],
        &[],
        r#"
        kafka.group_id: must not be empty
        kafka.properties."client.id": must be text, a number or a truth value, not a list
        kafka.properties."group.id": is set by the connector: set kafka.group_id
        retry.tiers[2]: "soon" is no duration: write it like "50ms", "10s", "2m", "24h" or "1h 30m"
        retry.jitter: 0.2 must be from 0 to 0.1
        sources[1].topics: at least one is needed
        sources[1].format: unknown "xml", expected envelope, cloudevents, json or registry
        delivery.timeout: 0s must be from 10ms to 10m
        delivery.max_in_flight: must be a whole number, not text
        log.level: unknown "loud", expected error, warn, info, debug or trace
        colour: unknown key
        delivery.max_bdy: unknown key, did you mean max_body?
        log.stall_after: unknown key, did you mean ops.stall_after?
        "#,
    );
}

#[test]
fn each_topic_can_have_a_name_of_its_own() {
    let config = accept(
        r#"
        [retry]
        tiers = ["90s", "1h 30m"]
        [topics]
        prefix = ""
        audit = "trail"
        dead_letter = "graveyard"
        partitions = 12
        replication_factor = 3
        retry = { "1h 30m" = "slow" }
        "#,
        &[],
        &[],
    );
    let topics = config.topics;
    assert_eq!(
        (&*topics.audit, &*topics.dead_letter, &*topics.deliver),
        ("trail", "graveyard", "deliver")
    );
    assert_eq!((topics.partitions, topics.replication), (12, Replication::Factor(3)));
    let tiers: Vec<_> = topics
        .tiers
        .iter()
        .map(|tier| (&*tier.label, tier.duration.as_secs(), &*tier.topic))
        .collect();
    assert_eq!(tiers, [("90s", 90, "retry.90s"), ("1h 30m", 5400, "slow")]);
}

#[test]
fn topic_names_are_legal_and_distinct() {
    check(
        r#"
        [topics]
        audit = "a b"
        status = "webhooks_retry.1s"
        replication_factor = 0
        retry = { "7s" = "x" }
        "#,
        r#"
        topics.audit: "a b" is no topic name: Kafka takes 1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-"
        topics.retry.7s: is none of retry.tiers
        topics.replication_factor: must be -1 (the broker's default) or at least 1
        "#,
    );
    check(
        "[topics]\nstatus = \"webhooks_retry.1s\"",
        r#"topics.retry.1s: "webhooks.retry.1s" is the topic of topics.status too ("." and "_" count as the same)"#,
    );
    check(
        "[topics]\nprefix = \"web hooks\"",
        r#"topics.prefix: "web hooks" must be at most 200 of a-z, A-Z, 0-9, ".", "_" and "-""#,
    );
    check(
        "[retry]\ntiers = [\"1h 30m\"]",
        r#"retry.tiers[0]: "1h 30m" can't be part of a topic's name: write it another way, or set topics.retry."1h 30m""#,
    );
}

#[test]
fn tiers_ascend_within_bounds() {
    check(
        "[retry]\ntiers = [\"1s\", \"60s\", \"1m\", \"2s\"]",
        r#"
        retry.tiers[2]: "1m" must be longer than "60s" before it
        retry.tiers[3]: "2s" must be longer than "1m" before it
        "#,
    );
    check("[retry]\ntiers = []", "retry.tiers: at least one is needed");
    check("[retry]\ntiers = [\"99ms\"]", "retry.tiers[0]: 99ms must be from 100ms to 720h");
    let many: Vec<String> = (1..=17).map(|seconds| format!("\"{seconds}s\"")).collect();
    check(
        &format!("[retry]\ntiers = [{}]", many.join(",")),
        "retry.tiers: 17 entries, must be from 1 to 16",
    );
}

#[test]
fn an_empty_schedule_means_one_attempt() {
    assert!(accept("[retry]\nschedule = []", &[], &[]).retry.schedule.is_empty());
    let many = vec!["\"1s\""; 51].join(",");
    check(
        &format!("[retry]\nschedule = [{many}]"),
        "retry.schedule: 51 entries, must be from 0 to 50",
    );
}

#[test]
fn no_number_is_within_no_bounds() {
    check("[retry]\njitter = nan", "retry.jitter: NaN must be from 0 to 0.1");
    check("[retry]\njitter = -0.01", "retry.jitter: -0.01 must be from 0 to 0.1");
    assert_eq!(accept("[retry]\njitter = 0", &[], &[]).retry.jitter, 0.0);
}

#[test]
fn a_part_is_no_larger_than_its_whole() {
    check(
        r#"
        [delivery]
        timeout = "2s"
        max_in_flight = 10
        max_bytes_in_flight = "1MiB"
        "#,
        r#"
        delivery.connect_timeout: 5s must not be more than delivery.timeout, 2s
        delivery.max_in_flight_per_subscription: 256 must not be more than delivery.max_in_flight, 10
        delivery.max_body: 4MiB must not be more than delivery.max_bytes_in_flight, 1MiB
        "#,
    );
}

#[test]
fn values_of_the_wrong_type_are_named() {
    check(
        r#"
        ledger = 5
        egress = { allow_http = "yes" }
        retry = { schedule = "5s" }
        delivery = { timeout = 10, max_body = 1.5, max_in_flight = 0 }
        ops = { listen = "localhost:9464" }
        "#,
        r#"
        retry.schedule: must be a list, not text
        delivery.timeout: must be a duration with its unit, such as "10s", not a whole number
        delivery.max_in_flight: 0 must be from 1 to 65536
        delivery.max_body: must be a size such as "4MiB", not a number
        egress.allow_http: must be true or false, not text
        ledger: must be a table, not a whole number
        ops.listen: "localhost:9464" is no address to listen on: write an IP address and a port, such as "127.0.0.1:9464"
        "#,
    );
}

#[test]
fn a_user_s_keys_are_taken_as_they_are() {
    check(
        "\"kafka.group_id\" = \"x\"\n\"log[9]\" = 1",
        "\"kafka.group_id\": unknown key\n\"log[9]\": unknown key, did you mean log?",
    );
}

#[test]
fn instance_ids_say_where_they_came_from() {
    let config = accept("[kafka]\ninstance_id = \"a\"", &[], &[]);
    assert_eq!(config.kafka.instance, Instance::Configured("a".into()));
    check(
        "[kafka]\ninstance_id = \"a/b\"",
        r#"kafka.instance_id: "a/b" must be 1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-""#,
    );
    check_with(
        LEAST,
        &[("HOSTNAME", "my host")],
        &[],
        r#"kafka.instance_id: is empty, and the host name "my host" won't do: set 1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-""#,
    );
}

#[test]
fn properties_become_text() {
    let config = accept(
        "[kafka.properties]\n\"a\" = 5\n\"b\" = true\n\"c\" = 0.5\n\"auto.offset.reset\" = \"latest\"",
        &[],
        &[],
    );
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(
        properties,
        [("a", "5"), ("auto.offset.reset", "latest"), ("b", "true"), ("c", "0.5")]
    );
    check(
        "[kafka.properties]\nsecurity.protocol = \"SSL\"",
        r#"kafka.properties.security: is a table: write the property's whole name in quotes, such as "security.protocol""#,
    );
}

#[test]
fn properties_fit_a_c_string() {
    check(
        "[kafka.properties]\n\"\" = \"x\"\n\"a\\u0000\" = \"x\"\n\"b\" = \"x\\u0000\"",
        r#"
        kafka.properties."": is no property's name
        kafka.properties."a\0": is no property's name
        kafka.properties.b: must not hold a NUL character
        "#,
    );
}

#[test]
fn passwords_stand_in_no_output() {
    let config = accept("[kafka.properties]\n\"sasl.password\" = \"hunter2\"", &[], &[]);
    assert_eq!(config.kafka.properties.get("sasl.password"), Some("hunter2"));
    let shown = format!("{config:?}");
    assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");

    for text in [
        "[kafka.properties]\n\"sasl.password\" = \"hunter2",
        "[kafka.properties]\n\"sasl.password\" = \"hunter2\" hunter2",
        "[kafka.properties]\n\"sasl.password\" = hunter2",
        "[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]",
        "[kafka.properties]\n\"group.id\" = \"hunter2\"",
        "[kafka.properties]\n\"sasl.password\" = \"\\hunter2\"",
        "[kafka.properties]\n\"sasl.password\" = \"\"\"\nhunter2\n| hunter2\n",
    ] {
        let problems = load(&format!("{LEAST}{text}"), &[], &[]).expect_err(text);
        let shown: String = problems.iter().map(Problem::to_string).collect();
        assert!(!shown.contains("hunter2") && !shown.contains('\n'), "{shown}");
    }
}

#[test]
fn an_unreadable_file_is_one_problem() {
    let missing = Path::new("/nonexistent/connector.toml");
    let problems = Config::load(Some(missing), [], []).expect_err("there is no such file");
    assert_eq!(problems.len(), 1);
    let shown = problems[0].to_string();
    assert!(
        shown.starts_with("/nonexistent/connector.toml: can't be read: No such file"),
        "{shown}"
    );

    let large = format!("{LEAST}# {}", "x".repeat(1024 * 1024));
    let problems = load(&large, &[], &[]).expect_err("the file is too large");
    assert_eq!(problems[0].message, "can't be read: it is larger than 1 MiB");

    let problems = load("a = 1\na = 2", &[], &[]).expect_err("a key stands twice");
    assert_eq!(problems[0].message, "TOML parse error at line 2, column 1: duplicate key");
}

#[test]
fn encryption_keys_are_told_by_their_ids_only() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let variable = format!(r#"[{{ id = "b", key = "{key}" }}, {{ id = "a", key = "{key}" }}]"#);
    let config = accept("", &[("KAFKA_WEBHOOKS__ENCRYPTION__KEYS", &variable)], &[]);
    assert!(config.encryption.can_seal());
    assert!(!format!("{:?}", config.encryption).contains("AAAA"));
    check(
        "[encryption]\nrequired = true",
        "encryption.required: can't be true without encryption.keys",
    );
    check(
        "[encryption]\nkeys = [{ id = \"a b\", key = \"hunter2\" }]",
        "encryption.keys[0].id: must be 1 to 64 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"\nencryption.keys[0].key: must be base64 of 32 bytes, such as `openssl rand -base64 32` prints",
    );
    check(
        &format!(
            "[encryption]\nkeys = [{{ id = \"a\", key = \"{key}\" }}, {{ id = \"a\", key = \"{key}\" }}]"
        ),
        "encryption.keys[1]: \"a\" is the id of two keys",
    );
}

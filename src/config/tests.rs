//! Behaviour of the settings as a whole: text in, checked settings or problems out.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ::config::{FileFormat, Map, Source as _, Value, ValueKind};

use super::*;
use crate::domain::engine::Fairness;
use crate::domain::source::{Format, Selector, Source};

const SHIPPED: &str = include_str!("../../config/connector.toml");
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
fn sources_have_no_default() {
    check_with("", &[], &[], "sources: at least one is needed");
}

#[test]
fn a_source_takes_its_attributes_from_where_it_says() {
    let config = load(
        r#"
        [[sources]]
        topics = ["a", "^b.*"]
        format = "json"
        event_type = { literal = "thing.made" }
        event_id = { pointer = "/meta/id~1x" }
        event_time = { header = "at" }
        tenant = { key = true }
        [[sources]]
        topics = ["c"]
        format = "cloudevents"
        event_type = { pointer = "/kind" }
        tenant = { header = "tenant" }
        "#,
        &[],
        &[],
    );
    let expected = [
        Source {
            topics: vec!["a".into(), "^b.*".into()],
            format: Format::Json,
            event_type: Some(Selector::Literal("thing.made".into())),
            event_id: Some(Selector::Pointer("/meta/id~1x".into())),
            event_time: Some(Selector::Header("at".into())),
            tenant: Some(Selector::Key),
        },
        Source {
            topics: vec!["c".into()],
            event_type: Some(Selector::Pointer("/kind".into())),
            tenant: Some(Selector::Header("tenant".into())),
            ..Source::of_format(Format::CloudEvents)
        },
    ]
    .map(Arc::new);
    assert_eq!(config.expect("the settings are fine").sources.all(), expected);
}

#[test]
fn a_source_s_attributes_must_fit_its_format() {
    check_with(
        r#"
        [[sources]]
        topics = ["a"]
        format = "json"
        event_id = { literal = "always" }
        [[sources]]
        topics = ["b"]
        format = "registry"
        event_time = { literal = "2025-01-01T00:00:00Z" }
        [[sources]]
        topics = ["c"]
        "#,
        &[],
        &[],
        r#"
        sources[0].event_type: is needed: the format json carries none
        sources[0].event_id: must differ from event to event: a literal is the same for all
        sources[1].event_type: is needed: the format registry carries none
        sources[1].event_time: must differ from event to event: a literal is the same for all
        sources[2].format: is needed
        "#,
    );
}

#[test]
fn a_registry_has_addresses_and_at_most_one_way_to_say_who_asks() {
    let config = accept(
        r#"
        [registry]
        url = "https://one/apis/ccompat/v7/, http://two:8081"
        username = "me"
        password = "s3cr3t"
        "#,
        &[],
        &[],
    );
    assert_eq!(config.registry.urls, ["https://one/apis/ccompat/v7", "http://two:8081"]);
    let (username, password) = ("me".to_owned(), "s3cr3t".to_owned());
    assert_eq!(config.registry.credentials, Credentials::Basic { username, password });
    assert!(!format!("{config:?}").contains("s3cr3t"));
    let list = accept("[registry]\nurl = [\"http://a\", \"http://b\"]\ntoken = \"t\"", &[], &[]);
    assert_eq!(list.registry.urls, ["http://a", "http://b"]);
    assert_eq!(list.registry.credentials, Credentials::Bearer("t".into()));
    let variables = [("KAFKA_WEBHOOKS__REGISTRY__URL", "http://a,http://b")];
    assert_eq!(accept("", &variables, &[]).registry.urls, ["http://a", "http://b"]);
}

#[test]
fn traces_have_a_collector_and_show_no_credential() {
    assert_eq!(accept("", &[], &[]).traces, None);
    let variables = [("KAFKA_WEBHOOKS__TRACES__HEADERS", "{ authorization = \"Bearer t0ken\" }")];
    let config = accept("[traces]\nendpoint = \"https://otlp/base/\"", &variables, &[]);
    let traces = config.traces.as_ref().expect("there is a collector");
    assert_eq!(traces.endpoint, "https://otlp/base/v1/traces");
    assert_eq!(traces.headers["authorization"], "Bearer t0ken");
    assert_eq!((traces.sample_ratio, traces.queue_max), (1.0, 2048));
    assert_eq!(traces.timeout, Duration::from_secs(5));
    assert!(!format!("{config:?}").contains("t0ken"));
}

#[test]
fn traces_that_reach_nobody_are_refused() {
    check(
        r#"
        [traces]
        endpoint = "https://user:pw@otlp"
        headers = { "a b" = "x", authorization = "Bearer\nt0ken" }
        sample_ratio = 2
        queue_max = 0
        timeout = "2m"
        "#,
        r#"
        traces.endpoint: must not hold credentials: traces.headers are for them
        traces.headers."a b": is no header's name
        traces.headers.authorization: must not hold control characters, nor others than those of ASCII
        traces.sample_ratio: 2 must be from 0 to 1
        traces.queue_max: 0 must be from 1 to 65536
        traces.timeout: 2m must be from 100ms to 1m
        "#,
    );
    check(
        "[traces]\nheaders = { a = \"b\" }",
        "traces.headers: are of no use without traces.endpoint",
    );
    check(
        "[traces]\nendpoint = \"otlp:4318\"",
        r#"traces.endpoint: "otlp:4318" is no http: or https: URL"#,
    );
}

#[test]
fn a_registry_that_cannot_be_asked_is_refused() {
    check(
        r#"
        [registry]
        url = "http://user:s3cr3t@host"
        username = "me"
        token = "t"
        ca_file = "/nowhere/ca.pem"
        cache_max = 0
        "#,
        r#"
        registry.url: must not hold credentials: registry.username and password are for them
        registry.token: must not stand beside a username: one of them is sent
        registry.ca_file: "/nowhere/ca.pem" can't be read: No such file or directory (os error 2)
        registry.cache_max: 0 must be from 1 to 100000
        "#,
    );
    check(
        "[registry]\nurl = \"host:8081\"\npassword = \"p\"",
        r#"
        registry.url: "host:8081" is no http: or https: URL
        registry.password: is of no use without a username
        "#,
    );
    let source =
        "[[sources]]\ntopics = [\"a\"]\nformat = \"registry\"\nevent_type = { key = true }";
    check_with(source, &[], &[], "registry.url: is needed: a source has the format registry");
}

#[test]
fn a_selector_names_exactly_one_place() {
    let rule = r#"must be one of { header = "…" }, { pointer = "/…" }, { literal = "…" } or { key = true }"#;
    check_with(
        r#"
        [[sources]]
        topics = ["a"]
        format = "json"
        event_type = { haeder = "x" }
        tenant = { header = "x", key = true }
        [[sources]]
        topics = ["b"]
        format = "json"
        event_type = { pointer = "id" }
        event_id = { pointer = "/a~2" }
        tenant = { key = false }
        [[sources]]
        topics = ["c"]
        format = "json"
        event_type = "x"
        "#,
        &[],
        &[],
        &format!(
            r#"
            sources[0].event_type: {rule}
            sources[0].tenant: {rule}
            sources[1].event_type.pointer: "id" is no JSON pointer: it must be empty or start with "/"
            sources[1].event_id.pointer: "/a~2" is no JSON pointer: "~" is written "~0", and "/" in a name "~1"
            sources[1].tenant.key: must be true, or be left out
            sources[2].event_type: must be a table, not text
            sources[0].event_type.haeder: unknown key, did you mean header?
            "#
        ),
    );
}

#[test]
fn source_topics_are_legal_foreign_and_named_once() {
    check_with(
        r#"
        [[sources]]
        topics = ["or ders", "^", "", "webhooks.audit", "my-retry"]
        format = "envelope"
        [topics]
        retry = { "5s" = "my-retry" }
        "#,
        &[],
        &[],
        r#"
        sources[0].topics[0]: "or ders" is no topic name: Kafka takes 1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-"
        sources[0].topics[1]: "^" is an empty regular expression: it would match every topic
        sources[0].topics[2]: must not be empty
        sources[0].topics[3]: "webhooks.audit" is the connector's own topic (topics.audit)
        sources[0].topics[4]: "my-retry" is the connector's own topic (topics.retry.5s)
        "#,
    );
    check_with(
        r#"sources = [{ topics = ["a", "b"], format = "json", event_type = { key = true } }, { topics = ["b"], format = "envelope" }]"#,
        &[],
        &[],
        r#"sources[1].topics[0]: "b" is named by sources[0].topics[1] too"#,
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
fn egress_is_read_as_people_write_it() {
    let config = accept(
        r#"
        [egress]
        allow = ["10.1.0.0/16", "*.internal"]
        ports = [8443, "9000-9010"]
        proxy = "socks5://user:hunter2@127.0.0.1:1080"
        "#,
        &[("KAFKA_WEBHOOKS__EGRESS__DENY", "10.1.2.0/24, bad.example")],
        &[],
    );
    let judge = |url: &str| {
        let url = url::Url::parse(url).expect("a URL");
        config.egress.rule.judge_url(&url).map_err(|refused| refused.to_string())
    };
    assert_eq!(judge("https://10.1.1.1:9001/"), Ok(()));
    assert_eq!(judge("https://10.1.2.1:9001/"), Err("egress.deny names the host".into()));
    assert_eq!(judge("https://bad.example:8443/"), Err("egress.deny names the host".into()));
    assert_eq!(judge("https://good.example/"), Err("port 443 is not in egress.ports".into()));
    // The proxy is not for subscriptions.
    assert_eq!(judge("https://127.0.0.1:9001/"), Err("egress.deny names the host".into()));
    let shown = format!("{config:?}");
    assert!(shown.contains("socks5://127.0.0.1") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_proxy_is_not_for_subscriptions_however_its_host_is_written() {
    for (proxy, url) in [
        ("http://[2606:2800:21f::8]:3128", "https://[2606:2800:21f:0::8]/"),
        ("socks5://[2606:2800:21f::8]:1080", "https://[2606:2800:21f:0::8]:1080/"),
        ("https://93.184.215.14:3128", "https://93.184.215.14/"),
        ("socks5h://0x5db8d70e:1080", "https://93.184.215.14/"),
        ("http://proxy.example.:3128", "https://PROXY.example/"),
        ("socks5://Proxy.Example:1080", "https://proxy.example./"),
    ] {
        let config = accept("", &[], &[("egress.proxy", proxy)]);
        let url = url::Url::parse(url).expect("a URL");
        let judged = config.egress.rule.judge_url(&url);
        assert_eq!(judged, Err(crate::domain::egress::Refused::Denied), "{proxy}");
    }
}

#[test]
fn ports_below_1024_are_those_of_the_web() {
    let config = accept("", &[], &[]);
    let judge = |port: u16| {
        let url = url::Url::parse(&format!("https://hooks.example.com:{port}/")).expect("a URL");
        config.egress.rule.judge_url(&url)
    };
    for port in [80, 443, 1024, 8080, 65535] {
        assert_eq!(judge(port), Ok(()), "{port}");
    }
    for port in [0, 1, 22, 25, 79, 81, 442, 444, 1023] {
        assert_eq!(judge(port), Err(crate::domain::egress::Refused::Port(port)));
    }
}

#[test]
fn egress_that_means_nothing_for_sure_is_refused() {
    check(
        r#"
        [egress]
        allow = ["10.0.0.1/8", "https://a"]
        ports = [0, "9-8", "https", 70000]
        proxy = "ftp://user:hunter2@127.0.0.1"
        ca_file = "/none"
        "#,
        r#"
        egress.allow[0]: "10.0.0.1/8" must be a block of addresses such as "10.0.0.0/8" or a host such as "hooks.example.com" or "*.example.com"
        egress.allow[1]: "https://a" must be a block of addresses such as "10.0.0.0/8" or a host such as "hooks.example.com" or "*.example.com"
        egress.ports[0]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[1]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[2]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[3]: must be a port such as 443, or a range such as "1024-65535"
        egress.proxy: must be a URL such as "http://proxy.example.com:3128" or "socks5://127.0.0.1:1080"
        egress.ca_file: "/none" can't be read: No such file or directory (os error 2)
        "#,
    );
    check(
        "[egress]\nallow_http = true\nproxy = \"http://proxy:3128\"\nca_file = \"Cargo.toml\"",
        r#"
        egress.ca_file: "Cargo.toml" holds no certificate in PEM
        "#,
    );
    for proxy in ["socks5://a b:1080", "socks5://a%00b:1080", "socks5://1.2.3.4.5:1080"] {
        check(
            &format!("[egress]\nproxy = {proxy:?}"),
            r#"
            egress.proxy: must be a URL such as "http://proxy.example.com:3128" or "socks5://127.0.0.1:1080"
            "#,
        );
    }
    check(
        "[egress]\nallow_http = true\nproxy = \"http://proxy:3128\"",
        r#"
        egress.proxy: an HTTP proxy takes https: URLs only: set egress.allow_http to false, or use socks5:
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
fn the_environment_lies_over_the_file_and_flags_over_both() {
    let lines = "[delivery]\ntimeout = \"20s\"\nmax_in_flight = 300\n[kafka.properties]\n\"client.id\" = \"file\"";
    let config = accept(
        lines,
        &[
            ("KAFKA_WEBHOOKS__DELIVERY__TIMEOUT", "30s"),
            ("KAFKA_WEBHOOKS__DELIVERY__CONNECT_TIMEOUT", "3s"),
            ("KAFKA_WEBHOOKS__EGRESS__ALLOW_HTTP", "true"),
            ("KAFKA_WEBHOOKS__RETRY__JITTER", "0.05"),
            ("KAFKA_WEBHOOKS__RETRY__SCHEDULE", "1s, 2s"),
            ("KAFKA_WEBHOOKS__RETRY__TIERS", "[\"1s\", \"5s\"]"),
            ("KAFKA_WEBHOOKS__TOPICS__REPLICATION_FACTOR", "3"),
            ("KAFKA_WEBHOOKS__TOPICS__RETRY", "{ \"5s\" = \"five\" }"),
            ("KAFKA_WEBHOOKS__OPS__LISTEN", "[::1]:1"),
            (
                "KAFKA_WEBHOOKS__KAFKA__PROPERTIES",
                "{ \"client.id\" = \"whole\", \"client.rack\" = \"r\" }",
            ),
            ("KAFKA_WEBHOOKS__KAFKA__PROPERTIES__CLIENT_ID", "variable"),
            ("KAFKA_WEBHOOKS__KAFKA__PROPERTIES__SASL_PASSWORD", "{not a table"),
        ],
        &[("delivery.timeout", "40s"), ("kafka.properties.client.rack", "flag")],
    );
    assert_eq!(config.delivery.timeout, Duration::from_secs(40));
    assert_eq!(config.delivery.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.delivery.max_in_flight, 300);
    assert!(config.egress.allow_http);
    assert_eq!(config.retry.jitter, 0.05);
    assert_eq!(config.retry.schedule, [Duration::from_secs(1), Duration::from_secs(2)]);
    let tiers: Vec<&str> = config.topics.tiers.iter().map(|tier| &*tier.topic).collect();
    assert_eq!(tiers, ["webhooks.retry.1s", "five"]);
    assert_eq!(config.topics.replication, Replication::Factor(3));
    assert_eq!(config.ops.listen.to_string(), "[::1]:1");
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(
        properties,
        [
            ("auto.offset.reset", "earliest"),
            ("client.id", "variable"),
            ("client.rack", "flag"),
            ("sasl.password", "{not a table"),
        ]
    );
}

#[test]
fn sources_can_come_from_the_environment_alone() {
    let sources = r#"[{ topics = ["a", "b"], format = "json", event_type = { header = "t" } }]"#;
    let config =
        load("", &[("KAFKA_WEBHOOKS__SOURCES", sources)], &[]).expect("the settings are fine");
    assert_eq!(config.sources.all()[0].topics, ["a", "b"]);
    let environment =
        [("HOSTNAME".into(), "h".into()), ("KAFKA_WEBHOOKS__SOURCES".into(), sources.into())];
    assert_eq!(
        Config::load(None, environment, []).expect("no file is needed").sources,
        config.sources
    );
}

#[test]
fn problems_name_the_variable_or_the_command_line() {
    check_with(
        LEAST,
        &[
            ("KAFKA_WEBHOOKS__DELIVERY__TIMOUT", "5s"),
            ("KAFKA_WEBHOOKS__DELIVERY__TIMEOUT", "5"),
            ("KAFKA_WEBHOOKS__LEDGER__COMMIT_INTERVAL__X", "5ms"),
            ("KAFKA_WEBHOOKS__RETRY__TIERS", "[5s]"),
            ("KAFKA_WEBHOOKS__EGRESS__ALLOW_HTTP", "1"),
        ],
        &[("log.level", "LOUD"), ("nonsense", "1")],
        r#"
        retry.tiers: string values must be quoted, expected literal string (from KAFKA_WEBHOOKS__RETRY__TIERS)
        delivery.timeout: "5" is no duration: write it like "50ms", "10s", "2m", "24h" or "1h 30m" (from KAFKA_WEBHOOKS__DELIVERY__TIMEOUT)
        egress.allow_http: must be true or false, not "1" (from KAFKA_WEBHOOKS__EGRESS__ALLOW_HTTP)
        ledger.commit_interval: must be a duration with its unit, such as "10s", not a table (from KAFKA_WEBHOOKS__LEDGER__COMMIT_INTERVAL__X)
        log.level: unknown "LOUD", expected error, warn, info, debug or trace (from the command line)
        delivery.timout: unknown key, did you mean timeout? (from KAFKA_WEBHOOKS__DELIVERY__TIMOUT)
        nonsense: unknown key (from the command line)
        "#,
    );
    check_with(
        LEAST,
        &[("KAFKA_WEBHOOKS__", "x"), ("KAFKA_WEBHOOKS__LOG____LEVEL", "x")],
        &[("log.", "x"), ("log.level", "loud")],
        "KAFKA_WEBHOOKS__: names no setting\nKAFKA_WEBHOOKS__LOG____LEVEL: names no setting\nlog.: names no setting\nlog.level: unknown \"loud\", expected error, warn, info, debug or trace (from the command line)",
    );
}

#[test]
fn variables_with_a_single_underscore_are_no_settings() {
    let foreign = [
        ("KAFKA_WEBHOOKS_CONFIG", "x"),
        ("KAFKA_WEBHOOKS_TEST_BROKER", "x"),
        ("KAFKA_WEBHOOKS_SERVICE_HOST", "10.0.0.1"),
    ];
    check_with(LEAST, &foreign, &[], "");
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
    let readme = include_str!("../../README.md");
    let table = readme.split("\n## ").find(|section| section.starts_with("Settings\n"));
    let rows = table.expect("there is such a section").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_end_matches('`');
        Some((key.to_owned(), cells.next()?.trim().to_owned()))
    });
    assert_eq!(rows.collect::<Vec<_>>(), keys_of_the_file());
}

//! What lies over what: file, environment, command line.

use super::*;

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

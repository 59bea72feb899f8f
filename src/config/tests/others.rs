//! Others that are asked or told: the schema registry and the collector of traces.

use super::*;

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

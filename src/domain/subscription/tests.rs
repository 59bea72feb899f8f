mod credentials;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::encryption::tests::keys;
use crate::domain::encryption::{self, Encryption, Plain};
use crate::domain::event::EventId;

const SEED: &str = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// Returns rules that let requests go to loopback, as tests want it.
pub(crate) fn rules(http: HttpUrls) -> Rules {
    let loopback = ["127.0.0.0/8", "::1/128"].map(|block| block.parse().expect("a block"));
    let egress = Egress::new(loopback.into(), Vec::new(), vec![1..=u16::MAX]);
    Rules { http, egress: egress.into(), encryption: Encryption::NONE }
}

pub(crate) fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).expect("an id")
}

/// Returns a definition of everything required, with the fields of `changes` set, or taken out where they are null.
pub(crate) fn definition(changes: &Value) -> Value {
    let mut definition = json!({"url": "https://example.com", "events": ["a"], "secret": "s"});
    let fields = definition.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    definition
}

/// Builds the subscription of this id that [`definition`] defines.
pub(crate) fn subscription(id: &str, changes: &Value) -> Arc<Subscription> {
    let value = definition(changes).to_string();
    let id = self::id(id);
    Arc::new(
        Subscription::parse(id, value.as_bytes(), Offset(7), &rules(HttpUrls::Allowed))
            .expect("it is good"),
    )
}

fn problems(value: &str, rules: &Rules) -> Vec<String> {
    match Subscription::parse(id("crm"), value.as_bytes(), Offset(7), rules) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

fn check(changes: Value, expect: &[&str]) {
    let found = problems(&definition(&changes).to_string(), &rules(HttpUrls::Refused));
    assert_eq!(found, expect, "{changes}");
}

#[test]
fn ids_and_their_hashes_are_stable() {
    for bad in ["", "a b", "a.b", "é", &"x".repeat(65)] {
        assert_eq!(SubscriptionId::parse(bad), Err(BadId), "{bad:?}");
    }
    assert_eq!(id("A-z_09").to_string(), "A-z_09");
    // printf crm | sha256sum
    assert_eq!(SubscriptionHash::of(&id("crm")), SubscriptionHash(0x9261ceef));
}

#[test]
fn what_is_not_given_has_a_default() {
    let found = subscription("crm", &json!({}));
    assert_eq!((found.hash, found.definition_offset), (SubscriptionHash::of(&found.id), Offset(7)));
    assert_eq!(found.url.as_str(), "https://example.com/");
    assert_eq!((found.state, found.payload), (Activity::Active, Payload::Envelope));
    assert!(found.topics.is_empty() && found.headers.is_empty() && found.no_retry_on.is_empty());
    assert_eq!((&found.tenant, found.timeout, &found.retry), (&None, None, &None));
    assert_eq!((found.max_in_flight, &found.description), (None, &None));
    let signed = found.signing.sign(&EventId::new("e"), jiff::Timestamp::UNIX_EPOCH, b"x");
    let signed: Vec<_> = signed.expect("a key").into_iter().map(|(name, _)| name).collect();
    let expect = ["webhook-id", "webhook-timestamp", "webhook-signature", "x-webhook-signature"];
    assert_eq!(signed, expect);
}

#[test]
fn a_url_is_shown_without_whatever_may_be_a_credential() {
    for url in ["", "u@", ":p@", "u:p@"].map(|user| format!("https://{user}e.com/a")) {
        for end in ["", "?k=v", "?", "#f"] {
            let found = subscription("crm", &json!({"url": format!("{url}{end}")}));
            assert_eq!(found.audit_url(), "https://e.com/a", "{url}{end}");
        }
    }
}

#[test]
fn everything_given_is_kept() {
    let found = subscription(
        "crm",
        &json!({
            "url": "http://user:pass@example.com:8080/a?key=1#f",
            "events": ["a.*", "b"],
            "secret": null,
            "secrets": [{"key": "new"}, {"key": "old", "expiresAt": "2025-01-15T10:30:00Z"}],
            "active": false,
            "tenant": "acme",
            "description": "CRM",
            "topics": ["orders", "payments"],
            "payload": "raw",
            "signatures": ["standard", {"scheme": "stripe", "header": "Acme-Signature"}],
            "headers": {"X-Env": "prod é"},
            "timeout": "10s",
            "retry": {"attempts": 5, "initial": "2s", "factor": 2.0, "max": "1h"},
            "noRetryOn": [422, 400, 422],
            "maxInFlight": 32
        }),
    );
    assert_eq!(found.url.as_str(), "http://user:pass@example.com:8080/a?key=1#f");
    assert_eq!(found.audit_url(), "http://example.com:8080/a");
    let events: Vec<_> = found.events.iter().map(EventPattern::as_str).collect();
    assert_eq!(events, ["a.*", "b"]);
    assert_eq!((found.state, found.payload), (Activity::Inactive, Payload::Raw));
    assert_eq!(
        (found.tenant.as_deref(), found.description.as_deref()),
        (Some("acme"), Some("CRM"))
    );
    assert_eq!(found.topics, ["orders".into(), "payments".into()]);
    assert_eq!(found.headers, [("x-env".into(), Secret::new("prod é".into()))]);
    assert_eq!(found.timeout, Some(Duration::from_secs(10)));
    let retry = found.retry.as_ref().expect("it is given");
    assert_eq!((retry.attempts(), retry.delay_after(4)), (5, Some(Duration::from_secs(16))));
    assert_eq!(found.no_retry_on, [400, 422]);
    assert_eq!(found.max_in_flight, NonZeroU32::new(32));
    let at = |time: &str| time.parse().expect("a time");
    let sign = |time| found.signing.sign(&EventId::new("e"), at(time), b"x").expect("a key");
    let (both, new) = (sign("2025-01-15T10:29:59Z"), sign("2025-01-15T10:30:00Z"));
    assert_eq!((both[2].1.split(' ').count(), new[2].1.split(' ').count()), (2, 1));
    assert_eq!(both[3].0, "acme-signature");
}

#[test]
fn an_address_that_may_not_be_called_makes_no_subscription() {
    check(
        json!({"url": "https://0x0a000001/"}),
        &["url: is refused: the address is private and not in egress.allow"],
    );
    check(
        json!({"url": "https://[64:ff9b::1]/"}),
        &["url: is refused: the address is NAT64 and not in egress.allow"],
    );
    check(
        json!({"url": "https://[fe80::1%25eth0]/"}),
        &["url: must be an absolute URL: invalid IPv6 address"],
    );
}

#[test]
fn abuse_protection_names_an_origin() {
    let given = json!({"abuseProtection": {"origin": "hooks.example.com"}});
    assert_eq!(subscription("crm", &given).origin.as_deref(), Some("hooks.example.com"));
    let unfit = "abuseProtection.origin: must be the name of a host, such as hooks.example.com";
    check(json!({"abuseProtection": {"origin": "https://a"}}), &[unfit]);
    check(json!({"abuseProtection": {}}), &["abuseProtection.origin: is missing"]);
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        json!({
            "url": "ftp://x", "events": ["a", "b*"], "secret": null,
            "secrets": [{"key": "whsec_x"}, {"expiresAt": "noon", "since": 1}],
            "timeout": "1h", "retry": {"attempts": 3, "factor": 0.5}, "colour": "red", "headers": {"host": "x"},
            "signatures": ["gitlab"], "topics": "orders",
        }),
        &[
            "url: must start with https: or http:",
            "events[1]: has a segment with `*` and something else; `*` stands for whole segments",
            "secrets[0].key: must have base64 of 24 to 64 bytes after `whsec_`",
            "secrets[1].key: is missing",
            "secrets[1].expiresAt: must be a time in RFC 3339",
            "secrets[1].since: is not a known field",
            "signatures[0]: must be one of standard, x-webhook, github, stripe",
            "headers.host: is a header of the connector's own",
            "topics: must be a list",
            "timeout: must be 100ms to 5m",
            "retry.factor: must be a number from 1 to 100",
            "colour: is not a known field",
        ],
    );
}

#[test]
fn what_is_required_is_missed() {
    let expect =
        ["url: is missing", "events: is missing", "secret: is missing, and so is `secrets`"];
    assert_eq!(problems("{}", &rules(HttpUrls::Refused)), expect);
    check(json!({"secrets": [{"key": "a"}]}), &["secrets: must not stand beside `secret`"]);
}

#[test]
fn what_is_no_definition_is_refused() {
    let check = |value: &str, expect: &str| {
        assert_eq!(problems(value, &rules(HttpUrls::Refused)), [expect])
    };
    check("", "not JSON, at line 1 column 0");
    check("hunter2", "not JSON, at line 1 column 1");
    check("{} {}", "not JSON, at line 1 column 4");
    check("null", "must be an object");
    check("[]", "must be an object");
    check(&"[".repeat(100_000), "not JSON, at line 1 column 128");
    check(
        r#"{"url":"https://a","events":["a"],"secret":"s","secret":"t"}"#,
        "secret: is given twice",
    );
    let many: Value = (0..101).map(|n| (n.to_string(), json!(1))).collect();
    check(&many.to_string(), "must have at most 100 fields");
}

#[test]
fn problems_and_the_names_in_them_are_bounded() {
    let many: Value = (0..90).map(|n| (format!("a\n{n}{}", "x".repeat(1000)), json!(1))).collect();
    let found = problems(&definition(&many).to_string(), &rules(HttpUrls::Refused));
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|problem| problem.len() < 100 && !problem.contains('\n')));
}

#[test]
fn null_is_absent() {
    let value = r#"{"url":"https://a","events":["a"],"secret":"s","secrets":null,"tenant":null,"filter":null}"#;
    assert_eq!(problems(value, &rules(HttpUrls::Refused)), [""; 0]);
}

#[test]
fn a_rate_is_so_many_requests_in_a_time() {
    let found = subscription("crm", &json!({"rateLimit": {"requests": 100, "per": "2s"}}));
    let interval = found.rate_limit.map(|rate| rate.interval());
    assert_eq!(interval, Some(Duration::from_millis(20)));
    check(json!({"rateLimit": 5}), &["rateLimit: must be an object"]);
    check(
        json!({"rateLimit": {"requests": 0, "per": "1ms", "burst": 1}}),
        &[
            "rateLimit.requests: must be an integer from 1 to 1000000",
            "rateLimit.per: must be 1s to 1d",
            "rateLimit.burst: is not a known field",
        ],
    );
}

#[test]
fn a_filter_is_compiled_or_told_with_its_place() {
    let found = subscription("crm", &json!({"filter": "data.amount > 100.0"}));
    assert!(found.filter.is_some());
    check(
        json!({"filter": "data.amount >"}),
        &["filter: line 1 column 14: Syntax error: mismatched input '<EOF>'"],
    );
    check(
        json!({"filter": "data.a && amount > 1"}),
        &[
            "filter: line 1 column 11: there is no variable `amount`, only id, type, time, tenant, topic, key, headers, data",
        ],
    );
    check(json!({"filter": 1}), &["filter: must be a string"]);
}

#[test]
fn payloads_go_by_their_names() {
    let names = [
        ("envelope", Payload::Envelope),
        ("raw", Payload::Raw),
        ("cloudevents", Payload::CloudEvents),
        ("cloudevents-binary", Payload::CloudEventsBinary),
    ];
    for (name, payload) in names {
        assert_eq!(subscription("crm", &json!({"payload": name})).payload, payload);
    }
    let expect = "payload: must be envelope, raw, cloudevents or cloudevents-binary";
    check(json!({"payload": "xml"}), &[expect]);
    check(
        json!({"headers": {"ce-id": "x"}}),
        &["headers.ce-id: is a header of the connector's own"],
    );
}

#[test]
fn a_transform_is_compiled_and_stands_in_the_place_of_the_payload() {
    let binary = "cloudevents-binary";
    let both = subscription("crm", &json!({"transform": "{'a': data}", "payload": binary}));
    assert_eq!((both.transform.is_some(), both.payload), (true, Payload::Envelope));
    check(
        json!({"transform": "{'a': nothing}", "payload": "raw"}),
        &[
            "transform: line 1 column 7: there is no variable `nothing`, only id, type, time, tenant, topic, key, headers, data",
        ],
    );
}

#[test]
fn urls_are_absolute_and_allowed() {
    let check = |url: &str, expect: &str| check(json!({"url": url}), &[&format!("url: {expect}")]);
    check("/hooks", "must be an absolute URL: relative URL without a base");
    check("https://", "must be an absolute URL: empty host");
    check("https://a b", "must be an absolute URL: invalid international domain name");
    check("https://a/b c", "has a space or a control character");
    check("https://a/\n", "has a space or a control character");
    check("mailto:a@b", "must start with https: or http:");
    check(&format!("https://a/{}", "x".repeat(2039)), "is longer than 2048 bytes");
    check("http://a", "http is refused (egress.allow_http is false)");
    let http = definition(&json!({"url": "http://a"})).to_string();
    assert_eq!(problems(&http, &rules(HttpUrls::Allowed)), [""; 0]);
}

#[test]
fn every_limit_is_kept() {
    check(json!({"events": []}), &["events: must have 1 to 100 entries"]);
    check(json!({"events": vec!["a"; 101]}), &["events: must have 1 to 100 entries"]);
    check(json!({"topics": vec!["a"; 101]}), &["topics: must have 0 to 100 entries"]);
    let topic = "topics[0]: must be a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -";
    check(json!({"topics": ["^a"]}), &[topic]);
    check(json!({"tenant": ""}), &["tenant: must have 1 to 256 bytes"]);
    check(json!({"description": "x".repeat(1025)}), &["description: must have 0 to 1024 bytes"]);
    check(json!({"timeout": "99ms"}), &["timeout: must be 100ms to 5m"]);
    check(json!({"timeout": 5}), &["timeout: must be a string"]);
    check(json!({"active": "yes"}), &["active: must be true or false"]);
    let statuses = ["noRetryOn[0]", "noRetryOn[1]", "noRetryOn[2]"]
        .map(|path| format!("{path}: must be an integer from 100 to 599"));
    let statuses = statuses.each_ref().map(String::as_str);
    check(json!({"noRetryOn": [99, 600, 400.5, 400]}), &statuses);
    let in_flight = "maxInFlight: must be an integer from 1 to 65536";
    for wrong in [json!(0), json!(65_537), json!(-1), json!(1e300)] {
        check(json!({"maxInFlight": wrong}), &[in_flight]);
    }
    let eleven = json!({"secret": null, "secrets": vec![json!({"key": "a"}); 11]});
    check(eleven, &["secrets: must have 1 to 10 entries"]);
}

#[test]
fn retries_are_a_list_or_grow() {
    let check = |retry: Value, expect: &[&str]| check(json!({"retry": retry}), expect);
    let one = subscription("crm", &json!({"retry": {"schedule": []}}));
    assert_eq!(one.retry.as_ref().map(Schedule::attempts), Some(1));
    let brief = subscription("crm", &json!({"retry": {"attempts": 3}}));
    let delays = [Duration::from_secs(5), Duration::from_secs(10)];
    assert_eq!(brief.retry, Some(Schedule::new(delays)));
    let late = subscription("crm", &json!({"retry": {"attempts": 3, "initial": "1d"}}));
    assert_eq!(late.retry, Some(Schedule::new([Duration::from_secs(86_400); 2])));
    check(json!({}), &["retry: must have `schedule` or `attempts`"]);
    check(json!({"schedule": ["31d"]}), &["retry.schedule[0]: must be 0s to 30d"]);
    check(json!({"schedule": vec!["1s"; 51]}), &["retry.schedule: must have 0 to 50 entries"]);
    let beside = "retry.attempts: must not stand beside `schedule`";
    check(json!({"schedule": [], "attempts": 1}), &[beside]);
    check(json!({"attempts": 51}), &["retry.attempts: must be an integer from 1 to 50"]);
    check(json!({"attempts": 1, "initial": "0s"}), &["retry.initial: must be 1ms to 30d"]);
    let shrinking = "retry.max: must not be less than `initial`";
    check(json!({"attempts": 1, "initial": "2s", "max": "1s"}), &[shrinking]);
}

#[test]
fn headers_are_the_subscriptions_own() {
    let own = "is a header of the connector's own";
    let check = |headers: Value, expect: &[&str]| check(json!({"headers": headers}), expect);
    for name in ["Content-Type", "user-agent", "webhook-x", "x-webhook-x", "traceparent"] {
        check(json!({name: "x"}), &[&format!("headers.{name}: {own}")]);
    }
    check(json!({"a b": "x"}), &["headers.a b: is not a header name of 1 to 256 bytes"]);
    check(json!({"": "x"}), &["headers.: is not a header name of 1 to 256 bytes"]);
    check(json!({"A": "x", "a": "y"}), &["headers.a: is given twice"]);
    check(json!({"a": 1}), &["headers.a: must be a string"]);
    check(json!({"a": "x\ny"}), &["headers.a: has a control character"]);
    check(json!({"a": " x"}), &["headers.a: starts or ends with a space"]);
    check(json!({"a": "x".repeat(4097)}), &["headers.a: is longer than 4096 bytes"]);
    let many: Value = (0..33).map(|n| (format!("a{n}"), json!("x"))).collect();
    check(many, &["headers: must have at most 32 headers"]);
    let signed = json!({"signatures": ["github"], "headers": {"X-Hub-Signature-256": "x"}});
    super::tests::check(signed, &[&format!("headers.X-Hub-Signature-256: {own}")]);
}

#[test]
fn schemes_fit_the_keys_and_each_other() {
    let check = |secret: &str, signatures: Value, expect: &[&str]| {
        check(json!({"secret": secret, "signatures": signatures}), expect);
    };
    check(SEED, Value::Null, &[]);
    check(SEED, json!(["standard"]), &[]);
    for scheme in ["x-webhook", "github", "stripe"] {
        let expect = "signatures[1]: needs a secret for HMAC, and all secrets are for Ed25519";
        check(SEED, json!(["standard", scheme]), &[expect]);
    }
    check("s", json!([]), &["signatures: must have 1 to 8 entries"]);
    let twice = "signatures[1]: writes a header that an entry before it writes";
    check("s", json!(["standard", {"scheme": "standard", "header": "a"}]), &[twice]);
    check("s", json!(["github", {"scheme": "github", "header": "a"}]), &[]);
    let own = "signatures[0].header: is a header of the connector's own";
    for name in ["Host", "webhook-id", "x-webhook-event"] {
        check("s", json!([{"scheme": "github", "header": name}]), &[own]);
    }
    check("s", json!([{"header": "a"}]), &["signatures[0].scheme: is missing"]);
    check("s", json!([7]), &["signatures[0]: must be an object"]);
}

/// A JSON value with the secret text in many places.
fn wrong_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("hunter2")),
        Just(json!("whsec_hunter2")),
        Just(json!("https://hunter2:70000")),
        Just(
            json!(["hunter2", 7, {"key": "whsk_hunter2", "scheme": "hunter2", "header": "hunter2\n"}])
        ),
        Just(json!({"schedule": ["hunter2"], "attempts": "hunter2", "x": "\nhunter2"})),
        Just(json!(4.5)),
        Just(json!(true)),
    ]
}

const FIELDS: &[&str] = &[
    "url",
    "events",
    "secret",
    "secrets",
    "active",
    "tenant",
    "description",
    "topics",
    "payload",
    "signatures",
    "headers",
    "auth",
    "timeout",
    "retry",
    "noRetryOn",
    "rateLimit",
    "maxInFlight",
    "x",
];

proptest! {
    // But for an expression's, which holds no secret and is told by its names.
    #[test]
    fn no_problem_repeats_a_value(
        changes in prop::collection::btree_map(prop::sample::select(FIELDS), wrong_value(), 1..8),
    ) {
        let changes: Value = changes.into_iter().collect();
        for problem in problems(&definition(&changes).to_string(), &rules(HttpUrls::Refused)) {
            prop_assert!(!problem.contains("hunter2"), "{}", problem);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(value in "[{}\\[\\]\":,a-z0-9é\\\\ -]{0,80}") {
        problems(&value, &rules(HttpUrls::Refused));
    }
}

//! The JSON Schema in `config/`, held against the parser: what one of them takes the other takes too, as far as a schema
//! can tell. What it can't tell, such as a filter's syntax, only the parser refuses.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::tests::{definition, id, rules};
use super::*;

const SCHEMA: &str = include_str!("../../../config/subscription.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).expect("the schema is one")
}

fn parses(value: &Value) -> bool {
    let rules = rules(HttpUrls::Allowed);
    Subscription::parse(id("crm"), value.to_string().as_bytes(), Offset(7), &rules).is_ok()
}

/// Values for each field: those that are taken, and those that are refused.
fn values() -> Vec<(&'static str, Vec<Value>, Vec<Value>)> {
    let duration = || vec![json!(""), json!("soon"), json!(5)];
    vec![
        (
            "url",
            vec![json!("https://a/b?c=d"), json!("http://a")],
            vec![
                json!("/a"),
                json!("ftp://a"),
                json!(1),
                json!("https://a b"),
                json!(format!("https://a/{}", "x".repeat(2048))),
            ],
        ),
        (
            "events",
            vec![json!(["*"]), json!(["a.b", "a.*.c", "*.b", "a b.c"])],
            vec![
                json!([]),
                json!(["a..b"]),
                json!(["a*"]),
                json!([" a"]),
                json!("a"),
                json!([1]),
                json!(vec!["a"; 101]),
            ],
        ),
        (
            "secret",
            vec![json!("s"), json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
            vec![json!(""), json!(1)],
        ),
        ("active", vec![json!(true), json!(false)], vec![json!("yes")]),
        ("tenant", vec![json!("acme")], vec![json!(""), json!("x".repeat(257)), json!(1)]),
        ("description", vec![json!("")], vec![json!("x".repeat(1025))]),
        (
            "topics",
            vec![json!([]), json!(["a.b-c_d"])],
            vec![json!(["a b"]), json!(["."]), json!(vec!["a"; 101])],
        ),
        ("filter", vec![json!("data.a == 1")], vec![json!(1), json!("x".repeat(4097))]),
        (
            "payload",
            vec![
                json!("envelope"),
                json!("raw"),
                json!("cloudevents"),
                json!("cloudevents-binary"),
            ],
            vec![json!("xml")],
        ),
        ("transform", vec![json!("{'a': data}")], vec![json!(1), json!("x".repeat(4097))]),
        (
            "auth",
            vec![
                json!({"type": "basic", "username": "u", "password": "p"}),
                json!({"type": "bearer", "token": "t"}),
                json!({"type": "header", "name": "x-api-key", "value": "v"}),
                json!({"type": "oauth2", "tokenUrl": "https://a/t", "clientId": "c", "clientSecret": "s",
                    "scope": "a b", "clientAuthentication": "body"}),
            ],
            vec![
                json!("bearer"),
                json!({"type": "digest"}),
                json!({"type": "bearer"}),
                json!({"type": "bearer", "token": ""}),
                json!({"type": "basic", "username": "u:v", "password": "p"}),
                json!({"type": "header", "name": "x y", "value": "v"}),
                json!({"type": "oauth2", "tokenUrl": "https://a/t", "clientId": "c"}),
                json!({"type": "mtls", "certificate": "c"}),
            ],
        ),
        (
            "abuseProtection",
            vec![json!({"origin": "hooks.example.com"})],
            vec![json!({}), json!({"origin": 1}), json!("hooks.example.com")],
        ),
        (
            "signatures",
            vec![json!(["standard"]), json!([{"scheme": "stripe", "header": "acme-signature"}])],
            vec![
                json!([]),
                json!(["md5"]),
                json!([{"header": "a"}]),
                json!([{"scheme": "github", "header": "a b"}]),
            ],
        ),
        (
            "headers",
            vec![json!({}), json!({"x-env": "prod"})],
            vec![json!({"x y": "a"}), json!({"x-env": 1}), json!({"x-env": "a\nb"})],
        ),
        ("timeout", vec![json!("10s"), json!("1m 30s")], duration()),
        (
            "retry",
            vec![
                json!({"schedule": ["5s"]}),
                json!({"schedule": []}),
                json!({"attempts": 5, "factor": 1.5, "initial": "1s", "max": "1h"}),
            ],
            vec![
                json!({}),
                json!({"attempts": 0}),
                json!({"attempts": 51}),
                json!({"attempts": 5, "factor": 0.5}),
                json!({"schedule": [], "attempts": 5}),
                json!({"schedule": vec!["1s"; 51]}),
            ],
        ),
        (
            "noRetryOn",
            vec![json!([]), json!([400, 422])],
            vec![json!([99]), json!([600]), json!(["400"])],
        ),
        (
            "rateLimit",
            vec![json!({"requests": 100, "per": "1s"})],
            vec![json!(5), json!({"requests": 100}), json!({"requests": 0, "per": "1s"})],
        ),
        ("maxInFlight", vec![json!(1)], vec![json!(0), json!(65537), json!(1.5)]),
    ]
}

#[test]
fn the_schema_and_the_parser_agree_field_by_field() {
    let validator = validator();
    let check = |document: &Value, expected: bool| {
        assert_eq!(parses(document), expected, "the parser on {document}");
        assert_eq!(validator.is_valid(document), expected, "the schema on {document}");
    };
    for (field, good, bad) in values() {
        good.into_iter().for_each(|value| check(&definition(&json!({field: value})), true));
        bad.into_iter().for_each(|value| check(&definition(&json!({field: value})), false));
    }
    let secrets = |secrets: Value| definition(&json!({"secret": null, "secrets": secrets}));
    check(&secrets(json!([{"key": "a"}, {"key": "b", "expiresAt": "2030-01-01T00:00:00Z"}])), true);
    for bad in [json!([]), json!([{}]), json!(["a"]), json!(vec![json!({"key": "a"}); 11])] {
        check(&secrets(bad), false);
    }
    for missing in ["url", "events", "secret"] {
        check(&definition(&json!({missing: null})), false);
    }
    check(&definition(&json!({"secrets": [{"key": "a"}]})), false);
    check(&example(), true);
    check(&definition(&json!({"x": 1})), false);
}

/// A definition with every field that there is but one of each kind: the example of the contract, section 4.
fn example() -> Value {
    json!({
        "url": "https://example.com/hooks",
        "events": ["order.created", "payment.*"],
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "active": true,
        "tenant": "acme",
        "description": "CRM",
        "topics": ["orders"],
        "filter": "data.amount > 100.0 && data.currency == 'USD'",
        "payload": "envelope",
        "transform": "{'text': 'Order ' + data.orderId}",
        "signatures": ["standard", "x-webhook"],
        "headers": {"x-env": "prod"},
        "auth": {"type": "bearer", "token": "t"},
        "timeout": "10s",
        "retry": {"attempts": 5, "initial": "2s", "factor": 2.0, "max": "1h"},
        "noRetryOn": [400, 422],
        "rateLimit": {"requests": 100, "per": "1s"},
        "maxInFlight": 32,
    })
}

#[test]
fn the_schema_has_every_field_that_is_tried_and_no_other() {
    let schema = schema();
    let properties = schema["properties"].as_object().expect("it has properties");
    let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
    known.retain(|name| !["id", "secrets"].contains(name));
    let mut tried: Vec<&str> = values().into_iter().map(|(field, ..)| field).collect();
    tried.sort_unstable();
    assert_eq!(known, tried);
}

/// The parser's source, of which every field that it takes can be read off.
const PARSER: [&str; 5] = [
    include_str!("auth.rs"),
    include_str!("headers.rs"),
    include_str!("parse.rs"),
    include_str!("rate_limit.rs"),
    include_str!("signing.rs"),
];

/// Gathers the names of all properties in a schema, also of objects within.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(named)) = fields.get("properties") {
                found.extend(named.keys().cloned());
            }
            fields.values().for_each(|inner| properties(inner, found));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| properties(entry, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_parser_is_in_the_schema_and_the_other_way_round() {
    let mut parsed = BTreeSet::new();
    for (source, call) in PARSER.iter().flat_map(|source| {
        ["take(\"", "required(\"", "read_or(\""].into_iter().map(move |call| (source, call))
    }) {
        let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
        parsed.extend(names.map(str::to_owned));
    }
    let mut known = BTreeSet::new();
    properties(&schema(), &mut known);
    // The id is the record's key: the parser gets it beside the definition.
    assert!(known.remove("id"));
    assert_eq!(known, parsed);
}

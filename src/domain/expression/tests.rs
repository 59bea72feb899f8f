//! What expressions say of events, what they refuse, and what they cost.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::decode::tests::{record, source};
use crate::domain::decode::{Identity, decode};
use crate::domain::event::Event;
use crate::domain::source::Format;

fn event(data: &str) -> Event {
    let value = format!(r#"{{"id":"evt_1","event":"order.created","data":{data}}}"#);
    event_of(&value, &[("x-region", "eu"), ("x-region", "us"), ("webhooks-attempts", "3")])
}

fn event_of(value: &str, headers: &[(&str, &str)]) -> Event {
    let record = record(value, headers);
    let identity = Identity { origin: record.origin.clone(), id: None };
    decode(&source(Format::Envelope), record, identity).expect("it reads")
}

const ORDER: &str = r#"{"amount":150,"price":1.5,"currency":"USD","ok":true,"none":null,"big":18446744073709551615,
    "items":[{"sku":"a","qty":1},{"sku":"b","qty":2}],"tags":["new","vip"]}"#;

fn is_true(source: &str, data: &str) -> Result<bool, EvaluationError> {
    let expression =
        Expression::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    expression.is_true(&Values::of(&event(data)))
}

fn check(source: &str, expected: bool) {
    assert_eq!(is_true(source, ORDER), Ok(expected), "{source}");
}

#[test]
fn filters_see_all_of_an_event() {
    check("data.amount > 100.0 && data.currency == 'USD'", true);
    check("data.amount > 150", false);
    check("id == 'evt_1' && type == 'order.created'", true);
    check("timestamp(time) > timestamp('2025-01-01T00:00:00Z')", true);
    check("tenant == null && topic == 'orders'", true);
    check("headers['x-region'] == 'us' && !('webhooks-attempts' in headers)", true);
    check("key == 'k1'", true);
}

#[test]
fn integers_are_int_and_other_numbers_double() {
    check("data.amount + 1 == 151", true);
    check("data.price * 2.0 == 3.0", true);
    check("type(data.amount) == int && type(data.price) == double", true);
    check("type(data.big) == double", true);
    check("data.none == null && data.ok", true);
}

#[test]
fn lists_and_maps_are_looked_through() {
    check("data.items.exists(item, item.sku == 'b' && item.qty > 1)", true);
    check("data.items.all(item, item.qty > 1)", false);
    check("data.items.map(item, item.qty) == [1, 2]", true);
    check("data.items.filter(item, item.qty > 1).size() == 1", true);
    check("data.tags.exists_one(tag, tag.startsWith('v'))", true);
    check("'vip' in data.tags && has(data.items) && !has(data.missing)", true);
    check("data.currency in ['EUR', 'USD'] && size(data.tags) == 2", true);
    check("data.items.exists(a, data.items.exists(b, a.qty + b.qty == 3))", true);
}

#[test]
fn regular_expressions_match_anywhere() {
    check("data.currency.matches('^U.D$')", true);
    check("matches(data.currency, '(?i)us')", true);
    check("data.tags.exists(tag, tag.matches('x'))", false);
}

#[test]
fn an_error_is_of_a_kind_and_repeats_nothing() {
    let check =
        |source: &str, expected| assert_eq!(is_true(source, ORDER), Err(expected), "{source}");
    check("data.missing > 1", EvaluationError::Missing);
    check("data.tags[7] == 'x'", EvaluationError::Missing);
    check("data.amount + data.currency == 'x'", EvaluationError::Types);
    check("data.amount / 0 == 1", EvaluationError::Arithmetic);
    check("int(data.currency) == 1", EvaluationError::Arithmetic);
    check("data.amount", EvaluationError::NotBoolean);
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(is_true("data == 1", &deep), Err(EvaluationError::Data));
}

#[track_caller]
fn refused(source: &str, expected: &str) {
    let error = Expression::compile(source).expect_err(source).to_string();
    assert_eq!(error, expected, "{source}");
    assert!(!error.contains('\n'));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let variables = "only id, type, time, tenant, topic, key, headers, data";
    refused(
        "daat.amount > 1",
        &format!("line 1 column 1: there is no variable `daat`, {variables}"),
    );
    refused(
        "data.a ||\n  amount > 1",
        &format!("line 2 column 3: there is no variable `amount`, {variables}"),
    );
    refused("data.a.lower() == 'x'", "line 1 column 13: there is no function `lower` to call so");
    refused("contains(data.a, 'x')", "line 1 column 9: there is no function `contains` to call so");
    refused(
        "data.a.matches(data.b)",
        "line 1 column 15: the regular expression of `matches` must be a literal",
    );
    refused("data.a.matches('(')", "line 1 column 15: the regular expression is wrong");
    refused(
        r"data.a.matches('(\\w{50}){50}')",
        "line 1 column 15: the regular expression is too large",
    );
    let long = format!("data.a == '{}'", "x".repeat(SOURCE_MAX));
    refused(&long, "is longer than 4096 bytes");
    let syntax = Expression::compile("data.a >").expect_err("it ends early").to_string();
    assert!(syntax.starts_with("line 1 column 9: "), "{syntax}");
}

#[test]
fn depth_is_bounded() {
    refused(
        "data.a.map(a, data.b.map(b, data.c.map(c, a + b + c)))",
        "line 1 column 39: more than 2 loops stand within each other",
    );
    let sum = |terms| vec!["1"; terms].join("+");
    assert!(Expression::compile(&sum(100)).is_ok());
    assert!(Expression::compile(&sum(200)).is_err());
    for nested in ["(", "[", "{1:", "!", "-", "a(", "data.map(x,"] {
        assert!(Expression::compile(&nested.repeat(SOURCE_MAX / nested.len())).is_err());
    }
}

#[test]
fn what_no_expression_looks_at_is_not_converted() {
    let event = event(ORDER);
    let values = Values::of(&event);
    let on_type = Expression::compile("type == 'x'").expect("it compiles");
    assert_eq!(on_type.is_true(&values), Ok(false));
    assert!(!values.is_data_converted());
    let on_data = Expression::compile("data.amount == 150").expect("it compiles");
    assert_eq!(on_data.is_true(&values), Ok(true));
    assert!(values.is_data_converted());
}

/// An event of about a megabyte: 20,000 numbers, 20,000 texts and one long text.
fn large() -> String {
    let texts: Vec<String> = (0..20_000).map(|n| format!("text {n}")).collect();
    json!({ "n": (0..20_000).collect::<Vec<_>>(), "t": texts, "s": "x".repeat(500_000) })
        .to_string()
}

#[test]
fn no_expression_takes_long_whatever_the_event() {
    let event = event(&large());
    let values = Values::of(&event);
    let sum = vec!["data.s"; 100].join(" + ");
    for source in [
        "data.n.exists(a, data.n.exists(b, a + b == -1))",
        "data.t.exists(a, data.t.exists(b, a + b == 'x'))",
        "data.n.all(a, data == data)",
        "data.n.map(a, data.s).size() > 0",
        "data.n.map(a, data).size() > 0",
        "data.n.exists(a, data.s.contains('y'))",
        "data.n.exists(a, data.s.matches('(x+x+)+y'))",
        "data.n.exists(a, size(data.s) == 1)",
        "data.n.exists(a, data.s < 5)",
        "data.n.exists(a, data - 1 > 0)",
        "data.n.exists(a, -1 in data.n)",
        "data.n.exists(a, data.n.map(b, b).size() == 1)",
        "data.n.exists(a, {data.s: 1}.size() == 2)",
        &format!("{sum} == ''"),
    ] {
        let expression =
            Expression::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let start = Instant::now();
        assert_eq!(expression.is_true(&values), Err(EvaluationError::Budget), "{source}");
        // Some milliseconds; the bound leaves room for a machine that does much else.
        assert!(start.elapsed() < Duration::from_secs(2), "{source}: {:?}", start.elapsed());
    }
    let plain = Expression::compile("data.n.exists(n, n == 3)").expect("it compiles");
    assert_eq!(plain.is_true(&values), Err(EvaluationError::Budget), "20,000 rounds");
    let plain =
        Expression::compile("data.n[7] == 7 && data.s.size() == 500000").expect("it compiles");
    assert_eq!(plain.is_true(&values), Ok(true));
}

#[test]
fn a_budget_that_is_used_up_is_not_talked_round() {
    assert_eq!(
        is_true("data.n.map(a, data).size() > 0 || true", &large()),
        Err(EvaluationError::Budget)
    );
}

#[test]
fn values_become_json() {
    let check = |source: &str, expected: serde_json::Value| {
        let expression = Expression::compile(source).expect(source);
        assert_eq!(expression.to_json(&Values::of(&event(ORDER))), Ok(expected), "{source}");
    };
    check(
        "{'text': 'Order ' + data.currency, 'n': data.amount}",
        json!({"text": "Order USD", "n": 150}),
    );
    check("data.items.map(item, item.sku)", json!(["a", "b"]));
    check("data.ok ? null : data", json!(null));
    check("'a'", json!("a"));
    check("{1: 1.5, true: b'hi'}", json!({"1": 1.5, "true": "aGk="}));
    check("timestamp('2025-01-15T10:30:00Z')", json!("2025-01-15T10:30:00+00:00"));
    check("duration('90s')", json!("90s"));
    let not_json = Expression::compile("[1.0 / 0.0]").expect("it compiles");
    assert_eq!(not_json.to_json(&Values::of(&event(ORDER))), Err(EvaluationError::NotJson));
}

proptest! {
    #[test]
    fn data_is_what_json_says(data in json()) {
        let event = event(&data.to_string());
        let expression = Expression::compile("data").expect("it compiles");
        prop_assert_eq!(expression.to_json(&Values::of(&event)), Ok(data));
    }

    #[test]
    fn no_text_makes_the_compiler_panic(source in "[a-z'\"(){}\\[\\].,:?&|!<>=+*/%0-9 -]{0,40}") {
        let _ = Expression::compile(&source);
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1.0e9..1.0e9_f64).prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

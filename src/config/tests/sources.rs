//! Sources: their topics, and where an event's attributes come from.

use std::sync::Arc;

use super::*;
use crate::domain::source::{Format, Selector, Source};

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

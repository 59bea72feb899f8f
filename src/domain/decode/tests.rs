mod selectors;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::payload::{self, Retryable};
use crate::domain::record::{Header, Headers, Offset};
use crate::domain::source::Selector;
use crate::domain::subscription::Payload;

/// Builds a record at `orders/3/42` of 2025-01-15T10:30:00Z.
pub(crate) fn record(value: &str, headers: &[(&str, &str)]) -> Record {
    let headers = headers.iter().map(|(name, value)| Header {
        name: (*name).into(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    });
    Record {
        origin: Origin {
            topic: "orders".into(),
            partition: 3,
            offset: Offset(42),
            timestamp: Timestamp::from_millisecond(1_736_937_000_000).expect("in range"),
        },
        key: Some(Bytes::from_static(b"k1")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers(headers.collect()),
    }
}

pub(crate) fn source(format: Format) -> Source {
    Source { topics: vec!["orders".into()], ..Source::of_format(format) }
}

/// Decodes a record that is an event.
pub(crate) fn event(source: Source, record: Record) -> Event {
    let identity = Identity { origin: record.origin.clone(), id: None };
    decode(&Arc::new(source), record, None, identity).expect("it reads")
}

fn summary(source: &Source, record: Record) -> String {
    summary_of(source, record, None)
}

fn summary_of(source: &Source, record: Record, translation: Option<Translation>) -> String {
    let identity = Identity { origin: record.origin.clone(), id: None };
    match decode(&Arc::new(source.clone()), record, translation, identity) {
        Err((_, reason)) => format!("unreadable: {reason}"),
        Ok(event) => {
            let data = String::from_utf8_lossy(&event.data).into_owned();
            let tenant = event.label.tenant.as_deref().unwrap_or("-");
            format!("{} {} {} {tenant} {data}", event.label.id, event.label.event_type, event.time)
        }
    }
}

fn check(format: Format, value: &str, headers: &[(&str, &str)], expect: &str) {
    assert_eq!(summary(&source(format), record(value, headers)), expect);
}

fn check_json(adjust: impl Fn(&mut Source), value: &str, headers: &[(&str, &str)], expect: &str) {
    let mut source = source(Format::Json);
    source.event_type = Some(Selector::Literal("t".into()));
    adjust(&mut source);
    assert_eq!(summary(&source, record(value, headers)), expect);
}

#[test]
fn an_envelope_keeps_its_attributes_and_its_data_byte_for_byte() {
    check(
        Format::Envelope,
        r#"{"id":"evt_1","timestamp":"2025-01-15T10:30:01Z","event":"order.created","version":"2.0","data":{"b":1.0, "a":12345678901234567890,"b":"\u0041"}}"#,
        &[],
        r#"evt_1 order.created 2025-01-15T10:30:01Z - {"b":1.0, "a":12345678901234567890,"b":"\u0041"}"#,
    );
}

#[test]
fn what_an_envelope_omits_comes_from_the_record() {
    check(
        Format::Envelope,
        r#"{"event":"a"}"#,
        &[],
        "orders-3-42 a 2025-01-15T10:30:00.000Z - null",
    );
}

#[test]
fn envelopes_that_say_nothing_are_unreadable_and_not_repeated() {
    let check = |value, expect| check(Format::Envelope, value, &[], expect);
    check("", "unreadable: the value is empty");
    check("{\"event\":", "unreadable: the JSON ends early, at line 1 column 9");
    check("hunter2", "unreadable: not JSON, at line 1 column 1");
    check("\"hunter2\"", "unreadable: not the JSON expected, at line 1 column 9");
    check("{}", "unreadable: the envelope has no `event`");
    check(r#"{"event":7}"#, "unreadable: `event` is not a string");
    check(r#"{"event":""}"#, "unreadable: the event type is empty");
    check(r#"{"event":"a\nb"}"#, "unreadable: the event type has a control character");
    check(r#"{"event":"a","id":7}"#, "unreadable: `id` is not a string");
    check(
        r#"{"event":"a","event":"b"}"#,
        "unreadable: the JSON has a field twice, at line 1 column 20",
    );
    check(r#"{"event":"a","timestamp":"noon"}"#, "unreadable: the timestamp is not RFC 3339");
}

#[test]
fn a_structured_cloudevent_is_read() {
    check(
        Format::CloudEvents,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","time":"2025-01-01T00:00:00Z","data":[1]}"#,
        &[("content-type", "application/cloudevents+json; charset=utf-8")],
        "1 a.b 2025-01-01T00:00:00Z - [1]",
    );
}

#[test]
fn a_binary_cloudevent_is_read() {
    let ce = |content_type| {
        [
            ("content-type", content_type),
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "/s"),
            ("ce_type", "a.b"),
        ]
    };
    let check = |content_type, value, expect| {
        check(Format::CloudEvents, value, &ce(content_type), expect);
    };
    check("application/json", "{\"x\": 1}", "1 a.b 2025-01-15T10:30:00.000Z - {\"x\": 1}");
    check("text/plain", "hi", "1 a.b 2025-01-15T10:30:00.000Z - \"hi\"");
    check("image/png", "hi", "1 a.b 2025-01-15T10:30:00.000Z - \"aGk=\"");
    check("application/json", "hi", "unreadable: not JSON, at line 1 column 1");
}

#[test]
fn what_is_no_cloudevent_is_unreadable() {
    let structured = [("content-type", "application/cloudevents+json")];
    let check = |value: &str, headers: &[(&str, &str)], expect: &str| {
        check(Format::CloudEvents, value, headers, expect);
    };
    check("{}", &structured, "unreadable: the CloudEvent has no `specversion`");
    check("{}", &[], "unreadable: the CloudEvent has no header \"ce_specversion\"");
    check("", &structured, "unreadable: the JSON ends early, at line 1 column 0");
    let with = |more: &str, expect: &str| {
        let value = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t",{more}}}"#);
        check(&value, &structured, &format!("unreadable: {expect}"));
    };
    with(r#""data":1,"data_base64":"aGk=""#, "the CloudEvent has both `data` and `data_base64`");
    with(r#""data_base64":"a b""#, "`data_base64` is not base64");
    with(
        r#""ext":{}"#,
        "an attribute of the CloudEvent is neither a string, a number nor a boolean",
    );
    for half in [r#""ext":"\ud800""#, r#""ext":1e999"#] {
        with(half, "an attribute of the CloudEvent is neither a string, a number nor a boolean");
    }
    with(r#""datacontenttype":"text/plain","data":"\ud800""#, "`data` is not a string");
    with(
        r#""a b":1"#,
        "a name of an attribute is longer than 64 or has other characters than A-Z a-z 0-9 _ -",
    );
    with(r#""ext":1,"ext":2"#, "the JSON has a field twice, at line 1 column 70");
    let many = (0..100_000).map(|n| format!(r#""e{n}":1"#)).collect::<Vec<_>>().join(",");
    with(&many, "the CloudEvent has more than 100 further attributes");
    check(
        r#"{"specversion":"0.3"}"#,
        &structured,
        "unreadable: the CloudEvent's `specversion` is not 1.0",
    );
    check(
        "[]",
        &[("content-type", "application/cloudevents-batch+json")],
        "unreadable: a CloudEvents batch, which the Kafka binding does not have",
    );
}

/// A source whose only selector, but for the type that some formats need, is this.
fn selecting(format: Format, attribute: &str, selector: &Selector) -> Source {
    let mut source = source(format);
    if !format.carries_type() {
        source.event_type = Some(Selector::Literal("t".into()));
    }
    let place = match attribute {
        "event_type" => &mut source.event_type,
        "event_id" => &mut source.event_id,
        "event_time" => &mut source.event_time,
        _ => &mut source.tenant,
    };
    *place = Some(selector.clone());
    source
}

#[test]
fn what_a_schema_makes_of_a_record_is_its_data() {
    let mut source = source(Format::Registry);
    source.event_type = Some(Selector::Pointer("/type".into()));
    let check = |translation: Translation, expect: &str| {
        let record = record("\u{0}abcdefg", &[]);
        assert_eq!(summary_of(&source, record, Some(translation)), expect);
    };
    check(
        Ok(Bytes::from_static(br#"{"type":"a.b"}"#)),
        r#"orders-3-42 a.b 2025-01-15T10:30:00.000Z - {"type":"a.b"}"#,
    );
    check(Err(Unreadable("no such schema".into())), "unreadable: no such schema");
    let expect = format!("unreadable: {NO_WIRE_FORMAT}");
    assert_eq!(summary(&source, record("{}", &[])), expect);
}

#[test]
fn a_moved_event_keeps_its_first_identity() {
    let moved = record(r#"{"event":"a","id":"other"}"#, &[]);
    let origin = Origin { topic: "first".into(), ..moved.origin.clone() };
    let identity = Identity { origin, id: Some(EventId::new("evt_1")) };
    let source = Arc::new(source(Format::Envelope));
    let event = decode(&source, moved, None, identity).expect("it reads");
    assert_eq!((event.label.id.as_str(), &*event.label.origin.topic), ("evt_1", "first"));
    assert_eq!(&*event.record.origin.topic, "orders");
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(
        value in prop::collection::vec(any::<u8>(), 0..200),
        content_type in "(application/(cloudevents\\+)?json|text/plain)?",
    ) {
        let mut record = record("", &[("content-type", &content_type)]);
        record.value = Some(value.into());
        for format in [Format::Envelope, Format::CloudEvents, Format::Json, Format::Registry] {
            let mut source = source(format);
            source.event_type = Some(Selector::Pointer("/a".into()));
            summary(&source, record.clone());
        }
    }

    #[test]
    fn no_headers_make_a_decoder_panic_and_no_data_is_much_longer_than_its_value(
        value in prop_oneof![
            json_text().prop_map(String::into_bytes),
            members().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ],
        headers in prop::collection::vec(header(), 0..10),
        place in selector(),
    ) {
        let mut record = record("", &[]);
        record.value = Some(value.clone().into());
        let headers = headers.into_iter().map(|(name, value)| Header { name: name.into(), value });
        record.headers = Headers(headers.collect());
        for format in [Format::Envelope, Format::CloudEvents, Format::Json, Format::Registry] {
            for attribute in ["event_type", "event_id", "event_time", "tenant"] {
                let source = Arc::new(selecting(format, attribute, &place));
                let identity = Identity { origin: record.origin.clone(), id: None };
                let translation = (format == Format::Registry).then(|| Ok(value.clone().into()));
                let read = decode(&source, record.clone(), translation, identity);
                if let Ok(event) = read {
                    // Text in a string takes six bytes for one at most.
                    prop_assert!(event.data.len() <= 6 * value.len() + 4);
                    prop_assert!(event.label.event_type.len() <= TYPE_MAX);
                    for payload in PAYLOADS {
                        payload::body(&event, payload, 1, Retryable::Retryable);
                        payload::headers(&event, payload);
                    }
                }
            }
        }
    }
}

const PAYLOADS: [Payload; 4] =
    [Payload::Envelope, Payload::Raw, Payload::CloudEvents, Payload::CloudEventsBinary];

/// Generates JSON as producers write it: numbers that no type holds, names that repeat, escapes, spaces.
pub(crate) fn json_text() -> impl Strategy<Value = String> {
    let space = "[ \t\n]{0,2}";
    let string = "\"([a-zé🦀 /]|\\\\[nt\"/\\\\]|\\\\u00[0-7][0-9a-fA-F]){0,6}\"";
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        string,
        "(true|false|null)",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let list = prop::collection::vec((space, inner.clone(), space), 0..5);
        let list = list.prop_map(|items| {
            let items: Vec<_> = items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
            format!("[{}]", items.join(","))
        });
        let map = prop::collection::vec((space, "\"[ab]?\"", space, inner), 0..5);
        let map = map.prop_map(|items| {
            let items = items.iter().map(|(a, name, b, item)| format!("{a}{name}{b}:{a}{item}{b}"));
            format!("{{{}}}", items.collect::<Vec<_>>().join(","))
        });
        prop_oneof![list, map]
    })
}

/// Generates objects with the members that envelopes and CloudEvents have, or almost.
fn members() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "id",
        "event",
        "timestamp",
        "version",
        "data",
        "specversion",
        "source",
        "type",
        "time",
        "datacontenttype",
        "data_base64",
        "ext",
    ]);
    let value = prop_oneof![
        3 => Just("\"1.0\"".to_owned()),
        1 => prop::sample::select(vec!["\"text/plain\"", "\"aGk=\"", "\"2025-01-01T00:00:00Z\""])
            .prop_map(str::to_owned),
        2 => json_text(),
    ];
    prop::collection::vec((name, value), 0..9).prop_map(|members| {
        let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

/// Generates the headers that decoders look at, and what may stand in them.
fn header() -> impl Strategy<Value = (&'static str, Option<Bytes>)> {
    let name = prop::sample::select(vec![
        "content-type",
        "Content-Type",
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_datacontenttype",
        "ce_data",
        "ce_",
        "ce_ext",
        "ce_é",
        "at",
    ]);
    let text = prop::sample::select(vec![
        "1.0",
        "application/cloudevents+json",
        "application/cloudevents",
        "text/plain; charset=x",
        "application/json",
        "image/png",
        "2025-01-01T00:00:00Z",
        "",
    ]);
    let value = prop_oneof![
        4 => text.prop_map(|text| Some(Bytes::from(text))),
        1 => prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from)),
    ];
    (name, value)
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        Just(Selector::Header("at".into())),
        Just(Selector::Key),
        Just(Selector::Literal("t".into())),
        "(/(a|b|data|id|0|~1|~0)){0,3}".prop_map(|text| Selector::Pointer(text.into())),
    ]
}

proptest! {
    #[test]
    fn json_data_survives_byte_for_byte_in_every_format_and_payload(data in json_text()) {
        let typed = |format| selecting(format, "event_type", &Selector::Literal("t".into()));
        let envelope = format!("{{\"event\":\"a\", \"data\": {data} }}");
        let own = r#""specversion":"1.0","id":"1","source":"/s","type":"a""#;
        let structured = format!("{{{own},\"data\" :{data}}}");
        let mode = [("content-type", "application/cloudevents+json")];
        let binary = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "/s"),
            ("ce_type", "a"),
        ];
        let cases = [
            (Format::Envelope, envelope, &[][..], None),
            (Format::CloudEvents, structured, &mode[..], None),
            (Format::CloudEvents, data.clone(), &binary[..], None),
            (Format::Json, format!(" {data}\n"), &[], None),
            (Format::Registry, "\0\0\0\0\u{7}x".to_owned(), &[], Some(Ok(data.clone().into()))),
        ];
        for (format, value, headers, translation) in cases {
            let record = record(&value, headers);
            let identity = Identity { origin: record.origin.clone(), id: None };
            let event = decode(&Arc::new(typed(format)), record, translation, identity);
            let event = event.expect("it reads");
            let body = |payload, attempt, retries| {
                let body = payload::body(&event, payload, attempt, retries);
                String::from_utf8(body.into()).expect("it is text")
            };
            prop_assert_eq!(std::str::from_utf8(&event.data), Ok(&*data));
            let first = body(Payload::Envelope, 1, Retryable::Retryable);
            let end = format!(",\"data\":{data},\"attempt\":1,\"retryable\":true}}");
            prop_assert!(first.ends_with(&end), "{}", first);
            let last = body(Payload::Envelope, 9, Retryable::Last);
            let end = format!(",\"data\":{data},\"attempt\":9,\"retryable\":false}}");
            prop_assert!(last.ends_with(&end), "{}", last);
            let structured = body(Payload::CloudEvents, 1, Retryable::Retryable);
            prop_assert!(structured.ends_with(&format!(",\"data\":{data}}}")), "{}", structured);
            prop_assert_eq!(&*body(Payload::CloudEventsBinary, 1, Retryable::Retryable), &*data);
            prop_assert_eq!(body(Payload::Raw, 1, Retryable::Retryable), value);
        }
    }
}

#[test]
fn an_event_shares_the_records_bytes() {
    let record = record(r#"{"event":"a","data":[1,2]}"#, &[]);
    let value = record.value.clone().expect("it has a value");
    let event = event(source(Format::Envelope), record);
    assert!(value.as_ptr_range().contains(&event.data.as_ptr()), "the data was copied");
}

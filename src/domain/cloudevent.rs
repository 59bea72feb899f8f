//! CloudEvents 1.0 as they go out: structured in the JSON format, or binary over HTTP (HTTP protocol binding, section
//! 3.1). An event that came as a CloudEvent keeps its attributes, extensions among them, and the kind of its data.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::event::Event;

/// The media type of structured events.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// The media type of data that doesn't say what it is (JSON format, section 3.1).
const JSON: &str = "application/json";

/// What a CloudEvent says beside its type and its data.
pub struct CloudAttributes {
    /// Its id, as the producer wrote it.
    pub id: Box<str>,
    /// The context in which it happened.
    pub source: Box<str>,
    /// When it happened; `None` where it doesn't say.
    pub time: Option<Box<str>>,
    /// What its data is; `None` is JSON.
    pub content_type: Option<Box<str>>,
    /// The other attributes in their order, at most 100: their names, and their values as JSON.
    pub others: Vec<(Box<str>, Bytes)>,
    /// How its data stands in the event's.
    pub data: DataKind,
}

/// How the data of a CloudEvent stands in the data of an event, which is always JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// There is none.
    None,
    /// As it is.
    Json,
    /// Text, in a string.
    Text,
    /// Bytes, as base64 in a string.
    Base64,
}

/// Tells whether a media type declares JSON (JSON format, section 3.1).
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    let ends_with_json = subtype.len() > 5
        && subtype.is_char_boundary(subtype.len() - 5)
        && subtype[subtype.len() - 5..].eq_ignore_ascii_case("+json");
    subtype.eq_ignore_ascii_case("json") || ends_with_json
}

/// Renders an event in structured mode.
pub(super) fn structured(event: &Event) -> Bytes {
    let text = |body: &mut Vec<u8>, name: &str, value: &str| {
        body.extend_from_slice(name.as_bytes());
        serde_json::to_writer(body, value).expect("text is written to memory");
    };
    let mut body = Vec::with_capacity(event.data.len() + 512);
    text(&mut body, "{\"specversion\":\"1.0\",\"id\":", id(event));
    text(&mut body, ",\"source\":", &source(event));
    text(&mut body, ",\"type\":", &event.label.event_type);
    if let Some(time) = time(event) {
        text(&mut body, ",\"time\":", time);
    }
    let cloud = event.cloud.as_deref();
    let content_type = cloud.map_or(Some(JSON), |cloud| cloud.content_type.as_deref());
    if let Some(content_type) = content_type {
        text(&mut body, ",\"datacontenttype\":", content_type);
    }
    for (name, value) in cloud.into_iter().flat_map(|cloud| &cloud.others) {
        text(&mut body, ",", name);
        body.push(b':');
        body.extend_from_slice(value);
    }
    let name: Option<&[u8]> = match cloud.map_or(DataKind::Json, |cloud| cloud.data) {
        DataKind::None => None,
        DataKind::Json | DataKind::Text => Some(b",\"data\":"),
        DataKind::Base64 => Some(b",\"data_base64\":"),
    };
    if let Some(name) = name {
        body.extend_from_slice(name);
        body.extend_from_slice(&event.data);
    }
    body.push(b'}');
    body.into()
}

/// Returns the body of an event in binary mode: its data itself.
pub(super) fn data(event: &Event) -> Bytes {
    let string = || -> String {
        serde_json::from_slice(&event.data).expect("a decoder has made a string of it")
    };
    match event.cloud.as_deref().map_or(DataKind::Json, |cloud| cloud.data) {
        DataKind::None => Bytes::new(),
        DataKind::Json => event.data.clone(),
        DataKind::Text => string().into(),
        DataKind::Base64 => {
            STANDARD.decode(string()).expect("a decoder has made or read the base64").into()
        }
    }
}

/// Returns the content type of [`data`].
pub(super) fn data_content_type(event: &Event) -> &str {
    let cloud = event.cloud.as_deref();
    cloud.and_then(|cloud| cloud.content_type.as_deref()).unwrap_or(JSON)
}

/// Returns the headers of an event in binary mode but for its content type: names in lower case, values as a header can
/// hold them.
pub(super) fn headers(event: &Event) -> Vec<(String, String)> {
    let mut headers = Vec::with_capacity(8);
    let mut push = |name: &str, value: &str| {
        headers.push((format!("ce-{}", name.to_ascii_lowercase()), percent_encoded(value)));
    };
    push("specversion", "1.0");
    push("id", id(event));
    push("source", &source(event));
    push("type", &event.label.event_type);
    if let Some(time) = time(event) {
        push("time", time);
    }
    for (name, value) in event.cloud.iter().flat_map(|cloud| &cloud.others) {
        match serde_json::from_slice(value).expect("a decoder has judged it") {
            serde_json::Value::String(text) => push(name, &text),
            other => push(name, &other.to_string()),
        }
    }
    headers
}

fn id(event: &Event) -> &str {
    event.cloud.as_ref().map_or(event.label.id.as_str(), |cloud| &cloud.id)
}

/// The topic is what an event that is no CloudEvent comes from; with it, the id is unique.
fn source(event: &Event) -> Cow<'_, str> {
    match &event.cloud {
        Some(cloud) => Cow::Borrowed(&cloud.source),
        None => Cow::Owned(format!("urn:kafka:{}", event.label.origin.topic)),
    }
}

fn time(event: &Event) -> Option<&str> {
    event.cloud.as_ref().map_or(Some(&event.time), |cloud| cloud.time.as_deref())
}

/// Encodes a header's value: space, quote, percent and all that isn't printable ASCII (HTTP binding, section 3.1.3.2).
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&'..=b'~' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes any text"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::domain::decode::tests::{event, record, source};
    use crate::domain::decode::{Identity, decode};
    use crate::domain::source::{Format, Selector};

    const BINARY: [(&str, &str); 6] = [
        ("ce_specversion", "1.0"),
        ("ce_id", "a.1"),
        ("ce_source", "/söurce 100%"),
        ("ce_type", "t"),
        ("ce_subject", "s"),
        ("ce_myext", "x\"y"),
    ];

    fn check(event: &Event, body: &str, headers: &[(&str, &str)], data: &[u8]) {
        assert_eq!(std::str::from_utf8(&structured(event)), Ok(body));
        let found = super::headers(event);
        let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(found, headers);
        assert_eq!(super::data(event), data);
    }

    #[test]
    fn an_event_of_our_own_becomes_a_cloudevent() {
        let event = event(
            source(Format::Envelope),
            record(r#"{"id":"evt.1","event":"a\"b","data":{"n":1.0, "n":2}}"#, &[]),
        );
        let id = event.label.id.as_str();
        check(
            &event,
            &format!(
                r#"{{"specversion":"1.0","id":"{id}","source":"urn:kafka:orders","type":"a\"b","time":"2025-01-15T10:30:00.000Z","datacontenttype":"application/json","data":{{"n":1.0, "n":2}}}}"#
            ),
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", id),
                ("ce-source", "urn:kafka:orders"),
                ("ce-type", "a%22b"),
                ("ce-time", "2025-01-15T10:30:00.000Z"),
            ],
            br#"{"n":1.0, "n":2}"#,
        );
    }

    #[test]
    fn a_cloudevent_keeps_what_it_said() {
        let text = [BINARY.as_slice(), &[("content-type", "text/plain")]].concat();
        let event_of = |value: &str, headers: &[(&str, &str)]| {
            event(source(Format::CloudEvents), record(value, headers))
        };
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "a.1"),
            ("ce-source", "/s%C3%B6urce%20100%25"),
            ("ce-type", "t"),
            ("ce-subject", "s"),
            ("ce-myext", "x%22y"),
        ];
        check(
            &event_of("hi \"you\"", &text),
            r#"{"specversion":"1.0","id":"a.1","source":"/söurce 100%","type":"t","datacontenttype":"text/plain","subject":"s","myext":"x\"y","data":"hi \"you\""}"#,
            &headers,
            b"hi \"you\"",
        );
        let bytes = [BINARY.as_slice(), &[("content-type", "image/png")]].concat();
        check(
            &event_of("hi", &bytes),
            r#"{"specversion":"1.0","id":"a.1","source":"/söurce 100%","type":"t","datacontenttype":"image/png","subject":"s","myext":"x\"y","data_base64":"aGk="}"#,
            &headers,
            b"hi",
        );
        check(
            &event_of("", &BINARY),
            r#"{"specversion":"1.0","id":"a.1","source":"/söurce 100%","type":"t","subject":"s","myext":"x\"y"}"#,
            &headers,
            b"",
        );
    }

    #[test]
    fn a_structured_one_goes_out_structured_or_binary() {
        let value = r#" {"specversion":"1.0","num":7,"id":"1","yes":true,"source":"s","type":"t","time":"2025-01-01T00:00:00Z","data":"<a/>","datacontenttype":"application/xml"}"#;
        let headers = [("content-type", "application/cloudevents+json; charset=UTF-8")];
        let event = event(source(Format::CloudEvents), record(value, &headers));
        check(
            &event,
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2025-01-01T00:00:00Z","datacontenttype":"application/xml","num":7,"yes":true,"data":"<a/>"}"#,
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "s"),
                ("ce-type", "t"),
                ("ce-time", "2025-01-01T00:00:00Z"),
                ("ce-num", "7"),
                ("ce-yes", "true"),
            ],
            b"<a/>",
        );
    }

    #[test]
    fn selectors_come_before_the_cloudevents_own_attributes() {
        let mut source = source(Format::CloudEvents);
        source.event_type = Some(Selector::Literal("other".into()));
        source.event_id = Some(Selector::Key);
        source.event_time = Some(Selector::Pointer("/at".into()));
        let event = event(source, record(r#"{"at":"2025-02-01T00:00:00Z"}"#, &BINARY));
        check(
            &event,
            r#"{"specversion":"1.0","id":"k1","source":"/söurce 100%","type":"other","time":"2025-02-01T00:00:00Z","subject":"s","myext":"x\"y","data":{"at":"2025-02-01T00:00:00Z"}}"#,
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "k1"),
                ("ce-source", "/s%C3%B6urce%20100%25"),
                ("ce-type", "other"),
                ("ce-time", "2025-02-01T00:00:00Z"),
                ("ce-subject", "s"),
                ("ce-myext", "x%22y"),
            ],
            br#"{"at":"2025-02-01T00:00:00Z"}"#,
        );
    }

    /// The members of a structured event, mostly good ones.
    fn members() -> impl Strategy<Value = Vec<(&'static str, String)>> {
        let name =
            select(vec!["time", "datacontenttype", "data", "data_base64", "ext", "ext", "a_B"]);
        let value = select(vec![
            "\"2025-01-01T00:00:00Z\"",
            "\"text/plain\"",
            "\"aGk=\"",
            "\"aGk\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\u0000é\"",
            "1e999",
            "-0.0",
            "12345678901234567890",
            "true",
            "null",
            "{\"a\":[]}",
            "[]",
            "\"application/x+json; a=b\"",
        ]);
        prop::collection::vec((name, value.prop_map(str::to_owned)), 0..5)
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_sent(members in members()) {
            let mut value = r#"{"specversion":"1.0","id":"1","source":"s","type":"t""#.to_owned();
            for (name, member) in &members {
                value.push_str(&format!(",\"{name}\":{member}"));
            }
            value.push('}');
            let record = record(&value, &[("content-type", "application/cloudevents+json")]);
            let identity = Identity { origin: record.origin.clone(), id: None };
            if let Ok(event) = decode(&Arc::new(source(Format::CloudEvents)), record, None, identity) {
                let structured = structured(&event);
                let _: &serde_json::value::RawValue =
                    serde_json::from_slice(&structured).expect("JSON");
                super::data(&event);
                for (_, value) in super::headers(&event) {
                    prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }
    }

    #[test]
    fn media_types_of_json_are_known() {
        for json in ["application/json", "text/JSON; charset=utf-8", "application/vnd.a+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "application/xml", "json", "application/jsonlines", "a/é+jsoñ"] {
            assert!(!is_json(other), "{other}");
        }
    }
}

//! Bodies: what is sent of an event, byte for byte what is signed. Nothing here reads the event's data.

use bytes::Bytes;

use super::cloudevent;
use super::event::Event;
use super::source::Format;
use super::subscription::Payload;

/// The longest content type taken over from a record.
const CONTENT_TYPE_MAX: usize = 256;

/// The media type of envelopes, and of what doesn't say what it is.
const JSON: &str = "application/json";

/// The media type of values that need a schema to be read.
const BYTES: &str = "application/octet-stream";

/// Whether another attempt follows when this one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Another may follow.
    Retryable,
    /// This is the last one.
    Last,
}

/// Returns the body of the `attempt`th attempt, from 1.
///
/// A raw body shares the record's bytes. The envelope of a first attempt that another may follow is rendered once an
/// event, however many subscriptions it goes to.
pub fn body(event: &Event, payload: Payload, attempt: u32, retries: Retryable) -> Bytes {
    match payload {
        Payload::Raw => {
            event.record.value.clone().expect("an event is decoded from a record with a value")
        }
        Payload::Envelope if attempt == 1 && retries == Retryable::Retryable => {
            event.first_body.get_or_init(|| envelope(event, attempt, retries)).clone()
        }
        Payload::Envelope => envelope(event, attempt, retries),
        Payload::CloudEvents => {
            event.structured.get_or_init(|| cloudevent::structured(event)).clone()
        }
        Payload::CloudEventsBinary => cloudevent::data(event),
    }
}

/// Returns headers that are part of the payload, names in lower case.
pub fn headers(event: &Event, payload: Payload) -> Vec<(String, String)> {
    match payload {
        Payload::CloudEventsBinary => cloudevent::headers(event),
        Payload::Envelope | Payload::Raw | Payload::CloudEvents => Vec::new(),
    }
}

/// Returns the body's content type: the record's own for a raw one, if it can stand in a header.
pub fn content_type(event: &Event, payload: Payload) -> &str {
    match payload {
        Payload::Envelope => JSON,
        Payload::CloudEvents => cloudevent::STRUCTURED,
        Payload::CloudEventsBinary => {
            let own = cloudevent::data_content_type(event);
            if is_header_safe(own) { own } else { JSON }
        }
        Payload::Raw => {
            let headers = event.record.headers.0.iter().rev();
            let mut named = headers.filter(|h| h.name.eq_ignore_ascii_case("content-type"));
            let value = named.next().and_then(|header| header.value.as_deref());
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            text.filter(|text| is_header_safe(text)).unwrap_or(match event.source.format {
                Format::Registry => BYTES,
                Format::Envelope | Format::CloudEvents | Format::Json => JSON,
            })
        }
    }
}

fn is_header_safe(text: &str) -> bool {
    (1..=CONTENT_TYPE_MAX).contains(&text.len())
        && text.trim_matches(' ').len() == text.len()
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn envelope(event: &Event, attempt: u32, retries: Retryable) -> Bytes {
    let texts = [
        ("{\"id\":", event.label.id.as_str()),
        (",\"timestamp\":", &event.time),
        (",\"event\":", &event.label.event_type),
        (",\"version\":", &event.version),
    ];
    // Names, quotes and the last two fields take less than 128 bytes; only escapes can make the body longer.
    let length: usize = texts.iter().map(|(_, text)| text.len()).sum();
    let mut body = Vec::with_capacity(length + event.data.len() + 128);
    for (name, text) in texts {
        body.extend_from_slice(name.as_bytes());
        serde_json::to_writer(&mut body, text).expect("text is written to memory");
    }
    body.extend_from_slice(b",\"data\":");
    body.extend_from_slice(&event.data);
    body.extend_from_slice(b",\"attempt\":");
    serde_json::to_writer(&mut body, &attempt).expect("a number is written to memory");
    body.extend_from_slice(match retries {
        Retryable::Retryable => b",\"retryable\":true}",
        Retryable::Last => b",\"retryable\":false}",
    });
    body.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::decode::tests::{self, record, source};

    fn event(value: &str, headers: &[(&str, &str)]) -> Event {
        tests::event(source(Format::Envelope), record(value, headers))
    }

    fn text(body: &Bytes) -> &str {
        std::str::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn an_envelope_has_seven_fields_and_keeps_its_data() {
        let event = event(r#"{"event":"a\"b","id":"evt_1","data": {"b":1.0, "a":"\u0041"} }"#, &[]);
        assert_eq!(
            text(&body(&event, Payload::Envelope, 1, Retryable::Retryable)),
            r#"{"id":"evt_1","timestamp":"2025-01-15T10:30:00.000Z","event":"a\"b","version":"1.0","data":{"b":1.0, "a":"\u0041"},"attempt":1,"retryable":true}"#
        );
        let last = body(&event, Payload::Envelope, 10, Retryable::Last);
        assert!(text(&last).ends_with(r#","attempt":10,"retryable":false}"#));
    }

    #[test]
    fn a_first_body_is_rendered_once() {
        let event = event(r#"{"event":"a"}"#, &[]);
        let render = |attempt, retries| body(&event, Payload::Envelope, attempt, retries);
        let first = render(1, Retryable::Retryable);
        assert_eq!(first.as_ptr(), render(1, Retryable::Retryable).as_ptr());
        assert_ne!(first, render(1, Retryable::Last));
        assert_ne!(first, render(2, Retryable::Retryable));
    }

    #[test]
    fn a_raw_body_is_the_records_value_itself() {
        let event = event(r#" {"event":"a"} "#, &[]);
        let raw = body(&event, Payload::Raw, 3, Retryable::Last);
        assert_eq!(Some(&raw), event.record.value.as_ref());
        assert_eq!(Some(raw.as_ptr()), event.record.value.as_ref().map(|value| value.as_ptr()));
    }

    #[test]
    fn a_raw_body_has_the_records_content_type_if_a_header_can_hold_it() {
        let check = |value: &str, expect: &str| {
            let event = event(r#"{"event":"a"}"#, &[("Content-Type", value)]);
            assert_eq!(content_type(&event, Payload::Raw), expect);
            assert_eq!(content_type(&event, Payload::Envelope), "application/json");
        };
        check("text/plain; charset=utf-8", "text/plain; charset=utf-8");
        for unfit in ["", " text/plain", "a\r\nb: c", "é", &"x".repeat(257)] {
            check(unfit, "application/json");
        }
        let silent = event(r#"{"event":"a"}"#, &[]);
        assert_eq!(content_type(&silent, Payload::Raw), "application/json");
    }

    proptest! {
        #[test]
        fn an_envelope_is_json_whatever_the_texts_say(
            id in "\\PC{1,20}", event_type in "[a-z\"\\\\é]{1,20}", data in "(\\{\"[a-z]\": ?-?[1-9][0-9]{0,30}\\}|\"[a-z ]*\"|\\[ ?\\])",
            attempt in 1_u32..,
        ) {
            let given = |text: &str| serde_json::to_string(text).expect("text");
            let value = format!(r#"{{"event":{},"id":{},"data":{data}}}"#, given(&event_type), given(&id));
            let event = event(&value, &[]);
            let body = body(&event, Payload::Envelope, attempt, Retryable::Last);
            let read: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            prop_assert_eq!(read["event"].as_str(), Some(event_type.as_str()));
            prop_assert_eq!(read["attempt"].as_u64(), Some(attempt.into()));
            let name = format!(",\"data\":{},\"attempt\":", data);
            prop_assert!(text(&body).contains(&name));
            prop_assert!(body.len() <= event.data.len() + 128 + 2 * value.len());
        }
    }
}

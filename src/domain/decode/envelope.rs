//! The product's own envelope: `{"id","timestamp","event","version","data"}`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Reading, Unreadable, json_problem, text};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

pub(super) fn read(value: &Bytes) -> Result<Reading, Unreadable> {
    let envelope: Envelope = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
    Ok(Reading {
        id: text("id", envelope.id)?,
        event_type: text("event", envelope.event)?,
        time: text("timestamp", envelope.timestamp)?,
        version: text("version", envelope.version)?,
        data: raw_or_null(value, envelope.data),
        cloud: None,
    })
}

/// Returns the bytes of a JSON value inside `value` without copying them.
pub(super) fn raw_or_null(value: &Bytes, raw: Option<&RawValue>) -> Bytes {
    raw.map_or(Bytes::from_static(b"null"), |raw| value.slice_ref(raw.get().as_bytes()))
}

//! CloudEvents 1.0 in the Kafka protocol binding: binary (section 3.2) and structured (section 3.3) content mode,
//! told apart by the content-type header (section 3). Batches don't exist in that binding and are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::raw_or_null;
use super::{Reading, Unreadable, json_problem, text};
use crate::domain::record::Record;

#[derive(Deserialize)]
struct Structured<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    #[serde(rename = "type")]
    event_type: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
}

pub(super) fn read(record: &Record, value: &Bytes) -> Result<Reading, Unreadable> {
    let content_type = content_type(record)?.to_ascii_lowercase();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        "application/cloudevents-batch" | "application/cloudevents-batch+json" => {
            Err(Unreadable("a CloudEvents batch, which the Kafka binding does not have".into()))
        }
        "application/cloudevents" | "application/cloudevents+json" => structured(value),
        other if other.starts_with("application/cloudevents") => {
            Err(Unreadable("a structured CloudEvent in a format other than JSON".into()))
        }
        media_type => binary(record, value, media_type),
    }
}

fn content_type(record: &Record) -> Result<&str, Unreadable> {
    let headers = record.headers.0.iter().rev();
    let mut named = headers.filter(|header| header.name.eq_ignore_ascii_case("content-type"));
    let value = named.next().and_then(|header| header.value.as_deref()).unwrap_or_default();
    std::str::from_utf8(value)
        .map_err(|_| Unreadable("header \"content-type\" is not UTF-8".into()))
}

fn structured(value: &Bytes) -> Result<Reading, Unreadable> {
    let event: Structured = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
    let required = |name: &str, raw| {
        let text = text(name, raw)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Unreadable(format!("the CloudEvent has no `{name}`")))
    };
    check_version(&required("specversion", event.specversion)?)?;
    required("source", event.source)?;
    if event.data.is_some() && event.data_base64.is_some() {
        return Err(Unreadable("the CloudEvent has both `data` and `data_base64`".into()));
    }
    text("data_base64", event.data_base64)?;
    Ok(Reading {
        id: Some(required("id", event.id)?),
        event_type: required("type", event.event_type)?,
        time: text("time", event.time)?,
        version: None,
        data: raw_or_null(value, event.data.or(event.data_base64)),
    })
}

fn binary(record: &Record, value: &Bytes, media_type: &str) -> Result<Reading, Unreadable> {
    let optional = |name: &str| match record.headers.last(name) {
        None => Ok(None),
        Some(bytes) => std::str::from_utf8(bytes)
            .map(|text| Some(text).filter(|text| !text.is_empty()))
            .map_err(|_| Unreadable(format!("header \"{name}\" is not UTF-8"))),
    };
    let required = |name: &str| {
        let found = optional(name)?;
        found.ok_or_else(|| Unreadable(format!("the CloudEvent has no header \"{name}\"")))
    };
    check_version(required("ce_specversion")?)?;
    required("ce_source")?;
    Ok(Reading {
        id: Some(required("ce_id")?.into()),
        event_type: required("ce_type")?.into(),
        time: optional("ce_time")?.map(Into::into),
        version: None,
        data: as_json(value, media_type)?,
    })
}

fn check_version(version: &str) -> Result<(), Unreadable> {
    if version == "1.0" {
        return Ok(());
    }
    Err(Unreadable("the CloudEvent's `specversion` is not 1.0".into()))
}

/// Returns binary-mode data as JSON: JSON as it stands, text as a string, anything else as base64.
fn as_json(value: &Bytes, media_type: &str) -> Result<Bytes, Unreadable> {
    let json = |text: String| Bytes::from(serde_json::Value::String(text).to_string());
    if matches!(media_type, "" | "application/json" | "text/json") || media_type.ends_with("+json")
    {
        let raw: &RawValue = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
        return Ok(raw_or_null(value, Some(raw)));
    }
    if media_type.starts_with("text/") {
        let text = String::from_utf8(value.to_vec());
        return text.map(json).map_err(|_| Unreadable("the text data is not UTF-8".into()));
    }
    Ok(json(STANDARD.encode(value)))
}

//! CloudEvents 1.0 in the Kafka protocol binding: binary (section 3.2) and structured (section 3.3) content mode,
//! told apart by the content-type header (section 3). Batches don't exist in that binding and are refused.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::envelope::raw_or_null;
use super::{Reading, Unreadable, json_problem, text};
use crate::domain::cloudevent::{CloudAttributes, DataKind, is_json};
use crate::domain::record::Record;

/// The most attributes beside those that every event has.
const OTHERS_MAX: usize = 100;

/// The longest name of an attribute; the specification recommends no more than 20.
const NAME_MAX: usize = 64;

pub(super) fn read(record: &Record, value: &Bytes) -> Result<Reading, Unreadable> {
    let content_type = content_type(record)?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/cloudevents-batch" | "application/cloudevents-batch+json" => {
            Err(Unreadable("a CloudEvents batch, which the Kafka binding does not have".into()))
        }
        "application/cloudevents" | "application/cloudevents+json" => structured(value),
        other if other.starts_with("application/cloudevents") => {
            Err(Unreadable("a structured CloudEvent in a format other than JSON".into()))
        }
        _ => binary(record, value, content_type),
    }
}

fn content_type(record: &Record) -> Result<&str, Unreadable> {
    let headers = record.headers.0.iter().rev();
    let mut named = headers.filter(|header| header.name.eq_ignore_ascii_case("content-type"));
    let value = named.next().and_then(|header| header.value.as_deref()).unwrap_or_default();
    std::str::from_utf8(value)
        .map_err(|_| Unreadable("header \"content-type\" is not UTF-8".into()))
}

/// The members of a structured event; all but these are extensions, or attributes that nobody here needs.
#[derive(Default)]
struct Structured<'a> {
    specversion: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    event_type: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    content_type: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
    others: Vec<(Box<str>, &'a RawValue)>,
}

impl<'de> Deserialize<'de> for Structured<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Structured<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut event = Structured::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = map.next_value()?;
            let member = match &*name {
                "specversion" => &mut event.specversion,
                "id" => &mut event.id,
                "source" => &mut event.source,
                "type" => &mut event.event_type,
                "time" => &mut event.time,
                "datacontenttype" => &mut event.content_type,
                "data" => &mut event.data,
                "data_base64" => &mut event.data_base64,
                _ if value.get() == "null" => continue,
                // That is too many already: no more of them are looked at.
                _ if event.others.len() > OTHERS_MAX => continue,
                _ if event.others.iter().any(|(known, _)| **known == *name) => {
                    return Err(A::Error::custom("duplicate field"));
                }
                _ => {
                    event.others.push((name.into(), value));
                    continue;
                }
            };
            if member.replace(value).is_some() {
                return Err(A::Error::custom("duplicate field"));
            }
        }
        Ok(event)
    }
}

fn structured(value: &Bytes) -> Result<Reading, Unreadable> {
    let event: Structured = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
    let required = |name: &str, raw| {
        let text = text(name, raw)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Unreadable(format!("the CloudEvent has no `{name}`")))
    };
    check_version(&required("specversion", event.specversion)?)?;
    let source = required("source", event.source)?;
    let id = required("id", event.id)?;
    let event_type = required("type", event.event_type)?;
    let content_type = text("datacontenttype", event.content_type)?;
    let is_json = content_type.as_deref().is_none_or(is_json);
    let (kind, raw) = match (event.data, event.data_base64) {
        (Some(_), Some(_)) => {
            return Err(Unreadable("the CloudEvent has both `data` and `data_base64`".into()));
        }
        (Some(data), None) if !is_json && data.get().starts_with('"') => {
            text("data", Some(data))?;
            (DataKind::Text, Some(data))
        }
        (Some(data), None) => (DataKind::Json, Some(data)),
        (None, Some(data)) => (base64_or_null(data)?, Some(data)),
        (None, None) => (DataKind::None, None),
    };
    let others = event.others.into_iter().map(|(name, raw)| {
        // Types of attributes: JSON format, section 2.2. What can't be read by itself, such as half a surrogate pair or
        // a number that no double holds, is none either.
        match serde_json::from_str(raw.get()) {
            Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                Ok((name, value.slice_ref(raw.get().as_bytes())))
            }
            _ => Err(Unreadable(
                "an attribute of the CloudEvent is neither a string, a number nor a boolean".into(),
            )),
        }
    });
    let time = text("time", event.time)?;
    let cloud = CloudAttributes {
        id: id.clone(),
        source,
        time: None,
        content_type,
        others: checked(others.collect::<Result<_, _>>()?)?,
        data: kind,
    };
    let data = raw_or_null(value, raw);
    Ok(Reading {
        id: Some(id),
        event_type: Some(event_type),
        time,
        version: None,
        data,
        cloud: Some(Box::new(cloud)),
    })
}

fn base64_or_null(data: &RawValue) -> Result<DataKind, Unreadable> {
    match text("data_base64", Some(data))? {
        None => Ok(DataKind::Json),
        Some(text) if STANDARD.decode(&*text).is_ok() => Ok(DataKind::Base64),
        Some(_) => Err(Unreadable("`data_base64` is not base64".into())),
    }
}

fn binary(record: &Record, value: &Bytes, content_type: &str) -> Result<Reading, Unreadable> {
    let optional = |name: &str| match record.headers.last(name) {
        None => Ok(None),
        Some(bytes) => header_text(name, bytes).map(|text| Some(text).filter(|t| !t.is_empty())),
    };
    let required = |name: &str| {
        let found = optional(name)?;
        found.ok_or_else(|| Unreadable(format!("the CloudEvent has no header \"{name}\"")))
    };
    check_version(required("ce_specversion")?)?;
    let id: Box<str> = required("ce_id")?.into();
    let (data, kind) = as_json(value, content_type)?;
    let cloud = CloudAttributes {
        id: id.clone(),
        source: required("ce_source")?.into(),
        time: None,
        content_type: Some(content_type).filter(|text| !text.is_empty()).map(Into::into),
        others: checked(others(record)?)?,
        data: kind,
    };
    Ok(Reading {
        id: Some(id),
        event_type: Some(required("ce_type")?.into()),
        time: optional("ce_time")?.map(Into::into),
        version: None,
        data,
        cloud: Some(Box::new(cloud)),
    })
}

/// Returns the attributes of a binary event that have no place of their own; of repeated headers the last one counts.
fn others(record: &Record) -> Result<Vec<(Box<str>, Bytes)>, Unreadable> {
    let mut others: Vec<(Box<str>, Bytes)> = Vec::new();
    for header in &record.headers.0 {
        // That is too many already: no more of them are looked at.
        if others.len() > OTHERS_MAX {
            break;
        }
        let Some(name) = header.name.strip_prefix("ce_") else { continue };
        let Some(value) = &header.value else { continue };
        // Others have their place elsewhere; some producers repeat the content type here.
        let placed = ["specversion", "id", "source", "type", "time", "datacontenttype"];
        if placed.contains(&name) || matches!(name, "data" | "data_base64") {
            continue;
        }
        let value = json_string(header_text("ce_…", value)?);
        match others.iter_mut().find(|(known, _)| **known == *name) {
            Some(known) => known.1 = value,
            None => others.push((name.into(), value)),
        }
    }
    Ok(others)
}

/// Judges names by what a header can hold: the specification's own rule, lower-case letters and digits, is broken by
/// many producers, and nothing here breaks by it.
fn checked(others: Vec<(Box<str>, Bytes)>) -> Result<Vec<(Box<str>, Bytes)>, Unreadable> {
    let fits = |name: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_fit)
    };
    if others.len() > OTHERS_MAX {
        return Err(Unreadable("the CloudEvent has more than 100 further attributes".into()));
    }
    if !others.iter().all(|(name, _)| fits(name)) {
        let problem =
            "a name of an attribute is longer than 64 or has other characters than A-Z a-z 0-9 _ -";
        return Err(Unreadable(problem.into()));
    }
    Ok(others)
}

fn header_text<'a>(name: &str, bytes: &'a Bytes) -> Result<&'a str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable(format!("header \"{name}\" is not UTF-8")))
}

fn check_version(version: &str) -> Result<(), Unreadable> {
    if version == "1.0" {
        return Ok(());
    }
    Err(Unreadable("the CloudEvent's `specversion` is not 1.0".into()))
}

/// Returns binary-mode data as JSON: JSON as it stands, text as a string, anything else as base64.
fn as_json(value: &Bytes, content_type: &str) -> Result<(Bytes, DataKind), Unreadable> {
    if value.is_empty() {
        return Ok((raw_or_null(value, None), DataKind::None));
    }
    if content_type.is_empty() || is_json(content_type) {
        let raw: &RawValue = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
        return Ok((raw_or_null(value, Some(raw)), DataKind::Json));
    }
    let is_text = content_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    if is_text {
        let text = std::str::from_utf8(value);
        let text = text.map_err(|_| Unreadable("the text data is not UTF-8".into()))?;
        return Ok((json_string(text), DataKind::Text));
    }
    Ok((json_string(&STANDARD.encode(value)), DataKind::Base64))
}

fn json_string(text: &str) -> Bytes {
    serde_json::to_vec(text).expect("text is written to memory").into()
}

//! From a record to an event, one file a format.
//!
//! A decoder reads bytes and says what they mean or why they mean nothing. Its errors tell the place and the kind of
//! a problem and never repeat what the record says.

mod cloudevents;
mod envelope;
mod json;
mod select;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::cloudevent::CloudAttributes;
use super::event::{Attributes, Event, EventId};
use super::record::{Origin, Record};
use super::source::{Format, Source};
use select::Selected;

/// The longest event type; it stands in a header of every request.
const TYPE_MAX: usize = 256;

/// Why a record is no event: a short text that names the attribute or the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who the event is when its record was moved: a retry keeps what the first reading found.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where the event was produced.
    pub origin: Origin,
    /// The id it was given then; `None` reads it anew.
    pub id: Option<EventId>,
}

/// What a schema makes of a record's value: JSON, or why it can't. Found outside, because schemas are far away.
pub type Translation = Result<Bytes, Unreadable>;

/// Tells whether a value may be in the wire format, so that its schema is asked for. It begins with a zero, which no JSON
/// does.
pub fn may_have_schema(record: &Record) -> bool {
    record.value.as_ref().and_then(|value| value.first()) == Some(&0)
}

/// Why a value has no schema that could be asked for.
pub const NO_WIRE_FORMAT: &str = "the value is not in the wire format: no zero and schema id";

/// What a format finds in a record, before it is checked.
struct Reading {
    id: Option<Box<str>>,
    event_type: Option<Box<str>>,
    time: Option<Box<str>>,
    version: Option<Box<str>>,
    data: Bytes,
    cloud: Option<Box<CloudAttributes>>,
}

/// Reads a record that has a value; `translation` is what its schema makes of it, for sources that need one.
///
/// # Errors
/// [`Unreadable`], together with the record, which then belongs in the dead-letter topic.
pub fn decode(
    source: &Arc<Source>,
    record: Record,
    translation: Option<Translation>,
    identity: Identity,
) -> Result<Event, (Box<Record>, Unreadable)> {
    match read(source, &record, translation, identity) {
        Ok(attributes) => Ok(Event::new(record, attributes)),
        Err(reason) => Err((Box::new(record), reason)),
    }
}

fn read(
    source: &Arc<Source>,
    record: &Record,
    translation: Option<Translation>,
    identity: Identity,
) -> Result<Attributes, Unreadable> {
    let empty = Bytes::new();
    let value = record.value.as_ref().unwrap_or(&empty);
    // A CloudEvent without data is an event all the same.
    if value.is_empty() && source.format != Format::CloudEvents {
        return Err(Unreadable("the value is empty".into()));
    }
    let translated = translation.transpose()?;
    let mut selected = Selected::of(record, translated.as_ref().unwrap_or(value));
    let mut reading = match source.format {
        Format::Envelope => envelope::read(value)?,
        Format::CloudEvents => cloudevents::read(record, value)?,
        Format::Json => json::read(value)?,
        Format::Registry => match &translated {
            Some(json) => json::read(json)?,
            None => return Err(Unreadable(NO_WIRE_FORMAT.into())),
        },
    };
    select(source, &mut reading, &mut selected)?;
    let event_type = reading.event_type.ok_or_else(|| match source.format {
        Format::Envelope => Unreadable("the envelope has no `event`".into()),
        _ => Unreadable("there is no event type".into()),
    })?;
    check_type(&event_type).map_err(|what| match &source.event_type {
        Some(selector) => select::problem("event_type", selector, what),
        None => Unreadable(format!("the event type {what}")),
    })?;
    let tenant = match &source.tenant {
        Some(selector) => selected.optional("tenant", selector)?,
        None => None,
    };
    let id = match (identity.id, reading.id) {
        (Some(id), _) => id,
        (None, Some(name)) => EventId::new(&name),
        (None, None) => EventId::of_position(&identity.origin),
    };
    Ok(Attributes {
        source: source.clone(),
        origin: identity.origin,
        id,
        event_type,
        time: reading.time,
        version: reading.version,
        tenant: tenant.map(Into::into),
        data: reading.data,
        cloud: reading.cloud,
    })
}

/// Puts what selectors find in the place of a format's own attributes.
fn select(
    source: &Source,
    reading: &mut Reading,
    selected: &mut Selected<'_>,
) -> Result<(), Unreadable> {
    if let Some(selector) = &source.event_type {
        reading.event_type = Some(selected.required("event_type", selector)?);
    }
    if let Some(selector) = &source.event_id {
        reading.id = Some(selected.required("event_id", selector)?);
    }
    if let Some(selector) = &source.event_time {
        reading.time = Some(selected.time("event_time", selector)?);
    } else if let Some(time) = &reading.time {
        let parsed: Result<Timestamp, _> = time.parse();
        parsed.map_err(|_| Unreadable("the timestamp is not RFC 3339".into()))?;
    }
    if let Some(cloud) = &mut reading.cloud {
        cloud.time.clone_from(&reading.time);
        if let Some(id) = &reading.id {
            cloud.id.clone_from(id);
        }
    }
    Ok(())
}

/// Says what is wrong with an event type, if something is.
fn check_type(event_type: &str) -> Result<(), &'static str> {
    match event_type {
        "" => Err("is empty"),
        text if text.len() > TYPE_MAX => Err("is longer than 256 bytes"),
        text if text.chars().any(char::is_control) => Err("has a control character"),
        text if text.trim().len() != text.len() => Err("starts or ends with a space"),
        _ => Ok(()),
    }
}

/// Turns a JSON error into words that repeat nothing of the value.
fn json_problem(error: &serde_json::Error) -> Unreadable {
    let place = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    Unreadable(match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON ends early, at {place}"),
        serde_json::error::Category::Data if text.starts_with("duplicate field") => {
            format!("the JSON has a field twice, at {place}")
        }
        serde_json::error::Category::Data => format!("not the JSON expected, at {place}"),
        _ => format!("not JSON, at {place}"),
    })
}

/// Reads a JSON string attribute; `null` counts as absent.
fn text(name: &str, raw: Option<&RawValue>) -> Result<Option<Box<str>>, Unreadable> {
    let Some(raw) = raw else { return Ok(None) };
    let text = serde_json::from_str(raw.get());
    text.map(Some).map_err(|_| Unreadable(format!("`{name}` is not a string")))
}

#[cfg(test)]
pub(crate) mod tests;

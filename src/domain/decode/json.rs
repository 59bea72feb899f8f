//! Any JSON value: it is the data, and selectors tell where its type and id stand.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::envelope::raw_or_null;
use super::select::Selected;
use super::{Reading, Unreadable, json_problem};
use crate::domain::source::Source;

pub(super) fn read(
    source: &Source,
    value: &Bytes,
    selected: &mut Selected,
) -> Result<Reading, Unreadable> {
    let raw: &RawValue = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
    let selector = source.event_type.as_ref();
    let selector = selector.expect("settings require an event type selector for format json");
    let event_type = selected.required("event_type", selector)?;
    let id = match &source.event_id {
        Some(selector) => Some(selected.required("event_id", selector)?),
        None => None,
    };
    let data = raw_or_null(value, Some(raw));
    Ok(Reading { id, event_type, time: None, version: None, data })
}

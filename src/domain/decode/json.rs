//! Any JSON value: it is the data, and selectors tell where its attributes stand.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::envelope::raw_or_null;
use super::{Reading, Unreadable, json_problem};

pub(super) fn read(value: &Bytes) -> Result<Reading, Unreadable> {
    let raw: &RawValue = serde_json::from_slice(value).map_err(|error| json_problem(&error))?;
    let data = raw_or_null(value, Some(raw));
    Ok(Reading { id: None, event_type: None, time: None, version: None, data, cloud: None })
}

//! From what an expression came to, to JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull,
    CelString, CelTimestamp, CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

/// Returns a value as JSON; `None` for what JSON has no word for: types, and numbers that are none.
pub(super) fn of(value: &dyn Val) -> Option<Value> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Some(text.inner().into());
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        let fields = map.inner().iter().map(|(name, value)| Some((key(name), of(value.as_ref())?)));
        return fields.collect::<Option<Map<String, Value>>>().map(Value::Object);
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|entry| of(entry.as_ref())).collect();
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        return Some(BASE64_STANDARD.encode(bytes.inner()).into());
    }
    scalar(value)
}

fn scalar(value: &dyn Val) -> Option<Value> {
    if let Some(number) = value.downcast_ref::<CelInt>() {
        Some((*number.inner()).into())
    } else if let Some(number) = value.downcast_ref::<CelUInt>() {
        Some((*number.inner()).into())
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        Number::from_f64(*number.inner()).map(Value::Number)
    } else if let Some(truth) = value.downcast_ref::<CelBool>() {
        Some((*truth.inner()).into())
    } else if value.downcast_ref::<CelNull>().is_some() {
        Some(Value::Null)
    } else if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        Some(time.inner().to_rfc3339().into())
    } else {
        let duration = value.downcast_ref::<CelDuration>()?.inner();
        let seconds = duration.num_milliseconds() as f64 / 1000.0;
        Some(format!("{seconds}s").into())
    }
}

fn key(key: &CelMapKey) -> String {
    match key {
        CelMapKey::Bool(key) => key.inner().to_string(),
        CelMapKey::Int(key) => key.inner().to_string(),
        CelMapKey::String(key) => key.inner().to_owned(),
        CelMapKey::UInt(key) => key.inner().to_string(),
    }
}

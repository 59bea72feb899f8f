//! Bodies by a subscription's own expression.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;

use super::event::Event;
use super::expression::{Expression, Values};
use super::outcome::{Failure, Reason};

/// A body and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its media type.
    pub content_type: &'static str,
}

/// Returns what a transform makes of an event: a map or list as JSON, a string as text.
///
/// # Errors
/// `filtered` if it comes to `null`: nothing is to be sent. `transform` if it fails, comes to what is no body, or to more
/// than `max` bytes.
pub fn body(transform: &Expression, event: &Event, max: usize) -> Result<Body, Failure> {
    let failed = |error: String| Failure { reason: Reason::Transform, error: error.into() };
    let value = transform.to_json(&Values::of(event)).map_err(|error| failed(error.to_string()))?;
    let body = match value {
        Value::Null => {
            let error = "the transform came to null: nothing is sent".into();
            return Err(Failure { reason: Reason::Filtered, error });
        }
        Value::String(text) => {
            Body { bytes: text.into(), content_type: "text/plain; charset=utf-8" }
        }
        json @ (Value::Object(_) | Value::Array(_)) => {
            Body { bytes: json.to_string().into(), content_type: "application/json" }
        }
        Value::Bool(_) | Value::Number(_) => {
            let error = "the transform came to a number or truth value, which is no body";
            return Err(failed(error.to_owned()));
        }
    };
    match body.bytes.len() {
        length if length > max => {
            Err(failed(format!("the transform's body has {length} bytes, {max} are allowed")))
        }
        _ => Ok(body),
    }
}

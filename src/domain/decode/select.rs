//! Selectors at work: one text attribute out of a record's headers, key or value.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{Unreadable, json_problem};
use crate::domain::record::Record;
use crate::domain::source::Selector;

/// A record as selectors see it; its JSON is parsed at most once, and only if a pointer asks.
pub(super) struct Selected<'a> {
    record: &'a Record,
    /// The record's value, or what a schema makes of it.
    json: &'a Bytes,
    tree: Option<Value>,
}

impl<'a> Selected<'a> {
    pub(super) fn of(record: &'a Record, json: &'a Bytes) -> Self {
        Self { record, json, tree: None }
    }

    /// Returns the attribute; its absence is an error that names attribute and selector.
    pub(super) fn required(
        &mut self,
        attribute: &str,
        selector: &Selector,
    ) -> Result<Box<str>, Unreadable> {
        let found = self.optional(attribute, selector)?;
        found.ok_or_else(|| problem(attribute, selector, "is null or empty"))
    }

    /// Returns the attribute, a time; its absence is an error too.
    pub(super) fn time(
        &mut self,
        attribute: &str,
        selector: &Selector,
    ) -> Result<Box<str>, Unreadable> {
        let text = self.required(attribute, selector)?;
        let parsed: Result<Timestamp, _> = text.parse();
        parsed.map_err(|_| problem(attribute, selector, "is not an RFC 3339 time"))?;
        Ok(text)
    }

    /// Returns the attribute; an explicit null or empty text says that there is none.
    pub(super) fn optional(
        &mut self,
        attribute: &str,
        selector: &Selector,
    ) -> Result<Option<Box<str>>, Unreadable> {
        let bytes = match selector {
            Selector::Literal(text) => return Ok(Some(text.as_ref().into())),
            Selector::Key => self.record.key.as_ref(),
            Selector::Header(name) => {
                let mut headers = self.record.headers.0.iter().rev();
                let header = headers.find(|header| header.name == *name);
                header.ok_or_else(|| problem(attribute, selector, "is missing"))?.value.as_ref()
            }
            Selector::Pointer(pointer) => return self.pointed(attribute, selector, pointer),
        };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| problem(attribute, selector, "is not UTF-8"))?;
        Ok(Some(text.into()))
    }

    fn pointed(
        &mut self,
        attribute: &str,
        selector: &Selector,
        pointer: &str,
    ) -> Result<Option<Box<str>>, Unreadable> {
        if self.tree.is_none() {
            let tree = serde_json::from_slice(self.json).map_err(|error| {
                let Unreadable(what) = json_problem(&error);
                problem(attribute, selector, &format!("can't be followed: {what}"))
            })?;
            self.tree = Some(tree);
        }
        match self.tree.as_ref().and_then(|tree| tree.pointer(pointer)) {
            None => Err(problem(attribute, selector, "is missing")),
            Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str().into())),
            Some(Value::Number(number)) => Ok(Some(number.to_string().into())),
            Some(_) => Err(problem(attribute, selector, "is neither a string nor a number")),
        }
    }
}

/// Says what is wrong with an attribute, and where a selector found it.
pub(super) fn problem(attribute: &str, selector: &Selector, what: &str) -> Unreadable {
    let place = match selector {
        Selector::Header(name) => format!("header \"{name}\""),
        Selector::Pointer(pointer) => format!("pointer \"{pointer}\""),
        Selector::Literal(_) => "literal".to_owned(),
        Selector::Key => "key".to_owned(),
    };
    Unreadable(format!("{attribute}: {place} {what}"))
}

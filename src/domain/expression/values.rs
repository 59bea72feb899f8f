//! An event as expressions see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::budget::{self, BUDGET, Budget, Pattern};
use crate::domain::event::Event;
use crate::domain::headers::is_ours;

/// The variables of every expression.
pub(super) const VARIABLES: [&str; 8] =
    ["id", "type", "time", "tenant", "topic", "key", "headers", "data"];

type Owned = Box<dyn Val>;

static NULL: CelNull = CelNull;

/// The values of one event, each converted when it is first asked for and at most once.
///
/// They take several times the memory of the event itself: they are to be dropped when its expressions are through.
pub struct Values<'e> {
    event: &'e Event,
    data: OnceLock<Option<Owned>>,
    headers: OnceLock<Owned>,
}

impl<'e> Values<'e> {
    /// Makes the values of an event. Nothing is converted yet.
    pub fn of(event: &'e Event) -> Self {
        Self { event, data: OnceLock::new(), headers: OnceLock::new() }
    }

    /// Tells whether the event's data was asked for and couldn't be converted.
    pub(super) fn is_data_unfit(&self) -> bool {
        matches!(self.data.get(), Some(None))
    }

    /// Tells whether the event's data has been converted.
    #[cfg(test)]
    pub(super) fn is_data_converted(&self) -> bool {
        self.data.get().is_some()
    }

    fn data(&self) -> Option<&dyn Val> {
        self.data.get_or_init(|| read(&self.event.data)).as_deref()
    }

    /// Returns the headers as they came with the event: those the connector adds to retries are left out, and of a name
    /// that repeats the last one counts.
    fn headers(&self) -> &dyn Val {
        let convert = || {
            let headers =
                self.event.record.headers.0.iter().filter(|header| !is_ours(&header.name));
            let entries = headers.map(|header| {
                let value = header.value.as_deref().map_or_else(null, bytes);
                (CelMapKey::from(header.name.to_string()), value)
            });
            let entries: HashMap<CelMapKey<'static>, Owned> = entries.collect();
            Box::new(CelMap::from(entries)) as Owned
        };
        &**self.headers.get_or_init(convert)
    }

    fn value(&self, name: &str) -> Option<CowVal<'_, '_>> {
        let event = self.event;
        Some(match name {
            "id" => text(event.label.id.as_str()),
            "type" => text(&event.label.event_type),
            "time" => text(&event.time),
            "tenant" => event.label.tenant.as_deref().map_or(CowVal::Borrowed(&NULL), text),
            "topic" => text(&event.label.origin.topic),
            "key" => match event.record.key.as_deref() {
                None => CowVal::Borrowed(&NULL),
                Some(key) => match std::str::from_utf8(key) {
                    Ok(key) => text(key),
                    Err(_) => CowVal::owned(CelBytes::from(key)),
                },
            },
            "headers" => CowVal::Borrowed(self.headers()),
            "data" => CowVal::Borrowed(self.data()?),
            _ => return None,
        })
    }
}

/// Says nothing of the event.
impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({:?})", self.event)
    }
}

fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn null() -> Owned {
    Box::new(CelNull)
}

fn bytes(bytes: &[u8]) -> Owned {
    match std::str::from_utf8(bytes) {
        Ok(text) => Box::new(CelString::from(text.to_owned())),
        Err(_) => Box::new(CelBytes::from(bytes.to_vec())),
    }
}

/// What an evaluation sees.
pub(super) struct Scope<'e> {
    pub(super) values: &'e Values<'e>,
    pub(super) patterns: &'e [Pattern],
    pub(super) budget: Budget,
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if !name.starts_with('@') {
            return self.values.value(name);
        }
        if name == BUDGET {
            return Some(CowVal::Borrowed(&self.budget));
        }
        budget::pattern(self.patterns, name).map(|pattern| CowVal::Borrowed(pattern as &dyn Val))
    }
}

#[cfg(test)]
thread_local! {
    static CONVERSIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns how often this thread has converted the data of an event.
#[cfg(test)]
pub(in crate::domain) fn conversions() -> usize {
    CONVERSIONS.get()
}

/// Converts JSON: integers that fit become `int`, other numbers `double`; of a field given twice the last one counts.
fn read(json: &[u8]) -> Option<Owned> {
    #[cfg(test)]
    CONVERSIONS.set(CONVERSIONS.get() + 1);
    let mut json = serde_json::Deserializer::from_slice(json);
    let value = Json.deserialize(&mut json).ok()?;
    json.end().is_ok().then_some(value)
}

struct Json;

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Owned;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Owned, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Owned;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Owned, E> {
        Ok(null())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Owned, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Owned, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Owned, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Box::new(CelInt::from(value)),
            Err(_) => Box::new(CelDouble::from(value as f64)),
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Owned, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Owned, E> {
        Ok(Box::new(CelString::from(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Owned, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(Json)? {
            list.push(entry);
        }
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Owned, A::Error> {
        let mut map = HashMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            map.insert(CelMapKey::from(name), entries.next_value_seed(Json)?);
        }
        Ok(Box::new(CelMap::from(map)))
    }
}

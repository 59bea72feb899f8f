//! What an event topic carries and where in a record the event's attributes stand.
//!
//! These are checked settings: `config` builds them, the decoders obey them. Nothing here reads a record.

use std::sync::Arc;

/// A list of topics that share one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Exact topic names, or regular expressions that start with `^`. Never empty.
    pub topics: Vec<String>,
    /// How a record's value is read.
    pub format: Format,
    /// Where the event type stands; `None` for formats that carry their own.
    pub event_type: Option<Selector>,
    /// Where the event id stands; `None` means the format's own, or the record's position.
    pub event_id: Option<Selector>,
    /// Where the tenant stands; `None` means that events have no tenant.
    pub tenant: Option<Selector>,
}

/// How a record's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The product's own JSON envelope.
    Envelope,
    /// CloudEvents 1.0, Kafka protocol binding, structured or binary.
    CloudEvents,
    /// Any JSON value, which is the data.
    Json,
}

/// A place in a record that holds one text attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The last header of this name, as UTF-8.
    Header(Arc<str>),
    /// A JSON pointer (RFC 6901) into the value.
    Pointer(Arc<str>),
    /// The same text for every record.
    Literal(Arc<str>),
    /// The record's key, as UTF-8.
    Key,
}

//! `dead-letters show`.

use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::Args;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::filters::Place;
use super::scan::{Found, Scan};
use crate::cli::{Failure, Output};
use crate::domain::headers::is_ours;
use crate::domain::record::{Header, Record};
use crate::domain::resend::Selection;
use crate::kafka::Connection;

/// Which to show, and how much of it.
#[derive(Args)]
#[command(after_help = "Example: kafka-webhooks dead-letters show 3/42 --value")]
pub struct Show {
    /// Where it stands: PARTITION/OFFSET, as `list` prints it, or TOPIC/PARTITION/OFFSET
    place: Place,
    /// Show key, headers and value too: what the event says
    #[arg(long)]
    value: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints one dead letter.
pub(super) fn show(
    show: &Show,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let found = find(&show.place, connection)?;
    let document = serde_json::to_value(Document::of(&found));
    let Value::Object(mut fields) = document.expect("texts and numbers are always JSON") else {
        unreachable!("a document has fields");
    };
    if show.value {
        fields.extend(contents(&found.record));
    }
    match show.output {
        Output::Json => writeln!(out, "{:#}", Value::Object(fields))?,
        Output::Table => lines(&fields, out)?,
    }
    Ok(())
}

fn find(place: &Place, connection: &Connection) -> Result<Found, Failure> {
    place.check(connection)?;
    let mut scan = Scan::begin(connection, Selection::default(), Some(place))?;
    scan.next()?.ok_or_else(|| missing(place))
}

pub(super) fn missing(place: &Place) -> Failure {
    Failure::of(format!(
        "there is no dead letter at {place}: see `kafka-webhooks dead-letters list` for those there are"
    ))
}

/// Returns what the event says. What isn't UTF-8 is base64, under another name.
fn contents(record: &Record) -> Map<String, Value> {
    let mut contents = Map::new();
    let theirs = record.headers.0.iter().filter(|header| !is_ours(&header.name));
    let header = |header: &Header| {
        let value = header.value.as_deref();
        json!({ "name": &*header.name, "value": value.map(String::from_utf8_lossy) })
    };
    contents.insert("headers".to_owned(), theirs.map(header).collect());
    for (name, bytes) in [("key", &record.key), ("value", &record.value)] {
        let (name, value) = match bytes.as_deref().map(std::str::from_utf8) {
            None => (name.to_owned(), Value::Null),
            Some(Ok(text)) => (name.to_owned(), text.into()),
            Some(Err(_)) => {
                let base64 = bytes.as_deref().map(|bytes| BASE64_STANDARD.encode(bytes));
                (format!("{name}Base64"), base64.into())
            }
        };
        contents.insert(name, value);
    }
    contents
}

/// Prints fields that say something, one a line; what is in them is shown as JSON unless it is text.
fn lines(fields: &Map<String, Value>, out: &mut impl Write) -> Result<(), Failure> {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    for (name, value) in fields {
        match value.as_str() {
            Some(text) => writeln!(out, "{name:<16} {}", text.escape_debug())?,
            None => writeln!(out, "{name:<16} {value}")?,
        }
    }
    Ok(())
}

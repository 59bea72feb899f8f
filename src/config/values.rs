//! Converters from one setting's value to a checked type: what it must be, and within which bounds.
//!
//! They know neither key paths nor other settings; [`super::reader`] adds the path to their messages. A value that came
//! as text from the environment or a flag is read as whatever its key wants; the file must use the right TOML type.
//!
//! Every converter's error is what a person needs to know: what is wrong, and what would be right.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use super::layers::parse_value;
use super::units::{parse_duration, parse_size, show_duration, show_size, show_text};

/// The longest text a setting may have, in bytes: room for a PEM chain.
const TEXT_MAX: usize = 64 * 1024;

/// Names a value's type as a message says it.
pub fn kind(value: &Value) -> &'static str {
    match value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a truth value",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "a whole number"
        }
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// The text of a value that was given outside a file, where everything is text.
pub fn untyped(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) if value.origin().is_some() => Some(text.trim()),
        _ => None,
    }
}

/// Takes text as it is, the empty one too.
pub fn text(value: &Value) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) if text.len() <= TEXT_MAX => Ok(text.clone()),
        ValueKind::String(_) => Err(format!("must not be longer than {TEXT_MAX} bytes")),
        _ => Err(format!("must be text, not {}", kind(value))),
    }
}

/// Takes text of 1 to `max` characters without control characters.
pub fn line(max: usize) -> impl Fn(&Value) -> Result<String, String> {
    move |value| {
        let text = text(value)?;
        if text.is_empty() {
            Err("must not be empty".into())
        } else if text.chars().count() > max {
            Err(format!("must not be longer than {max} characters"))
        } else if text.chars().any(char::is_control) {
            Err("must not hold control characters".into())
        } else {
            Ok(text)
        }
    }
}

/// Takes one of the named choices.
pub fn choice<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let text = text(value)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let (last, others) = names.split_last().expect("choices are never empty");
            let unknown = show_text(&text);
            match others {
                [] => format!("unknown {unknown}, expected {last}"),
                _ => format!("unknown {unknown}, expected {} or {last}", others.join(", ")),
            }
        })
    }
}

/// Takes `true` or `false`.
pub fn truth(value: &Value) -> Result<bool, String> {
    match (&value.kind, untyped(value)) {
        (ValueKind::Boolean(truth), _) => Ok(*truth),
        (_, Some("true")) => Ok(true),
        (_, Some("false")) => Ok(false),
        (_, Some(other)) => Err(format!("must be true or false, not {}", show_text(other))),
        (_, None) => Err(format!("must be true or false, not {}", kind(value))),
    }
}

/// Takes a whole number within `range`, which must fit `T`.
pub fn whole<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let number = match (&value.kind, untyped(value)) {
            (ValueKind::I64(number), _) => *number,
            (_, Some(text)) => text
                .parse()
                .map_err(|_| format!("must be a whole number, not {}", show_text(text)))?,
            (_, None) => return Err(format!("must be a whole number, not {}", kind(value))),
        };
        within(&range, number, |number| number.to_string())?;
        let fits = T::try_from(number).ok();
        Ok(fits.expect("a range is chosen to fit its type"))
    }
}

/// Takes a number within `range`; a whole number will do.
pub fn fraction(range: RangeInclusive<f64>) -> impl Fn(&Value) -> Result<f64, String> {
    move |value| {
        let number = match (&value.kind, untyped(value)) {
            (ValueKind::Float(number), _) => *number,
            // Exact up to 2^53, and every range ends far below.
            (ValueKind::I64(number), _) => *number as f64,
            (_, Some(text)) => {
                text.parse().map_err(|_| format!("must be a number, not {}", show_text(text)))?
            }
            (_, None) => return Err(format!("must be a number, not {}", kind(value))),
        };
        within(&range, number, |number| number.to_string())?;
        Ok(number)
    }
}

/// Takes a duration with its unit, within `range`.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let ValueKind::String(text) = &value.kind else {
            let kind = kind(value);
            return Err(format!("must be a duration with its unit, such as \"10s\", not {kind}"));
        };
        let duration = parse_duration(text)?;
        within(&range, duration, |duration| show_duration(*duration))?;
        Ok(duration)
    }
}

/// Takes a size in bytes, within `range`.
pub fn size(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<usize, String> {
    move |value| {
        let bytes = match &value.kind {
            ValueKind::String(text) => parse_size(text)?,
            ValueKind::I64(bytes) => {
                u64::try_from(*bytes).map_err(|_| format!("{bytes} must not be negative"))?
            }
            _ => {
                return Err(format!("must be a size such as \"4MiB\", not {}", kind(value)));
            }
        };
        within(&range, bytes, |bytes| show_size(*bytes))?;
        usize::try_from(bytes)
            .map_err(|_| format!("{} is more than this machine can address", show_size(bytes)))
    }
}

/// Takes an IP address and port to listen on.
pub fn socket(value: &Value) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        let shown = show_text(&text);
        format!("{shown} is no address to listen on: write an IP address and a port, such as \"127.0.0.1:9464\"")
    })
}

/// Takes the items of a list, which outside a file may be a TOML list as text, or items with commas between.
pub fn list(value: Value) -> Result<Vec<Value>, String> {
    if let (Some(text), Some(origin)) = (untyped(&value), value.origin()) {
        if text.starts_with('[') {
            return list(parse_value(text, origin)?);
        }
        let origin = origin.to_owned();
        let items = text.split(',').map(str::trim);
        return Ok(match text {
            "" => Vec::new(),
            _ => items.map(|item| Value::new(Some(&origin), item)).collect(),
        });
    }
    match value.kind {
        ValueKind::Array(items) => Ok(items),
        _ => Err(format!("must be a list, not {}", kind(&value))),
    }
}

/// Takes a Kafka topic name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
pub fn topic(value: &Value) -> Result<String, String> {
    let name = text(value)?;
    topic_name(&name)?;
    Ok(name)
}

/// Judges a topic name by Kafka's rules (`org.apache.kafka.common.internals.Topic`).
pub fn topic_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=249).contains(&name.len()) || matches!(name, "." | "..") || !name.chars().all(legal) {
        return Err(format!(
            "{} is no topic name: Kafka takes 1 to 249 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"",
            show_text(name)
        ));
    }
    Ok(())
}

/// Judges a value by its bounds, both of which it may reach. NaN is within none.
fn within<T: PartialOrd>(
    range: &RangeInclusive<T>,
    value: T,
    show: impl Fn(&T) -> String,
) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (value, least, most) = (show(&value), show(range.start()), show(range.end()));
    Err(format!("{value} must be from {least} to {most}"))
}

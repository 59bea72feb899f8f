//! Where settings come from, lowest first: the compiled-in file, the user's file, the environment, flags.
//!
//! Produces one tree of untyped values; judging them is [`super::reader`]'s business. Values that didn't come from a
//! file carry the name of what set them as their origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use config::{ConfigError, FileFormat, Map, Source, Value, ValueKind};

use super::Problem;

/// What settings in the environment start with.
///
/// One underscore more than a container platform uses for a service named `kafka-webhooks`
/// (`KAFKA_WEBHOOKS_SERVICE_HOST`), so that those are never mistaken for settings.
const PREFIX: &str = "KAFKA_WEBHOOKS__";

/// The shipped file, which is the only place that holds defaults.
const SHIPPED: &str = include_str!("../../config/connector.toml");

/// The largest settings file that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// The key all layers hang beneath: `config` reads path syntax in top-level keys, and a user's keys must be taken as they are.
const ROOT: &str = "settings";

type Table = Map<String, Value>;

/// One set of settings that replaces single keys of those below it.
#[derive(Clone)]
pub struct Layer(Table);

impl fmt::Debug for Layer {
    /// Shows nothing: passwords pass through here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(Table::from([(ROOT.to_owned(), Value::new(None, self.0.clone()))]))
    }
}

/// Lays `layers` over each other, later ones on top; lists are replaced, tables merged.
pub fn merge(layers: impl IntoIterator<Item = Layer>) -> Table {
    let builder = layers
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
    builder
        .build()
        .and_then(|merged| merged.get_table(ROOT))
        .expect("layers are collected already, and each is a table")
}

/// The shipped file without its example sources: what to read has no default.
pub fn defaults() -> Layer {
    let mut table = parse(SHIPPED).expect("the shipped file is TOML");
    table.remove("sources");
    Layer(table)
}

/// Reads the user's file, of at most 1 MiB.
///
/// # Errors
///
/// One problem with the file's name as its path: unreadable, too large, or not TOML.
pub fn file(path: &Path) -> Result<Layer, Problem> {
    let problem = |message| Problem::new(path.display().to_string(), message);
    let text = read(path).map_err(|error| problem(format!("can't be read: {error}")))?;
    parse(&text).map(Layer).map_err(problem)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Reads the variables that are settings, in the order of their names, each as a layer.
///
/// # Errors
///
/// One problem for each variable that names no key or can't be read.
pub fn environment(variables: &BTreeMap<OsString, OsString>) -> Vec<Result<Layer, Problem>> {
    variables
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_string_lossy();
            let key = name.strip_prefix(PREFIX)?;
            let layer = match value.to_str() {
                None => Err("is not UTF-8".to_owned()),
                Some(value) => variable_path(key).and_then(|path| single(&path, value, &name)),
            };
            Some(layer.map_err(|message| Problem::new(name.to_string(), message)))
        })
        .collect()
}

/// The name of this machine: `HOSTNAME`, which containers set, or what the kernel says.
pub fn host_name(variables: &BTreeMap<OsString, OsString>) -> Option<String> {
    let variable =
        variables.get(&OsString::from("HOSTNAME")).and_then(|name| name.clone().into_string().ok());
    let from_file = |path| read(Path::new(path)).ok();
    variable
        .into_iter()
        .chain(["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().filter_map(from_file))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
}

/// Reads one flag: a key path with dots, and its value as text.
///
/// # Errors
///
/// One problem with the key as its path.
pub fn flag(key: &str, value: &str) -> Result<Layer, Problem> {
    let path = key_path(key, ".")
        .map(|(path, property)| path.into_iter().chain(property).collect::<Vec<_>>());
    path.and_then(|path| single(&path, value, "the command line"))
        .map_err(|message| Problem::new(key.to_owned(), message))
}

/// The path a variable's name means: `__` separates keys, and `_` within a property's name stands for its dots.
fn variable_path(key: &str) -> Result<Vec<String>, String> {
    let (mut path, property) = key_path(&key.to_lowercase(), "__")?;
    path.extend(property.map(|property| property.replace('_', ".")));
    Ok(path)
}

/// Splits a key into segments; all behind `kafka.properties` is one property's name, dots and all.
fn key_path(key: &str, separator: &str) -> Result<(Vec<String>, Option<String>), String> {
    let properties = format!("kafka{separator}properties{separator}");
    let (path, property) = match key.strip_prefix(&properties) {
        Some(property) => {
            (vec!["kafka".to_owned(), "properties".to_owned()], Some(property.to_owned()))
        }
        None => (key.split(separator).map(str::to_owned).collect(), None),
    };
    if path.iter().chain(&property).any(String::is_empty) {
        return Err("names no setting".into());
    }
    Ok((path, property))
}

/// A layer that sets one key. Text in braces is an inline table, unless it is a property's value.
fn single(path: &[String], text: &str, origin: &str) -> Result<Layer, String> {
    let is_property = path.len() > 2 && path[0] == "kafka" && path[1] == "properties";
    let value = if text.trim_start().starts_with('{') && !is_property {
        parse_value(text, origin)?
    } else {
        Value::new(Some(&origin.to_owned()), text)
    };
    let (first, rest) = path.split_first().expect("a key has a segment");
    let nested = rest
        .iter()
        .rev()
        .fold(value, |inner, key| Value::new(None, Table::from([(key.clone(), inner)])));
    Ok(Layer(Table::from([(first.clone(), nested)])))
}

/// Reads one TOML value (a list or an inline table) that was given as text; all of it gets `origin`.
///
/// # Errors
///
/// What TOML misses, without the text itself.
pub fn parse_value(text: &str, origin: &str) -> Result<Value, String> {
    let mut table = parse(&format!("value = {text}")).map_err(without_place)?;
    match (table.remove("value"), table.is_empty()) {
        (Some(value), true) => Ok(with_origin(value, &origin.to_owned())),
        _ => Err("must be one TOML value".into()),
    }
}

/// Drops the line and column, which would count what [`parse_value`] put before the text.
fn without_place(message: String) -> String {
    match message.split_once(": ") {
        Some((_, words)) => words.to_owned(),
        None => message,
    }
}

fn with_origin(value: Value, origin: &String) -> Value {
    let kind = match value.kind {
        ValueKind::Table(table) => {
            let entries = table.into_iter();
            ValueKind::Table(
                entries.map(|(key, value)| (key, with_origin(value, origin))).collect(),
            )
        }
        ValueKind::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| with_origin(item, origin)).collect())
        }
        plain => plain,
    };
    Value::new(Some(origin), kind)
}

/// Reads TOML.
///
/// # Errors
///
/// Where and what, without the picture of the faulty line that the parser adds: the line may hold a password.
fn parse(text: &str) -> Result<Table, String> {
    config::File::from_str(text, FileFormat::Toml).collect().map_err(|error| {
        let text = error.to_string();
        let lines = text.lines().map(str::trim_end);
        let (place, rest): (Vec<_>, Vec<_>) =
            lines.partition(|line| line.starts_with("TOML parse error"));
        let is_picture = |line: &&str| {
            line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
        };
        let after_picture = rest.iter().rposition(is_picture).map_or(0, |last| last + 1);
        let words = place.iter().chain(&rest[after_picture..]);
        words.copied().collect::<Vec<_>>().join(": ")
    })
}

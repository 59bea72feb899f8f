//! Protobuf messages as JSON, by the canonical mapping: names in lower camel case, 64-bit integers as text, enums by
//! name, well-known types in forms of their own, fields with their default value left out.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_reflect::{
    DynamicMessage, FileDescriptor, MessageDescriptor, ReflectMessage as _, Value,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::output::{Output, too_long};
use super::wire::Reader;
use crate::domain::decode::{Translation, Unreadable};

/// A name that no import has: the schema of a record has none of its own.
const ROOT: &str = "kafka-webhooks/root.proto";

/// How deep messages may be nested, those inside `Any` included; decoding a single one goes as deep.
const DEPTH_MAX: usize = 100;

/// The most messages and lists in one option of a schema; those of known tools have some tens.
const OPTION_MAX: usize = 400;

/// The message that can hold any other.
const ANY: &str = "google.protobuf.Any";

/// Messages that hold a number which may be endless, or none.
const WRAPPERS: [&str; 2] = ["google.protobuf.DoubleValue", "google.protobuf.FloatValue"];

/// The messages of a schema, by where they stand in it: the path of message indexes.
pub(super) struct ProtobufSchema {
    messages: HashMap<Vec<usize>, MessageDescriptor>,
    /// Whether there are messages that aren't written as they are read.
    needs_care: bool,
}

impl ProtobufSchema {
    /// Compiles a schema together with those it imports, by their names.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn compile(text: &str, imports: HashMap<String, String>) -> Result<Self, String> {
        let mut files = imports;
        files.insert(ROOT.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Files(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.open_file(ROOT).map_err(|error| error.to_string())?;
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(ROOT).ok_or("the compiler has lost the schema")?;
        let is_special = |name: &str| name == ANY || WRAPPERS.contains(&name);
        let needs_care = pool.all_messages().any(|message| is_special(message.full_name()));
        Ok(Self { messages: messages(&file), needs_care })
    }

    /// Writes a message as JSON of at most `max` bytes.
    pub(super) fn to_json(&self, payload: &Bytes, max: usize) -> Translation {
        let mut bytes = Reader(payload);
        let index = message_index(&mut bytes);
        let message = index.and_then(|index| self.messages.get(&index));
        let descriptor = message
            .ok_or_else(|| Unreadable("the message index names no message of the schema".into()))?;
        let name = descriptor.full_name();
        let message = DynamicMessage::decode(descriptor.clone(), bytes.0);
        let mut message =
            message.map_err(|_| Unreadable(format!("the value is no Protobuf {name}")))?;
        if self.needs_care {
            prepare(&mut message, 0).map_err(|odd| match odd {
                Odd::Deep => Unreadable(format!("the {name} is nested too deep")),
                Odd::Endless => no_json(name),
            })?;
        }
        let mut out = Output::new(max);
        match serde_json::to_writer(&mut out, &message) {
            Ok(()) => Ok(out.finish()),
            Err(error) if error.is_io() => Err(too_long(max)),
            Err(_) => Err(no_json(name)),
        }
    }
}

fn no_json(name: &str) -> Unreadable {
    Unreadable(format!(
        "the {name} has no JSON: a time, duration or number is out of range, a field mask is no list of fields, or an Any holds what its schema doesn't know"
    ))
}

/// Schemas by the names they are imported by: text, or a descriptor in base64, as some clients register it.
struct Files(HashMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        let descriptor = STANDARD.decode(text.trim()).ok();
        // Text of a schema has spaces, so it is never base64 by chance.
        let file = match descriptor.map(|bytes| renamed(&bytes, name)) {
            Some(bytes) => {
                File::decode_file_descriptor_proto(bytes.as_slice()).map_err(protox::Error::new)?
            }
            None => File::from_source(name, text)?,
        };
        // The compiler panics where it means to refuse another one.
        let syntax = file.file_descriptor_proto().syntax();
        if !matches!(syntax, "" | "proto2" | "proto3") {
            let error = format!("'{}' isn't in proto2 or proto3", name.escape_debug());
            return Err(protox::Error::new(io::Error::other(error)));
        }
        match has_large_option(&file.file_descriptor_proto().transcode_to_dynamic()) {
            false => Ok(file),
            true => Err(protox::Error::new(io::Error::other("an option's value is too large"))),
        }
    }
}

/// Tells whether an option has a value of so many messages that reading it might take the whole stack, were they nested:
/// the compiler doesn't look how deep they are.
fn has_large_option(file: &DynamicMessage) -> bool {
    let opens = |text: &str| text.chars().filter(|it| matches!(it, '{' | '<' | '[')).count();
    file.fields().any(|(field, value)| match value {
        Value::String(text) => field.name() == "aggregate_value" && opens(text) > OPTION_MAX,
        Value::Message(message) => has_large_option(message),
        Value::List(values) => values.iter().filter_map(Value::as_message).any(has_large_option),
        _ => false,
    })
}

/// Puts a file's name behind its descriptor. Of a field that comes twice the last one counts, and this is field 1.
fn renamed(descriptor: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = descriptor.to_vec();
    bytes.push(0x0a);
    let mut length = name.len();
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

/// Reads the path to a message: its length and its steps, or a single zero for the first message of all.
fn message_index(bytes: &mut Reader<'_>) -> Option<Vec<usize>> {
    let count = bytes.length().ok()?;
    if count == 0 {
        return Some(vec![0]);
    }
    let mut index = Vec::new();
    for _ in 0..count.min(DEPTH_MAX + 1) {
        index.push(bytes.length().ok()?);
    }
    Some(index)
}

/// Returns a file's messages. Those that the compiler makes for maps and groups aren't counted.
fn messages(file: &FileDescriptor) -> HashMap<Vec<usize>, MessageDescriptor> {
    let mut found = HashMap::new();
    let mut open: Vec<(Vec<usize>, MessageDescriptor)> = Vec::new();
    let top = file.messages().enumerate();
    open.extend(top.map(|(at, message)| (vec![at], message)));
    while let Some((index, message)) = open.pop() {
        let is_group = |child: &MessageDescriptor| {
            let mut fields = message.fields();
            fields.any(|field| field.is_group() && field.kind().as_message() == Some(child))
        };
        let children = message.child_messages();
        let declared = children.filter(|child| !child.is_map_entry() && !is_group(child));
        for (at, child) in declared.enumerate() {
            open.push(([index.as_slice(), &[at]].concat(), child));
        }
        found.insert(index, message);
    }
    found
}

/// Why a message that was read has no JSON.
enum Odd {
    /// It is nested too deep.
    Deep,
    /// It holds a number that has no form in JSON.
    Endless,
}

/// Makes a message ready to be written, and returns how much of it was changed for that.
///
/// Writing follows every `Any`, while decoding bounds the depth of each alone. And of a wrapped number that is endless,
/// or none, the library writes `null`: without its wrapper it is the text that it has to be.
fn prepare(message: &mut DynamicMessage, depth: usize) -> Result<usize, Odd> {
    if depth > DEPTH_MAX {
        return Err(Odd::Deep);
    }
    if endless(message).is_some() {
        return Err(Odd::Endless);
    }
    if message.descriptor().full_name() != ANY {
        return message.fields_mut().map(|(_, value)| prepare_value(value, depth)).sum();
    }
    // It is decoded once more when it is written: changes would be lost.
    match inside(message).map(|mut message| prepare(&mut message, depth + 1)) {
        None | Some(Ok(0)) => Ok(0),
        Some(Ok(_)) => Err(Odd::Endless),
        Some(Err(odd)) => Err(odd),
    }
}

fn prepare_value(value: &mut Value, depth: usize) -> Result<usize, Odd> {
    match value {
        Value::Message(message) => match endless(message) {
            None => prepare(message, depth + 1),
            Some(number) => {
                *value = number;
                Ok(1)
            }
        },
        Value::List(values) => values.iter_mut().map(|value| prepare_value(value, depth)).sum(),
        Value::Map(values) => values.values_mut().map(|value| prepare_value(value, depth)).sum(),
        _ => Ok(0),
    }
}

/// Returns the number in a wrapper that JSON has no number for.
fn endless(message: &DynamicMessage) -> Option<Value> {
    if !WRAPPERS.contains(&message.descriptor().full_name()) {
        return None;
    }
    match &*message.get_field_by_name("value")? {
        Value::F64(number) if !number.is_finite() => Some(Value::F64(*number)),
        Value::F32(number) if !number.is_finite() => Some(Value::F32(*number)),
        _ => None,
    }
}

/// Returns what an `Any` holds, if its type is known; else it has no JSON, which shows when it is written.
fn inside(any: &DynamicMessage) -> Option<DynamicMessage> {
    let url = any.get_field_by_name("type_url")?;
    let (_, name) = url.as_str()?.rsplit_once('/')?;
    let descriptor = any.descriptor().parent_pool().get_message_by_name(name)?;
    let value = any.get_field_by_name("value")?;
    DynamicMessage::decode(descriptor, value.as_bytes()?.clone()).ok()
}

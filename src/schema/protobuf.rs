//! Protobuf messages as JSON, by the canonical mapping: names in lower camel case, 64-bit integers as text, enums by
//! name, well-known types in forms of their own, fields with their default value left out.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

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

/// The message that can hold any other.
const ANY: &str = "google.protobuf.Any";

/// The messages of a schema, by where they stand in it: the path of message indexes.
pub(super) struct ProtobufSchema {
    messages: HashMap<Vec<usize>, MessageDescriptor>,
    has_any: bool,
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
        let is_any = |message: MessageDescriptor| {
            let mut fields = message.fields();
            fields.any(|field| field.kind().as_message().is_some_and(|it| it.full_name() == ANY))
        };
        Ok(Self { messages: messages(&file), has_any: pool.all_messages().any(is_any) })
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
        let message =
            message.map_err(|_| Unreadable(format!("the value is no Protobuf {name}")))?;
        if self.has_any && !is_shallow(&message, 0) {
            return Err(Unreadable(format!("the {name} is nested too deep")));
        }
        let mut out = Output::new(max);
        match serde_json::to_writer(&mut out, &message) {
            Ok(()) => Ok(out.finish()),
            Err(error) if error.is_io() => Err(too_long(max)),
            Err(_) => Err(Unreadable(format!(
                "the {name} has no JSON: a time or duration is out of range, or an Any holds what its schema doesn't know"
            ))),
        }
    }
}

/// Schemas by the names they are imported by: text, or a descriptor in base64, as some clients register it.
struct Files(HashMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        let descriptor = STANDARD.decode(text.trim()).ok();
        // Text of a schema has spaces, so it is never base64 by chance.
        match descriptor.map(|bytes| renamed(&bytes, name)) {
            Some(bytes) => {
                File::decode_file_descriptor_proto(bytes.as_slice()).map_err(protox::Error::new)
            }
            None => File::from_source(name, text),
        }
    }
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

/// Tells whether a message is nested as little as it may, the messages in its `Any`s included: decoding bounds the
/// depth of each alone, writing would follow them all.
fn is_shallow(message: &DynamicMessage, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    if message.descriptor().full_name() == ANY {
        return inside(message).is_none_or(|message| is_shallow(&message, depth + 1));
    }
    message.fields().all(|(_, value)| is_value_shallow(value, depth))
}

fn is_value_shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::Message(message) => is_shallow(message, depth + 1),
        Value::List(values) => values.iter().all(|value| is_value_shallow(value, depth)),
        Value::Map(values) => values.values().all(|value| is_value_shallow(value, depth)),
        _ => true,
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

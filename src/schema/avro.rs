//! Avro's binary encoding as JSON, straight from the bytes by the writer's schema.
//!
//! The schema's own library parses schemas; values are read here, because the JSON needs the schema beside them
//! (decimals have their scale there, unions their branch), and because what is read is somebody else's: bytes that end
//! early, depth and length are errors and never guessed, a crash, or memory.
//!
//! | Avro | JSON |
//! |---|---|
//! | int, long, float, double | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes, fixed | base64 |
//! | enum | its symbol |
//! | union | the value, unwrapped |
//! | decimal, big-decimal | text: `"12.50"` |
//! | date, time-millis, time-micros | `"2025-01-15"`, `"10:30:00.123"`, `"10:30:00.123456"` |
//! | timestamp-millis, -micros, -nanos | RFC 3339 in UTC: `"2025-01-15T10:30:00.123Z"` |
//! | local-timestamp-… | the same without `Z` |
//! | duration | ISO 8601: `"P1M2DT3.004S"` |
//! | uuid | `"6b1c8a52-…"` |

mod logical;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use apache_avro::schema::{
    DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, Name, RecordSchema, ResolvedSchema,
    Schema, UuidSchema,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::output::{Full, Output, too_long};
use super::wire::{Broken, Reader};
use crate::domain::decode::{Translation, Unreadable};

/// How deep values may be nested; what reads the JSON later goes a little deeper.
const DEPTH_MAX: usize = 100;

/// A schema with the types it names.
pub(super) struct AvroSchema {
    root: Schema,
    names: HashMap<Name, Schema>,
}

impl AvroSchema {
    /// Parses a schema together with those it refers to.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn parse(text: &str, references: &[&str]) -> Result<Self, String> {
        let parsed = Schema::parse_str_with_list(text, references);
        let (root, others) = parsed.map_err(|error| error.to_string())?;
        // In this order, so that a schema comes behind those it refers to.
        let all = others.iter().chain([&root]).collect();
        let resolved = ResolvedSchema::new_with_schemata(all).map_err(|error| error.to_string())?;
        let names = resolved.get_names().iter();
        let names = names.map(|(name, schema)| (name.clone(), (*schema).clone())).collect();
        Ok(Self { root, names })
    }

    /// Writes a value as JSON of at most `max` bytes.
    pub(super) fn to_json(&self, payload: &Bytes, max: usize) -> Translation {
        // Of this schema alone, the wire format holds the bytes themselves, without a length.
        if let Schema::Bytes = self.root {
            let mut out = Output::new(max);
            out.value(&STANDARD.encode(payload)).map_err(|Full| too_long(max))?;
            return Ok(out.finish());
        }
        let mut walk = Walk {
            names: &self.names,
            bytes: Reader(payload),
            out: Output::new(max),
            path: Vec::new(),
        };
        match walk.value(&self.root, None) {
            Ok(()) if !walk.bytes.0.is_empty() => {
                Err(Unreadable("there are bytes behind the Avro value".into()))
            }
            Ok(()) => Ok(walk.out.finish()),
            Err(Problem::Long) => Err(too_long(max)),
            Err(Problem::Bad(what)) => {
                Err(Unreadable(format!("the Avro value at \"/{}\": {what}", walk.path.join("/"))))
            }
        }
    }
}

/// Why a value can't be written.
enum Problem {
    Bad(&'static str),
    Long,
}

impl From<Broken> for Problem {
    fn from(Broken(what): Broken) -> Self {
        Self::Bad(what)
    }
}

impl From<Full> for Problem {
    fn from(Full: Full) -> Self {
        Self::Long
    }
}

struct Walk<'a> {
    names: &'a HashMap<Name, Schema>,
    bytes: Reader<'a>,
    out: Output,
    /// Names of fields down to the value; `*` is an item, or an entry of a map.
    path: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Schema, namespace: Option<&'a str>) -> Result<(), Problem> {
        match schema {
            Schema::Null => self.out.raw(b"null")?,
            Schema::Boolean => match self.bytes.array()? {
                [0] => self.out.raw(b"false")?,
                [1] => self.out.raw(b"true")?,
                _ => return Err(Problem::Bad("it is neither true nor false")),
            },
            Schema::Int => {
                let number = self.int()?;
                self.out.value(&number)?;
            }
            Schema::Long => {
                let number = self.bytes.zigzag()?;
                self.out.value(&number)?;
            }
            Schema::Float => {
                let number = f32::from_le_bytes(self.bytes.array()?);
                match number.is_finite() {
                    true => self.out.value(&number)?,
                    false => self.out.value(not_finite(number.into()))?,
                }
            }
            Schema::Double => {
                let number = f64::from_le_bytes(self.bytes.array()?);
                match number.is_finite() {
                    true => self.out.value(&number)?,
                    false => self.out.value(not_finite(number))?,
                }
            }
            Schema::Bytes => {
                let bytes = self.length_and_bytes()?;
                self.out.value(&STANDARD.encode(bytes))?;
            }
            Schema::Fixed(FixedSchema { size, .. }) => {
                let bytes = self.bytes.take(*size)?;
                self.out.value(&STANDARD.encode(bytes))?;
            }
            Schema::String | Schema::Uuid(UuidSchema::String) => {
                let text = self.text()?;
                self.out.value(text)?;
            }
            Schema::Array(array) => self.items(&array.items, namespace)?,
            Schema::Map(map) => self.entries(&map.types, namespace)?,
            Schema::Union(union) => {
                let index = self.bytes.length()?;
                let branch = union.variants().get(index);
                let branch = branch.ok_or(Problem::Bad("the union has no such branch"))?;
                self.value(branch, namespace)?;
            }
            Schema::Record(record) => self.record(record, namespace)?,
            Schema::Enum(EnumSchema { symbols, .. }) => {
                let index = usize::try_from(self.int()?).ok();
                let symbol = index.and_then(|index| symbols.get(index));
                let symbol = symbol.ok_or(Problem::Bad("the enum has no such symbol"))?;
                self.out.value(symbol)?;
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let found = self.names.get_key_value(&*name);
                let (name, schema) = found.ok_or(Problem::Bad("its type is not known"))?;
                self.value(schema, name.namespace())?;
            }
            logical => self.logical(logical)?,
        }
        Ok(())
    }

    fn int(&mut self) -> Result<i32, Problem> {
        let number = self.bytes.zigzag()?;
        i32::try_from(number).map_err(|_| Problem::Bad("an int is longer than 32 bits"))
    }

    fn length_and_bytes(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.bytes.length()?;
        Ok(self.bytes.take(length)?)
    }

    fn text(&mut self) -> Result<&'a str, Problem> {
        let bytes = self.length_and_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Problem::Bad("a string is not UTF-8"))
    }

    fn nested(
        &mut self,
        name: &'a str,
        schema: &'a Schema,
        namespace: Option<&'a str>,
    ) -> Result<(), Problem> {
        if self.path.len() >= DEPTH_MAX {
            return Err(Problem::Bad("it is nested too deep"));
        }
        self.path.push(name);
        self.value(schema, namespace)?;
        // Left where it is after an error, which tells it.
        self.path.pop();
        Ok(())
    }

    fn record(
        &mut self,
        record: &'a RecordSchema,
        namespace: Option<&'a str>,
    ) -> Result<(), Problem> {
        let namespace = record.name.namespace().or(namespace);
        self.out.raw(b"{")?;
        for (at, field) in record.fields.iter().enumerate() {
            if at > 0 {
                self.out.raw(b",")?;
            }
            self.out.value(&field.name)?;
            self.out.raw(b":")?;
            self.nested(&field.name, &field.schema, namespace)?;
        }
        Ok(self.out.raw(b"}")?)
    }

    fn items(&mut self, schema: &'a Schema, namespace: Option<&'a str>) -> Result<(), Problem> {
        self.out.raw(b"[")?;
        let mut is_first = true;
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(self.out.raw(b"]")?);
            }
            // Each item writes something, so that the output's limit bounds the count.
            for _ in 0..count {
                if !std::mem::take(&mut is_first) {
                    self.out.raw(b",")?;
                }
                self.nested("*", schema, namespace)?;
            }
        }
    }

    fn entries(&mut self, schema: &'a Schema, namespace: Option<&'a str>) -> Result<(), Problem> {
        self.out.raw(b"{")?;
        let mut is_first = true;
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(self.out.raw(b"}")?);
            }
            for _ in 0..count {
                if !std::mem::take(&mut is_first) {
                    self.out.raw(b",")?;
                }
                let key = self.text()?;
                self.out.value(key)?;
                self.out.raw(b":")?;
                self.nested("*", schema, namespace)?;
            }
        }
    }

    /// Reads how many items follow; a negative count has the block's size in bytes behind it.
    fn block(&mut self) -> Result<u64, Problem> {
        let count = self.bytes.zigzag()?;
        if count < 0 {
            self.bytes.length()?;
        }
        Ok(count.unsigned_abs())
    }

    fn decimal_bytes(&mut self, schema: &DecimalSchema) -> Result<&'a [u8], Problem> {
        match &schema.inner {
            InnerDecimalSchema::Bytes => self.length_and_bytes(),
            InnerDecimalSchema::Fixed(FixedSchema { size, .. }) => Ok(self.bytes.take(*size)?),
        }
    }
}

fn not_finite(number: f64) -> &'static str {
    match number {
        _ if number.is_nan() => "NaN",
        _ if number > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

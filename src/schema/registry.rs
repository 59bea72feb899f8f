//! The registry asked: a schema by its id, with all that it refers to.

use std::collections::{HashMap, HashSet};
use std::error::Error as _;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_referenced_schema, get_schema_by_id,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RegisteredReference, RegisteredSchema, SchemaType,
};

use super::avro::AvroSchema;
use super::protobuf::ProtobufSchema;
use crate::config::{self, Credentials};
use crate::http;

/// The most schemas that one schema may refer to, directly or not.
const REFERENCES_MAX: usize = 1000;

/// The longest that a schema may be together with all that it refers to, in bytes.
const TEXT_MAX: usize = http::ANSWER_MAX;

/// What registries answer for what they don't have (Confluent's API: subject, version and schema not found). Another
/// 404 says that the address is wrong, or something in between answers.
const NOT_FOUND: [u32; 3] = [40401, 40402, 40403];

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No registry answers, or none says anything useful.
    Unavailable(String),
    /// The registry doesn't know the id, or something that the schema refers to.
    Unknown,
}

/// A schema that values can be read by.
pub(super) enum Schema {
    Avro(AvroSchema),
    Protobuf(ProtobufSchema),
    Json,
}

/// What is left to do until all that a schema refers to is there.
enum Step {
    Fetch(RegisteredReference),
    /// Its name and text; all that it refers to comes before.
    Found(String, String),
}

impl Step {
    /// Keeps of a reference what it takes to fetch it.
    fn fetch(mut reference: RegisteredReference) -> Self {
        (reference.properties, reference.tags) = (None, None);
        Self::Fetch(reference)
    }
}

/// The way to the registry.
pub(super) struct Registry(SrSettings);

impl Registry {
    /// Makes the way; nothing is asked yet. `None` if there is no address.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub(super) fn new(settings: &config::Registry) -> Result<Option<Self>, String> {
        let Some((first, others)) = settings.urls.split_first() else { return Ok(None) };
        let mut builder = SrSettings::new_builder(first.clone());
        for url in others {
            builder.add_url(url.clone());
        }
        match &settings.credentials {
            Credentials::None => {}
            Credentials::Basic { username, password } => {
                builder.set_basic_authorization(username, Some(password));
            }
            Credentials::Bearer(token) => {
                builder.set_token_authorization(token);
            }
        }
        builder.set_timeout(settings.timeout);
        builder.with_middleware(http::limited);
        let client = http::registry_client(settings.ca.as_deref());
        let client = client.map_err(|error| error.to_string())?;
        builder.build_with(client).map(|settings| Some(Self(settings))).map_err(|e| text(&e))
    }

    /// Fetches and prepares a schema; the inner error says why it can't be used, in one line.
    ///
    /// # Errors
    /// The registry doesn't give it.
    pub(super) async fn schema(&self, id: u32) -> Result<Result<Schema, String>, Trouble> {
        let schema = match told(get_schema_by_id(id, &self.0).await)? {
            Ok(schema) => schema,
            Err(problem) => return Ok(Err(problem)),
        };
        let bytes = weight(&schema);
        let RegisteredSchema { schema_type, schema, references, .. } = schema;
        match schema_type {
            // Values are what they are: nothing that the schema says changes them.
            SchemaType::Json => Ok(Ok(Schema::Json)),
            SchemaType::Avro => {
                let others = match self.references(references, bytes).await? {
                    Ok(others) => others,
                    Err(problem) => return Ok(Err(problem)),
                };
                let others: Vec<_> = others.iter().map(|(_, text)| text.as_str()).collect();
                Ok(AvroSchema::parse(&schema, &others).map(Schema::Avro))
            }
            SchemaType::Protobuf => {
                let imports = match self.references(references, bytes).await? {
                    Ok(others) => others,
                    Err(problem) => return Ok(Err(problem)),
                };
                let imports: HashMap<_, _> = imports.into_iter().collect();
                Ok(ProtobufSchema::compile(&schema, imports).map(Schema::Protobuf))
            }
            _ => Ok(Err("it is neither Avro, Protobuf nor JSON Schema".to_owned())),
        }
    }

    /// Fetches what a schema refers to, and what that refers to: names and texts, each once, and each behind those that
    /// it refers to. The schema itself weighs so many `bytes`.
    async fn references(
        &self,
        direct: Vec<RegisteredReference>,
        mut bytes: usize,
    ) -> Result<Result<Vec<(String, String)>, String>, Trouble> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut steps: Vec<_> = direct.into_iter().map(Step::fetch).collect();
        while let Some(step) = steps.pop() {
            let reference = match step {
                Step::Fetch(reference) => reference,
                Step::Found(name, text) => {
                    found.push((name, text));
                    continue;
                }
            };
            if !seen.insert(reference.name.clone()) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Ok(Err(format!("it refers to more than {REFERENCES_MAX} others")));
            }
            let schema = match told(get_referenced_schema(&self.0, &reference).await)? {
                Ok(schema) => schema,
                Err(problem) => return Ok(Err(problem)),
            };
            bytes += weight(&schema);
            if bytes > TEXT_MAX {
                return Ok(Err(format!(
                    "with what it refers to, it is longer than {TEXT_MAX} bytes"
                )));
            }
            steps.push(Step::Found(reference.name, schema.schema));
            steps.extend(schema.references.into_iter().map(Step::fetch));
        }
        Ok(Ok(found))
    }
}

/// Returns the bytes that a schema takes: its text, and the names of what it refers to.
fn weight(schema: &RegisteredSchema) -> usize {
    let names = schema.references.iter().map(|it| it.name.len() + it.subject.len());
    schema.schema.len() + names.sum::<usize>()
}

/// Tells an answer that is too long to be a schema, which is one that can't be used, from failures.
fn told<T>(answer: Result<T, SRCError>) -> Result<Result<T, String>, Trouble> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.source().is_some_and(http::is_too_long) => Ok(Err(text(&error))),
        Err(error) => Err(trouble(&error)),
    }
}

/// Tells an answer that the registry has no such thing from all other failures, which may pass.
fn trouble(error: &SRCError) -> Trouble {
    let answer = error.source().and_then(|source| source.downcast_ref::<RawError>());
    match answer {
        Some(answer) if NOT_FOUND.contains(&answer.error_code) => Trouble::Unknown,
        _ => Trouble::Unavailable(text(error)),
    }
}

fn text(error: &SRCError) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.error),
        None => error.error.clone(),
    }
}

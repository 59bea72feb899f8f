//! Schemas: what a value in the Confluent wire format says, as JSON.
//!
//! The life of a value: the id in front of it names a schema; the schema is here, or the registry is asked for it, for
//! as long as it takes; the value is read by it. A registry that can't be reached is no reason to give up a record: it
//! waits. A schema that doesn't exist, or doesn't fit, is one, and the domain hears of it.
//!
//! This is the only code that names the registry's client. Values of JSON Schema are not judged by their schema:
//! whoever produced them has done that.

mod avro;
mod cache;
mod output;
mod protobuf;
mod registry;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::config::{self, Config};
use crate::domain::decode::{Translation, Unreadable};
use crate::domain::headers::truncated;
use crate::domain::record::Origin;
use crate::ops::metrics::{Asked, registry_asked};
use cache::Cache;
use registry::{Registry, Schema, Trouble};

/// The largest value that is read on the spot; what is larger would keep others waiting.
const AT_ONCE_MAX: usize = 64 << 10;

/// The most larger values that are read at once: what is made of one meanwhile takes many times its own memory.
const LARGE_AT_ONCE: usize = 2;

/// The most bytes of a problem that are logged.
const PROBLEM_MAX: usize = 512;

/// Translates values into JSON; clones share schemas.
#[derive(Clone)]
pub struct Translator(Arc<Shared>);

struct Shared {
    runtime: Handle,
    /// `None` if no source needs one.
    registry: Option<Registry>,
    cache: Cache,
    unknown_retries: u32,
    retry_wait: Duration,
    /// The longest JSON in bytes.
    max: usize,
    /// Lets [`LARGE_AT_ONCE`] values be read.
    large: Arc<Semaphore>,
    /// Values that wait for a registry that can't be reached.
    waiting: AtomicUsize,
}

impl Translator {
    /// Makes a translator without schemas; the registry is asked when the first value comes. What takes time runs on
    /// `runtime`, whose threads must not be the driver's.
    ///
    /// # Errors
    /// The registry's client can't be set up; the program can't start then.
    pub fn new(config: &Config, runtime: Handle) -> Result<Self, String> {
        Self::of(&config.registry, config.delivery.max_body, runtime)
    }

    fn of(settings: &config::Registry, max: usize, runtime: Handle) -> Result<Self, String> {
        Ok(Self(Arc::new(Shared {
            runtime,
            registry: Registry::new(settings)?,
            cache: Cache::new(settings.cache_max),
            unknown_retries: settings.unknown_retries,
            retry_wait: settings.retry_wait,
            max,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            waiting: AtomicUsize::new(0),
        })))
    }

    /// Returns where translations that take time run.
    pub fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Returns how many values wait for a registry that can't be reached.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Translates a value if that is cheap: its schema is here and it isn't large.
    pub fn at_once(&self, value: &Bytes) -> Option<Translation> {
        let (id, payload) = match wire::split(value) {
            Ok(split) => split,
            Err(unreadable) => return Some(Err(unreadable)),
        };
        if payload.len() > AT_ONCE_MAX {
            return None;
        }
        let cell = self.0.cache.cell(id);
        cell.get().map(|schema| read(schema, id, &payload, self.0.max))
    }

    /// Translates the value of the record at `origin`, and waits for its schema as long as the registry can't be
    /// reached.
    pub async fn translate(&self, value: Bytes, origin: &Origin) -> Translation {
        let (id, payload) = wire::split(&value)?;
        let cell = self.schema(id, origin).await?;
        let max = self.0.max;
        let is_small = payload.len() <= AT_ONCE_MAX;
        let translate = move || {
            let schema = cell.get().expect("it was just filled");
            read(schema, id, &payload, max)
        };
        if is_small {
            return translate();
        }
        let turn = self.0.large.clone().acquire_owned().await.expect("nobody closes it");
        // The turn is kept to the end of the work, also when nobody waits for that any more.
        let done = tokio::task::spawn_blocking(move || {
            let translation = translate();
            drop(turn);
            translation
        })
        .await;
        done.expect("a panic ends the process, and nobody cancels it")
    }

    /// Returns the filled place of a schema.
    async fn schema(&self, id: u32, origin: &Origin) -> Result<Arc<cache::Cell>, Unreadable> {
        let Shared { registry, cache, unknown_retries, retry_wait, .. } = &*self.0;
        let Some(registry) = registry else {
            return Err(Unreadable("it needs a schema, and there is no registry.url".into()));
        };
        let cell = cache.cell(id);
        let mut unknown = 0;
        let mut waiting = None;
        loop {
            let trouble = match cell.get_or_try_init(|| ask(registry, id)).await {
                Ok(_) => return Ok(cell),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Unknown if unknown == *unknown_retries => {
                    cache.forget(id);
                    return Err(Unreadable(format!("the registry has no schema {id}")));
                }
                Trouble::Unknown => {
                    unknown += 1;
                    waiting = None;
                }
                Trouble::Unavailable(reason) => {
                    waiting.get_or_insert_with(|| Waiting::new(self.0.clone(), origin, &reason));
                }
            }
            tokio::time::sleep(*retry_wait).await;
        }
    }
}

async fn ask(registry: &Registry, id: u32) -> Result<Result<Schema, String>, Trouble> {
    let schema = registry.schema(id).await;
    registry_asked(match &schema {
        Ok(Ok(_)) => Asked::Answered,
        Ok(Err(_)) => Asked::Unusable,
        Err(Trouble::Unknown) => Asked::Unknown,
        Err(Trouble::Unavailable(_)) => Asked::Failed,
    });
    if let Ok(Err(problem)) = &schema {
        let problem = truncated(problem, PROBLEM_MAX);
        warn!(schema = id, %problem, "a schema can't be used: its records are dead letters");
    }
    schema
}

fn read(schema: &Result<Schema, String>, id: u32, payload: &Bytes, max: usize) -> Translation {
    match schema {
        Ok(Schema::Avro(schema)) => schema.to_json(payload, max),
        Ok(Schema::Protobuf(schema)) => schema.to_json(payload, max),
        Ok(Schema::Json) if payload.len() > max => Err(output::too_long(max)),
        Ok(Schema::Json) => Ok(payload.clone()),
        Err(_) => Err(Unreadable(format!("schema {id} can't be used; the log says why"))),
    }
}

/// A value that waits for the registry; dropped, it doesn't any more. The first and the last of them are told of.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn new(shared: Arc<Shared>, origin: &Origin, reason: &str) -> Self {
        if shared.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            let reason = truncated(reason, PROBLEM_MAX);
            warn!(record = %origin, %reason, "the schema registry can't be reached: what needs a schema waits");
        }
        Self(shared)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            info!("nothing waits for the schema registry any more");
        }
    }
}

//! What records say, read as the connector reads them.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cli::Failure;
use crate::config::{Config, show_duration};
use crate::domain::decode::{self, Identity, Translation, Unreadable};
use crate::domain::event::Event;
use crate::domain::headers::Carried;
use crate::domain::record::{Origin, Record};
use crate::domain::source::{Format, Source, Sources};
use crate::schema::Translator;

/// How long the schema registry may take: a command has somebody who waits for it.
const REGISTRY: Duration = Duration::from_secs(30);

/// Reads events from records.
pub(in crate::cli) struct Decoder {
    sources: Sources,
    translator: Translator,
    runtime: Runtime,
}

/// What a record says, or why it says nothing.
type Read = Result<Event, Unreadable>;

impl Decoder {
    /// Makes one that reads by these settings.
    ///
    /// # Errors
    /// The registry's client can't start.
    pub(in crate::cli) fn new(config: &Config) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::of(format!("the runtime can't start: {error}")))?;
        let translator = Translator::new(config, runtime.handle().clone())
            .map_err(|error| Failure::of(format!("the registry's client can't start: {error}")))?;
        Ok(Self { sources: config.sources.clone(), translator, runtime })
    }

    /// Makes one that asks for a schema that the registry doesn't know no second time: for whoever only looks, among
    /// records of which many may be unreadable.
    ///
    /// # Errors
    /// The registry's client can't start.
    pub(in crate::cli) fn asking_once(config: &Config) -> Result<Self, Failure> {
        let mut config = config.clone();
        config.registry.unknown_retries = 0;
        Self::new(&config)
    }

    /// Reads a record as the source of its topic says now; it was produced at `origin`.
    ///
    /// # Errors
    /// The registry can't be reached.
    pub(in crate::cli) fn event(&self, record: Record, origin: &Origin) -> Result<Read, Failure> {
        let Some(source) = self.sources.of(&origin.topic) else {
            let reason = format!("the topic {} belongs to no source", origin.topic);
            return Ok(Err(Unreadable(reason)));
        };
        let identity = Identity { origin: origin.clone(), id: None };
        self.decode(self.sources.get(source), record, identity)
    }

    /// Reads the event of a delivery, the way it was read first.
    ///
    /// # Errors
    /// The registry can't be reached.
    pub(in crate::cli) fn delivery(
        &self,
        record: Record,
        carried: &Carried,
        origin: &Origin,
    ) -> Result<Read, Failure> {
        let known = carried.source.as_ref();
        let source = known.unwrap_or_else(|| self.sources.of_moved(&origin.topic));
        let identity = Identity { origin: origin.clone(), id: carried.id.clone() };
        self.decode(source, record, identity)
    }

    fn decode(
        &self,
        source: &Arc<Source>,
        record: Record,
        identity: Identity,
    ) -> Result<Read, Failure> {
        let translation = match source.format {
            Format::Registry if decode::may_have_schema(&record) => {
                Some(self.translate(&record, &identity.origin)?)
            }
            _ => None,
        };
        let event = decode::decode(source, record, translation, identity);
        Ok(event.map_err(|(_, reason)| reason))
    }

    fn translate(&self, record: &Record, origin: &Origin) -> Result<Translation, Failure> {
        let value = record.value.clone().expect("what may have a schema has a value");
        if let Some(translation) = self.translator.at_once(&value) {
            return Ok(translation);
        }
        let translate = async {
            tokio::time::timeout(REGISTRY, self.translator.translate(value, origin)).await
        };
        self.runtime.block_on(translate).map_err(|_| {
            let waited = show_duration(REGISTRY);
            Failure::of(format!(
                "the schema registry did not answer for {origin} within {waited}: check registry.url and the network"
            ))
        })
    }
}

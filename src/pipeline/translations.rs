//! Records whose values a schema has to explain, at most one a partition: behind it, its partition waits.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::task::AbortHandle;

use super::inbox::{Inbox, Input};
use crate::domain::decode::Translation;
use crate::domain::engine::PartitionId;
use crate::domain::record::Record;
use crate::kafka::consumer::Part;
use crate::schema::Translator;

/// The records of one member that are being translated, or are and wait to be taken up.
pub(super) struct Translations {
    part: Part,
    translator: Translator,
    inbox: Arc<Inbox>,
    held: FxHashMap<PartitionId, Held>,
}

enum Held {
    Running { _task: Task },
    Done(Record, Translation),
}

/// A task that ends when it is dropped: nobody wants what it would bring.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Translations {
    pub(super) fn new(part: Part, translator: Translator, inbox: Arc<Inbox>) -> Self {
        Self { part, translator, inbox, held: FxHashMap::default() }
    }

    /// Translates the record of a partition that holds none: now, or as a task whose end comes through the inbox.
    pub(super) fn begin(
        &mut self,
        id: PartitionId,
        record: Record,
    ) -> Option<(Record, Translation)> {
        let value = record.value.clone().expect("only a record with a value needs a schema");
        if let Some(translation) = self.translator.at_once(&value) {
            return Some((record, translation));
        }
        let (translator, inbox, part) = (self.translator.clone(), self.inbox.clone(), self.part);
        let task = self.translator.runtime().spawn(async move {
            let translation = translator.translate(value, &record.origin).await;
            inbox.push(Input::Translated(part, id, record, translation));
        });
        self.held.insert(id, Held::Running { _task: Task(task.abort_handle()) });
        None
    }

    /// Takes note of what a task brought. It may be late: its partition was let go of meanwhile.
    pub(super) fn done(&mut self, id: PartitionId, record: Record, translation: Translation) {
        if let Some(held) = self.held.get_mut(&id) {
            *held = Held::Done(record, translation);
        }
    }

    /// Tells whether a partition waits for its record's translation.
    pub(super) fn is_running(&self, id: PartitionId) -> bool {
        matches!(self.held.get(&id), Some(Held::Running { .. }))
    }

    /// Tells whether it holds a partition's record.
    pub(super) fn holds(&self, id: PartitionId) -> bool {
        self.held.contains_key(&id)
    }

    /// Takes a partition's record that is translated; none of its may be running.
    pub(super) fn take(&mut self, id: PartitionId) -> Option<(Record, Translation)> {
        match self.held.remove(&id)? {
            Held::Done(record, translation) => Some((record, translation)),
            Held::Running { .. } => panic!("a partition that waits for a schema has its turn"),
        }
    }

    /// Drops the record of a partition that was let go of.
    pub(super) fn forget(&mut self, id: PartitionId) {
        self.held.remove(&id);
    }
}

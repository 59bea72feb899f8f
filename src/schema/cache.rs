//! Schemas by their ids, as many as there is room for. A schema never changes under its id, so none grows old.

use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;
use tokio::sync::OnceCell;

use super::registry::Schema;

/// A schema, or why it can't be used; empty while it is asked for, by one at a time.
pub(super) type Cell = OnceCell<Result<Schema, String>>;

/// The schemas that were used last.
pub(super) struct Cache {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cells: FxHashMap<u32, Entry>,
    /// Counts uses.
    clock: u64,
}

struct Entry {
    cell: Arc<Cell>,
    used: u64,
}

impl Cache {
    /// Makes a cache for at least one schema.
    pub(super) fn new(max: usize) -> Self {
        assert!(max > 0, "the settings keep it from 1");
        Self { max, state: Mutex::default() }
    }

    /// Returns the place of a schema. The place used longest ago makes room for a new one; whoever holds it keeps it.
    pub(super) fn cell(&self, id: u32) -> Arc<Cell> {
        let mut state = self.state.lock().expect("no holder of the lock panics");
        state.clock += 1;
        let used = state.clock;
        if let Some(entry) = state.cells.get_mut(&id) {
            entry.used = used;
            return entry.cell.clone();
        }
        if state.cells.len() == self.max {
            // A look at them all costs little beside the request that follows.
            let oldest = state.cells.iter().min_by_key(|(_, entry)| entry.used);
            let oldest = oldest.map(|(id, _)| *id).expect("there is room for at least one");
            state.cells.remove(&oldest);
        }
        let cell = Arc::new(Cell::new());
        state.cells.insert(id, Entry { cell: cell.clone(), used });
        cell
    }

    /// Gives up the place of a schema that isn't known.
    pub(super) fn forget(&self, id: u32) {
        let mut state = self.state.lock().expect("no holder of the lock panics");
        if state.cells.get(&id).is_some_and(|entry| !entry.cell.initialized()) {
            state.cells.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_used_longest_ago_makes_room() {
        let cache = Cache::new(2);
        let [one, two] = [1, 2].map(|id| cache.cell(id));
        assert!(Arc::ptr_eq(&one, &cache.cell(1)));
        cache.cell(3);
        assert!(Arc::ptr_eq(&one, &cache.cell(1)), "it was used last");
        assert!(!Arc::ptr_eq(&two, &cache.cell(2)), "it made room");
    }

    #[test]
    fn only_places_without_a_schema_are_given_up() {
        let cache = Cache::new(2);
        let [known, unknown] = [1, 2].map(|id| cache.cell(id));
        assert!(known.set(Ok(Schema::Json)).is_ok());
        cache.forget(1);
        cache.forget(2);
        assert!(Arc::ptr_eq(&known, &cache.cell(1)));
        assert!(!Arc::ptr_eq(&unknown, &cache.cell(2)));
    }
}

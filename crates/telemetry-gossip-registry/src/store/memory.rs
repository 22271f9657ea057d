//! A store in memory, for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{FoundHead, KEPT_VERSIONS, Store, StoreError, StoreFuture, Write, Written};

/// A store in memory. A clone is another handle of the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    head: Option<FoundHead>,
    documents: BTreeMap<u64, Vec<u8>>,
    writes: u64,
    down: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the store answers nothing.
    pub fn set_down(&self, down: bool) {
        self.with(|state| state.down = down);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // No code panics while it holds the lock.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut State) -> T,
    ) -> StoreFuture<'static, T> {
        let answer = self.with(|state| match state.down {
            true => Err(StoreError::Unreachable("it is down".to_owned())),
            false => Ok(act(state)),
        });
        Box::pin(std::future::ready(answer))
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn head(&self) -> StoreFuture<'_, Option<FoundHead>> {
        self.answer(|state| state.head.clone())
    }

    fn document(&self, version: u64, _chunks: u32) -> StoreFuture<'_, Option<Vec<u8>>> {
        self.answer(|state| state.documents.get(&version).cloned())
    }

    fn write<'a>(&'a self, write: &'a Write) -> StoreFuture<'a, Written> {
        self.answer(|state| {
            if state.head.as_ref().map(|found| found.revision) != write.base() {
                return Written::Conflict;
            }
            state.writes += 1;
            let version = write.head().version;
            state.documents.insert(version, write.edition().bytes().to_vec());
            state.documents.retain(|kept, _| kept.saturating_add(KEPT_VERSIONS) > version);
            state.head = Some(FoundHead::new(write.head().clone(), state.writes));
            Written::Done
        })
    }

    fn versions(&self) -> StoreFuture<'_, Vec<u64>> {
        self.answer(|state| state.documents.keys().copied().collect())
    }
}

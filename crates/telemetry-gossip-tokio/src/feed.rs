//! What a node shows to its readers, and the channel that carries its events to them.
//!
//! ```text
//! task ──> Feed { view, events } ──> Events             every event, in order
//!                                └─> TelemetryChanges   the changes of some keys
//! ```

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use crate::events::{Event, Events};
use crate::telemetry::TelemetryChanges;
use crate::view::View;

/// The most events that a reader may lag behind.
const MAX_LAG: usize = 1_024;

/// What a node shows to its readers: the view and the events. Made before the node, so that readers
/// can wait for its first event.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Feed {
    view: Arc<ArcSwap<View>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Feed {
    /// An empty view and no events yet.
    #[must_use]
    pub fn new() -> Self {
        let (events, _) = broadcast::channel(MAX_LAG);
        Self { view: Arc::default(), events }
    }

    /// The current view.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// All events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: Some(self.events.subscribe()) }
    }

    /// The telemetry under keys that begin with `prefix`, and its changes.
    #[must_use]
    pub fn subscribe(&self, prefix: &str) -> TelemetryChanges {
        self.reader().subscribe(prefix)
    }

    /// A reader, which does not keep the channel open.
    pub(crate) fn reader(&self) -> FeedReader {
        FeedReader { view: self.view.clone(), events: self.events.downgrade() }
    }

    pub(crate) fn writer(&self) -> (Arc<ArcSwap<View>>, broadcast::Sender<Arc<Event>>) {
        (self.view.clone(), self.events.clone())
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a [`Feed`] while the node runs, and its last view afterwards.
#[derive(Clone, Debug)]
pub(crate) struct FeedReader {
    pub(crate) view: Arc<ArcSwap<View>>,
    events: broadcast::WeakSender<Arc<Event>>,
}

impl FeedReader {
    pub(crate) fn events(&self) -> Events {
        Events { receiver: self.events.upgrade().map(|events| events.subscribe()) }
    }

    pub(crate) fn subscribe(&self, prefix: &str) -> TelemetryChanges {
        // Subscribe first: a change in between is then reported twice rather than never.
        let events = self.events();
        TelemetryChanges::new(prefix.to_owned(), self.view.clone(), events)
    }
}

//! The events of a node, and the channel that carries them to their readers.
//!
//! ```text
//! task ──> Feed { view, events } ──> Events             every event, in order
//!                                └─> TelemetryChanges   the changes of some keys
//! ```

use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::broadcast;

use crate::peer_addr::PeerAddr;
use crate::telemetry::TelemetryChanges;
use crate::view::View;

/// The most events that a reader may lag behind.
const MAX_LAG: usize = 1_024;

/// An event of a node that this driver runs.
pub type Event = telemetry_gossip_core::Event<PeerAddr>;

/// The events of a node, from [`Agent::events`](crate::Agent::events). By the time an event is
/// received, the view shows what it tells.
///
/// ```
/// use telemetry_gossip_tokio::{Agent, Event, MemoryNetwork, Options, RecvError};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = MemoryNetwork::new(1);
/// # let a = Agent::spawn(Options::new("a".parse()?), network.transport("a")?)?;
/// # let b = Options::new("b".parse()?).seeds(["a"]);
/// # let b = Agent::spawn(b, network.transport("b")?)?;
/// let mut events = a.events();
/// loop {
///     match events.recv().await {
///         Ok(Event::Joined { id, .. }) => {
///             assert_eq!(id.as_str(), "b");
///             break;
///         }
///         Ok(_) => {}
///         Err(RecvError::Lagged(missed)) => {
///             println!("missed {missed} events, {} members now", a.view().len());
///         }
///         Err(RecvError::Closed) => break,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Arc<Event>>>,
}

/// Why no event was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecvError {
    /// The reader was too slow and missed this many events. The next call returns the oldest event
    /// that is left; the view shows the current state.
    #[error("the reader was too slow and missed {0} events: read the view for the current state")]
    Lagged(u64),
    /// The node has ended, and all of its events were received.
    #[error("the node has ended: no more events will come")]
    Closed,
}

impl Events {
    /// The events of a node that never runs.
    #[doc(hidden)]
    #[must_use]
    pub const fn closed() -> Self {
        Self { receiver: None }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] if this reader has missed events, and [`RecvError::Closed`] once the
    /// node has ended.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        let Some(receiver) = &mut self.receiver else { return Err(RecvError::Closed) };
        match receiver.recv().await {
            Ok(event) => Ok(*event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
            Err(broadcast::error::RecvError::Closed) => Err(RecvError::Closed),
        }
    }
}

/// What a node shows to its readers: the view and the events. Made before the node, so that readers
/// can wait for its first event.
#[doc(hidden)]
#[derive(Debug)]
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

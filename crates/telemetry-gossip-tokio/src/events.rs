//! The events of a node, as a reader receives them.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::broadcast;

use crate::peer_addr::PeerAddr;

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
    pub(crate) receiver: Option<broadcast::Receiver<Arc<Event>>>,
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

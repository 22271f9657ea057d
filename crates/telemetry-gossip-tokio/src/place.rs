//! Who uses a transport: the places of a node and of single parts. Parts answer as members and
//! would contradict a node of another id on the same socket, so they give way to it or are refused.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use telemetry_gossip_core::NodeId;
use tokio::sync::watch;

/// What an agent is on its transport.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// A whole node.
    #[default]
    Node,
    /// An exchange of a table of the host. Not together with a node.
    Exchange,
    /// It answers the probes of others. It ends when a node starts, which answers them.
    Answers,
    /// It makes one probe, in the name of the node if there is one.
    Probes,
}

/// The places on one transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<Vec<Arc<Taken>>>>);

#[derive(Debug)]
struct Taken {
    part: Part,
    id: NodeId,
    ending: watch::Sender<bool>,
}

/// A place on a transport, until it is left or dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    taken: Arc<Taken>,
}

/// Leaves a place when it is dropped, though others hold it.
#[derive(Debug)]
pub(crate) struct Leaves(Weak<Place>);

impl Places {
    /// Takes a place for an agent that ends by `ending`.
    ///
    /// # Errors
    /// The part that has the transport for itself.
    pub(crate) fn take(
        &self,
        part: Part,
        id: NodeId,
        ending: watch::Sender<bool>,
    ) -> Result<Place, Part> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused_by = match part {
            Part::Node => Some(Part::Exchange),
            Part::Exchange | Part::Answers => Some(Part::Node),
            Part::Probes => None,
        };
        if let Some(other) = refused_by
            && held.iter().any(|taken| taken.part == other)
        {
            return Err(other);
        }
        if part == Part::Node {
            for answers in held.iter().filter(|taken| taken.part == Part::Answers) {
                answers.ending.send_replace(true);
            }
        }
        let taken = Arc::new(Taken { part, id, ending });
        held.push(taken.clone());
        Ok(Place { places: self.clone(), taken })
    }

    /// The id of the node on the transport.
    pub(crate) fn node(&self) -> Option<NodeId> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|taken| taken.part == Part::Node).map(|taken| taken.id)
    }
}

impl Place {
    pub(crate) fn leaves(self: &Arc<Self>) -> Leaves {
        Leaves(Arc::downgrade(self))
    }

    fn leave(&self) {
        let mut held = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|taken| !Arc::ptr_eq(taken, &self.taken));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(place) = self.0.upgrade() {
            place.leave();
        }
    }
}

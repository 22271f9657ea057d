//! The network as the drivers see it: send datagrams, receive datagrams, resolve names. No rule of
//! the protocol is here.
//!
//! A transport is shared: each subscriber gets every datagram, so that a node or an exchange and a
//! detector on one transport do not take datagrams from each other. A node and an exchange do not
//! share one (see `place`).

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use telemetry_gossip_core::NodeId;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::peer_addr::PeerAddr;
use crate::place::Places;
use crate::sealing::{Provenance, SharedSeal};

/// The most datagrams that wait for one subscriber. Further ones are dropped, as by a full socket
/// buffer.
pub const SUBSCRIPTION_CAPACITY: usize = 1_024;

/// A boxed future, so that [`Transport`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends and receives datagrams, on a real network or in memory. Object-safe: `Arc<dyn Transport>`.
///
/// Your own transport may wrap another one, as below, or use its own network and hand the datagrams
/// that arrive to [`Subscribers`].
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use telemetry_gossip_tokio::{
///     BoxFuture, PeerAddr, SharedSeal, Subscription, Transport, UdpTransport,
/// };
///
/// /// Logs each datagram that is sent.
/// #[derive(Debug)]
/// struct Logged(Arc<UdpTransport>);
///
/// impl Transport for Logged {
///     fn local(&self) -> PeerAddr {
///         self.0.local()
///     }
///     fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
///         eprintln!("{} bytes to {to}", bytes.len());
///         self.0.send(to, bytes)
///     }
///     fn seal(&self) -> Option<&Arc<SharedSeal>> {
///         self.0.seal()
///     }
///     fn subscribe(&self) -> Subscription {
///         self.0.subscribe()
///     }
///     fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
///         self.0.resolve(name)
///     }
///     fn close(&self) {
///         self.0.close();
///     }
/// }
/// ```
pub trait Transport: Send + Sync + Debug {
    /// The address at which others reach this transport. It never changes.
    fn local(&self) -> PeerAddr;

    /// Sends one datagram without waiting. Success does not mean that the datagram arrives.
    ///
    /// The task of a node calls it, with no lock held: it may read the node or its state. While it
    /// blocks, that task does nothing else, and readers do not wait for it.
    ///
    /// # Errors
    /// The datagram was not sent, for example because it is too long, the buffer is full, or the
    /// transport is closed.
    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()>;

    /// The seal of all datagrams that are sent and received; `None` if they travel in plaintext, or
    /// are protected by a layer below. The agent subtracts the overhead of the seal from the MTU:
    /// the bytes given to [`Transport::send`] and their seal fit the MTU together.
    fn seal(&self) -> Option<&Arc<SharedSeal>>;

    /// Adds a reader of all datagrams that arrive from now on. Dropping it removes it.
    fn subscribe(&self) -> Subscription;

    /// Resolves the name of a node or seed, again on each call: `host:port` over UDP, the id of a
    /// node in memory. The result is never empty.
    ///
    /// # Errors
    /// The name is not known. The kind is [`io::ErrorKind::NotFound`] if no server had to be asked.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>>;

    /// Checks whether `name` can be the name of a node or seed, existing or not. By default any
    /// text can.
    fn check_name(&self, name: &str) -> Result<(), NameError> {
        let _ = name;
        Ok(())
    }

    /// Stops receiving: all subscriptions end, and the socket is closed at once. Idempotent.
    fn close(&self);
}

/// A text that cannot be the name of a node, from [`Transport::check_name`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name:?} cannot be the name of a node: {rule}")]
#[non_exhaustive]
pub struct NameError {
    /// The text.
    pub name: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl NameError {
    /// `name` breaks `rule`, a sentence for people.
    pub fn new(name: &str, rule: impl ToString) -> Self {
        Self { name: name.to_owned(), rule: rule.to_string() }
    }
}

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The source address that the transport observed.
    pub from: PeerAddr,
    /// The payload, shared between the subscribers.
    pub bytes: Arc<[u8]>,
    /// Where the datagram stands in the traffic of its sender, if it was sealed.
    pub sealed: Option<Provenance>,
}

/// The datagrams that arrive at a transport, from [`Transport::subscribe`]. At most
/// [`SUBSCRIPTION_CAPACITY`] wait.
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
    places: Places,
}

impl Subscription {
    /// Waits for the next datagram; `None` once the transport is closed.
    ///
    /// # Cancel safety
    /// No datagram is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// A datagram that has already arrived, if there is one.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    /// Whether the transport is closed, so that no further datagram will arrive. Those that have
    /// arrived before can still be received.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.deliveries.is_closed()
    }

    /// The id of the node that runs on the transport.
    #[doc(hidden)]
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.places.node()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }
}

/// The subscribers of a transport, for implementations of [`Transport`].
#[derive(Debug, Default)]
pub struct Subscribers {
    senders: Mutex<Senders>,
    places: Places,
}

#[derive(Debug, Default)]
struct Senders {
    closed: bool,
    live: Vec<mpsc::Sender<Delivery>>,
}

impl Subscribers {
    /// Adds a subscriber.
    pub fn subscribe(&self) -> Subscription {
        let (sender, deliveries) = mpsc::channel(SUBSCRIPTION_CAPACITY);
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        // While nothing arrives, subscribers that are gone are only removed here.
        senders.live.retain(|sender| !sender.is_closed());
        if !senders.closed {
            senders.live.push(sender);
        }
        Subscription { deliveries, places: self.places.clone() }
    }

    /// Hands a datagram that came in plaintext to every subscriber. Returns how many of them had no
    /// room for it.
    pub fn deliver(&self, from: PeerAddr, bytes: &[u8]) -> usize {
        self.hand_out(from, bytes, None)
    }

    /// Hands a datagram that [`SharedSeal::open_from`] has opened to every subscriber. Returns how
    /// many of them had no room for it.
    ///
    /// A datagram that may be a recording gets no more than half of the room, so that a flood of
    /// recordings takes no place from what is fresh.
    pub fn deliver_sealed(&self, from: PeerAddr, bytes: &[u8], sealed: Provenance) -> usize {
        self.hand_out(from, bytes, Some(sealed))
    }

    fn hand_out(&self, from: PeerAddr, bytes: &[u8], sealed: Option<Provenance>) -> usize {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.live.is_empty() {
            return 0;
        }
        let delivery = Delivery { from, bytes: bytes.into(), sealed };
        let unproved = sealed.is_some_and(|sealed| sealed.proof_age.is_none());
        let reserve = if unproved { SUBSCRIPTION_CAPACITY / 2 } else { 0 };
        let mut dropped = 0;
        senders.live.retain(|sender| {
            if sender.capacity() <= reserve && !sender.is_closed() {
                dropped += 1;
                return true;
            }
            match sender.try_send(delivery.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    dropped += 1;
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
        dropped
    }

    /// Ends all subscriptions, present and future.
    pub fn close(&self) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.closed = true;
        senders.live.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_that_are_gone_are_removed_even_if_no_datagram_arrives() {
        let subscribers = Subscribers::default();
        let kept = subscribers.subscribe();
        for _ in 0..1_000 {
            drop(subscribers.subscribe());
        }
        assert!(subscribers.senders.lock().unwrap().live.len() <= 2);
        drop(kept);
    }

    #[test]
    fn what_may_be_a_recording_leaves_half_of_the_room_to_what_is_fresh() {
        let from = "127.0.0.1:7946".try_into().unwrap();
        let stamp = telemetry_gossip_core::Stamp { prefix: [7; 16], counter: 1 };
        let unproved = Provenance { stamp, proof_age: None };
        let fresh = Provenance { proof_age: Some(std::time::Duration::ZERO), ..unproved };
        let subscribers = Subscribers::default();
        let _reader = subscribers.subscribe();
        let half = SUBSCRIPTION_CAPACITY / 2;
        let taken = |sealed| {
            let lost = (0..SUBSCRIPTION_CAPACITY)
                .map(|_| subscribers.deliver_sealed(from, b"x", sealed))
                .sum::<usize>();
            SUBSCRIPTION_CAPACITY - lost
        };
        assert_eq!(taken(unproved), half, "recordings take no more than half of the room");
        assert_eq!(taken(fresh), half, "and leave the rest to what is fresh");
        assert_eq!(subscribers.deliver(from, b"x"), 1, "no more than fit wait");
    }
}

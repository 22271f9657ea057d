//! The network as the drivers see it: datagrams out, datagrams in, names resolved. No rule of the
//! protocol is here.
//!
//! A transport is shared: each subscriber gets every datagram, so that a node, a detector and an
//! exchange on one transport take nothing from each other.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::mpsc;

use crate::peer::Peer;
use crate::sealing::SharedSeal;

/// Datagrams that wait for one subscriber; more are dropped, as a full socket buffer would.
pub const SUBSCRIPTION_CAPACITY: usize = 1_024;

/// A future that is boxed, so that [`Transport`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends and receives datagrams, on a real network or in memory. Object-safe: `Arc<dyn Transport>`.
///
/// One of your own may wrap another, or bring its own network and hand what arrives to
/// [`Subscribers`]:
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use telemetry_gossip_tokio::{BoxFuture, Peer, SharedSeal, Subscription, Transport, UdpTransport};
///
/// /// Logs what is sent.
/// #[derive(Debug)]
/// struct Logged(Arc<UdpTransport>);
///
/// impl Transport for Logged {
///     fn local(&self) -> Peer {
///         self.0.local()
///     }
///     fn send(&self, to: Peer, bytes: &[u8]) -> io::Result<()> {
///         eprintln!("{} bytes to {to}", bytes.len());
///         self.0.send(to, bytes)
///     }
///     fn seal(&self) -> Option<&Arc<SharedSeal>> {
///         self.0.seal()
///     }
///     fn subscribe(&self) -> Subscription {
///         self.0.subscribe()
///     }
///     fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<Peer>>> {
///         self.0.resolve(name)
///     }
///     fn close(&self) {
///         self.0.close();
///     }
/// }
/// ```
pub trait Transport: Send + Sync + Debug {
    /// Where others reach this transport. It does not change.
    fn local(&self) -> Peer;

    /// Sends one datagram without waiting. Datagrams get lost: success says nothing about arrival,
    /// and an error only that it did not leave (it is too long, the buffer is full, the transport
    /// is closed).
    fn send(&self, to: Peer, bytes: &[u8]) -> io::Result<()>;

    /// What seals all that it sends and opens all that arrives; `None` if that goes in plaintext,
    /// or if something below seals. An agent takes its overhead off the MTU: what
    /// [`Transport::send`] is given and its sealing fit the MTU together.
    fn seal(&self) -> Option<&Arc<SharedSeal>>;

    /// All datagrams that arrive from now on, for one more reader; it ends when dropped.
    fn subscribe(&self) -> Subscription;

    /// Where the node or seed called `name` is: `host:port` over UDP, looked up anew on each call;
    /// a node's id in memory. Ok is never empty; an unknown name is an error, of kind
    /// [`io::ErrorKind::NotFound`] if nobody had to be asked.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<Peer>>>;

    /// Whether `name` can be the name of a node or seed, there or not. By default any text can.
    fn check_name(&self, name: &str) -> Result<(), NameError> {
        let _ = name;
        Ok(())
    }

    /// Stops receiving: subscriptions end, and the socket is closed at once. Idempotent.
    fn close(&self);
}

/// A text that no node is called, from [`Transport::check_name`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name:?} names no node: {rule}")]
pub struct NameError {
    /// The text.
    pub name: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl NameError {
    /// `name` breaks `rule`.
    pub fn new(name: &str, rule: impl ToString) -> Self {
        Self { name: name.to_owned(), rule: rule.to_string() }
    }
}

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whom the transport saw it come from.
    pub from: Peer,
    /// Its payload, shared between the subscribers.
    pub bytes: Arc<[u8]>,
}

/// The datagrams that arrive, from [`Transport::subscribe`]; at most [`SUBSCRIPTION_CAPACITY`]
/// wait.
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
}

impl Subscription {
    /// The next datagram; `None` once the transport is closed. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// A datagram that has already arrived.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }
}

/// The subscribers of a transport; for those who implement one.
#[derive(Debug, Default)]
pub struct Subscribers {
    senders: Mutex<Senders>,
}

#[derive(Debug, Default)]
struct Senders {
    closed: bool,
    live: Vec<mpsc::Sender<Delivery>>,
}

impl Subscribers {
    /// One more subscriber.
    pub fn subscribe(&self) -> Subscription {
        let (sender, deliveries) = mpsc::channel(SUBSCRIPTION_CAPACITY);
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        // Where nothing arrives, only this finds out who has gone.
        senders.live.retain(|sender| !sender.is_closed());
        if !senders.closed {
            senders.live.push(sender);
        }
        Subscription { deliveries }
    }

    /// Hands a datagram to every subscriber; returns how many had no room for it.
    pub fn deliver(&self, from: Peer, bytes: &[u8]) -> usize {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.live.is_empty() {
            return 0;
        }
        let delivery = Delivery { from, bytes: bytes.into() };
        let mut dropped = 0;
        senders.live.retain(|sender| match sender.try_send(delivery.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        dropped
    }

    /// Ends all subscriptions, and those to come.
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
    fn subscribers_that_have_gone_are_forgotten_though_nothing_arrives() {
        let subscribers = Subscribers::default();
        let kept = subscribers.subscribe();
        for _ in 0..1_000 {
            drop(subscribers.subscribe());
        }
        assert!(subscribers.senders.lock().unwrap().live.len() <= 2);
        drop(kept);
    }
}
